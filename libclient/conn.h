/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection: what waits to be sent, who reads, who waits for what.
 *
 * Of the threads that wait for an answer one reads the socket, for all; it hands the role on
 * when its own answer has come. Sending allocates nothing: what is to be sent lives inside
 * the thing it concerns, so that giving back can never fail for want of memory.
 *
 * All functions are called with the client's mutex held.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "wire.h"

struct shmc_client;
struct shmc_request;

/* Something to send. Consecutive releases travel in one packet. */
struct out {
        TAILQ_ENTRY(out) link;
        bool queued;
        const uint8_t *packet; /* NULL: `release` */
        size_t size;
        struct shmb_release_entry release;
        void (*gone)(struct out *out); /* sent, or never to be; may free it; may be NULL */
};
TAILQ_HEAD(out_list, out);

/* A thread that waits. */
struct waiter {
        TAILQ_ENTRY(waiter) link;
        pthread_cond_t wake;
        bool done;
        bool follows;    /* asleep until somebody signals; else it reads, or runs a callback */
        bool wants_room; /* for one more request */
};
TAILQ_HEAD(waiter_list, waiter);
TAILQ_HEAD(request_list, shmc_request);

struct conn {
        int fd;
        int wake_fd;        /* an eventfd: has the reader look at the queue again */
        int error;          /* why the connection is over; 0: it is not */
        bool broken;        /* sending failed; the reader will find out why */
        bool reading;       /* some thread has the reader's role */
        bool wants_wake;    /* the reader polls for input only */
        uint32_t serial;    /* the last one used */
        uint32_t n_limited; /* pending requests of which the broker allows only so many, the
                               abandoned included */
        struct out_list queue;
        struct waiter_list waiters;
        struct request_list pending, completed;
        char goodbye[SHMB_TEXT_MAX + 64]; /* the broker's reason for the disconnect */
        char reason[SHMB_TEXT_MAX + 192]; /* of `error` */
};

void conn_init(struct conn *conn);

/* Takes the connected socket over. 0 or -errno. */
int conn_open(struct conn *conn, int *socket);

/* Closes the descriptors. */
void conn_close(struct conn *conn);

/* A number for the next message; never 0, never that of a pending request. */
uint32_t conn_serial(struct conn *conn);

/* Sends `out` after all that is queued: now, or when the socket has room. */
void conn_send(struct conn *conn, struct out *out);

/*
 * Queues a release, for the next conn_flush. If one is queued in `out` already, this one
 * takes its place.
 */
void conn_release(struct conn *conn, struct out *out, struct shmb_lease_ref lease,
                  uint32_t flags, void (*gone)(struct out *out));

/* Takes it out of the queue, if it is there. */
void conn_unsend(struct conn *conn, struct out *out);

/* Sends what is queued, as far as the socket has room. */
void conn_flush(struct conn *conn);

/* Ends the connection: whoever waits for it gets `error`. The first reason counts. */
__attribute__((format(printf, 3, 4))) void conn_fail(struct conn *conn, int error,
                                                     const char *format, ...);

/* ---- wait.c ---- */

int waiter_init(struct waiter *waiter); /* 0 or -errno */
void waiter_deinit(struct waiter *waiter);
void waiter_done(struct waiter *waiter);

/*
 * Waits until waiter_done, reading the socket if nobody else does. 0 or -ETIMEDOUT. Callbacks
 * of requests that complete meanwhile run here. Lets go of the mutex meanwhile.
 */
int conn_wait(struct shmc_client *client, struct waiter *waiter, uint64_t deadline);

/* Reads what there is, unless another thread does; how many packets. As above. */
int conn_dispatch(struct shmc_client *client);

/* ---- receive.c ---- */

/*
 * Reads and handles one packet; the caller has the reader's role, so that packets are handled
 * in the order they came. False if there was none. Lets go of the mutex meanwhile.
 */
bool conn_receive(struct shmc_client *client);
