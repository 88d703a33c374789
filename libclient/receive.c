/* SPDX-License-Identifier: Apache-2.0 */
/* What the broker says. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "client.h"
#include "packet.h"
#include "request.h"
#include "status.h"

/* One packet, taken apart; whatever of it is not taken is freed. */
struct message {
        struct shmb_header header;
        const uint8_t *payload;
        size_t size;
        int fd;
        bool fd_lost; /* one came, and this process had no room for it */
        void *data;   /* what a GRANT's descriptor maps */
        int map_error;
        struct shmb_grant grant;
};

static void breach(struct shmc_client *client, const char *what) {
        conn_fail(&client->conn, -EPROTO, "the broker broke the protocol: %s", what);
}

/* ---- grants ---------------------------------------------------------------------------- */

/* Without the mutex. */
static void map_grant(struct message *message) {
        if (!(message->grant.flags & SHMB_GRANT_HAS_FD))
                return;
        if (message->fd_lost)
                message->map_error = -EMFILE;
        else if (message->fd < 0)
                message->map_error = -EPROTO;
        else
                message->map_error = lease_map(message->fd, &message->grant, &message->data);
}

static bool grant_makes_sense(const struct shmc_client *client,
                              const struct shmc_request *request,
                              const struct shmb_grant *grant) {
        if (grant->lease.slot == 0 || grant->lease.slot > client->lease_slots ||
            grant->capacity == 0 || grant->capacity > PTRDIFF_MAX)
                return false;
        if (request->kind == REQUEST_ALLOC)
                return (grant->flags & SHMB_GRANT_WRITABLE) &&
                       request->message.alloc.size <= grant->capacity;
        return grant->length > 0 && grant->length <= grant->capacity;
}

/* May that slot be granted, on top of what is known of it? */
static bool slot_fits(const struct lease *known, const struct shmb_grant *grant) {
        if (!known)
                return true;
        return !known->writable && !(grant->flags & SHMB_GRANT_WRITABLE) &&
               known->ref.generation == grant->lease.generation &&
               known->object == grant->object && known->capacity == grant->capacity;
}

static int cannot_use(struct shmc_client *client, struct shmc_request *request,
                      const struct message *message) {
        int error = message->map_error < 0 ? message->map_error : -EPROTO;
        char what[160];

        request_describe(request, what, sizeof(what));
        lease_refuse(client, shmb_steal_ptr(request->lease), &message->grant);
        if (error == -EMFILE)
                return client_failed(client, error,
                                     "%s: this process has no file descriptor "
                                     "left; see RLIMIT_NOFILE",
                                     what);
        if (error == -ENOMEM)
                return client_failed(client, error,
                                     "%s: this process cannot map %" PRIu64 " bytes more; see "
                                     "RLIMIT_AS and vm.max_map_count",
                                     what, message->grant.capacity);
        return client_failed(client, error, "%s: the broker sent %s", what,
                             message->map_error < 0 ? "a descriptor that lacks the memory"
                                                    : "no descriptor");
}

/* The request's buffer on a new lease. */
static void use_new(struct shmc_client *client, struct shmc_request *request,
                    struct message *message) {
        struct lease *lease = shmb_steal_ptr(request->lease);
        bool alloc = request->kind == REQUEST_ALLOC;
        size_t size = alloc ? request->message.alloc.size : message->grant.length;

        lease_enter(client, lease, &message->grant, shmb_steal_ptr(message->data));
        lease->uncached = alloc && (request->alloc_flags & SHMC_ALLOC_UNCACHED);
        request->zeroed = message->grant.flags & SHMB_GRANT_ZEROED;
        if (alloc)
                cache_learn_pool(&client->cache, request->message.alloc.pool,
                                 message->grant.pool);
        else
                client->stats.cold_imports++;
        request->buffer = lease_use(
                lease, lease->writable ? &lease->own : shmb_steal_ptr(request->reader), size);
}

static int take_grant(struct shmc_client *client, struct shmc_request *request,
                      struct message *message) {
        struct lease *known = client->slots[message->grant.lease.slot];

        if (known) {
                known->may_keep = message->grant.flags & SHMB_GRANT_MAY_KEEP;
                client->stats.warm_imports++;
                request->buffer = lease_use(known, shmb_steal_ptr(request->reader),
                                            message->grant.length);
                return 0;
        }
        if (!message->data)
                return cannot_use(client, request, message);
        use_new(client, request, message);
        return 0;
}

