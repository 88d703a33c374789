/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens: references to objects that travel outside the broker. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static struct token *find(struct ledger *ledger, const uint8_t *bytes) {
        struct token *token;

        HASH_FIND(hh, ledger->tokens, bytes, SHMB_TOKEN_SIZE, token);
        return token;
}

static void forget(struct ledger *ledger, struct token *token) {
        DL_DELETE(ledger->tokens_over, token);
        ledger->n_tokens_over--;
        HASH_DELETE(hh, ledger->tokens, token);
        free(token);
}

/*
 * The token refers to nothing any more. It is remembered for a while, so that a late import
 * hears why; the object is not settled here.
 */
static struct object *over(struct ledger *ledger, struct token *token, enum token_fate fate) {
        struct object *object = token->object;
        struct client *exporter;

        HASH_FIND(hh, ledger->clients, &token->exporter, sizeof(token->exporter), exporter);
        if (exporter)
                exporter->n_tokens--;
        deadline_clear(&ledger->deadlines, &token->expiry);
        token->domain->tokens--;
        token->domain = domain_unref(token->domain);
        token->object = NULL;
        token->fate = fate;
        object->tokens--;
        ledger->n_tokens--;
        DL_APPEND(ledger->tokens_over, token);
        if (++ledger->n_tokens_over > TOKENS_OVER_MAX)
                forget(ledger, ledger->tokens_over);
        return object;
}

void token_expired(struct token *token) {
        struct ledger *ledger = token->object->pool->ledger;

        object_settle(over(ledger, token, TOKEN_EXPIRED));
}

static enum shmb_status check_export(const struct client *client, const struct lease *lease,
                                     const struct shmb_export *request) {
        const struct config *config = client->ledger->config;
        uint64_t ttl_max_ms = config->token_ttl_max_ns / 1000000u;

        if (!lease || lease->state == LEASE_TAKEN)
                return SHMB_STATUS_STALE_BUFFER;
        if (!lease->writer)
                return SHMB_STATUS_NOT_WRITER;
        if (lease->state != LEASE_HELD)
                return SHMB_STATUS_STALE_BUFFER;
        if (request->ttl_ms == 0 || request->ttl_ms > ttl_max_ms)
                return SHMB_STATUS_BAD_TTL;
        if (request->length == 0 || request->length > object_capacity(lease->object))
                return SHMB_STATUS_BAD_LENGTH;
        if (find(client->ledger, request->token))
                return SHMB_STATUS_TOKEN_EXISTS;
        if (client->n_tokens >= config->tokens_max ||
            lease->object->domain->tokens >= config->uid_tokens_max)
                return SHMB_STATUS_TOKEN_LIMIT;
        /* The next writer must not write under the eyes of readers it never heard of; those
           of another uid may keep looking after they let go. */
        if ((request->flags & SHMB_EXPORT_TRANSFER) &&
            (lease->object->readers > 0 || lease->object->tokens > 0 ||
             lease->object->left_domain))
                return SHMB_STATUS_BUSY_WRITER;
        return SHMB_STATUS_OK;
}

enum shmb_status client_export(struct client *client, const struct shmb_export *request) {
        struct ledger *ledger = client->ledger;
        struct lease *lease = client_lease(client, request->lease);
        enum shmb_status status = check_export(client, lease, request);

        if (status != SHMB_STATUS_OK)
                return status;
        struct token *token = calloc(1, sizeof(*token));
        if (!token)
                return SHMB_STATUS_NO_MEMORY;
        memcpy(token->bytes, request->token, sizeof(token->bytes));
        token->number = ++ledger->next_token;
        token->expiry.kind = DEADLINE_TOKEN;
        HASH_ADD(hh, ledger->tokens, bytes, sizeof(token->bytes), token);
        if (!token->hh.tbl) {
                free(token);
                return SHMB_STATUS_NO_MEMORY;
        }
        if (deadline_set(&ledger->deadlines, &token->expiry,
                         ledger->now + request->ttl_ms * 1000000u) < 0) {
                HASH_DELETE(hh, ledger->tokens, token);
                free(token);
                return SHMB_STATUS_NO_MEMORY;
        }
        token->object = lease->object;
        token->domain = lease->object->domain;
        token->domain->references++;
        token->domain->tokens++;
        token->exporter = client->id;
        token->uid = client->uid;
        token->flags = request->flags;
        token->length = request->length;
        token->since = ledger->now;
        token->object->tokens++;
        client->n_tokens++;
        ledger->n_tokens++;
        /* The right to write is the token's now: the exporter has nothing left to release. */
        if (request->flags & SHMB_EXPORT_TRANSFER)
                lease_end(lease);
        return SHMB_STATUS_OK;
}

enum shmb_status client_revoke(struct client *client, const uint8_t *bytes) {
        struct token *token = find(client->ledger, bytes);

