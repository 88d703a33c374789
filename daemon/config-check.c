/* SPDX-License-Identifier: Apache-2.0 */
#include "config-check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "config-host.h"
#include "config-keys.h"
#include "config-value.h"
#include "memfd.h"

#define GIVEN(config, field) config_given((config), offsetof(struct config, field))
#define POOL_GIVEN(pool, field) pool_config_given((pool), offsetof(struct pool_config, field))

/* One end of a rule: a setting, as the error will name it. */
struct side {
        const struct pool_config *pool; /* NULL: [Broker] */
        const char *name;
        uint64_t value;
        bool given;
        bool bytes;
        struct config_place place;
};

static struct config_place place_of(enum config_section section, const void *data,
                                    const char *name) {
        return *config_key_place(config_key_find(section, name), (void *)data);
}

/* "shmbrokerd.conf:12: ", or nothing for what no file gave. */
static void format_place(const struct config_place *place, char *text, size_t size) {
        text[0] = '\0';
        if (place->file)
                snprintf(text, size, "%s:%d: ", place->file, place->line);
}

#define BROKER_SIDE(config, field, key, bytes)                                                 \
        ((struct side){ NULL, (key), (config)->field, GIVEN(config, field), (bytes),           \
                        place_of(CONFIG_BROKER, (config), (key)) })
#define POOL_SIDE(pool, field, key, bytes)                                                     \
        ((struct side){ (pool), (key), (pool)->field, POOL_GIVEN(pool, field), (bytes),        \
                        place_of(CONFIG_POOL, (pool), (key)) })

static void describe(const struct side *side, char *text, size_t size) {
        char number[CONFIG_TEXT_SIZE];

        if (side->bytes)
                config_format_size(side->value, number);
        else
                snprintf(number, sizeof number, "%" PRIu64, side->value);
        snprintf(text, size, "[%s%s] %s=%s", side->pool ? "Pool " : "Broker",
                 side->pool ? side->pool->name : "", side->name, number);
}

/* "[Pool a] SizeMax=2G: more than [Pool a] MemoryMax=1G" */
static int contradiction(const struct side *this, const char *relation,
                         const struct side *other, char *error) {
        char a[160], b[160], where[CONFIG_ERROR_SIZE / 4];

        describe(this, a, sizeof a);
        describe(other, b, sizeof b);
        format_place(this->place.file ? &this->place : &other->place, where, sizeof where);
        snprintf(error, CONFIG_ERROR_SIZE, "%s%s: %s %s%s", where, a, relation, b,
                 other->given ? "" : " (its default)");
        return -EINVAL;
}

/* `key` is at fault. */
static int refuse_pool(const struct pool_config *pool, const char *key, char *error,
                       const char *format, ...) __attribute__((format(printf, 4, 5)));
static int refuse_pool(const struct pool_config *pool, const char *key, char *error,
                       const char *format, ...) {
        struct config_place place = place_of(CONFIG_POOL, pool, key);
        char text[CONFIG_ERROR_SIZE / 2], where[CONFIG_ERROR_SIZE / 4];
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        format_place(&place, where, sizeof where);
        snprintf(error, CONFIG_ERROR_SIZE, "%s[Pool %s] %s=%s", where, pool->name, key, text);
        return -EINVAL;
}

/*
 * `lower` may not be more than `upper`: a contradiction if both were given; else the lower
 * one is what the upper allows.
 */
static int cap(const struct side *lower, const struct side *upper, uint64_t *ret_value,
               char *error) {
        if (lower->value > upper->value && lower->given && upper->given)
                return contradiction(lower, "more than", upper, error);
        *ret_value = lower->value < upper->value ? lower->value : upper->value;
        return 0;
}

static int cap64(struct side lower, struct side upper, uint64_t *field, char *error) {
        return cap(&lower, &upper, field, error);
}

static int cap32(struct side lower, struct side upper, uint32_t *field, char *error) {
        uint64_t value = 0;
        int r = cap(&lower, &upper, &value, error);

        if (r == 0)
                *field = (uint32_t)value;
        return r;
}

