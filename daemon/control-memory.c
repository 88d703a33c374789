/* SPDX-License-Identifier: Apache-2.0 */
/* What several methods say about memory, in the same words. */
#include <stddef.h>

#include "control-internal.h"
#include "memfd.h"

static const char *const state_names[OBJECT_STATES] = {
        [OBJECT_MAKING] = "making",       [OBJECT_FREE] = "free",
        [OBJECT_LEASED] = "held",         [OBJECT_PROVING] = "proving",
        [OBJECT_SCRUBBING] = "scrubbing", [OBJECT_QUARANTINE] = "quarantine",
        [OBJECT_RETIRING] = "retiring",
};

const char *control_object_state(const struct object *object) {
        if (object->state == OBJECT_LEASED && object_is_cached(object))
                return "cached";
        return state_names[object->state];
}

void control_memory_add(struct control_memory *memory, const struct pool *pool) {
        struct control_amount *held = &memory->states[OBJECT_LEASED];
        const struct object *object;

        for (int state = 0; state < OBJECT_STATES; state++) {
                memory->states[state].bytes += pool->bytes[state];
                memory->states[state].buffers += pool->buffers[state];
        }
        for (object = pool->lists[OBJECT_LEASED]; object; object = object->next) {
                if (!object_is_cached(object))
                        continue;
                memory->cached.bytes += object_capacity(object);
                memory->cached.buffers++;
                held->bytes -= object_capacity(object);
                held->buffers--;
        }
}

void control_put_amount(struct control_request *request, struct json_object *parent,
                        const char *key, struct control_amount amount) {
        struct json_object *object = build_object(&request->build, parent, key);

        build_int(&request->build, object, "bytes", amount.bytes);
        build_int(&request->build, object, "buffers", amount.buffers);
}

void control_put_memory(struct control_request *request, struct json_object *parent,
                        const struct control_memory *memory) {
        static const enum object_state order[] = { OBJECT_FREE,       OBJECT_MAKING,
                                                   OBJECT_PROVING,    OBJECT_SCRUBBING,
                                                   OBJECT_QUARANTINE, OBJECT_RETIRING };
        struct json_object *object = build_object(&request->build, parent, "memory");
        struct control_amount total = memory->cached;

        control_put_amount(request, object, "held", memory->states[OBJECT_LEASED]);
        control_put_amount(request, object, "cached", memory->cached);
        for (size_t i = 0; i < sizeof order / sizeof *order; i++)
                control_put_amount(request, object, state_names[order[i]],
                                   memory->states[order[i]]);
        for (int state = 0; state < OBJECT_STATES; state++) {
                total.bytes += memory->states[state].bytes;
                total.buffers += memory->states[state].buffers;
        }
        control_put_amount(request, object, "total", total);
}

#define COUNTER(name)                                                                          \
        { #name, offsetof(struct pool, count.name) }

static const struct {
        const char *name;
        size_t offset;
} counters[] = {
        COUNTER(grants),  COUNTER(recycled), COUNTER(made),          COUNTER(refused),
        COUNTER(waited),  COUNTER(proofs),   COUNTER(proofs_failed), COUNTER(scrubs),
        COUNTER(retired), COUNTER(taken),
};

void control_put_counters(struct control_request *request, struct json_object *parent,
                          const struct pool *pools, size_t n_pools) {
        struct json_object *object = build_object(&request->build, parent, "counters");

        for (size_t i = 0; i < sizeof counters / sizeof *counters; i++) {
                uint64_t sum = 0;
                for (size_t j = 0; j < n_pools; j++) {
                        const void *counter = (const char *)&pools[j] + counters[i].offset;
                        sum += *(const uint64_t *)counter;
                }
                build_int(&request->build, object, counters[i].name, sum);
        }
}

void control_put_age(struct control_request *request, struct json_object *parent,
                     const char *key, uint64_t since) {
        build_int(&request->build, parent, key,
                  request->now > since ? request->now - since : 0);
}

void control_put_limit(struct control_request *request, struct json_object *limits,
                       const char *name, uint64_t limit, uint64_t used) {
        struct json_object *object = build_append_object(&request->build, limits);

        build_string(&request->build, object, "name", name);
        build_int(&request->build, object, "limit", limit);
        if (used != CONTROL_NO_USE)
                build_int(&request->build, object, "used", used);
}

void control_put_domain(struct control_request *request, struct json_object *parent,
                        const struct object *object) {
        if (object->domain)
                build_int(&request->build, parent, "uid", object->domain->uid);
}

void control_put_marks(struct control_request *request, struct json_object *parent,
                       const struct object *object) {
        build_bool(&request->build, parent, "left_domain", object->left_domain);
        build_bool(&request->build, parent, "escaped", object->escaped);
        build_bool(&request->build, parent, "lost_holder", object->lost_holder);
}

void control_put_allocated(struct control_request *request, struct json_object *parent,
                           const struct object *object) {
        if (object->state == OBJECT_MAKING || object->state == OBJECT_RETIRING ||
            object->fd < 0)
                return;
        int64_t allocated = shmb_memfd_allocated(object->fd);
        if (allocated >= 0)
                build_int(&request->build, parent, "allocated", (uint64_t)allocated);
}
