/* SPDX-License-Identifier: Apache-2.0 */
/* All that must hold between any two calls, summed anew from objects, leases and tokens. */
#include "ledger-rig.h"

#include <string.h>

struct sums {
        uint64_t bytes, leaving_bytes;
        uint32_t buffers, leaving_buffers;
};

static void add(struct sums *sums, const struct object *object, bool leaving) {
        sums->bytes += object_capacity(object);
        sums->buffers++;
        sums->leaving_bytes += leaving ? object_capacity(object) : 0;
        sums->leaving_buffers += leaving;
}

static bool leaves_by_itself(const struct object *object) {
        return object->state == OBJECT_PROVING || object->state == OBJECT_SCRUBBING ||
               object->state == OBJECT_RETIRING ||
               (object->state == OBJECT_MAKING && !object->wanted_by);
}

static bool counts_against_uid(const struct object *object) {
        return object->state != OBJECT_FREE && object->state != OBJECT_RETIRING;
}

/* ---- one object ------------------------------------------------------------------- */

static void check_leases(const struct rig *rig, const struct object *object) {
        uint32_t readers = 0, writers = 0, leases = 0;
        const struct lease *lease;

        DL_FOREACH(object->leases, lease) {
                leases++;
                struct shmb_lease_ref ref = { lease->slot, lease->generation };

                rig_require(rig, lease->object == object);
                rig_require(rig, client_lease(lease->client, ref) == lease);
                rig_require(rig, lease->state != LEASE_TAKEN);
                if (lease->writer) {
                        writers++;
                        rig_require(rig, object->writer == lease);
                        rig_require(rig, lease->client->uid == object->domain->uid);
                        rig_require(rig, lease->state != LEASE_KEPT);
                        /* Given up, and nobody else there: it would be warm again or gone. */
                        rig_require(rig, lease->state == LEASE_HELD || object->readers > 0 ||
                                                 object->tokens > 0);
                } else {
                        readers += lease->state == LEASE_HELD;
                        rig_require(rig, (lease->count > 0) == (lease->state == LEASE_HELD));
                        rig_require(rig, lease->state != LEASE_SHARED);
                        if (lease->client->uid != object->domain->uid)
                                rig_require(rig,
                                            object->left_domain && lease->state == LEASE_HELD);
                }
        }
        rig_require(rig, readers == object->readers && leases == object->n_leases);
        rig_require(rig, writers == (object->writer != NULL) && writers <= 1);
}

static uint32_t tokens_of(const struct rig *rig, const struct object *object) {
        const struct token *token;
        uint32_t n = 0;

        for (token = rig->ledger->tokens; token; token = token->hh.next)
                n += token->object == object;
        return n;
}

static void check_object(const struct rig *rig, const struct object *object) {
        bool referenced = object->writer || object->readers > 0 || object->tokens > 0;
        const struct rig_seen *seen;

        check_leases(rig, object);
        rig_require(rig, object->tokens == tokens_of(rig, object));
        rig_require(rig, (object->state == OBJECT_LEASED) == referenced);
        rig_require(rig, !referenced || object->domain);
        rig_require(rig, !object->wanted_by || (object->state == OBJECT_MAKING &&
                                                object->wanted_by->object == object));
        rig_require(rig, (object->retry.place > 0) == (object->state == OBJECT_QUARANTINE));
        if (object->state != OBJECT_LEASED && object->state != OBJECT_FREE)
                rig_require(rig, !object->leases);
        if (object->state == OBJECT_FREE) {
                rig_require(rig,
                            !object->left_domain && !object->escaped && !object->lost_holder);
                rig_require(rig, object->domain || object->fresh);
        }
        HASH_FIND(hh, rig->seen, &object->id, sizeof(object->id), seen);
        rig_require(rig, seen);
        rig_require(rig, !object->fresh || seen->audience == 0);
}

/* ---- one client ------------------------------------------------------------------- */

