/* SPDX-License-Identifier: Apache-2.0 */
/* What each message asks of the ledger, and what the ledger's answers look like. */
#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "grant-fd.h"
#include "lease-page.h"
#include "peer.h"
#include "status.h"
#include "token.h"
#include "worker.h"

/* ---- answers ---- */

void request_refuse(struct peer *peer, uint32_t serial, const struct refusal *refusal) {
        struct shmb_error error = {
                .status = refusal->status,
                .limit = refusal->limit,
                .used = refusal->used,
        };
        uint8_t packet[SHMB_PACKET_MAX];

        memcpy(error.text, refusal->text, sizeof(error.text));
        peer_send(peer, packet, shmb_encode_error(packet, serial, &error), -1);
}

static void refuse_plainly(struct peer *peer, uint32_t serial, enum shmb_status status) {
        struct refusal refusal = { .status = status };

        evutil_snprintf(refusal.text, sizeof(refusal.text), "%s", shmb_status_text(status));
        request_refuse(peer, serial, &refusal);
}

static void send_done(struct peer *peer, uint32_t serial) {
        uint8_t packet[SHMB_PACKET_MAX];

        peer_send(peer, packet, shmb_encode_empty(packet, SHMB_DONE, serial), -1);
}

/* A one-way request is answered if it asks for that, or if it failed. */
static void answer_one_way(struct peer *peer, const struct shmb_header *header,
                           enum shmb_status status) {
        struct shmb_fault fault = { .opcode = header->opcode, .status = status };
        uint8_t packet[SHMB_PACKET_MAX];

        if (header->flags & SHMB_HEADER_CONFIRM) {
                if (status == SHMB_STATUS_OK)
                        send_done(peer, header->serial);
                else
                        refuse_plainly(peer, header->serial, status);
        } else if (status != SHMB_STATUS_OK) {
                evutil_snprintf(fault.text, sizeof(fault.text), "%s", shmb_status_text(status));
                peer_send(peer, packet, shmb_encode_fault(packet, header->serial, &fault), -1);
        }
}

/* ---- the ledger's operations ---- */

static enum shmb_status on_granted(void *userdata, struct client *client, uint32_t serial,
                                   const struct ledger_grant *grant) {
        struct broker *broker = userdata;
        struct shmb_grant message = grant->message;
        uint8_t packet[SHMB_PACKET_MAX];
        SHMB_CLOSE int fd = -1;

        if (grant->send_fd) {
                enum shmb_status status = grant_fd_take(broker, grant->object, grant->writable,
                                                        &fd);
                if (status != SHMB_STATUS_OK)
                        return status;
                message.flags |= SHMB_GRANT_HAS_FD;
        }
        peer_send(client->peer, packet, shmb_encode_grant(packet, serial, &message),
                  shmb_steal_fd(&fd));
        /* Granted before, so likely to be again. */
        if (grant->writable && !(message.flags & SHMB_GRANT_ZEROED))
                grant_fd_prepare(broker, grant->object);
        return SHMB_STATUS_OK;
}

static void on_refused(void *userdata, struct client *client, uint32_t serial,
                       const struct refusal *refusal) {
        (void)userdata;
        request_refuse(client->peer, serial, refusal);
}

static void on_reclaim(void *userdata, struct client *client, struct shmb_lease_ref lease) {
        (void)userdata;
        peer_reclaim(client->peer, lease);
}

static void on_work(void *userdata, struct object *object, enum work_kind kind) {
        struct broker *broker = userdata;
        const struct pool_config *pool = object->pool->config;

        grant_fd_drop(broker, object);
        object->work = (struct work){
                .kind = kind,
                .fd = object->fd,
                .owner = object->domain ? object->domain->uid : 0,
                .size = pool->classes[object->class_index],
                .numa_node = pool->numa_node,
                .want_huge = (uint8_t)pool->huge,
                .huge = object->huge,
                .numa = object->numa,
        };
        if (kind == WORK_RETIRE)
                object->fd = -1; /* the worker's to close */
        workers_submit(broker->workers, &object->work);
}

const struct ledger_ops request_ledger_ops = {
        .granted = on_granted,
        .refused = on_refused,
        .reclaim = on_reclaim,
        .work = on_work,
};

/* ---- requests ---- */

/*
 * Lease pages are memory, too, that no limit of pools counts. Clients that ask for more than
 * the default get it as long as all of them together have taken a small part of MemoryMax=.
 */
#define PAGES_PART 64u

static uint32_t slots_for(const struct broker *broker, uint32_t wanted) {
        const struct config *config = broker->config;

        if (wanted == 0)
                wanted = config->lease_slots_default;
        if (wanted > config->lease_slots_max)
                wanted = config->lease_slots_max;
        if (wanted > config->lease_slots_default &&
            broker->page_bytes + lease_page_size(wanted) > config->memory_max / PAGES_PART)
                wanted = config->lease_slots_default;
        return wanted;
}

