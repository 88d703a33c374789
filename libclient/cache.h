/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the client keeps mapped for reuse. Which sizes share a class is learnt from grants.
 * All under the client's mutex.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lease.h"
#include "shmbroker-proto.h"

#define DEFAULT_POOL "default" /* of shmc_alloc */

/* Sizes above `floor` and up to `capacity`, in the pool of that number. */
struct size_class {
        uint32_t pool;
        uint64_t floor, capacity;
        struct lease_list idle;   /* last in, first out: the warmest first */
        struct lease_list shared; /* first in, first out: the likeliest to be back first */
};

struct pool_name {
        uint32_t number;
        char name[SHMB_NAME_MAX + 1];
};

struct cache {
        uint64_t limit, bytes, buffers;
        struct lease_list by_age;    /* all that is cached, the latest first */
        struct lease_list warm;      /* readers' leases */
        struct size_class **classes; /* by pool, then capacity */
        struct pool_name *pools;
        size_t n_classes, n_pools;
        size_t class_hint, pool_hint; /* where the last search ended */
        bool knows_default;           /* of the most used pool: found without its name */
        uint32_t default_number;
};

void cache_init(struct cache *cache);
void cache_deinit(struct cache *cache);

/* The class of a grant, or NULL: out of memory. */
struct size_class *cache_class(struct cache *cache, const struct shmb_grant *grant);

/* Remembers which pool goes by that name; failing to only costs cache hits. */
void cache_learn_pool(struct cache *cache, const char *name, uint32_t number);

/*
 * A lease for `size` bytes of the pool (NULL: the default one), HELD again and out of the
 * cache, or NULL. What turns out to have been taken back by the broker is retired.
 */
struct lease *cache_take(struct shmc_client *client, const char *pool, size_t size,
                         struct lease_list *retired);

/*
 * Keeps a lease in use in a new place (IDLE, SHARED or WARM). What then passes the limit,
 * oldest first, is retired.
 */
void cache_put(struct shmc_client *client, struct lease *lease, enum lease_place place,
               struct lease_list *retired);

/* Takes a cached lease out. */
void cache_remove(struct shmc_client *client, struct lease *lease);

/* Retires the oldest; false if nothing may go. */
bool cache_evict(struct shmc_client *client, struct lease_list *retired);

/* Retires the oldest until no more than `bytes` are left. */
void cache_shrink(struct shmc_client *client, uint64_t bytes, struct lease_list *retired);

/* Retires what only a living broker could make usable again. */
void cache_drop_stranded(struct shmc_client *client, struct lease_list *retired);