static void check_slots(const struct rig *rig, const struct client *client) {
        uint32_t used = 0;

        for (uint32_t slot = 0; slot < client->slots_room; slot++) {
                const struct lease *lease = client->slots[slot];

                if (!lease) {
                        rig_require(rig, slot == 0 || client->slot_hint <= slot);
                        continue;
                }
                used++;
                rig_require(rig, slot > 0 && lease->slot == slot && lease->client == client);
                rig_require(rig, lease->generation != 0);
                rig_require(rig, (lease->state == LEASE_TAKEN) == !lease->object);
        }
        rig_require(rig, used == client->slots_used && used <= client->lease_slots);
        rig_require(rig, client->slots_room <= client->lease_slots + 1);
}

static void check_client(const struct rig *rig, const struct client *client) {
        const struct waiter *waiter;
        const struct token *token;
        uint32_t waiters = 0, tokens = 0;

        check_slots(rig, client);
        DL_FOREACH2(client->waiters, waiter, client_next) {
                waiters++;
                rig_require(rig, waiter->client == client);
                rig_require(rig, waiter->domain->uid == client->uid);
                /* It stands in line, or for its own object. */
                rig_require(rig, waiter->in_line == !waiter->object);
                rig_require(rig, !waiter->object || waiter->object->wanted_by == waiter);
        }
        for (token = rig->ledger->tokens; token; token = token->hh.next)
                tokens += token->object && token->exporter == client->id;
        rig_require(rig, waiters == client->n_waiters);
        rig_require(rig, tokens == client->n_tokens && tokens <= rig->config.tokens_max);
}

/* ---- one uid in one pool ---------------------------------------------------------- */

static uint32_t domain_waiters(const struct ledger *ledger, const struct domain *domain) {
        const struct client *client;
        const struct waiter *waiter;
        uint32_t n = 0;

        for (client = ledger->clients; client; client = client->hh.next)
                DL_FOREACH2(client->waiters, waiter, client_next)
                        n += waiter->domain == domain;
        return n;
}

static uint32_t domain_tokens(const struct ledger *ledger, const struct domain *domain) {
        const struct token *token;
        uint32_t n = 0;

        for (token = ledger->tokens; token; token = token->hh.next)
                n += token->domain == domain;
        return n;
}

static uint32_t check_bin(const struct rig *rig, const struct object *bin,
                          const struct domain *domain, uint32_t class_index) {
        const struct object *object;
        uint32_t n = 0;

        DL_FOREACH2(bin, object, bin_next) {
                rig_require(rig, object->state == OBJECT_FREE);
                rig_require(rig, object->domain == domain);
                rig_require(rig, object->class_index == class_index);
                n++;
        }
        return n;
}

/* Returns how many stand in its line, and adds what its bins hold to `free`. */
static uint32_t check_domain(const struct rig *rig, const struct domain *domain,
                             uint32_t *free) {
        const struct pool *pool = domain->pool;
        const struct object *object;
        const struct waiter *waiter;
        struct sums charged = { 0 };
        uint32_t objects = 0, in_line = 0, leased = 0;

        for (object = rig->ledger->objects; object; object = object->hh.next) {
                if (object->domain != domain)
                        continue;
                rig_require(rig, object->pool == pool);
                objects++;
                leased += object->state == OBJECT_LEASED;
                if (counts_against_uid(object))
                        add(&charged, object, leaves_by_itself(object));
        }
        DL_FOREACH2(domain->leased, object, bin_next) {
                rig_require(rig, object->state == OBJECT_LEASED && object->domain == domain);
                leased--;
        }
        rig_require(rig, leased == 0);
        DL_FOREACH(domain->waiters, waiter) {
                in_line++;
                rig_require(rig, waiter->domain == domain && waiter->in_line);
        }
        rig_require(rig, charged.bytes == domain->bytes);
        rig_require(rig, charged.buffers == domain->buffers);
        rig_require(rig, charged.leaving_bytes == domain->leaving_bytes);
        rig_require(rig, charged.leaving_buffers == domain->leaving_buffers);
        rig_require(rig, domain->bytes <= pool->config->uid_memory_max);
        rig_require(rig, domain->buffers <= pool->config->uid_buffers_max);
        rig_require(rig, domain->tokens == domain_tokens(rig->ledger, domain));
        rig_require(rig, domain->tokens <= rig->config.uid_tokens_max);
        rig_require(rig, domain->references > 0);
        rig_require(rig, domain->references == objects + domain->tokens +
                                                       domain_waiters(rig->ledger, domain));
        for (uint32_t i = 0; i < pool->config->n_classes; i++)
                free[i] += check_bin(rig, domain->free[i], domain, i);
        return in_line;
}

