/* SPDX-License-Identifier: Apache-2.0 */
/* Making room: first what is FREE, then what lies unused in clients' caches. */
#include <inttypes.h>

#include "internal.h"

/* How much of a limit is missing for one more; `soon` is what leaves by itself. */
struct gap {
        bool now, soon; /* fits now; fits once `leaving` has left */
};

static struct gap gap_of(uint64_t used, uint64_t leaving, uint64_t need, uint64_t limit) {
        return (struct gap){
                .now = used <= limit && need <= limit - used,
                .soon = used - leaving <= limit && need <= limit - (used - leaving),
        };
}

bool object_is_cached(const struct object *object) {
        return object->readers == 0 && object->tokens == 0 && lease_is_idle(object->writer);
}

static bool take_cached(struct object *object) {
        struct lease *writer = object->writer;

        if (!object_is_cached(object) ||
            !shmb_word_swap(lease_word(writer), SHMB_WORD_IDLE, 0, SHMB_WORD_TAKEN))
                return false;
        object->pool->count.taken++;
        lease_take(writer);
        object_retire(object);
        return true;
}

/* Retires one cached lease of the pool, the longest leased first; of one domain, or of any. */
static bool take_one_cached(struct pool *pool, const struct domain *domain) {
        struct object *object, *next;

        DL_FOREACH_SAFE(pool->lists[OBJECT_LEASED], object, next)
                if ((!domain || object->domain == domain) && take_cached(object))
                        return true;
        return false;
}

static bool retire_one_free(struct pool *pool) {
        struct object *oldest = pool->lists[OBJECT_FREE];

        if (!oldest)
                return false;
        object_retire(oldest);
        return true;
}

/* Would retiring everything unused be enough? Else nothing is given up for nothing. */
static uint64_t evictable(struct pool *pool, bool buffers) {
        struct object *object;
        uint64_t sum = buffers ? pool->buffers[OBJECT_FREE] : pool->bytes[OBJECT_FREE];

        DL_FOREACH(pool->lists[OBJECT_LEASED], object)
                if (object_is_cached(object))
                        sum += buffers ? 1 : object_capacity(object);
        return sum;
}

static uint64_t evictable_anywhere(struct ledger *ledger, bool buffers) {
        uint64_t sum = 0;

        for (size_t i = 0; i < ledger->n_pools; i++)
                sum += evictable(&ledger->pools[i], buffers);
        return sum;
}

static bool evict_one(struct pool *pool) {
        return retire_one_free(pool) || take_one_cached(pool, NULL);
}

static bool evict_one_anywhere(struct ledger *ledger, struct pool *first) {
        if (retire_one_free(first))
                return true;
        for (size_t i = 0; i < ledger->n_pools; i++)
                if (retire_one_free(&ledger->pools[i]))
                        return true;
        if (take_one_cached(first, NULL))
                return true;
        for (size_t i = 0; i < ledger->n_pools; i++)
                if (take_one_cached(&ledger->pools[i], NULL))
                        return true;
        return false;
}

enum limit {
        LIMIT_POOL_BYTES,
        LIMIT_POOL_BUFFERS,
        LIMIT_BROKER_BYTES,
        LIMIT_BROKER_BUFFERS,
        LIMITS,
};

struct usage {
        uint64_t used, leaving, need, limit;
};

static struct usage usage_of(struct pool *pool, enum limit limit, uint64_t capacity) {
        struct ledger *ledger = pool->ledger;

        switch (limit) {
        case LIMIT_POOL_BYTES:
                return (struct usage){ pool_bytes(pool), pool_leaving_bytes(pool), capacity,
                                       pool->config->memory_max };
        case LIMIT_POOL_BUFFERS:
                return (struct usage){ pool_buffers(pool), pool_leaving_buffers(pool), 1,
                                       pool->config->buffers_max };
        case LIMIT_BROKER_BYTES:
                return (struct usage){ ledger->bytes, ledger->leaving_bytes, capacity,
                                       ledger->config->memory_max };
        default:
                return (struct usage){ ledger->buffers, ledger->leaving_buffers, 1,
                                       ledger->config->buffers_max };
        }
}

static void refusal_for(struct refusal *refusal, const struct pool *pool, enum limit limit,
                        const struct usage *u) {
        static const struct {
                enum shmb_status status;
                const char *key, *unit;
                bool of_pool;
        } names[LIMITS] = {
                { SHMB_STATUS_POOL_BYTES, "MemoryMax", "bytes", true },
                { SHMB_STATUS_POOL_BUFFERS, "BuffersMax", "buffers", true },
                { SHMB_STATUS_BROKER_BYTES, "MemoryMax", "bytes", false },
                { SHMB_STATUS_BROKER_BUFFERS, "BuffersMax", "buffers", false },
        };

        refusal_set(refusal, names[limit].status, u->limit, u->used,
                    "%s%s%s: %" PRIu64 " more %s asked for, %" PRIu64 " in use, %s=%" PRIu64,
                    names[limit].of_pool ? "pool \"" : "all pools",
                    names[limit].of_pool ? pool->config->name : "",
                    names[limit].of_pool ? "\"" : " together", u->need, names[limit].unit,
                    u->used, names[limit].key, u->limit);
}