        /* Another client's token is none of this one's business: not even that it exists. */
        if (!token || token->exporter != client->id)
                return SHMB_STATUS_TOKEN_UNKNOWN;
        if (token->object)
                object_settle(over(client->ledger, token, TOKEN_REVOKED));
        return SHMB_STATUS_OK;
}

static enum shmb_status check_import(const struct client *client, const struct token *token) {
        const struct pool_config *pool;

        if (!token)
                return SHMB_STATUS_TOKEN_UNKNOWN;
        if (!token->object)
                return (enum shmb_status)token->fate;
        pool = token->object->pool->config;
        if (client->uid != token->uid &&
            ((token->flags & (SHMB_EXPORT_TRANSFER | SHMB_EXPORT_SAME_DOMAIN)) ||
             pool->share == CONFIG_SHARE_UID))
                return SHMB_STATUS_TOKEN_DOMAIN;
        if (!pool_config_admits(pool, client->uid, client->gids, client->n_gids))
                return SHMB_STATUS_POOL_DENIED;
        return SHMB_STATUS_OK;
}

/* The client's lease for reading the object, if it has one; walks the shorter list. */
static struct lease *find_reader(const struct client *client, const struct object *object) {
        struct lease *lease;

        if (client->slots_room <= object->n_leases)
                for (uint32_t slot = 1; slot < client->slots_room; slot++) {
                        lease = client->slots[slot];
                        if (lease && lease->object == object && !lease->writer)
                                return lease;
                }
        else
                DL_FOREACH(object->leases, lease)
                        if (lease->client == client && !lease->writer)
                                return lease;
        return NULL;
}

/* Why lease_new gave none. */
static enum shmb_status no_lease(const struct client *client) {
        return client->slots_used >= client->lease_slots ? SHMB_STATUS_LEASE_SLOTS
                                                         : SHMB_STATUS_NO_MEMORY;
}

static void reader_undo(struct lease *lease, bool was_kept) {
        if (--lease->count > 0)
                return;
        if (was_kept) {
                lease->object->readers--;
                lease->state = LEASE_KEPT;
        } else {
                lease_end(lease);
        }
}

static enum shmb_status import_reader(struct client *client, uint32_t serial,
                                      struct token *token) {
        struct ledger *ledger = client->ledger;
        struct object *object = token->object;
        struct lease *lease = find_reader(client, object);
        bool had_mapping = lease != NULL, was_kept = lease && lease->state == LEASE_KEPT;

        if (!lease)
                lease = lease_new(client, object, false);
        if (!lease)
                return no_lease(client);
        if (was_kept) {
                lease->state = LEASE_HELD;
                lease->since = ledger->now;
                object->readers++;
        }
        lease->count++;
        /* Before the grant is described: who reads from another uid may keep nothing. */
        bool left_domain = object->left_domain;
        if (client->uid != token->uid)
                object->left_domain = true;
        struct ledger_grant grant = grant_describe(lease, token->length, !had_mapping);
        enum shmb_status status = ledger->ops->granted(ledger->userdata, client, serial,
                                                       &grant);
        if (status != SHMB_STATUS_OK) {
                object->left_domain = left_domain;
                reader_undo(lease, was_kept);
        }
        return status;
}

static enum shmb_status import_writer(struct client *client, uint32_t serial,
                                      struct token *token) {
        struct ledger *ledger = client->ledger;
        struct lease *lease = lease_new(client, token->object, true);

        if (!lease)
                return no_lease(client);
        struct ledger_grant grant = grant_describe(lease, token->length, true);
        enum shmb_status status = ledger->ops->granted(ledger->userdata, client, serial,
                                                       &grant);
        if (status != SHMB_STATUS_OK)
                lease_end(lease);
        return status;
}

enum shmb_status client_import(struct client *client, uint32_t serial, const uint8_t *bytes) {
        struct ledger *ledger = client->ledger;
        struct token *token = find(ledger, bytes);
        enum shmb_status status = check_import(client, token);

        if (status != SHMB_STATUS_OK)
                return status;
        status = token->flags & SHMB_EXPORT_TRANSFER ? import_writer(client, serial, token)
                                                     : import_reader(client, serial, token);
        /* The next one shall find descriptors: what nobody uses costs some. */
        if (status == SHMB_STATUS_NO_DESCRIPTORS)
                reclaim_bytes(ledger, 1);
        if (status != SHMB_STATUS_OK)
                return status;
        token->imports++;
        if (token->flags & (SHMB_EXPORT_ONCE | SHMB_EXPORT_TRANSFER))
                object_settle(over(ledger, token, TOKEN_USED));
        return SHMB_STATUS_OK;
}

void tokens_deinit(struct ledger *ledger) {
        struct token *token, *next;

        HASH_ITER(hh, ledger->tokens, token, next) {
                if (token->domain)
                        domain_unref(token->domain);
                deadline_clear(&ledger->deadlines, &token->expiry);
                HASH_DELETE(hh, ledger->tokens, token);
                free(token);
        }
        ledger->tokens_over = NULL;
}
