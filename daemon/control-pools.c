/* SPDX-License-Identifier: Apache-2.0 */
/* Pools: each with its classes, users, limits and counters. */
#include <stdlib.h>

#include "cleanup.h"
#include "control-internal.h"

#define POOL_VALUES 80u
#define CLASS_VALUES 8u
#define USER_VALUES 6u

/* Buffers of one class, by state; OBJECT_LEASED: held. */
struct class_count {
        uint32_t states[OBJECT_STATES], cached;
};

/* One for each class of the configuration; the caller frees them. NULL: out of memory. */
static struct class_count *count_classes(const struct pool *pool) {
        struct class_count *counts = calloc(pool->config->n_classes, sizeof(*counts));

        if (!counts)
                return NULL;
        for (int state = 0; state < OBJECT_STATES; state++) {
                const struct object *object = pool->lists[state];

                if (state == OBJECT_FREE) /* has its own count, and may be the longest */
                        for (size_t i = 0; i < pool->config->n_classes; i++)
                                counts[i].states[state] = pool->kept_free[i];
                else
                        for (; object; object = object->next)
                                if (state == OBJECT_LEASED && object_is_cached(object))
                                        counts[object->class_index].cached++;
                                else
                                        counts[object->class_index].states[state]++;
        }
        return counts;
}

static void put_class(struct control_request *request, struct json_object *list,
                      const struct pool *pool, size_t i, const struct class_count *count) {
        uint32_t other = count->states[OBJECT_PROVING] + count->states[OBJECT_SCRUBBING] +
                         count->states[OBJECT_QUARANTINE] + count->states[OBJECT_RETIRING];
        uint32_t held = count->states[OBJECT_LEASED], free_ = count->states[OBJECT_FREE];
        uint32_t making = count->states[OBJECT_MAKING];
        struct builder *build = &request->build;

        if (other + held + free_ + making + count->cached + pool->prealloc[i] == 0)
                return;
        struct json_object *object = build_append_object(build, list);
        build_int(build, object, "capacity", pool->config->classes[i]);
        build_int(build, object, "preallocated", pool->prealloc[i]);
        build_int(build, object, "held", held);
        build_int(build, object, "cached", count->cached);
        build_int(build, object, "free", free_);
        build_int(build, object, "making", making);
        build_int(build, object, "other", other);
}

static void put_classes(struct control_request *request, struct json_object *parent,
                        const struct pool *pool, struct control_page *page) {
        SHMB_FREE struct class_count *counts = count_classes(pool);
        struct json_object *list = build_array(&request->build, parent, "classes");

        if (!counts) {
                request->build.failed = true;
                return;
        }
        for (size_t i = 0; i < pool->config->n_classes; i++)
                put_class(request, list, pool, i, &counts[i]);
        control_page_spend(page, CLASS_VALUES * (uint32_t)pool->config->n_classes);
}

static void put_user(struct control_request *request, struct json_object *list,
                     const struct domain *domain, struct control_page *page) {
        struct builder *build = &request->build;
        struct json_object *object = build_append_object(build, list);
        const struct waiter *waiter;
        uint32_t waiting = 0;

        for (waiter = domain->waiters; waiter; waiter = waiter->next)
                waiting++;
        control_page_spend(page, waiting);
        build_int(build, object, "uid", domain->uid);
        build_int(build, object, "bytes", domain->bytes);
        build_int(build, object, "buffers", domain->buffers);
        build_int(build, object, "tokens", domain->tokens);
        build_int(build, object, "waiting", waiting);
}