static void on_grant(struct shmc_client *client, struct message *message) {
        struct shmc_request *request = request_find(&client->conn, message->header.serial);

        if (!request || (request->kind != REQUEST_ALLOC && request->kind != REQUEST_IMPORT) ||
            !grant_makes_sense(client, request, &message->grant) ||
            !slot_fits(client->slots[message->grant.lease.slot], &message->grant))
                breach(client, "a grant nobody asked for");
        else
                request_finish(request, take_grant(client, request, message));
}

/* ---- other answers --------------------------------------------------------------------- */

static void on_error(struct shmc_client *client, const struct message *message) {
        struct shmc_request *request = request_find(&client->conn, message->header.serial);
        struct shmb_error answer;
        char what[160];

        if (!request ||
            shmb_decode_error(message->payload, message->size, &answer) != SHMB_STATUS_OK) {
                breach(client, "a malformed ERROR, or one for no request");
                return;
        }
        int error = shmb_status_errno(answer.status);
        request_describe(request, what, sizeof(what));
        /* What nobody waits for any more is no failure of a call. */
        if (request->waiter || request->complete)
                client_failed(
                        client, error, "%s: %s: %s", what, shmb_status_name(answer.status),
                        answer.text[0] != '\0' ? answer.text : shmb_status_text(answer.status));
        request_finish(request, error < 0 ? error : -EPROTO);
}

static void on_done(struct shmc_client *client, const struct message *message) {
        struct shmc_request *request = request_find(&client->conn, message->header.serial);

        if (!request || (request->kind != REQUEST_SYNC && request->kind != REQUEST_EXPORT) ||
            shmb_decode_empty(message->payload, message->size) != SHMB_STATUS_OK) {
                breach(client, "a malformed DONE, or one for no request");
                return;
        }
        /* At once: the next message may be a grant of the same slot. */
        if (request->transferred)
                lease_disown(request->transferred);
        request_finish(request, 0);
}

static void on_descriptor(struct shmc_client *client, struct message *message) {
        struct shmc_request *request = request_find(&client->conn, message->header.serial);

        if (!request || request->kind != REQUEST_FD ||
            shmb_decode_empty(message->payload, message->size) != SHMB_STATUS_OK ||
            (message->fd < 0 && !message->fd_lost)) {
                breach(client, "a malformed DESCRIPTOR, or one for no request");
                return;
        }
        if (message->fd_lost) {
                request_finish(request, client_failed(client, -EMFILE,
                                                      "descriptor of a buffer: this process "
                                                      "has no file descriptor left; see "
                                                      "RLIMIT_NOFILE"));
                return;
        }
        request->fd = shmb_steal_fd(&message->fd);
        request_finish(request, 0);
}

/* ---- unasked --------------------------------------------------------------------------- */

static void on_reclaim(struct shmc_client *client, const struct message *message,
                       struct lease_list *retired) {
        struct shmb_reclaim reclaim;

        if (shmb_decode_reclaim(message->payload, message->size, &reclaim) != SHMB_STATUS_OK) {
                breach(client, "a malformed RECLAIM");
                return;
        }
        for (uint16_t i = 0; i < reclaim.count; i++)
                lease_reclaim(client, reclaim.leases[i], retired);
}

static const char *opcode_name(uint16_t opcode) {
        switch (opcode) {
        case SHMB_RELEASE:
                return "release";
        case SHMB_EXPORT:
                return "export";
        case SHMB_REVOKE:
                return "revoke";
        default:
                return "one-way message";
        }
}

static void on_fault(struct shmc_client *client, const struct message *message) {
        struct shmb_fault fault;

        if (shmb_decode_fault(message->payload, message->size, &fault) != SHMB_STATUS_OK) {
                breach(client, "a malformed FAULT");
                return;
        }
        int error = shmb_status_errno(fault.status);
        if (client->fault != 0 || error >= 0)
                return;
        client->fault = error;
        snprintf(client->fault_text, sizeof(client->fault_text), "%s: %s: %s",
                 opcode_name(fault.opcode), shmb_status_name(fault.status),
                 fault.text[0] != '\0' ? fault.text : shmb_status_text(fault.status));
}

