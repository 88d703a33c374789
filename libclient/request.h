/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that the broker answers. Each gets exactly one answer, cancelled or not. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conn.h"
#include "lease.h"
#include "shmclient.h"

enum request_kind {
        REQUEST_ALLOC,
        REQUEST_IMPORT,
        REQUEST_FD,
        REQUEST_EXPORT,
        REQUEST_SYNC,
};

enum { REQUEST_PACKET_MAX = 112 }; /* the longest, an ALLOC, has 93 bytes */

struct shmc_request {
        TAILQ_ENTRY(shmc_request) link; /* pending or completed */
        struct shmc_client *client;
        enum request_kind kind;
        bool pending; /* sent or queued, and not answered */
        bool running; /* its callback is */
        uint32_t serial;
        struct out out;
        uint8_t packet[REQUEST_PACKET_MAX];

        /* What it asks for, set by the caller before it is started. */
        union {
                struct shmb_alloc alloc;
                struct shmb_import import;
                struct shmb_fd fd;
                struct shmb_export export;
        } message;
        uint32_t alloc_flags; /* SHMC_ALLOC_* */

        /* Made before sending, so that a grant never fails for want of them. */
        struct lease *lease;
        struct shmc_buffer *reader;

        /* An EXPORT's: the writer's lease that ends if the answer is DONE. */
        struct lease *transferred;

        /* The answer. */
        int error;
        struct shmc_buffer *buffer;
        bool zeroed; /* the buffer is */
        int fd;

        /* Whom to tell: a waiting thread, or a callback; nobody once abandoned. */
        struct waiter *waiter;
        shmc_complete_fn complete;
        void *userdata;
};

/* NULL: out of memory. Owned by the caller until it is started. Without the mutex. */
struct shmc_request *request_new(struct shmc_client *client, enum request_kind kind);

/*
 * Frees it with what its answer brought, which the caller takes out before if it wants it.
 * Accepts NULL, returns NULL. Not pending. Without the mutex.
 */
struct shmc_request *request_free(struct shmc_request *request);

/*
 * Sends it, now or when there is room. Returns 0, or with words kept: what ended the
 * connection, or -EAGAIN if too many are pending; then it stays the caller's. Lets go of the
 * mutex meanwhile.
 */
int request_start(struct shmc_request *request);

/*
 * Sends it, waiting for its turn, and waits for the answer. On 0 the request, with its
 * answer, is the caller's; on failure, with words kept, it is freed. Without the mutex.
 */
int request_run(struct shmc_request *request, uint64_t deadline);

/* The answer has come; `error` is 0 or negative. */
void request_finish(struct shmc_request *request, int error);

/*
 * Nobody waits for the answer of a pending request any more. True if it had not been sent and
 * is the caller's again; else it is freed when its answer has come.
 */
bool request_abandon(struct shmc_request *request);

/* Does what SHMC_ALLOC_ZERO asks for. Without the mutex. */
void request_zero(const struct shmc_request *request, struct shmc_buffer *buffer);

struct shmc_request *request_find(const struct conn *conn, uint32_t serial);

/* All pending requests fail with the connection's error. */
void requests_fail(struct conn *conn);

/* Runs the callbacks of what has completed. Lets go of the mutex meanwhile. */
void requests_complete(struct shmc_client *client);

/* What it asks for, in words: `alloc of 10 bytes from pool "default"`. */
void request_describe(const struct shmc_request *request, char *text, size_t size);