/* ---- one pool --------------------------------------------------------------------- */

static void check_list(const struct rig *rig, const struct pool *pool, int state) {
        const struct object *object, *before = NULL;
        uint64_t bytes = 0;
        uint32_t n = 0;

        DL_FOREACH(pool->lists[state], object) {
                rig_require(rig, object->state == state && object->pool == pool);
                rig_require(rig, !before || before->since <= object->since);
                bytes += object_capacity(object);
                n++;
                before = object;
        }
        rig_require(rig, n == pool->buffers[state] && bytes == pool->bytes[state]);
}

static bool has_turn(const struct pool *pool, const struct domain *wanted) {
        const struct domain *domain;

        DL_FOREACH2(pool->turn, domain, turn_next)
                if (domain == wanted)
                        return true;
        return false;
}

static void check_line(const struct rig *rig, const struct pool *pool, uint32_t in_line) {
        const struct domain *domain;
        const struct waiter *waiter;
        uint32_t turns = 0;

        DL_FOREACH2(pool->turn, domain, turn_next) {
                turns++;
                rig_require(rig, domain->pool == pool && domain->waiters);
        }
        rig_require(rig, turns == pool->n_turns && in_line == pool->n_waiters);
        /* Those in haste stand in line only for what is on its way. */
        DL_FOREACH2(pool->hasty, waiter, hasty_next) {
                rig_require(rig, waiter->in_line && !waiter->may_wait);
                rig_require(rig, rig->ledger->leaving_buffers > 0);
        }
}

static void check_pool(const struct rig *rig, const struct pool *pool) {
        uint32_t free[CONFIG_CLASSES_MAX] = { 0 }, in_line = 0, all_free = 0;
        const struct object *object;
        const struct domain *domain;
        struct sums sums = { 0 };

        for (int state = 0; state < OBJECT_STATES; state++)
                check_list(rig, pool, state);
        for (object = rig->ledger->objects; object; object = object->hh.next)
                if (object->pool == pool)
                        add(&sums, object, leaves_by_itself(object));
        rig_require(rig, sums.bytes == pool_bytes(pool));
        rig_require(rig, sums.buffers == pool_buffers(pool));
        rig_require(rig, sums.leaving_bytes == pool->leaving_bytes);
        rig_require(rig, sums.leaving_buffers == pool->leaving_buffers);
        rig_require(rig, sums.bytes <= pool->config->memory_max);
        rig_require(rig, sums.buffers <= pool->config->buffers_max);
        for (domain = pool->domains; domain; domain = domain->hh.next) {
                uint32_t n = check_domain(rig, domain, free);
                rig_require(rig, (n > 0) == has_turn(pool, domain));
                in_line += n;
        }
        for (uint32_t i = 0; i < pool->config->n_classes; i++) {
                free[i] += check_bin(rig, pool->fresh[i], NULL, i);
                rig_require(rig, free[i] == pool->kept_free[i]);
                all_free += free[i];
        }
        rig_require(rig, all_free == pool->buffers[OBJECT_FREE]);
        check_line(rig, pool, in_line);
}

/* ---- nobody waits in vain --------------------------------------------------------- */

static bool fits(uint64_t used, uint64_t need, uint64_t limit) {
        return used + need <= limit;
}

/*
 * The uid whose turn it is waits for something: with nothing on its way, some limit is in
 * its way even when all that is FREE were given up, and nothing FREE is of its size.
 */