/* ---- the broker ------------------------------------------------------------------- */

static uint64_t whole_pages(uint64_t bytes) {
        uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

        return bytes / page * page;
}

static void resolve_memory(struct config *config) {
        if (!GIVEN(config, memory_max)) {
                /* The rest of the group's memory is for the broker itself and for slack. */
                uint64_t limit = config_host_cgroup_limit("/proc/self/cgroup",
                                                          "/sys/fs/cgroup");
                if (limit != UINT64_MAX && limit / 10 * 9 < config->memory_max)
                        config->memory_max = limit / 10 * 9;
        }
        config->memory_max = whole_pages(config->memory_max);
}

static int resolve_broker(struct config *config, char *error) {
        int r;

        resolve_memory(config);
        r = cap32(BROKER_SIDE(config, connections_per_uid_max, "UidConnectionsMax", false),
                  BROKER_SIDE(config, connections_max, "ConnectionsMax", false),
                  &config->connections_per_uid_max, error);
        if (r < 0)
                return r;
        r = cap32(BROKER_SIDE(config, lease_slots_default, "LeaseSlots", false),
                  BROKER_SIDE(config, lease_slots_max, "LeaseSlotsMax", false),
                  &config->lease_slots_default, error);
        if (r < 0)
                return r;

        /* Else a client could be thrown out for requests it was allowed to have under way. */
        if (config->queue_max < config->requests_max) {
                struct side queue = BROKER_SIDE(config, queue_max, "QueueMax", false);
                struct side requests = BROKER_SIDE(config, requests_max, "RequestsMax", false);

                if (queue.given && requests.given)
                        return contradiction(&queue, "less than", &requests, error);
                if (queue.given)
                        config->requests_max = config->queue_max;
                else
                        config->queue_max = config->requests_max;
        }
        return 0;
}

/* ---- a pool ----------------------------------------------------------------------- */

static int resolve_limits(const struct config *config, struct pool_config *pool, char *error) {
        int r;

        r = cap64(POOL_SIDE(pool, memory_max, "MemoryMax", true),
                  BROKER_SIDE(config, memory_max, "MemoryMax", true), &pool->memory_max, error);
        if (r < 0)
                return r;
        r = cap32(POOL_SIDE(pool, buffers_max, "BuffersMax", false),
                  BROKER_SIDE(config, buffers_max, "BuffersMax", false), &pool->buffers_max,
                  error);
        if (r < 0)
                return r;
        pool->memory_max = whole_pages(pool->memory_max);

        r = cap64(POOL_SIDE(pool, uid_memory_max, "UidMemoryMax", true),
                  POOL_SIDE(pool, memory_max, "MemoryMax", true), &pool->uid_memory_max, error);
        if (r < 0)
                return r;
        return cap32(POOL_SIDE(pool, uid_buffers_max, "UidBuffersMax", false),
                     POOL_SIDE(pool, buffers_max, "BuffersMax", false), &pool->uid_buffers_max,
                     error);
}

static int resolve_geometric(const struct config *config, struct pool_config *pool,
                             uint64_t granule, char *error) {
        struct side most = POOL_SIDE(pool, memory_max, "MemoryMax", true);

        if (!most.given)
                most = BROKER_SIDE(config, memory_max, "MemoryMax", true);
        most.value = pool->memory_max;
        int r = cap64(POOL_SIDE(pool, size_max, "SizeMax", true), most, &pool->size_max, error);
        if (r < 0)
                return r;

        pool->size_max = pool->size_max / granule * granule;
        if (pool->size_max == 0)
                return contradiction(&most, "less than one page of",
                                     &(struct side){ pool, "HugePages", granule,
                                                     POOL_GIVEN(pool, huge), true },
                                     error);
        pool->size_min = (pool->size_min + granule - 1) / granule * granule;
        if (pool->size_min > pool->size_max) {
                struct side lower = POOL_SIDE(pool, size_min, "SizeMin", true);
                struct side upper = POOL_SIDE(pool, size_max, "SizeMax", true);

                return contradiction(&lower, "more than", &upper, error);
        }
        return config_classes_geometric(pool, granule);
}

