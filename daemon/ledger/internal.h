/* SPDX-License-Identifier: Apache-2.0 */
/* What the ledger's own files share. */
#pragma once

#include <utlist.h>

#include "ledger.h"

enum deadline_kind {
        DEADLINE_WAITER,
        DEADLINE_TOKEN,
        DEADLINE_RETRY,
        DEADLINE_HOUSEKEEPING,
};

#define container_of(pointer, type, member)                                                    \
        ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* ---- pool.c ---- */

int pool_init(struct pool *pool, struct ledger *ledger, const struct pool_config *config,
              uint32_t index);
void pool_deinit(struct pool *pool);
struct pool *pool_find(struct ledger *ledger, const char *name);
uint64_t pool_capacity(const struct pool *pool, uint32_t class_index);
uint64_t pool_floor(const struct pool *pool, uint32_t class_index);

/* All states together. */
uint64_t pool_bytes(const struct pool *pool);
uint32_t pool_buffers(const struct pool *pool);

/* The uid's domain with one more reference, or NULL: out of memory. */
struct domain *domain_ref(struct pool *pool, uid_t uid);
struct domain *domain_unref(struct domain *domain);

/* ---- object.c ---- */

/* A new object in MAKING, charged to `domain` (may be NULL); NULL: out of memory. */
struct object *object_new(struct pool *pool, uint32_t class_index, struct domain *domain);
struct object *object_free(struct object *object);
void object_set_state(struct object *object, enum object_state state);

/* MAKING: the request it is for; NULL: for nobody, it will be FREE. */
void object_set_wanted_by(struct object *object, struct waiter *waiter);

/* Changes whose data it has; the domain (or NULL) is charged as the state demands. */
void object_set_domain(struct object *object, struct domain *domain);

/* A FREE object for that domain: its own, else a fresh one; NULL if there is none. */
struct object *object_find_free(struct domain *domain, uint32_t class_index);

/* Its last reference went: on to FREE, or to proof. */
void object_returned(struct object *object);

/* Stops using it. No reference may be left; leases KEPT are taken. */
void object_retire(struct object *object);

/* Returns it if nothing refers to it any more; warms up a SHARED writer where it may. */
void object_settle(struct object *object);

void object_retry_due(struct object *object);

/* ---- release.c ---- */

/* NULL: the client's page is full, or out of memory. */
struct lease *lease_new(struct client *client, struct object *object, bool writer);
/* Frees the slot; the object forgets the lease but is not settled. */
void lease_end(struct lease *lease);
/* Asks for the mapping back: TAKEN, without object, until the client answers. */
void lease_take(struct lease *lease);
shmb_word *lease_word(const struct lease *lease);

/* ---- client.c ---- */

/* Tells the client, through word 0 of its lease page, whether others wait for memory. */
void client_show_wanted(struct client *client);

/* ---- alloc.c ---- */

/*
 * Serves whoever is in line as far as memory goes: in every pool, because under the broker's
 * own limits what one pool gives up is what another waits for.
 */
void ledger_serve(struct ledger *ledger);
/* The object it waits for was made, or could not be. */
void waiter_made(struct waiter *waiter, struct object *object);
void waiter_make_failed(struct waiter *waiter, int error);
void waiter_timed_out(struct waiter *waiter);
/* Takes it out of everything and frees it. */
struct waiter *waiter_free(struct waiter *waiter);

struct ledger_grant grant_describe(const struct lease *lease, uint64_t length, bool send_fd);

/* ---- reclaim.c ---- */

enum room {
        ROOM_NOW,
        ROOM_SOON, /* enough is on its way out of use */
        ROOM_NONE, /* *ret_refusal says which limit */
};

/* Makes room for one more object of that size, evicting what nobody uses. */
enum room reclaim_room(struct pool *pool, uint64_t capacity, struct refusal *ret_refusal);
/* The same for one uid's limits. */
enum room reclaim_uid_room(struct domain *domain, uint64_t capacity,
                           struct refusal *ret_refusal);
/* True, with the limit, if one object of that size is more than can ever be had. */
bool reclaim_never(const struct pool *pool, uint64_t capacity, struct refusal *ret_refusal);
/* Evicts from all pools until `bytes` are on their way out; false if there was nothing. */
bool reclaim_bytes(struct ledger *ledger, uint64_t bytes);
/* The object turned idle by the broker's own doing. */
void reclaim_note_idle(struct object *object);
/* Takes back what has lain unused for too long. */
void reclaim_unused(struct ledger *ledger);

/* ---- token.c ---- */

void token_expired(struct token *token);
void tokens_deinit(struct ledger *ledger);

/* ---- refusal.c ---- */

/* Fills the refusal; `format` makes the text. */
__attribute__((format(printf, 5, 6))) void refusal_set(struct refusal *refusal,
                                                       enum shmb_status status, uint64_t limit,
                                                       uint64_t used, const char *format, ...);
