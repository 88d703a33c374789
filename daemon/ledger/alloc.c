/* SPDX-License-Identifier: Apache-2.0 */
/* Allocation: the line, and who is next. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "internal.h"
#include "status.h"

static void refuse(struct client *client, uint32_t serial, const struct refusal *refusal) {
        struct ledger *ledger = client->ledger;

        ledger->ops->refused(ledger->userdata, client, serial, refusal);
}

struct ledger_grant grant_describe(const struct lease *lease, uint64_t length, bool send_fd) {
        struct object *object = lease->object;
        struct pool *pool = object->pool;
        uint32_t flags = 0;

        if (lease->writer)
                flags |= SHMB_GRANT_WRITABLE;
        if (!object->left_domain && !object->escaped)
                flags |= SHMB_GRANT_MAY_KEEP;
        if (lease->writer && object->fresh)
                flags |= SHMB_GRANT_ZEROED;
        if (pool->config->huge != CONFIG_HUGE_NO)
                flags |= object->huge ? SHMB_GRANT_HUGE : SHMB_GRANT_HUGE_MISS;
        if (pool->config->numa_node >= 0)
                flags |= object->numa ? SHMB_GRANT_NUMA : SHMB_GRANT_NUMA_MISS;
        return (struct ledger_grant){
                .message = {
                        .lease = { lease->slot, lease->generation },
                        .object = object->id,
                        .capacity = object_capacity(object),
                        .length = length,
                        .class_floor = pool_floor(pool, object->class_index),
                        .pool = pool->index,
                        .flags = flags,
                },
                .object = object,
                .send_fd = send_fd,
                .writable = lease->writer,
        };
}

/* Hands an object to a client for writing; if that fails, it is to be settled. */
static enum shmb_status grant_writer(struct client *client, uint32_t serial,
                                     struct object *object, struct domain *domain,
                                     uint64_t length) {
        struct ledger *ledger = client->ledger;

        object_set_state(object, OBJECT_LEASED);
        object_set_domain(object, domain);
        struct lease *lease = lease_new(client, object, true);
        if (!lease)
                return SHMB_STATUS_NO_MEMORY;
        struct ledger_grant grant = grant_describe(lease, length, true);
        enum shmb_status status = ledger->ops->granted(ledger->userdata, client, serial,
                                                       &grant);
        if (status != SHMB_STATUS_OK) {
                lease_end(lease);
                return status;
        }
        object->pool->count.grants++;
        object->fresh = false;
        return SHMB_STATUS_OK;
}

/* ---- the line ---- */

static void line_leave(struct waiter *waiter) {
        struct pool *pool = waiter->pool;
        struct domain *domain = waiter->domain;

        DL_DELETE(domain->waiters, waiter);
        pool->n_waiters--;
        waiter->in_line = false;
        if (!waiter->may_wait)
                DL_DELETE2(pool->hasty, waiter, hasty_prev, hasty_next);
        if (!domain->waiters) {
                DL_DELETE2(pool->turn, domain, turn_prev, turn_next);
                pool->n_turns--;
        }
}

static void line_join(struct waiter *waiter, bool first) {
        struct pool *pool = waiter->pool;
        struct domain *domain = waiter->domain;

        if (!domain->waiters) {
                DL_APPEND2(pool->turn, domain, turn_prev, turn_next);
                pool->n_turns++;
        }
        if (first)
                DL_PREPEND(domain->waiters, waiter);
        else
                DL_APPEND(domain->waiters, waiter);
        pool->n_waiters++;
        waiter->in_line = true;
        if (!waiter->may_wait)
                DL_APPEND2(pool->hasty, waiter, hasty_prev, hasty_next);
}

/* Fair between uids: whoever was served, or waits for itself, goes to the end of the turn. */
static void turn_rotate(struct pool *pool, struct domain *domain) {
        DL_DELETE2(pool->turn, domain, turn_prev, turn_next);
        DL_APPEND2(pool->turn, domain, turn_prev, turn_next);
}

struct waiter *waiter_free(struct waiter *waiter) {
        struct client *client = waiter->client;

        if (waiter->in_line)
                line_leave(waiter);
        if (waiter->object)
                object_set_wanted_by(waiter->object, NULL);
        DL_DELETE2(client->waiters, waiter, client_prev, client_next);
        client->n_waiters--;
        deadline_clear(&client->ledger->deadlines, &waiter->deadline);
        domain_unref(waiter->domain);
        free(waiter);
        return NULL;
}

static void waiter_refuse(struct waiter *waiter, const struct refusal *refusal) {
        struct client *client = waiter->client;
        uint32_t serial = waiter->serial;

        waiter->pool->count.refused++;
        waiter_free(waiter);
        refuse(client, serial, refusal);
}