static int join(struct peer *peer, const struct shmb_hello *hello, int *ret_fd) {
        struct ledger *ledger = peer->broker->ledger;
        struct client template = {
                .pid = peer->who.pid,
                .uid = peer->who.uid,
                .gids = peer->who.gids,
                .n_gids = peer->who.n_gids,
                .lease_slots = slots_for(peer->broker, hello->lease_slots),
                .peer = peer,
        };

        memcpy(template.name, hello->name, sizeof(template.name));
        int r = lease_page_new(template.lease_slots, &peer->words, &peer->words_size, ret_fd);
        if (r < 0)
                return r;
        peer->broker->page_bytes += peer->words_size;
        template.words = peer->words;
        r = peer_watch_process(peer);
        if (r < 0)
                return r;
        return client_join(ledger, &template, &peer->client);
}

static void handle_hello(struct peer *peer, const struct shmb_header *header,
                         const struct shmb_hello *hello) {
        const struct config *config = peer->broker->config;
        uint8_t packet[SHMB_PACKET_MAX];
        SHMB_CLOSE int fd = -1;

        if (hello->name[0] && !shmb_name_is_valid(hello->name)) {
                peer_doom(peer, SHMB_STATUS_MALFORMED, "sent a malformed name");
                return;
        }
        if (join(peer, hello, &fd) < 0) {
                peer_doom(peer, SHMB_STATUS_NO_MEMORY, "no memory or descriptor for a client");
                return;
        }
        struct shmb_welcome welcome = {
                .version = hello->version_max < SHMB_VERSION_MAX ? hello->version_max
                                                                 : SHMB_VERSION_MAX,
                .lease_slots = peer->client->lease_slots,
                .max_requests = config->requests_max,
                .max_tokens = config->tokens_max,
                .cache_bytes = config->cache_bytes,
                .max_ttl_ms = config->token_ttl_max_ns / 1000000u,
                .client_id = peer->client->id,
        };
        peer_send(peer, packet, shmb_encode_welcome(packet, header->serial, &welcome),
                  shmb_steal_fd(&fd));
}

static bool may_ask_more(struct peer *peer) {
        if (peer->client->n_waiters + peer->undecided < peer->broker->config->requests_max)
                return true;
        peer_doom(peer, SHMB_STATUS_TOO_MANY_REQUESTS, "RequestsMax= requests are unanswered");
        return false;
}

static void handle_import(struct peer *peer, uint32_t serial, const uint8_t *token) {
        if (!may_ask_more(peer))
                return;
        enum shmb_status status = client_import(peer->client, serial, token);

        if (status == SHMB_STATUS_TOKEN_UNKNOWN)
                status = sweep_postpone_import(peer->broker, peer, serial, token);
        if (status != SHMB_STATUS_OK)
                refuse_plainly(peer, serial, status);
}

void request_decide_import(struct peer *peer, uint32_t serial, const uint8_t *token) {
        enum shmb_status status = client_import(peer->client, serial, token);

        if (status != SHMB_STATUS_OK)
                refuse_plainly(peer, serial, status);
}

static void handle_fd(struct peer *peer, uint32_t serial, const struct shmb_fd *request) {
        struct object *object = NULL;
        enum shmb_status status = client_may_escape(peer->client, request, &object);
        uint8_t packet[SHMB_PACKET_MAX];
        SHMB_CLOSE int fd = -1;

        if (status == SHMB_STATUS_OK)
                status = grant_fd_take(peer->broker, object,
                                       !(request->flags & SHMB_FD_READONLY), &fd);
        if (status != SHMB_STATUS_OK) {
                refuse_plainly(peer, serial, status);
                return;
        }
        object_escape(object);
        peer_send(peer, packet, shmb_encode_empty(packet, SHMB_DESCRIPTOR, serial),
                  shmb_steal_fd(&fd));
}

/* Every entry is looked at; the first failure is the answer. */
static enum shmb_status handle_release(struct peer *peer, const struct shmb_release *release) {
        enum shmb_status first = SHMB_STATUS_OK;

        for (uint16_t i = 0; i < release->count; i++) {
                enum shmb_status status = client_release(peer->client, &release->entries[i]);
                if (first == SHMB_STATUS_OK)
                        first = status;
        }
        return first;
}

static enum shmb_status handle_export(struct peer *peer, const struct shmb_export *export) {
        struct lease *lease = client_lease(peer->client, export->lease);

        /* What is shared has no next writer for a while. */
        if (lease && lease->object)
                grant_fd_drop(peer->broker, lease->object);
        return client_export(peer->client, export);
}

