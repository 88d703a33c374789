/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting: one thread reads for all. */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "client.h"
#include "clock.h"
#include "request.h"

int waiter_init(struct waiter *waiter) {
        pthread_condattr_t attributes;

        *waiter = (struct waiter){ 0 };
        int r = pthread_condattr_init(&attributes);
        if (r != 0)
                return -r;
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        r = pthread_cond_init(&waiter->wake, &attributes);
        pthread_condattr_destroy(&attributes);
        return -r;
}

void waiter_deinit(struct waiter *waiter) {
        pthread_cond_destroy(&waiter->wake);
}

void waiter_done(struct waiter *waiter) {
        waiter->done = true;
        pthread_cond_signal(&waiter->wake);
}

/* One who sleeps takes the reader's role over; who is awake looks for it unasked. */
static void hand_over(struct conn *conn) {
        struct waiter *waiter;

        TAILQ_FOREACH(waiter, &conn->waiters, link)
        if (waiter->follows && !waiter->done) {
                pthread_cond_signal(&waiter->wake);
                return;
        }
}

/* One ppoll; a signal ends it early, as if nothing had come. */
static bool poll_once(struct pollfd *fds, nfds_t n, uint64_t deadline) {
        struct timespec left = { 0 };

        if (deadline != SHMC_FOREVER)
                left = clock_timespec(clock_left(deadline));
        return ppoll(fds, n, deadline == SHMC_FOREVER ? NULL : &left, NULL) > 0;
}

/* Waits for input, and sends when there is room. True if there is something to read. */
static bool await_input(struct shmc_client *client, uint64_t deadline) {
        struct conn *conn = &client->conn;
        bool queued = !TAILQ_EMPTY(&conn->queue);
        struct pollfd fds[] = {
                { .fd = conn->fd, .events = (short)(POLLIN | (queued ? POLLOUT : 0)) },
                { .fd = conn->wake_fd, .events = POLLIN },
        };

        conn->wants_wake = !queued;
        pthread_mutex_unlock(&client->lock);
        bool ready = poll_once(fds, 2, deadline);
        pthread_mutex_lock(&client->lock);
        conn->wants_wake = false;
        if (!ready)
                return false;
        if (fds[1].revents) {
                uint64_t count;
                ssize_t size = read(conn->wake_fd, &count, sizeof(count));
                (void)size; /* whether it was set is all there is to know */
        }
        if (fds[0].revents & POLLOUT)
                conn_flush(conn);
        return fds[0].revents & (POLLIN | POLLHUP | POLLERR);
}

static void run_callbacks(struct shmc_client *client) {
        if (TAILQ_EMPTY(&client->conn.completed))
                return;
        /* A callback may take its time, and may itself wait for an answer. */
        hand_over(&client->conn);
        requests_complete(client);
}

/* Takes the role for at most one packet. */
static void lead(struct shmc_client *client, uint64_t deadline) {
        struct conn *conn = &client->conn;

        conn->reading = true;
        if (await_input(client, deadline))
                conn_receive(client);
        conn->reading = false;
        run_callbacks(client);
}

static void follow(struct shmc_client *client, struct waiter *waiter, uint64_t deadline) {
        struct timespec until = clock_timespec(deadline);

        waiter->follows = true;
        if (deadline == SHMC_FOREVER)
                pthread_cond_wait(&waiter->wake, &client->lock);
        else
                pthread_cond_timedwait(&waiter->wake, &client->lock, &until);
        waiter->follows = false;
}

int conn_wait(struct shmc_client *client, struct waiter *waiter, uint64_t deadline) {
        struct conn *conn = &client->conn;
        int r = 0;

        TAILQ_INSERT_TAIL(&conn->waiters, waiter, link);
        while (!waiter->done) {
                bool expired = clock_left(deadline) == 0;
                if (!conn->reading)
                        lead(client, deadline);
                else if (!expired)
                        follow(client, waiter, deadline);
                /* What had come by the deadline still counts. */
                if (expired && !waiter->done) {
                        r = -ETIMEDOUT;
                        break;
                }
        }
        TAILQ_REMOVE(&conn->waiters, waiter, link);
        if (!conn->reading)
                hand_over(conn);
        return r;
}

int conn_dispatch(struct shmc_client *client) {
        struct conn *conn = &client->conn;
        int handled = 0;

        conn_flush(conn);
        while (!conn->reading) {
                conn->reading = true;
                bool more = conn_receive(client);
                conn->reading = false;
                run_callbacks(client);
                if (!more)
                        break;
                handled++;
        }
        if (!conn->reading)
                hand_over(conn);
        return handled;
}