static void waiter_grant(struct waiter *waiter, struct object *object) {
        struct ledger *ledger = waiter->client->ledger;
        struct refusal refusal = { 0 };
        enum shmb_status status = grant_writer(waiter->client, waiter->serial, object,
                                               waiter->domain, waiter->size);

        if (status == SHMB_STATUS_OK) {
                waiter_free(waiter);
                return;
        }
        /* What nobody uses costs descriptors, too: some of it goes before anyone is refused. */
        if (status == SHMB_STATUS_NO_DESCRIPTORS && !waiter->retried &&
            reclaim_bytes(ledger, 1)) {
                waiter->retried = true;
                if (!waiter->in_line)
                        line_join(waiter, true);
        } else {
                refusal_set(&refusal, status, 0, 0, "%s", shmb_status_text(status));
                waiter_refuse(waiter, &refusal);
        }
        object_settle(object);
}

/* Memory for it is reserved: it leaves the line and waits for its own object only. */
static void waiter_make(struct waiter *waiter) {
        struct pool *pool = waiter->pool;
        struct ledger *ledger = pool->ledger;
        struct object *object = object_new(pool, waiter->class_index, waiter->domain);
        struct refusal refusal = { 0 };

        if (!object) {
                refusal_set(&refusal, SHMB_STATUS_NO_MEMORY, 0, 0,
                            "the broker has no memory for its books");
                waiter_refuse(waiter, &refusal);
                return;
        }
        line_leave(waiter);
        waiter->object = object;
        object_set_wanted_by(object, waiter);
        ledger->ops->work(ledger->userdata, object, WORK_MAKE);
}

enum attempt {
        ATTEMPT_DONE,     /* granted, being made, or refused */
        ATTEMPT_UID_SOON, /* only this uid must wait, and memory of its is on its way */
        ATTEMPT_UID_FULL, /* only this uid must wait */
        ATTEMPT_SOON,     /* everyone must, and memory is on its way */
        ATTEMPT_FULL,     /* everyone must */
};

static bool anything_retiring(const struct ledger *ledger) {
        for (size_t i = 0; i < ledger->n_pools; i++)
                if (ledger->pools[i].lists[OBJECT_RETIRING])
                        return true;
        return false;
}

static enum attempt attempt(struct waiter *waiter, struct refusal *refusal) {
        struct pool *pool = waiter->pool;
        struct client *client = waiter->client;
        uint64_t capacity = pool_capacity(pool, waiter->class_index);

        if (client->slots_used >= client->lease_slots) {
                refusal_set(refusal, SHMB_STATUS_LEASE_SLOTS, client->lease_slots,
                            client->slots_used,
                            "this connection has %" PRIu32 " buffers, of at most %" PRIu32
                            " it asked for",
                            client->slots_used, client->lease_slots);
                waiter_refuse(waiter, refusal);
                return ATTEMPT_DONE;
        }
        /* The kernel refused once: what was given up then must be gone first. */
        if (waiter->retried && anything_retiring(pool->ledger))
                return ATTEMPT_SOON;
        switch (reclaim_uid_room(waiter->domain, capacity, refusal)) {
        case ROOM_NOW:
                break;
        case ROOM_SOON:
                return ATTEMPT_UID_SOON;
        case ROOM_NONE:
                return ATTEMPT_UID_FULL;
        }
        struct object *object = object_find_free(waiter->domain, waiter->class_index);
        if (object) {
                pool->count.recycled++;
                waiter_grant(waiter, object);
                return ATTEMPT_DONE;
        }
        switch (reclaim_room(pool, capacity, refusal)) {
        case ROOM_NOW:
                waiter_make(waiter);
                return ATTEMPT_DONE;
        case ROOM_SOON:
                return ATTEMPT_SOON;
        case ROOM_NONE:
                break;
        }
        return ATTEMPT_FULL;
}

/*
 * Those who may not wait are told; of one uid, or (NULL) of all. The limit is that of the
 * first in line; what that one asked for is its own business.
 */
static void refuse_hasty(struct pool *pool, const struct domain *domain,
                         const struct refusal *first) {
        struct waiter *waiter, *next;
        struct refusal refusal = { 0 };

        refusal_set(&refusal, first->status, first->limit, first->used,
                    "others wait in line for pool \"%s\" already: %s", pool->config->name,
                    shmb_status_text(first->status));
        DL_FOREACH_SAFE2(pool->hasty, waiter, next, hasty_next)
                if (!domain || waiter->domain == domain)
                        waiter_refuse(waiter, &refusal);
}