static enum room room_under(struct pool *pool, enum limit limit, uint64_t capacity,
                            struct refusal *ret_refusal) {
        bool anywhere = limit == LIMIT_BROKER_BYTES || limit == LIMIT_BROKER_BUFFERS;
        bool buffers = limit == LIMIT_POOL_BUFFERS || limit == LIMIT_BROKER_BUFFERS;
        bool asked = false;

        for (;;) {
                struct usage u = usage_of(pool, limit, capacity);
                struct gap gap = gap_of(u.used, u.leaving, u.need, u.limit);

                if (gap.now)
                        return ROOM_NOW;
                if (gap.soon)
                        return ROOM_SOON;
                if (!asked) {
                        uint64_t more = anywhere ? evictable_anywhere(pool->ledger, buffers)
                                                 : evictable(pool, buffers);
                        asked = gap_of(u.used, u.leaving + more, u.need, u.limit).soon;
                }
                if (!asked ||
                    !(anywhere ? evict_one_anywhere(pool->ledger, pool) : evict_one(pool))) {
                        refusal_for(ret_refusal, pool, limit, &u);
                        return ROOM_NONE;
                }
        }
}

enum room reclaim_room(struct pool *pool, uint64_t capacity, struct refusal *ret_refusal) {
        enum room all = ROOM_NOW;

        for (enum limit limit = 0; limit < LIMITS; limit++) {
                enum room room = room_under(pool, limit, capacity, ret_refusal);
                if (room == ROOM_NONE)
                        return ROOM_NONE;
                if (room == ROOM_SOON)
                        all = ROOM_SOON;
        }
        return all;
}

enum room reclaim_uid_room(struct domain *domain, uint64_t capacity,
                           struct refusal *ret_refusal) {
        const struct pool_config *config = domain->pool->config;

        for (;;) {
                bool bytes_fit = gap_of(domain->bytes, 0, capacity, config->uid_memory_max).now;
                bool buffers_fit = gap_of(domain->buffers, 0, 1, config->uid_buffers_max).now;

                if (bytes_fit && buffers_fit)
                        return ROOM_NOW;
                /* A taken lease is off the uid's account at once. */
                if (take_one_cached(domain->pool, domain))
                        continue;
                if (!bytes_fit)
                        refusal_set(ret_refusal, SHMB_STATUS_UID_BYTES, config->uid_memory_max,
                                    domain->bytes,
                                    "uid %u has %" PRIu64 " bytes of pool \"%s\", asks for "
                                    "%" PRIu64 " more, UidMemoryMax=%" PRIu64,
                                    domain->uid, domain->bytes, config->name, capacity,
                                    config->uid_memory_max);
                else
                        refusal_set(ret_refusal, SHMB_STATUS_UID_BUFFERS,
                                    config->uid_buffers_max, domain->buffers,
                                    "uid %u has %" PRIu32 " buffers of pool \"%s\", "
                                    "UidBuffersMax=%" PRIu32,
                                    domain->uid, domain->buffers, config->name,
                                    config->uid_buffers_max);
                return ROOM_NONE;
        }
}

bool reclaim_bytes(struct ledger *ledger, uint64_t bytes) {
        uint64_t before = ledger->leaving_bytes;

        while (ledger->leaving_bytes - before < bytes &&
               evict_one_anywhere(ledger, &ledger->pools[0]))
                ;
        return ledger->leaving_bytes > before;
}

/* A cached lease that had the same count of uses at the last look, too, is taken back. */
static void look_at_cached(struct object *object) {
        struct lease *writer = object->writer;

        if (!object_is_cached(object)) {
                if (writer)
                        writer->seen_idle = false;
                return;
        }
        uint32_t uses = shmb_word_uses(shmb_word_load(lease_word(writer)));
        uint64_t idle_ns = object->pool->ledger->config->cache_idle_ns;
        if (!writer->seen_idle || writer->seen_uses != uses) {
                writer->seen_idle = true;
                writer->seen_uses = uses;
                writer->since = object->pool->ledger->now;
        } else if (object->pool->ledger->now - writer->since >= idle_ns) {
                take_cached(object);
        }
}

static void retire_old_free(struct pool *pool) {
        struct object *object, *next;

        DL_FOREACH_SAFE(pool->lists[OBJECT_FREE], object, next) {
                if (pool->ledger->now - object->since < pool->config->free_idle_ns)
                        break; /* oldest first */
                if (pool->kept_free[object->class_index] > pool->prealloc[object->class_index])
                        object_retire(object);
        }
}

void reclaim_unused(struct ledger *ledger) {
        for (size_t i = 0; i < ledger->n_pools; i++) {
                struct pool *pool = &ledger->pools[i];
                struct object *object, *next;

                DL_FOREACH_SAFE(pool->lists[OBJECT_LEASED], object, next)
                        look_at_cached(object);
                retire_old_free(pool);
        }
}

uint64_t ledger_trim(struct ledger *ledger) {
        uint64_t before = ledger->leaving_bytes;

        for (size_t i = 0; i < ledger->n_pools; i++)
                while (evict_one(&ledger->pools[i]))
                        ;
        return ledger->leaving_bytes - before;
}
