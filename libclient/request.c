/* SPDX-License-Identifier: Apache-2.0 */
#include "request.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "client.h"

enum { REQUEST_TEXT_SIZE = 160 };

static bool wants_lease(const struct shmc_request *request) {
        return request->kind == REQUEST_ALLOC || request->kind == REQUEST_IMPORT;
}

/* The broker lets only so many be unanswered, and so many descriptors wait to be read. */
static bool is_limited(const struct shmc_request *request) {
        return wants_lease(request) || request->kind == REQUEST_FD;
}

struct shmc_request *request_new(struct shmc_client *client, enum request_kind kind) {
        struct shmc_request *request = calloc(1, sizeof(*request));

        if (!request)
                return NULL;
        request->client = client;
        request->kind = kind;
        request->fd = -1;
        if (wants_lease(request))
                request->lease = calloc(1, sizeof(*request->lease));
        if (kind == REQUEST_IMPORT)
                request->reader = calloc(1, sizeof(*request->reader));
        if ((wants_lease(request) && !request->lease) ||
            (kind == REQUEST_IMPORT && !request->reader))
                return request_free(request);
        return request;
}

struct shmc_request *request_free(struct shmc_request *request) {
        if (!request)
                return NULL;
        shmc_buffer_unref(request->buffer);
        shmb_close(request->fd);
        free(request->lease);
        free(request->reader);
        free(request);
        return NULL;
}

struct shmc_request *request_find(const struct conn *conn, uint32_t serial) {
        struct shmc_request *request;

        TAILQ_FOREACH(request, &conn->pending, link)
        if (request->serial == serial)
                return request;
        return NULL;
}

/* ---- in words -------------------------------------------------------------------------- */

void request_describe(const struct shmc_request *request, char *text, size_t size) {
        const uint8_t *token = request->message.import.token;

        switch (request->kind) {
        case REQUEST_ALLOC:
                snprintf(text, size, "alloc of %" PRIu64 " bytes from pool \"%s\"",
                         request->message.alloc.size, request->message.alloc.pool);
                return;
        case REQUEST_IMPORT: /* the whole token would be a key left lying in a log */
                snprintf(text, size, "import of token %02x%02x%02x%02x...", token[0], token[1],
                         token[2], token[3]);
                return;
        case REQUEST_FD:
                snprintf(text, size, "descriptor of a buffer");
                return;
        case REQUEST_EXPORT:
                snprintf(text, size, "export of %" PRIu64 " bytes",
                         request->message.export.length);
                return;
        case REQUEST_SYNC:
                snprintf(text, size, "sync");
                return;
        }
}

static int failed(struct shmc_request *request, int error, const char *why) {
        char what[REQUEST_TEXT_SIZE];

        request_describe(request, what, sizeof(what));
        return client_failed(request->client, error, "%s: %s", what, why);
}

/* ---- sending --------------------------------------------------------------------------- */

/* The slot an answer needs must not be used up by what lies in the cache. */
static bool has_slot(struct shmc_client *client) {
        struct lease_list retired = TAILQ_HEAD_INITIALIZER(retired);
        uint32_t pending = client->conn.n_limited;

        if (client->slots_used + pending < client->lease_slots)
                return true;
        while (client->slots_used - client->retiring + pending >= client->lease_slots)
                if (!cache_evict(client, &retired))
                        break;
        if (TAILQ_EMPTY(&retired) && client->retiring == 0)
                return true; /* the program has them all: the broker says so */
        if (TAILQ_EMPTY(&retired)) {
                pthread_cond_wait(&client->released, &client->lock);
        } else {
                pthread_mutex_unlock(&client->lock);
                leases_release(client, &retired);
                pthread_mutex_lock(&client->lock);
        }
        return false;
}

/* False: the mutex was let go of meanwhile, and all is to be looked at again. */
static bool may_start(struct shmc_request *request) {
        struct shmc_client *client = request->client;

        if (client->conn.error != 0)
                return true;
        if (wants_lease(request) && !has_slot(client))
                return false;
        /* The broker may grant on the strength of a mapping that is on its way out. */
        if (request->kind == REQUEST_IMPORT && client->retiring_readers > 0) {
                pthread_cond_wait(&client->released, &client->lock);
                return false;
        }
        return true;
}

static void set_packet(struct shmc_request *request, const uint8_t *packet, size_t size) {
        memcpy(request->packet, packet, size);
        request->out.packet = request->packet;
        request->out.size = size;
}

static void encode(struct shmc_request *request) {
        uint8_t packet[SHMB_PACKET_MAX];
        uint32_t serial = request->serial;
        size_t size = 0;

        switch (request->kind) {
        case REQUEST_ALLOC:
                size = shmb_encode_alloc(packet, serial, &request->message.alloc);
                break;
        case REQUEST_IMPORT:
                size = shmb_encode_import(packet, serial, &request->message.import);
                break;
        case REQUEST_FD:
                size = shmb_encode_fd(packet, serial, &request->message.fd);
                break;
        case REQUEST_EXPORT:
                size = shmb_encode_export(packet, serial, SHMB_HEADER_CONFIRM,
                                          &request->message.export);
                break;
        case REQUEST_SYNC:
                size = shmb_encode_empty(packet, SHMB_SYNC, serial);
                break;
        }
        set_packet(request, packet, size);
}