/* Serves whoever is first of that uid; those who may not wait, and would have to, are told. */
static enum attempt serve_first(struct pool *pool, struct domain *domain,
                                struct refusal *refusal) {
        struct waiter *waiter = domain->waiters;
        enum attempt outcome = attempt(waiter, refusal);

        if (outcome != ATTEMPT_UID_FULL && outcome != ATTEMPT_FULL)
                return outcome;
        if (!waiter->may_wait) {
                waiter_refuse(waiter, refusal);
                return ATTEMPT_DONE;
        }
        refuse_hasty(pool, outcome == ATTEMPT_FULL ? NULL : domain, refusal);
        return outcome;
}

static void serve_line(struct pool *pool) {
        struct refusal refusal = { 0 };
        uint32_t stuck = 0;

        /* `stuck` counts uids in a row that wait for themselves: they hold up nobody else. */
        while (pool->turn && stuck < pool->n_turns) {
                struct domain *domain = pool->turn;

                domain->references++;
                enum attempt outcome = serve_first(pool, domain, &refusal);
                bool all_wait = outcome == ATTEMPT_SOON || outcome == ATTEMPT_FULL;
                if (domain->waiters && !all_wait)
                        turn_rotate(pool, domain);
                domain_unref(domain);
                if (all_wait)
                        return;
                stuck = outcome == ATTEMPT_DONE ? 0 : stuck + 1;
        }
}

/*
 * While somebody waits, clients must not put buffers aside in silence: word 0 of every lease
 * page says so. It is raised before the line is served once more, and a client looks at it
 * after its word turned IDLE, both sequentially consistent: either the client sees the flag
 * or this side sees the idle buffer.
 */
static bool raise_wanted(struct ledger *ledger) {
        struct client *client;
        bool wanted = false, raised;

        for (size_t i = 0; i < ledger->n_pools; i++)
                wanted = wanted || ledger->pools[i].n_waiters > 0;
        if (wanted == ledger->wanted)
                return false;
        raised = wanted;
        ledger->wanted = wanted;
        ledger->look++; /* what was put aside in silence until now is to be seen once more */
        for (client = ledger->clients; client; client = client->hh.next)
                client_show_wanted(client);
        return raised;
}

static void serve_lines(struct ledger *ledger) {
        /* Another pool first each time: no line is for ever behind another's. */
        size_t first = ledger->first_served++;

        for (size_t i = 0; i < ledger->n_pools; i++)
                serve_line(&ledger->pools[(first + i) % ledger->n_pools]);
}

void ledger_serve(struct ledger *ledger) {
        /* Serving can free memory and so ask for serving: that is a further round, not a
           deeper call. */
        ledger->serve_again = true;
        if (ledger->serving)
                return;
        ledger->serving = true;
        do {
                ledger->serve_again = false;
                serve_lines(ledger);
        } while (raise_wanted(ledger) || ledger->serve_again);
        ledger->serving = false;
}

/* ---- what becomes of a waiter ---- */

void waiter_made(struct waiter *waiter, struct object *object) {
        struct client *client = waiter->client;
        struct refusal refusal = { 0 };

        if (client->slots_used >= client->lease_slots) {
                refusal_set(&refusal, SHMB_STATUS_LEASE_SLOTS, client->lease_slots,
                            client->slots_used, "this connection has all the buffers it may");
                waiter_refuse(waiter, &refusal);
                return;
        }
        waiter_grant(waiter, object);
}

void waiter_make_failed(struct waiter *waiter, int error) {
        struct ledger *ledger = waiter->client->ledger;
        bool descriptors = error == -EMFILE || error == -ENFILE;
        uint64_t capacity = pool_capacity(waiter->pool, waiter->class_index);
        struct refusal refusal = { 0 };

        line_join(waiter, true);
        /* What nobody uses is given up before anyone is refused; once. */
        if (!waiter->retried && reclaim_bytes(ledger, capacity)) {
                waiter->retried = true;
                return;
        }
        if (descriptors)
                refusal_set(&refusal, SHMB_STATUS_NO_DESCRIPTORS, 0, 0,
                            "the broker cannot open another memory object (errno %d)", -error);
        else
                refusal_set(&refusal, SHMB_STATUS_NO_MEMORY, 0, 0,
                            "the kernel has no memory for %" PRIu64 " bytes (errno %d)",
                            capacity, -error);
        waiter_refuse(waiter, &refusal);
}