static void check_wait(const struct rig *rig, const struct pool *pool) {
        const struct ledger *ledger = rig->ledger;
        const struct domain *domain = pool->turn;
        uint64_t free_bytes = 0;
        uint32_t free_buffers = 0;

        if (!domain || ledger->leaving_buffers > 0)
                return;
        const struct waiter *waiter = domain->waiters;
        uint64_t need = pool_capacity(pool, waiter->class_index);
        const struct pool_config *config = pool->config;
        if (!fits(domain->bytes, need, config->uid_memory_max) ||
            !fits(domain->buffers, 1, config->uid_buffers_max))
                return;
        rig_require(rig, !domain->free[waiter->class_index]);
        rig_require(rig, !pool->fresh[waiter->class_index]);
        for (size_t i = 0; i < ledger->n_pools; i++) {
                free_bytes += ledger->pools[i].bytes[OBJECT_FREE];
                free_buffers += ledger->pools[i].buffers[OBJECT_FREE];
        }
        rig_require(
                rig,
                !fits(pool_bytes(pool) - pool->bytes[OBJECT_FREE], need, config->memory_max) ||
                        !fits(pool_buffers(pool) - pool->buffers[OBJECT_FREE], 1,
                              config->buffers_max) ||
                        !fits(ledger->bytes - free_bytes, need, rig->config.memory_max) ||
                        !fits(ledger->buffers - free_buffers, 1, rig->config.buffers_max));
}

/* ---- everything ------------------------------------------------------------------- */

static size_t check_tokens(const struct rig *rig) {
        const struct ledger *ledger = rig->ledger;
        const struct token *token;
        uint32_t live = 0, over = 0;

        for (token = ledger->tokens; token; token = token->hh.next) {
                live += token->object != NULL;
                rig_require(rig, (token->object != NULL) == (token->expiry.place > 0));
                rig_require(rig, (token->object != NULL) == (token->fate == TOKEN_LIVE));
                rig_require(rig, (token->object != NULL) == (token->domain != NULL));
                if (token->object)
                        rig_require(rig, token->domain == token->object->domain);
        }
        DL_FOREACH(ledger->tokens_over, token) {
                over++;
                rig_require(rig, !token->object);
        }
        rig_require(rig, live == ledger->n_tokens && over == ledger->n_tokens_over);
        rig_require(rig, over <= TOKENS_OVER_MAX && HASH_COUNT(ledger->tokens) == live + over);
        return live;
}

static void check_deadlines(const struct rig *rig, size_t expected) {
        const struct deadline_queue *queue = &rig->ledger->deadlines;

        rig_require(rig, queue->count == expected);
        for (size_t i = 1; i <= queue->count; i++) {
                rig_require(rig, queue->heap[i]->place == i);
                rig_require(rig, queue->heap[i]->when > rig->ledger->now);
                if (i > 1)
                        rig_require(rig, queue->heap[i / 2]->when <= queue->heap[i]->when);
        }
}

static size_t check_clients(const struct rig *rig) {
        const struct client *client;
        const struct waiter *waiter;
        size_t deadlines = 0;

        for (client = rig->ledger->clients; client; client = client->hh.next) {
                check_client(rig, client);
                DL_FOREACH2(client->waiters, waiter, client_next)
                        deadlines += waiter->deadline.place > 0;
        }
        return deadlines;
}

void rig_check(const struct rig *rig) {
        const struct ledger *ledger = rig->ledger;
        const struct object *object;
        struct sums sums = { 0 };
        size_t deadlines = 1; /* housekeeping */
        bool waiting = false;

        for (object = ledger->objects; object; object = object->hh.next) {
                check_object(rig, object);
                add(&sums, object, leaves_by_itself(object));
                deadlines += object->state == OBJECT_QUARANTINE;
        }
        rig_require(rig, sums.bytes == ledger->bytes && sums.buffers == ledger->buffers);
        rig_require(rig, sums.leaving_bytes == ledger->leaving_bytes);
        rig_require(rig, sums.leaving_buffers == ledger->leaving_buffers);
        rig_require(rig, ledger->bytes <= rig->config.memory_max);
        rig_require(rig, ledger->buffers <= rig->config.buffers_max);
        for (size_t i = 0; i < ledger->n_pools; i++) {
                check_pool(rig, &ledger->pools[i]);
                check_wait(rig, &ledger->pools[i]);
                waiting = waiting || ledger->pools[i].n_waiters > 0;
        }
        rig_require(rig, ledger->wanted == waiting && !ledger->serving);
        deadlines += check_tokens(rig);
        deadlines += check_clients(rig);
        check_deadlines(rig, deadlines);
}