/* The pool's users, and its tokens, which are counted by user. */
static void put_users(struct control_request *request, struct json_object *parent,
                      const struct pool *pool, struct control_page *page) {
        struct json_object *list = build_array(&request->build, parent, "users");
        const struct domain *domain;
        uint32_t listed = 0, more = 0;
        uint64_t tokens = 0;

        for (domain = pool->domains; domain; domain = domain->hh.next) {
                tokens += domain->tokens;
                if (listed < CONTROL_LIST_MAX) {
                        put_user(request, list, domain, page);
                        listed++;
                } else {
                        more++;
                }
        }
        control_page_spend(page, USER_VALUES * listed + more);
        build_int(&request->build, parent, "users_more", more);
        build_int(&request->build, parent, "tokens", tokens);
}

static void put_limits(struct control_request *request, struct json_object *parent,
                       const struct pool *pool, const struct control_memory *memory) {
        struct json_object *list = build_array(&request->build, parent, "limits");
        const struct pool_config *config = pool->config;
        struct control_amount total = memory->cached;

        for (int state = 0; state < OBJECT_STATES; state++) {
                total.bytes += memory->states[state].bytes;
                total.buffers += memory->states[state].buffers;
        }
        control_put_limit(request, list, "MemoryMax", config->memory_max, total.bytes);
        control_put_limit(request, list, "BuffersMax", config->buffers_max, total.buffers);
        control_put_limit(request, list, "UidMemoryMax", config->uid_memory_max,
                          CONTROL_NO_USE);
        control_put_limit(request, list, "UidBuffersMax", config->uid_buffers_max,
                          CONTROL_NO_USE);
}

static void put_features(struct control_request *request, struct json_object *parent,
                         const struct pool_config *config) {
        static const char *const huge[] = {
                [CONFIG_HUGE_NO] = "no",
                [CONFIG_HUGE_THP] = "thp",
                [CONFIG_HUGE_2M] = "hugetlb",
        };
        struct builder *build = &request->build;
        struct json_object *object = build_object(build, parent, "features");

        build_string(build, object, "share",
                     config->share == CONFIG_SHARE_UID ? "same_uid" : "any");
        build_string(build, object, "huge", huge[config->huge]);
        if (config->numa_node >= 0)
                build_int(build, object, "numa_node", (uint64_t)config->numa_node);
        if (config->free_idle_ns != UINT64_MAX)
                build_int(build, object, "free_idle_ns", config->free_idle_ns);
        struct json_object *uids = build_array(build, object, "allow_uids");
        for (size_t i = 0; i < config->n_allow_uids; i++)
                build_append_int(build, uids, config->allow_uids[i]);
        struct json_object *gids = build_array(build, object, "allow_gids");
        for (size_t i = 0; i < config->n_allow_gids; i++)
                build_append_int(build, gids, config->allow_gids[i]);
}

static void put_pool(struct control_request *request, struct json_object *list,
                     const struct pool *pool, struct control_page *page) {
        struct builder *build = &request->build;
        struct json_object *object = build_append_object(build, list);
        const struct pool_config *config = pool->config;
        struct control_memory memory = { 0 };

        control_memory_add(&memory, pool);
        build_int(build, object, "number", pool->index + 1);
        build_string(build, object, "name", config->name);
        control_put_memory(request, object, &memory);
        put_limits(request, object, pool, &memory);
        build_int(build, object, "size_min", config->classes[0]);
        build_int(build, object, "size_max", config->classes[config->n_classes - 1]);
        build_int(build, object, "n_classes", config->n_classes);
        put_classes(request, object, pool, page);
        put_users(request, object, pool, page);
        build_int(build, object, "waiting", pool->n_waiters);
        control_put_counters(request, object, pool, 1);
        put_features(request, object, config);
}

const char *control_pools(struct control_request *request) {
        const struct ledger *ledger = request->control->ledger;
        struct control_page page = control_page_of(request);
        struct json_object *list = build_array(&request->build, request->reply, "pools");

        for (uint64_t i = page.last; i < ledger->n_pools; i++) {
                if (!control_page_goes_on(&page, request, i + 1))
                        break;
                put_pool(request, list, &ledger->pools[i], &page);
                control_page_spend(&page, POOL_VALUES);
                page.rows--;
        }
        return NULL;
}