static int resolve_explicit(struct pool_config *pool, uint64_t granule, char *error) {
        char largest[CONFIG_TEXT_SIZE], most[CONFIG_TEXT_SIZE];

        config_classes_tidy(pool, granule);
        if (pool->n_classes > CONFIG_CLASSES_MAX)
                return refuse_pool(pool, "Classes", error,
                                   ": %zu of them, at most %u are possible", pool->n_classes,
                                   CONFIG_CLASSES_MAX);

        uint64_t first = pool->classes[0], last = pool->classes[pool->n_classes - 1];
        if (last > pool->memory_max) {
                config_format_size(last, largest);
                config_format_size(pool->memory_max, most);
                return refuse_pool(pool, "Classes", error,
                                   "%s: more than the pool's memory, %s", largest, most);
        }
        bool other_min = POOL_GIVEN(pool, size_min) && pool->size_min != first;
        bool other_max = POOL_GIVEN(pool, size_max) && pool->size_max != last;
        if (other_min || other_max)
                return refuse_pool(pool, other_min ? "SizeMin" : "SizeMax", error,
                                   ": Classes= decides the smallest and the largest size");
        pool->size_min = first;
        pool->size_max = last;
        return 0;
}

struct total {
        uint64_t bytes, count;
};

static bool add_total(struct total *total, uint64_t capacity, uint64_t count) {
        uint64_t bytes;

        return !__builtin_mul_overflow(capacity, count, &bytes) &&
               !__builtin_add_overflow(total->bytes, bytes, &total->bytes) &&
               !__builtin_add_overflow(total->count, count, &total->count);
}

/* `all`: of the pools so far. */
static int resolve_prealloc(const struct config *config, struct pool_config *pool,
                            struct total *all, char *error) {
        struct total own = { 0 };
        char size[CONFIG_TEXT_SIZE];

        for (size_t i = 0; i < pool->n_prealloc; i++) {
                struct config_prealloc *p = &pool->prealloc[i];
                int class = pool_config_class(pool, p->capacity);

                config_format_size(p->capacity, size);
                if (class < 0)
                        return refuse_pool(pool, "Preallocate", error,
                                           "%" PRIu32 "x%s: more than the largest "
                                           "class",
                                           p->count, size);
                p->capacity = pool->classes[class];
                if (!add_total(&own, p->capacity, p->count) || own.bytes > pool->memory_max ||
                    own.count > pool->buffers_max)
                        return refuse_pool(pool, "Preallocate", error,
                                           "%" PRIu32 "x%s: more than the pool's "
                                           "MemoryMax or BuffersMax",
                                           p->count, size);
                if (!add_total(all, p->capacity, p->count) || all->bytes > config->memory_max ||
                    all->count > config->buffers_max)
                        return refuse_pool(pool, "Preallocate", error,
                                           "%" PRIu32 "x%s: with the other pools, "
                                           "more than the broker's MemoryMax or BuffersMax",
                                           p->count, size);
        }
        return 0;
}

int config_resolve(struct config *config, char *error) {
        struct total preallocated = { 0 };
        int r = resolve_broker(config, error);

        for (size_t i = 0; r == 0 && i < config->n_pools; i++) {
                struct pool_config *pool = &config->pools[i];
                uint64_t granule = pool->huge == CONFIG_HUGE_2M
                                           ? SHMB_HUGE_PAGE_SIZE
                                           : (uint64_t)sysconf(_SC_PAGESIZE);

                r = resolve_limits(config, pool, error);
                if (r == 0)
                        r = pool->n_classes > 0
                                    ? resolve_explicit(pool, granule, error)
                                    : resolve_geometric(config, pool, granule, error);
                if (r == 0)
                        r = resolve_prealloc(config, pool, &preallocated, error);
        }
        return r;
}