int request_start(struct shmc_request *request) {
        struct shmc_client *client = request->client;
        struct conn *conn = &client->conn;

        while (!may_start(request))
                ;
        if (conn->error != 0)
                return failed(request, conn->error, conn->reason);
        if (is_limited(request) && conn->n_limited >= client->max_requests)
                return failed(request, -EAGAIN, "too many requests are under way");
        request->serial = conn_serial(conn);
        encode(request);
        TAILQ_INSERT_TAIL(&conn->pending, request, link);
        conn->n_limited += is_limited(request);
        request->pending = true;
        if (request->kind == REQUEST_IMPORT)
                client->imports++;
        conn_send(conn, &request->out);
        return 0;
}

/* ---- the answer ------------------------------------------------------------------------ */

static void leave_pending(struct shmc_request *request) {
        struct conn *conn = &request->client->conn;
        struct waiter *waiter;

        TAILQ_REMOVE(&conn->pending, request, link);
        conn->n_limited -= is_limited(request);
        request->pending = false;
        if (request->kind == REQUEST_IMPORT)
                request->client->imports--;
        if (!is_limited(request))
                return;
        TAILQ_FOREACH(waiter, &conn->waiters, link)
        if (waiter->wants_room && !waiter->done) {
                waiter_done(waiter);
                break;
        }
}

void request_finish(struct shmc_request *request, int error) {
        conn_unsend(&request->client->conn, &request->out);
        leave_pending(request);
        request->error = error;
        if (request->waiter)
                waiter_done(request->waiter);
        else
                TAILQ_INSERT_TAIL(&request->client->conn.completed, request, link);
}

void requests_fail(struct conn *conn) {
        while (!TAILQ_EMPTY(&conn->pending)) {
                struct shmc_request *request = TAILQ_FIRST(&conn->pending);
                failed(request, conn->error, conn->reason);
                request_finish(request, conn->error);
        }
}

bool request_abandon(struct shmc_request *request) {
        struct conn *conn = &request->client->conn;
        uint8_t packet[SHMB_PACKET_MAX];

        request->waiter = NULL;
        request->complete = NULL;
        if (request->out.queued) {
                conn_unsend(conn, &request->out);
                leave_pending(request);
                return true;
        }
        /* The answer may be a while, and the lease freed by then. */
        if (request->transferred)
                lease_disown(shmb_steal_ptr(request->transferred));
        /* It stays pending: until the answer comes, it may still bring a lease. */
        if (request->kind == REQUEST_ALLOC) {
                struct shmb_cancel cancel = { .serial = request->serial };
                set_packet(request, packet,
                           shmb_encode_cancel(packet, conn_serial(conn), &cancel));
                conn_send(conn, &request->out);
        }
        return false;
}

/* Waits until one more limited request may be pending. */
static int await_room(struct shmc_client *client, uint64_t deadline) {
        struct conn *conn = &client->conn;
        struct waiter waiter;
        int r = 0;

        if (conn->n_limited < client->max_requests)
                return 0;
        r = waiter_init(&waiter);
        if (r < 0)
                return r;
        waiter.wants_room = true;
        while (r == 0 && conn->n_limited >= client->max_requests && conn->error == 0) {
                waiter.done = false;
                r = conn_wait(client, &waiter, deadline);
        }
        waiter_deinit(&waiter);
        return r;
}

static int start_in_turn(struct shmc_request *request, uint64_t deadline) {
        int r = 0;

        do {
                if (is_limited(request))
                        r = await_room(request->client, deadline);
                if (r < 0)
                        return failed(request, r,
                                      "too many requests were under way for the "
                                      "whole of the timeout");
                r = request_start(request);
        } while (r == -EAGAIN);
        return r;
}

/* *ret_ours: the caller is to free it if it failed. */
static int run(struct shmc_request *request, struct waiter *waiter, uint64_t deadline,
               bool *ret_ours) {
        int r = start_in_turn(request, deadline);

        *ret_ours = true;
        if (r < 0)
                return r;
        request->waiter = waiter;
        if (conn_wait(request->client, waiter, deadline) == 0)
                return request->error;
        r = failed(request, -ETIMEDOUT, "the broker did not answer in time");
        *ret_ours = request_abandon(request);
        return r;
}

int request_run(struct shmc_request *request, uint64_t deadline) {
        struct shmc_client *client = request->client;
        struct waiter waiter;
        bool ours = true;
        int r = waiter_init(&waiter);

        if (r == 0) {
                pthread_mutex_lock(&client->lock);
                r = run(request, &waiter, deadline, &ours);
                pthread_mutex_unlock(&client->lock);
                waiter_deinit(&waiter);
        }
        if (r < 0 && ours)
                request_free(request);
        return r;
}

void request_zero(const struct shmc_request *request, struct shmc_buffer *buffer) {
        if ((request->alloc_flags & SHMC_ALLOC_ZERO) && !request->zeroed)
                memset(buffer->lease->data, 0, buffer->size);
}

static void complete(struct shmc_request *request) {
        struct shmc_buffer *buffer = shmb_steal_ptr(request->buffer);

        if (buffer)
                request_zero(request, buffer);
        request->complete(request->client, request->error, buffer, request->userdata);
}

void requests_complete(struct shmc_client *client) {
        struct shmc_request *request;

        while ((request = TAILQ_FIRST(&client->conn.completed))) {
                TAILQ_REMOVE(&client->conn.completed, request, link);
                request->running = true;
                pthread_mutex_unlock(&client->lock);
                if (request->complete)
                        complete(request);
                request_free(request);
                pthread_mutex_lock(&client->lock);
        }
}
