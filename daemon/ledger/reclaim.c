/* SPDX-License-Identifier: Apache-2.0 */
/* Making room: first what is FREE, then what lies unused in clients' caches. */
#include <inttypes.h>

#include "internal.h"

/* One limit, and one more object's need under it: in bytes or in buffers. */
struct usage {
        uint64_t used, leaving, need, limit;
};

/* How much more than `going` must go before `need` fits; 0: it fits. */
static uint64_t missing(const struct usage *u, uint64_t going) {
        uint64_t left = u->used - going;

        if (u->need > u->limit)
                return UINT64_MAX; /* never */
        return left > u->limit - u->need ? left - (u->limit - u->need) : 0;
}

bool object_is_cached(const struct object *object) {
        /* Who has a raw descriptor may be using it still. */
        return object->readers == 0 && object->tokens == 0 && !object->escaped &&
               lease_is_idle(object->writer);
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

/* ---- retiring what nobody uses ---- */

/*
 * Whose: one pool's; with `domain`, of these only that one's cached leases, for what is FREE
 * does not count against it; or every pool's, beginning with that one.
 */
struct scope {
        struct pool *pool;
        struct domain *domain;
        bool anywhere;
        bool buffers; /* counted in buffers, else in bytes */
};

static size_t scope_pools(const struct scope *scope) {
        return scope->anywhere ? scope->pool->ledger->n_pools : 1;
}

static struct pool *scope_pool(const struct scope *scope, size_t i) {
        struct ledger *ledger = scope->pool->ledger;

        return &ledger->pools[(scope->pool->index + i) % ledger->n_pools];
}

static uint64_t weight(const struct scope *scope, const struct object *object) {
        return scope->buffers ? 1 : object_capacity(object);
}

static struct object *first_leased(const struct scope *scope, struct pool *pool) {
        return scope->domain ? scope->domain->leased : pool->lists[OBJECT_LEASED];
}

static struct object *next_leased(const struct scope *scope, const struct object *object) {
        return scope->domain ? object->bin_next : object->next;
}

/* Looks at every word; what is found is remembered. */
static void look(const struct scope *scope, struct pool *pool, struct idle_most *ret_most) {
        struct object *object = first_leased(scope, pool);

        *ret_most = (struct idle_most){ .look = pool->ledger->look };
        for (; object; object = next_leased(scope, object))
                if (object_is_cached(object)) {
                        ret_most->bytes += object_capacity(object);
                        ret_most->buffers++;
                }
}

/*
 * How much there is to retire: by what is remembered, if that holds, and then it may be less.
 * *ret_sure says whether it was looked at just now.
 */
static uint64_t evictable(const struct scope *scope, bool anew, bool *ret_sure) {
        const struct ledger *ledger = scope->pool->ledger;
        uint64_t sum = 0;

        *ret_sure = true;
        for (size_t i = 0; i < scope_pools(scope); i++) {
                struct pool *pool = scope_pool(scope, i);
                struct idle_most *most = scope->domain ? &scope->domain->idle : &pool->idle;
                bool remembered = !anew && ledger->wanted && most->look == ledger->look;
                if (!remembered)
                        look(scope, pool, most);
                *ret_sure = *ret_sure && !remembered;
                sum += scope->buffers ? most->buffers : most->bytes;
                if (!scope->domain)
                        sum += scope->buffers ? pool->buffers[OBJECT_FREE]
                                              : pool->bytes[OBJECT_FREE];
        }
        return sum;
}

void reclaim_note_idle(struct object *object) {
        struct idle_most *both[] = { &object->pool->idle, &object->domain->idle };

        for (size_t i = 0; i < sizeof(both) / sizeof(*both); i++) {
                both[i]->bytes += object_capacity(object);
                both[i]->buffers++;
        }
}

/* The longest free first. */
static uint64_t retire_free(const struct scope *scope, struct pool *pool, uint64_t wanted) {
        uint64_t got = 0;

        while (got < wanted && pool->lists[OBJECT_FREE]) {
                struct object *oldest = pool->lists[OBJECT_FREE];
                got += weight(scope, oldest);
                object_retire(oldest);
        }
        return got;
}

/* The longest leased first. */
static uint64_t retire_cached(const struct scope *scope, struct pool *pool, uint64_t wanted) {
        struct object *object, *next;
        uint64_t got = 0;

        for (object = first_leased(scope, pool); object && got < wanted; object = next) {
                uint64_t gain = weight(scope, object);
                next = next_leased(scope, object);
                if (take_cached(object))
                        got += gain;
        }
        return got;
}

/* Until `wanted` is on its way; how much it got. What is FREE goes before what is cached. */
static uint64_t evict(const struct scope *scope, uint64_t wanted) {
        uint64_t got = 0;

        for (size_t i = 0; i < scope_pools(scope) && got < wanted && !scope->domain; i++)
                got += retire_free(scope, scope_pool(scope, i), wanted - got);
        for (size_t i = 0; i < scope_pools(scope) && got < wanted; i++)
                got += retire_cached(scope, scope_pool(scope, i), wanted - got);
        return got;
}

/* All or nothing: nobody's cache is given up in vain. */
static enum room make_room(const struct scope *scope, const struct usage *u) {
        if (missing(u, 0) == 0)
                return ROOM_NOW;
        uint64_t more = missing(u, u->leaving);
        if (more == 0)
                return ROOM_SOON;
        bool sure = false;
        uint64_t there = evictable(scope, false, &sure);
        if (there >= more && !sure)
                there = evictable(scope, true, &sure);
        return there >= more && evict(scope, more) >= more ? ROOM_SOON : ROOM_NONE;
}

/* ---- the limits of pools and broker ---- */

enum limit {
        LIMIT_POOL_BYTES,
        LIMIT_POOL_BUFFERS,
        LIMIT_BROKER_BYTES,
        LIMIT_BROKER_BUFFERS,
        LIMITS,
};

static struct usage usage_of(struct pool *pool, enum limit limit, uint64_t capacity) {
        struct ledger *ledger = pool->ledger;

        switch (limit) {
        case LIMIT_POOL_BYTES:
                return (struct usage){ pool_bytes(pool), pool->leaving_bytes, capacity,
                                       pool->config->memory_max };
        case LIMIT_POOL_BUFFERS:
                return (struct usage){ pool_buffers(pool), pool->leaving_buffers, 1,
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
        const struct scope scope = {
                .pool = pool,
                .anywhere = limit == LIMIT_BROKER_BYTES || limit == LIMIT_BROKER_BUFFERS,
                .buffers = limit == LIMIT_POOL_BUFFERS || limit == LIMIT_BROKER_BUFFERS,
        };
        struct usage u = usage_of(pool, limit, capacity);
        enum room room = make_room(&scope, &u);

        if (room == ROOM_NONE)
                refusal_for(ret_refusal, pool, limit, &u);
        return room;
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

/* ---- the limits of one uid ---- */

static struct usage uid_usage_of(const struct domain *domain, bool buffers, uint64_t capacity) {
        const struct pool_config *config = domain->pool->config;

        if (buffers)
                return (struct usage){ domain->buffers, domain->leaving_buffers, 1,
                                       config->uid_buffers_max };
        return (struct usage){ domain->bytes, domain->leaving_bytes, capacity,
                               config->uid_memory_max };
}

static void uid_refusal(struct refusal *refusal, const struct domain *domain, bool buffers,
                        const struct usage *u) {
        refusal_set(refusal, buffers ? SHMB_STATUS_UID_BUFFERS : SHMB_STATUS_UID_BYTES,
                    u->limit, u->used,
                    "uid %u in pool \"%s\": %" PRIu64 " more %s asked for, %" PRIu64
                    " in use, %s=%" PRIu64,
                    domain->uid, domain->pool->config->name, u->need,
                    buffers ? "buffers" : "bytes", u->used,
                    buffers ? "UidBuffersMax" : "UidMemoryMax", u->limit);
}

static enum room uid_room_under(struct domain *domain, bool buffers, uint64_t capacity,
                                struct refusal *ret_refusal) {
        const struct scope scope = { .pool = domain->pool,
                                     .domain = domain,
                                     .buffers = buffers };
        struct usage u = uid_usage_of(domain, buffers, capacity);
        enum room room = make_room(&scope, &u);

        if (room == ROOM_NONE)
                uid_refusal(ret_refusal, domain, buffers, &u);
        if (room != ROOM_SOON)
                return room;
        /* What was taken from its caches is off the uid's account at once. */
        u = uid_usage_of(domain, buffers, capacity);
        return missing(&u, 0) == 0 ? ROOM_NOW : ROOM_SOON;
}

enum room reclaim_uid_room(struct domain *domain, uint64_t capacity,
                           struct refusal *ret_refusal) {
        const struct pool_config *config = domain->pool->config;
        enum room bytes = ROOM_NOW, buffers = ROOM_NOW;

        /* A limit no lower than the pool's own was not meant for the uid: the pool's tells. */
        if (config->uid_memory_max < config->memory_max)
                bytes = uid_room_under(domain, false, capacity, ret_refusal);
        if (bytes != ROOM_NONE && config->uid_buffers_max < config->buffers_max)
                buffers = uid_room_under(domain, true, capacity, ret_refusal);
        return bytes == ROOM_NONE || buffers == ROOM_NOW ? bytes : buffers;
}

bool reclaim_never(const struct pool *pool, uint64_t capacity, struct refusal *ret_refusal) {
        const struct pool_config *config = pool->config;
        uint64_t most = pool->ledger->config->memory_max;
        enum shmb_status status = SHMB_STATUS_BROKER_BYTES;

        if (config->memory_max < most) {
                most = config->memory_max;
                status = SHMB_STATUS_POOL_BYTES;
        }
        if (config->uid_memory_max < most) {
                most = config->uid_memory_max;
                status = SHMB_STATUS_UID_BYTES;
        }
        if (capacity <= most)
                return false;
        refusal_set(ret_refusal, status, most, 0,
                    "%" PRIu64 " bytes are more than anyone may ever have: %s=%" PRIu64,
                    capacity, status == SHMB_STATUS_UID_BYTES ? "UidMemoryMax" : "MemoryMax",
                    most);
        return true;
}

/* ---- without a request ---- */

bool reclaim_bytes(struct ledger *ledger, uint64_t bytes) {
        const struct scope everything = { .pool = &ledger->pools[0], .anywhere = true };

        return evict(&everything, bytes) > 0;
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
        if (ledger->wanted) {
                /* Not every client heeds that somebody waits. */
                ledger->look++;
                ledger_serve(ledger);
        }
}

uint64_t ledger_trim(struct ledger *ledger) {
        const struct scope everything = { .pool = &ledger->pools[0], .anywhere = true };

        return evict(&everything, UINT64_MAX);
}
