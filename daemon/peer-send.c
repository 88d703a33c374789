/* SPDX-License-Identifier: Apache-2.0 */
/* Sending to a peer: at once where its socket has room, else queued, always in order. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "packet.h"
#include "peer.h"

/* Bounds what lies unread in the kernel, descriptors above all, for a peer that is slow. */
#define SEND_BUFFER (32 << 10)
#define RETRY_FLIGHT_US 5000

static void on_writable(evutil_socket_t fd, short what, void *userdata);

void peer_send_init(struct peer *peer) {
        struct event_base *base = peer->broker->base;
        int size = SEND_BUFFER;

        (void)setsockopt(peer->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        event_assign(&peer->writable, base, peer->fd, EV_WRITE, on_writable, peer);
        evtimer_assign(&peer->retry, base, on_writable, peer);
}

void peer_send_deinit(struct peer *peer) {
        event_del(&peer->writable);
        event_del(&peer->retry);
        outq_deinit(&peer->out);
        free(peer->reclaims);
        peer->reclaims = NULL;
}

/*
 * Nobody will read what is sent. What it sent before may still lie in the socket, and counts:
 * an exporter may leave at once. So it goes when reading finds the end, not now.
 */
static void go_deaf(struct peer *peer) {
        peer->deaf = true;
        peer_send_deinit(peer);
}

/* Arms whatever lets the queue move again. */
static void not_sent(struct peer *peer, int why) {
        struct timeval retry = { .tv_usec = RETRY_FLIGHT_US };

        if (why == -EAGAIN)
                (void)event_add(&peer->writable, NULL);
        else if (why == -ETOOMANYREFS) /* descriptors in flight: no event tells when */
                (void)evtimer_add(&peer->retry, &retry);
        else if (why == -EPIPE || why == -ECONNRESET)
                go_deaf(peer);
        else
                peer_doom(peer, SHMB_STATUS_OK, "connection lost while sending");
}

/* Consumes `fd`. */
static void enqueue(struct peer *peer, const void *packet, size_t size, int fd) {
        const struct config *config = peer->broker->config;

        if (peer->out.count >= config->queue_max) {
                shmb_close(fd);
                peer_doom(peer, SHMB_STATUS_SLOW_READER,
                          "replies not read: QueueMax= packets are waiting");
        } else if (fd >= 0 && peer->out.n_fds >= config->requests_max) {
                shmb_close(fd);
                peer_doom(peer, SHMB_STATUS_SLOW_READER,
                          "replies not read: RequestsMax= descriptors are waiting");
        } else if (outq_put(&peer->out, packet, size, fd) < 0) {
                peer_doom(peer, SHMB_STATUS_NO_MEMORY, "no memory to queue a reply");
        }
}

/* Consumes `fd`. */
static void send_or_queue(struct peer *peer, const void *packet, size_t size, int fd) {
        SHMB_CLOSE int own_fd = fd;
        int r = 0;

        if (peer->out.count == 0) {
                r = shmb_packet_send(peer->fd, packet, size, own_fd, MSG_DONTWAIT);
                if (r == 0)
                        return;
                not_sent(peer, r);
        }
        if (!peer->doomed && !peer->deaf)
                enqueue(peer, packet, size, shmb_steal_fd(&own_fd));
}

static void send_reclaims(struct peer *peer) {
        SHMB_FREE struct shmb_reclaim *reclaims = shmb_steal_ptr(peer->reclaims);
        uint8_t packet[SHMB_PACKET_MAX];

        if (reclaims)
                send_or_queue(peer, packet, shmb_encode_reclaim(packet, reclaims), -1);
}

static void on_writable(evutil_socket_t fd, short what, void *userdata) {
        struct peer *peer = userdata;

        (void)what;
        (void)fd;
        if (peer->doomed)
                return;
        int r = outq_flush(&peer->out, peer->fd);
        if (r < 0)
                not_sent(peer, r);
        else
                send_reclaims(peer);
}

void peer_send(struct peer *peer, const void *packet, size_t size, int fd) {
        SHMB_CLOSE int own_fd = fd;

        if (!peer->doomed && !peer->deaf)
                send_reclaims(peer);
        if (!peer->doomed && !peer->deaf)
                send_or_queue(peer, packet, size, shmb_steal_fd(&own_fd));
}

void peer_reclaim(struct peer *peer, struct shmb_lease_ref lease) {
        if (peer->doomed || peer->deaf)
                return;
        if (!peer->reclaims) {
                peer->reclaims = malloc(sizeof(*peer->reclaims));
                if (!peer->reclaims) {
                        peer_doom(peer, SHMB_STATUS_NO_MEMORY, "no memory for a RECLAIM");
                        return;
                }
                peer->reclaims->count = 0;
                /* Behind the present event, or once the queue is empty. */
                if (peer->out.count == 0)
                        event_active(&peer->writable, EV_WRITE, 0);
        }
        peer->reclaims->leases[peer->reclaims->count++] = lease;
        if (peer->reclaims->count == SHMB_RELEASE_MAX)
                send_reclaims(peer);
}
