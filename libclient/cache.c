/* SPDX-License-Identifier: Apache-2.0 */
#include "cache.h"

#include <stdlib.h>
#include <string.h>

#include "client.h"

/* So many words of SHARED leases one allocation looks at, in turn. */
enum { SHARED_LOOKS = 8 };

void cache_init(struct cache *cache) {
        *cache = (struct cache){ 0 };
        TAILQ_INIT(&cache->by_age);
        TAILQ_INIT(&cache->warm);
}

void cache_deinit(struct cache *cache) {
        for (size_t i = 0; i < cache->n_classes; i++)
                free(cache->classes[i]);
        free(cache->classes);
        free(cache->pools);
        cache_init(cache);
}

/* ---- classes --------------------------------------------------------------------------- */

static bool class_covers(const struct size_class *class, uint32_t pool, uint64_t size) {
        return class->pool == pool && size > class->floor && size <= class->capacity;
}

/* The first class that is not below that pool and capacity. */
static size_t class_search(const struct cache *cache, uint32_t pool, uint64_t capacity) {
        size_t low = 0, high = cache->n_classes;

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                const struct size_class *class = cache->classes[middle];
                if (class->pool < pool || (class->pool == pool && class->capacity < capacity))
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static struct size_class *class_find(struct cache *cache, uint32_t pool, uint64_t size) {
        size_t i = cache->class_hint;

        if (i < cache->n_classes && class_covers(cache->classes[i], pool, size))
                return cache->classes[i];
        i = class_search(cache, pool, size);
        if (i == cache->n_classes || !class_covers(cache->classes[i], pool, size))
                return NULL;
        cache->class_hint = i;
        return cache->classes[i];
}

static struct size_class *class_insert(struct cache *cache, size_t at,
                                       const struct shmb_grant *grant) {
        struct size_class *class = calloc(1, sizeof(*class));
        struct size_class **classes = class ? reallocarray(cache->classes, cache->n_classes + 1,
                                                           sizeof(*classes))
                                            : NULL;

        if (!classes) {
                free(class);
                return NULL;
        }
        class->pool = grant->pool;
        class->floor = grant->class_floor;
        class->capacity = grant->capacity;
        TAILQ_INIT(&class->idle);
        TAILQ_INIT(&class->shared);
        memmove(&classes[at + 1], &classes[at], (cache->n_classes - at) * sizeof(*classes));
        classes[at] = class;
        cache->classes = classes;
        cache->n_classes++;
        return class;
}

struct size_class *cache_class(struct cache *cache, const struct shmb_grant *grant) {
        size_t at = class_search(cache, grant->pool, grant->capacity);

        if (at < cache->n_classes && cache->classes[at]->pool == grant->pool &&
            cache->classes[at]->capacity == grant->capacity) {
                cache->classes[at]->floor = grant->class_floor;
                return cache->classes[at];
        }
        return class_insert(cache, at, grant);
}

/* ---- pools ----------------------------------------------------------------------------- */

static struct pool_name *pool_find(struct cache *cache, const char *name) {
        if (cache->pool_hint < cache->n_pools &&
            strcmp(cache->pools[cache->pool_hint].name, name) == 0)
                return &cache->pools[cache->pool_hint];
        for (size_t i = 0; i < cache->n_pools; i++)
                if (strcmp(cache->pools[i].name, name) == 0) {
                        cache->pool_hint = i;
                        return &cache->pools[i];
                }
        return NULL;
}

void cache_learn_pool(struct cache *cache, const char *name, uint32_t number) {
        struct pool_name *pool = pool_find(cache, name);

        if (!pool) {
                struct pool_name *pools = reallocarray(cache->pools, cache->n_pools + 1,
                                                       sizeof(*pools));
                if (!pools)
                        return;
                cache->pools = pools;
                pool = &pools[cache->n_pools++];
                *pool = (struct pool_name){ 0 };
                strncpy(pool->name, name, sizeof(pool->name) - 1);
        }
        pool->number = number;
        if (strcmp(name, DEFAULT_POOL) == 0) {
                cache->knows_default = true;
                cache->default_number = number;
        }
}

static bool pool_number(struct cache *cache, const char *name, uint32_t *ret_number) {
        const struct pool_name *pool;

        if (!name) {
                *ret_number = cache->default_number;
                return cache->knows_default;
        }
        pool = pool_find(cache, name);
        if (pool)
                *ret_number = pool->number;
        return pool;
}

/* ---- in and out ------------------------------------------------------------------------ */

static struct lease_list *list_of(struct cache *cache, struct lease *lease) {
        if (lease->place == PLACE_WARM)
                return &cache->warm;
        return lease->place == PLACE_IDLE ? &lease->class->idle : &lease->class->shared;
}

void cache_put(struct shmc_client *client, struct lease *lease, enum lease_place place,
               struct lease_list *retired) {
        struct cache *cache = &client->cache;

        lease->place = (uint8_t)place;
        if (place == PLACE_IDLE)
                TAILQ_INSERT_HEAD(list_of(cache, lease), lease, link);
        else
                TAILQ_INSERT_TAIL(list_of(cache, lease), lease, link);
        TAILQ_INSERT_HEAD(&cache->by_age, lease, by_age);
        cache->bytes += lease->capacity;
        cache->buffers++;
        if (cache->bytes > cache->limit)
                cache_shrink(client, cache->limit, retired);
}

void cache_remove(struct shmc_client *client, struct lease *lease) {
        struct cache *cache = &client->cache;

        TAILQ_REMOVE(list_of(cache, lease), lease, link);
        TAILQ_REMOVE(&cache->by_age, lease, by_age);
        cache->bytes -= lease->capacity;
        cache->buffers--;
}

/* What the broker took back before any message told of it. */
static void found_taken(struct shmc_client *client, struct lease *lease,
                        struct lease_list *retired) {
        client->stats.taken++;
        lease_retire(lease, retired);
}

static bool take(struct shmc_client *client, struct lease *lease, struct lease_list *retired) {
        if (!shmb_word_swap(lease->word, SHMB_WORD_IDLE, 1, SHMB_WORD_HELD)) {
                found_taken(client, lease, retired);
                return false;
        }
        cache_remove(client, lease);
        lease->place = PLACE_USED;
        return true;
}

static struct lease *take_shared(struct shmc_client *client, struct size_class *class,
                                 struct lease_list *retired) {
        for (int looks = 0; looks < SHARED_LOOKS; looks++) {
                struct lease *lease = TAILQ_FIRST(&class->shared);

                if (!lease)
                        return NULL;
                if (shmb_word_state_of(shmb_word_load(lease->word)) != SHMB_WORD_SHARED) {
                        if (take(client, lease, retired))
                                return lease;
                        continue;
                }
                /* Behind the others, so that every one is looked at in its turn. */
                TAILQ_REMOVE(&class->shared, lease, link);
                TAILQ_INSERT_TAIL(&class->shared, lease, link);
        }
        return NULL;
}

struct lease *cache_take(struct shmc_client *client, const char *pool, size_t size,
                         struct lease_list *retired) {
        struct size_class *class = NULL;
        struct lease *lease;
        uint32_t number;

        if (pool_number(&client->cache, pool, &number))
                class = class_find(&client->cache, number, size);
        if (!class)
                return NULL;
        while ((lease = TAILQ_FIRST(&class->idle)))
                if (take(client, lease, retired))
                        return lease;
        return take_shared(client, class, retired);
}

/* ---- the limit ------------------------------------------------------------------------- */

bool cache_evict(struct shmc_client *client, struct lease_list *retired) {
        struct lease *lease;

        TAILQ_FOREACH_REVERSE(lease, &client->cache.by_age, lease_list, by_age) {
                /* An answer under way may count on a reader's mapping. */
                if (lease->place == PLACE_WARM && client->imports > 0)
                        continue;
                lease_retire(lease, retired);
                return true;
        }
        return false;
}

void cache_shrink(struct shmc_client *client, uint64_t bytes, struct lease_list *retired) {
        while (client->cache.bytes > bytes)
                if (!cache_evict(client, retired))
                        return;
}

void cache_drop_stranded(struct shmc_client *client, struct lease_list *retired) {
        struct lease *lease = TAILQ_FIRST(&client->cache.by_age);

        while (lease) {
                struct lease *next = TAILQ_NEXT(lease, by_age);
                if (lease->place != PLACE_IDLE)
                        lease_retire(lease, retired);
                lease = next;
        }
}