static enum shmb_status dispatch_first(struct peer *peer, const struct shmb_header *header,
                                       const uint8_t *payload, size_t size) {
        struct shmb_hello hello;

        if (header->opcode != SHMB_HELLO)
                return header->opcode > SHMB_HELLO && header->opcode <= SHMB_SYNC
                               ? SHMB_STATUS_OUT_OF_ORDER
                               : SHMB_STATUS_UNKNOWN_OPCODE;
        if (header->flags != 0)
                return SHMB_STATUS_MALFORMED;
        enum shmb_status breach = shmb_decode_hello(payload, size, &hello);
        if (breach == SHMB_STATUS_OK)
                handle_hello(peer, header, &hello);
        return breach;
}

static enum shmb_status dispatch_one_way(struct peer *peer, const struct shmb_header *header,
                                         const uint8_t *payload, size_t size) {
        union {
                struct shmb_release release;
                struct shmb_export export;
                struct shmb_revoke revoke;
        } m;
        enum shmb_status breach, status = SHMB_STATUS_OK;

        switch (header->opcode) {
        case SHMB_RELEASE:
                breach = shmb_decode_release(payload, size, &m.release);
                if (breach == SHMB_STATUS_OK)
                        status = handle_release(peer, &m.release);
                break;
        case SHMB_EXPORT:
                breach = shmb_decode_export(payload, size, &m.export);
                if (breach == SHMB_STATUS_OK)
                        status = handle_export(peer, &m.export);
                break;
        default:
                breach = shmb_decode_revoke(payload, size, &m.revoke);
                if (breach == SHMB_STATUS_OK)
                        status = client_revoke(peer->client, m.revoke.token);
                break;
        }
        if (breach == SHMB_STATUS_OK)
                answer_one_way(peer, header, status);
        return breach;
}

static enum shmb_status dispatch_question(struct peer *peer, const struct shmb_header *header,
                                          const uint8_t *payload, size_t size) {
        union {
                struct shmb_alloc alloc;
                struct shmb_cancel cancel;
                struct shmb_import import;
                struct shmb_fd fd;
        } m;
        enum shmb_status breach;

        if (header->flags != 0)
                return SHMB_STATUS_MALFORMED;
        switch (header->opcode) {
        case SHMB_ALLOC:
                breach = shmb_decode_alloc(payload, size, &m.alloc);
                if (breach == SHMB_STATUS_OK && may_ask_more(peer))
                        client_alloc(peer->client, header->serial, &m.alloc);
                return breach;
        case SHMB_CANCEL:
                breach = shmb_decode_cancel(payload, size, &m.cancel);
                if (breach == SHMB_STATUS_OK)
                        client_cancel(peer->client, m.cancel.serial);
                return breach;
        case SHMB_IMPORT:
                breach = shmb_decode_import(payload, size, &m.import);
                if (breach == SHMB_STATUS_OK)
                        handle_import(peer, header->serial, m.import.token);
                return breach;
        case SHMB_FD:
                breach = shmb_decode_fd(payload, size, &m.fd);
                if (breach == SHMB_STATUS_OK)
                        handle_fd(peer, header->serial, &m.fd);
                return breach;
        default:
                breach = shmb_decode_empty(payload, size);
                if (breach == SHMB_STATUS_OK)
                        send_done(peer, header->serial);
                return breach;
        }
}

static enum shmb_status dispatch(struct peer *peer, const struct shmb_header *header,
                                 const uint8_t *payload, size_t size) {
        if (!peer->client)
                return dispatch_first(peer, header, payload, size);
        switch (header->opcode) {
        case SHMB_RELEASE:
        case SHMB_EXPORT:
        case SHMB_REVOKE:
                if (header->flags & ~SHMB_HEADER_CONFIRM)
                        return SHMB_STATUS_MALFORMED;
                return dispatch_one_way(peer, header, payload, size);
        case SHMB_ALLOC:
        case SHMB_CANCEL:
        case SHMB_IMPORT:
        case SHMB_FD:
        case SHMB_SYNC:
                return dispatch_question(peer, header, payload, size);
        case SHMB_HELLO:
                return SHMB_STATUS_OUT_OF_ORDER;
        default:
                return SHMB_STATUS_UNKNOWN_OPCODE;
        }
}

void request_handle(struct peer *peer, const void *packet, size_t size) {
        struct shmb_header header;
        const uint8_t *payload;
        size_t payload_size;
        enum shmb_status breach = shmb_decode_header(packet, size, &header, &payload,
                                                     &payload_size);

        if (breach == SHMB_STATUS_OK)
                breach = dispatch(peer, &header, payload, payload_size);
        if (breach != SHMB_STATUS_OK)
                peer_doom(peer, breach, shmb_status_text(breach));
}
