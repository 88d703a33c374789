/* SPDX-License-Identifier: Apache-2.0 */
#include "conn.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "packet.h"
#include "request.h"

void conn_init(struct conn *conn) {
        *conn = (struct conn){ .fd = -1, .wake_fd = -1 };
        TAILQ_INIT(&conn->queue);
        TAILQ_INIT(&conn->waiters);
        TAILQ_INIT(&conn->pending);
        TAILQ_INIT(&conn->completed);
}

int conn_open(struct conn *conn, int *socket) {
        int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

        if (wake_fd < 0)
                return -errno;
        conn->wake_fd = wake_fd;
        conn->fd = shmb_steal_fd(socket);
        return 0;
}

void conn_close(struct conn *conn) {
        conn->fd = shmb_close(conn->fd);
        conn->wake_fd = shmb_close(conn->wake_fd);
}

uint32_t conn_serial(struct conn *conn) {
        do
                conn->serial++;
        while (conn->serial == 0 || request_find(conn, conn->serial));
        return conn->serial;
}

static void dequeue(struct conn *conn, struct out *out) {
        TAILQ_REMOVE(&conn->queue, out, link);
        out->queued = false;
}

static void done_with(struct conn *conn, struct out *out) {
        dequeue(conn, out);
        if (out->gone)
                out->gone(out);
}

/* The releases at the head of the queue, as many as one packet takes. */
static int send_releases(struct conn *conn) {
        struct shmb_release message;
        uint8_t packet[SHMB_PACKET_MAX];
        struct out *out;

        message.count = 0;
        TAILQ_FOREACH(out, &conn->queue, link) {
                if (out->packet || message.count == SHMB_RELEASE_MAX)
                        break;
                message.entries[message.count++] = out->release;
        }
        size_t size = shmb_encode_release(packet, conn_serial(conn), 0, &message);
        int r = shmb_packet_send(conn->fd, packet, size, -1, MSG_DONTWAIT);
        if (r < 0)
                return r;
        for (uint16_t i = 0; i < message.count; i++)
                done_with(conn, TAILQ_FIRST(&conn->queue));
        return 0;
}

static int send_first(struct conn *conn) {
        struct out *out = TAILQ_FIRST(&conn->queue);

        if (!out->packet)
                return send_releases(conn);
        int r = shmb_packet_send(conn->fd, out->packet, out->size, -1, MSG_DONTWAIT);
        if (r < 0)
                return r;
        done_with(conn, out);
        return 0;
}

/* A reader that polls for input only would never learn that there is something to send. */
static void wake_reader(struct conn *conn) {
        uint64_t one = 1;

        if (!conn->wants_wake)
                return;
        conn->wants_wake = false;
        ssize_t written = write(conn->wake_fd, &one, sizeof(one));
        (void)written; /* fails only if the counter is full, which wakes it just as well */
}

void conn_flush(struct conn *conn) {
        while (!TAILQ_EMPTY(&conn->queue)) {
                if (conn->broken) {
                        done_with(conn, TAILQ_FIRST(&conn->queue));
                        continue;
                }
                int r = send_first(conn);
                if (r == -EAGAIN) {
                        wake_reader(conn);
                        return;
                }
                /* Not the end yet: the broker's reason may still lie in the socket. If it is
                   this side that cannot go on, the broker will see to it that the end comes. */
                if (r < 0) {
                        conn->broken = true;
                        shutdown(conn->fd, SHUT_WR);
                }
        }
}

static void enqueue(struct conn *conn, struct out *out) {
        TAILQ_INSERT_TAIL(&conn->queue, out, link);
        out->queued = true;
}

void conn_send(struct conn *conn, struct out *out) {
        enqueue(conn, out);
        conn_flush(conn);
}

void conn_release(struct conn *conn, struct out *out, struct shmb_lease_ref lease,
                  uint32_t flags, void (*gone)(struct out *out)) {
        conn_unsend(conn, out);
        out->packet = NULL;
        out->release = (struct shmb_release_entry){ .lease = lease, .flags = flags };
        out->gone = gone;
        enqueue(conn, out);
}

void conn_unsend(struct conn *conn, struct out *out) {
        if (out->queued)
                dequeue(conn, out);
}

void conn_fail(struct conn *conn, int error, const char *format, ...) {
        struct waiter *waiter;
        va_list args;

        if (conn->error != 0)
                return;
        conn->error = error;
        conn->broken = true;
        va_start(args, format);
        vsnprintf(conn->reason, sizeof(conn->reason), format, args);
        va_end(args);
        /* The descriptor stays: the program may be polling it. */
        if (conn->fd >= 0)
                shutdown(conn->fd, SHUT_RDWR);
        conn_flush(conn);
        requests_fail(conn);
        TAILQ_FOREACH(waiter, &conn->waiters, link)
        waiter_done(waiter);
}