static void on_goodbye(struct shmc_client *client, const struct message *message) {
        struct shmb_goodbye goodbye;

        if (shmb_decode_goodbye(message->payload, message->size, &goodbye) != SHMB_STATUS_OK) {
                breach(client, "a malformed GOODBYE");
                return;
        }
        snprintf(client->conn.goodbye, sizeof(client->conn.goodbye), "%s: %s",
                 shmb_status_name(goodbye.status),
                 goodbye.text[0] != '\0' ? goodbye.text : shmb_status_text(goodbye.status));
}

/* ---- reading --------------------------------------------------------------------------- */

static void dispatch(struct shmc_client *client, struct message *message,
                     struct lease_list *retired) {
        switch (message->header.opcode) {
        case SHMB_GRANT:
                on_grant(client, message);
                return;
        case SHMB_ERROR:
                on_error(client, message);
                return;
        case SHMB_DONE:
                on_done(client, message);
                return;
        case SHMB_DESCRIPTOR:
                on_descriptor(client, message);
                return;
        case SHMB_RECLAIM:
                on_reclaim(client, message, retired);
                return;
        case SHMB_FAULT:
                on_fault(client, message);
                return;
        case SHMB_GOODBYE:
                on_goodbye(client, message);
                return;
        default:
                breach(client, "an unknown or unexpected message");
        }
}

static void on_end(struct shmc_client *client) {
        const char *why = client->conn.goodbye;

        if (*why != '\0')
                conn_fail(&client->conn, -ECONNRESET, "the broker ended the connection: %s",
                          why);
        else
                conn_fail(&client->conn, -ECONNRESET, "the broker went away without a word");
}

/*
 * After the broker closed without having read all, one ECONNRESET comes before what it sent
 * last, which may be the reason: so that error is asked past once.
 */
static int receive(int fd, uint8_t *packet, size_t room, size_t *ret_size, int *ret_fd) {
        int r = shmb_packet_receive(fd, packet, room, MSG_DONTWAIT, ret_size, ret_fd);

        return r == -ECONNRESET
                       ? shmb_packet_receive(fd, packet, room, MSG_DONTWAIT, ret_size, ret_fd)
                       : r;
}

/* Takes the packet apart and maps what it brings. Without the mutex. */
static bool open_message(const uint8_t *packet, size_t size, struct message *message) {
        if (shmb_decode_header(packet, size, &message->header, &message->payload,
                               &message->size) != SHMB_STATUS_OK)
                return false;
        if (message->header.opcode != SHMB_GRANT)
                return true;
        if (shmb_decode_grant(message->payload, message->size, &message->grant) !=
            SHMB_STATUS_OK)
                return false;
        map_grant(message);
        return true;
}

bool conn_receive(struct shmc_client *client) {
        struct lease_list retired = TAILQ_HEAD_INITIALIZER(retired);
        struct message message = { .fd = -1 };
        uint8_t packet[SHMB_PACKET_MAX];
        size_t size = 0;
        bool opened = false;

        if (client->conn.error != 0)
                return false;
        pthread_mutex_unlock(&client->lock);
        int r = receive(client->conn.fd, packet, sizeof(packet), &size, &message.fd);
        message.fd_lost = r == SHMB_PACKET_LOST_FDS;
        if (r == SHMB_PACKET_OK || message.fd_lost)
                opened = open_message(packet, size, &message);
        pthread_mutex_lock(&client->lock);
        if (opened)
                dispatch(client, &message, &retired);
        else if (r == SHMB_PACKET_END)
                on_end(client);
        else if (r >= 0)
                breach(client, "a malformed packet");
        else if (r != -EAGAIN)
                conn_fail(&client->conn, -ECONNRESET, "reading from the broker failed: %s",
                          strerrordesc_np(-r));
        leases_settle(client, &retired);
        pthread_mutex_unlock(&client->lock);
        leases_release(client, &retired);
        if (message.data) /* not taken */
                munmap(message.data, message.grant.capacity);
        shmb_close(message.fd);
        pthread_mutex_lock(&client->lock);
        return r >= 0;
}
