/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger.h"

#include <errno.h>
#include <stdlib.h>

#include "internal.h"

#define HOUSEKEEPING_MIN_NS 50000000u
#define HOUSEKEEPING_MAX_NS 10000000000u

/* Often enough that nothing unused stays a quarter longer than configured. */
static uint64_t housekeeping_period(const struct ledger *ledger) {
        uint64_t shortest = ledger->config->cache_idle_ns;

        for (size_t i = 0; i < ledger->n_pools; i++)
                if (ledger->pools[i].config->free_idle_ns < shortest)
                        shortest = ledger->pools[i].config->free_idle_ns;
        shortest /= 4;
        if (shortest < HOUSEKEEPING_MIN_NS)
                return HOUSEKEEPING_MIN_NS;
        return shortest < HOUSEKEEPING_MAX_NS ? shortest : HOUSEKEEPING_MAX_NS;
}

static void preallocate(struct pool *pool) {
        struct ledger *ledger = pool->ledger;

        for (uint32_t i = 0; i < pool->config->n_classes; i++)
                for (uint32_t n = 0; n < pool->prealloc[i]; n++) {
                        struct object *object = object_new(pool, i, NULL);
                        if (!object)
                                return;
                        ledger->ops->work(ledger->userdata, object, WORK_MAKE);
                }
}

int ledger_new(struct ledger **ret_ledger, const struct config *config,
               const struct ledger_ops *ops, void *userdata, uint64_t now) {
        struct ledger *ledger = calloc(1, sizeof(*ledger));

        if (!ledger)
                return -ENOMEM;
        ledger->ops = ops;
        ledger->userdata = userdata;
        ledger->config = config;
        ledger->now = now;
        ledger->housekeeping.kind = DEADLINE_HOUSEKEEPING;
        ledger->pools = calloc(config->n_pools, sizeof(*ledger->pools));
        if (!ledger->pools)
                goto no_memory;
        for (; ledger->n_pools < config->n_pools; ledger->n_pools++) {
                uint32_t i = (uint32_t)ledger->n_pools;
                if (pool_init(&ledger->pools[i], ledger, &config->pools[i], i) < 0) {
                        ledger->n_pools++; /* half-built, but to be freed */
                        goto no_memory;
                }
        }
        if (deadline_set(&ledger->deadlines, &ledger->housekeeping,
                         now + housekeeping_period(ledger)) < 0)
                goto no_memory;
        for (size_t i = 0; i < ledger->n_pools; i++)
                preallocate(&ledger->pools[i]);
        *ret_ledger = ledger;
        return 0;

no_memory:
        ledger_free(ledger);
        return -ENOMEM;
}

struct ledger *ledger_free(struct ledger *ledger) {
        if (!ledger)
                return NULL;
        struct client *client, *next_client;
        struct object *object, *next_object;

        HASH_ITER(hh, ledger->clients, client, next_client) {
                while (client->waiters)
                        waiter_free(client->waiters);
                for (uint32_t slot = 1; slot < client->slots_room; slot++)
                        if (client->slots[slot])
                                lease_end(client->slots[slot]);
                HASH_DELETE(hh, ledger->clients, client);
                free(client->slots);
                free(client);
        }
        tokens_deinit(ledger);
        HASH_ITER(hh, ledger->objects, object, next_object)
                object_free(object);
        for (size_t i = 0; i < ledger->n_pools; i++)
                pool_deinit(&ledger->pools[i]);
        deadline_queue_deinit(&ledger->deadlines);
        free(ledger->pools);
        free(ledger);
        return NULL;
}

void ledger_advance(struct ledger *ledger, uint64_t now) {
        struct deadline *due;

        ledger->now = now;
        while ((due = deadline_first(&ledger->deadlines)) && due->when <= now) {
                deadline_clear(&ledger->deadlines, due);
                switch ((enum deadline_kind)due->kind) {
                case DEADLINE_WAITER:
                        waiter_timed_out(container_of(due, struct waiter, deadline));
                        break;
                case DEADLINE_TOKEN:
                        token_expired(container_of(due, struct token, expiry));
                        break;
                case DEADLINE_RETRY:
                        object_retry_due(container_of(due, struct object, retry));
                        break;
                case DEADLINE_HOUSEKEEPING:
                        reclaim_unused(ledger);
                        /* Cannot fail: its place in the heap was just given up. */
                        (void)deadline_set(&ledger->deadlines, due,
                                           now + housekeeping_period(ledger));
                        break;
                }
        }
}

uint64_t ledger_next_deadline(const struct ledger *ledger) {
        const struct deadline *first = deadline_first(&ledger->deadlines);

        return first ? first->when : DEADLINE_NEVER;
}