void waiter_timed_out(struct waiter *waiter) {
        struct pool *pool = waiter->pool;
        struct domain *domain = waiter->domain;
        struct refusal refusal = { 0 };

        refusal_set(&refusal, SHMB_STATUS_TIMED_OUT, pool->config->memory_max, pool_bytes(pool),
                    "the deadline passed; pool \"%s\" holds %" PRIu64 " of MemoryMax=%" PRIu64
                    " bytes, this user %" PRIu64 " of UidMemoryMax=%" PRIu64,
                    pool->config->name, pool_bytes(pool), pool->config->memory_max,
                    domain->bytes, pool->config->uid_memory_max);
        waiter_refuse(waiter, &refusal);
        ledger_serve(pool->ledger);
}

void client_cancel(struct client *client, uint32_t serial) {
        struct refusal refusal = { 0 };
        struct waiter *waiter;

        DL_FOREACH2(client->waiters, waiter, client_next)
                if (waiter->serial == serial)
                        break;
        if (!waiter)
                return;
        refusal_set(&refusal, SHMB_STATUS_CANCELLED, 0, 0, "cancelled by the client");
        waiter_refuse(waiter, &refusal);
        ledger_serve(client->ledger);
}

/* What can be refused without knowing what others hold. */
static struct pool *check(struct client *client, const struct shmb_alloc *request,
                          int *ret_class, struct refusal *refusal) {
        struct pool *pool = pool_find(client->ledger, request->pool);

        if (!pool) {
                refusal_set(refusal, SHMB_STATUS_NO_SUCH_POOL, 0, 0, "no pool \"%s\"",
                            request->pool);
                return NULL;
        }
        const struct pool_config *config = pool->config;
        uint64_t largest = config->classes[config->n_classes - 1];
        if (!pool_config_admits(config, client->uid, client->gids, client->n_gids)) {
                refusal_set(refusal, SHMB_STATUS_POOL_DENIED, 0, 0,
                            "pool \"%s\" is not open to uid %u", config->name, client->uid);
                return NULL;
        }
        if (request->size == 0) {
                refusal_set(refusal, SHMB_STATUS_BAD_SIZE, 0, 0,
                            "a buffer has at least one byte");
                return NULL;
        }
        *ret_class = pool_config_class(config, request->size);
        if (*ret_class < 0) {
                refusal_set(refusal, SHMB_STATUS_TOO_LARGE, largest, request->size,
                            "%" PRIu64 " bytes; the largest class of pool \"%s\" has %" PRIu64,
                            request->size, config->name, largest);
                return NULL;
        }
        if (reclaim_never(pool, pool_capacity(pool, (uint32_t)*ret_class), refusal))
                return NULL;
        return pool;
}

static struct waiter *waiter_new(struct client *client, struct pool *pool, uint32_t serial,
                                 uint64_t timeout_ns) {
        struct ledger *ledger = client->ledger;
        struct waiter *waiter = calloc(1, sizeof(*waiter));
        uint64_t when = DEADLINE_NEVER;

        if (!waiter)
                return NULL;
        waiter->domain = domain_ref(pool, client->uid);
        waiter->deadline.kind = DEADLINE_WAITER;
        if (timeout_ns > 0 && timeout_ns < DEADLINE_NEVER - ledger->now)
                when = ledger->now + timeout_ns;
        if (!waiter->domain || deadline_set(&ledger->deadlines, &waiter->deadline, when) < 0) {
                domain_unref(waiter->domain);
                free(waiter);
                return NULL;
        }
        waiter->client = client;
        waiter->pool = pool;
        waiter->serial = serial;
        waiter->since = ledger->now;
        waiter->may_wait = timeout_ns > 0;
        DL_APPEND2(client->waiters, waiter, client_prev, client_next);
        client->n_waiters++;
        return waiter;
}

/* The request made last stands in line. */
static bool stands_in_line(const struct client *client, uint32_t serial) {
        const struct waiter *last = client->waiters ? client->waiters->client_prev : NULL;

        return last && last->serial == serial && last->in_line;
}

void client_alloc(struct client *client, uint32_t serial, const struct shmb_alloc *request) {
        struct refusal refusal = { 0 };
        int class_index = -1;
        struct pool *pool = check(client, request, &class_index, &refusal);

        if (!pool) {
                refuse(client, serial, &refusal);
                return;
        }
        struct waiter *waiter = waiter_new(client, pool, serial, request->timeout_ns);
        if (!waiter) {
                refusal_set(&refusal, SHMB_STATUS_NO_MEMORY, 0, 0,
                            "the broker has no memory for the request");
                refuse(client, serial, &refusal);
                return;
        }
        waiter->size = request->size;
        waiter->class_index = (uint16_t)class_index;
        line_join(waiter, false);
        ledger_serve(client->ledger);
        if (stands_in_line(client, serial))
                pool->count.waited++;
}
