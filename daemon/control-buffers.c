/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers and Quarantine: every memory object, who holds it, and what keeps it from reuse. */
#include <string.h>

#include "control-internal.h"

#define BUFFER_VALUES 18u
#define HOLDER_VALUES 9u
#define QUARANTINED_VALUES 13u

/* The first object behind that number. */
static const struct object *first_after(const struct ledger *ledger, uint64_t after) {
        const struct object *object = ledger->objects;
        const struct object *found;

        HASH_FIND(hh, ledger->objects, &after, sizeof(after), found);
        if (found)
                return found->hh.next;
        while (object && object->id <= after)
                object = object->hh.next;
        return object;
}

static const char *holder_state(const struct lease *lease) {
        switch ((enum lease_state)lease->state) {
        case LEASE_SHARED:
                return "shared";
        case LEASE_KEPT:
                return "kept";
        default:
                return lease_is_idle(lease) ? "cached" : "held";
        }
}

static void put_holder(struct control_request *request, struct json_object *list,
                       const struct lease *lease) {
        struct builder *build = &request->build;
        struct json_object *object = build_append_object(build, list);
        const struct client *client = lease->client;

        build_int(build, object, "client", client->id);
        build_int(build, object, "pid", (uint64_t)client->pid);
        build_int(build, object, "uid", client->uid);
        build_string(build, object, "name", client->name);
        build_string(build, object, "mode", lease->writer ? "write" : "read");
        build_string(build, object, "state", holder_state(lease));
        control_put_age(request, object, "age_ns", lease->since);
        build_int(build, object, "count", lease->writer ? 1 : lease->count);
}

static void put_holders(struct control_request *request, struct json_object *parent,
                        const struct object *object, struct control_page *page) {
        struct json_object *list = build_array(&request->build, parent, "holders");
        const struct lease *lease;
        uint32_t listed = 0, more = 0;

        for (lease = object->leases; lease; lease = lease->next)
                if (listed < CONTROL_LIST_MAX) {
                        put_holder(request, list, lease);
                        listed++;
                } else {
                        more++;
                }
        control_page_spend(page, HOLDER_VALUES * listed + more);
        build_int(&request->build, parent, "holders_more", more);
}

static void put_buffer(struct control_request *request, struct json_object *list,
                       const struct object *object, struct control_page *page) {
        struct builder *build = &request->build;
        struct json_object *row = build_append_object(build, list);

        build_int(build, row, "object", object->id);
        build_string(build, row, "pool", object->pool->config->name);
        build_int(build, row, "capacity", object_capacity(object));
        build_string(build, row, "state", control_object_state(object));
        control_put_age(request, row, "age_ns", object->since);
        control_put_domain(request, row, object);
        put_holders(request, row, object, page);
        build_int(build, row, "tokens", object->tokens);
        build_bool(build, row, "fresh", object->fresh);
        control_put_marks(request, row, object);
        build_bool(build, row, "huge", object->huge);
        build_bool(build, row, "numa", object->numa);
        if (request->parameters.verify)
                control_put_allocated(request, row, object);
}

static bool client_is_there(const struct ledger *ledger, uint64_t id) {
        const struct client *client;

        HASH_FIND(hh, ledger->clients, &id, sizeof(id), client);
        return client;
}

static bool is_held_by(const struct object *object, uint64_t client,
                       struct control_page *page) {
        const struct lease *lease;
        uint32_t looked = 0;
        bool found = false;

        for (lease = object->leases; lease && !found; lease = lease->next, looked++)
                found = lease->client->id == client;
        control_page_spend(page, looked);
        return found;
}

static const struct pool *find_pool(const struct ledger *ledger, const char *name) {
        for (size_t i = 0; i < ledger->n_pools; i++)
                if (strcmp(ledger->pools[i].config->name, name) == 0)
                        return &ledger->pools[i];
        return NULL;
}

const char *control_buffers(struct control_request *request) {
        const struct ledger *ledger = request->control->ledger;
        const struct control_parameters *parameters = &request->parameters;
        uint64_t client = (uint64_t)parameters->client;
        const struct pool *pool = parameters->pool ? find_pool(ledger, parameters->pool) : NULL;

        if (parameters->pool && !pool) {
                build_string(&request->build, request->reply, "pool", parameters->pool);
                return "io.shmbroker.NoSuchPool";
        }
        if (client && !client_is_there(ledger, client))
                return control_no_such_client(request);

        struct control_page page = control_page_of(request);
        struct json_object *list = build_array(&request->build, request->reply, "buffers");
        const struct object *object = first_after(ledger, page.last);
        for (; object; object = object->hh.next) {
                if (!control_page_goes_on(&page, request, object->id))
                        break;
                if ((pool && object->pool != pool) ||
                    (client && !is_held_by(object, client, &page)))
                        continue;
                put_buffer(request, list, object, &page);
                control_page_spend(&page, BUFFER_VALUES);
                page.rows--;
        }
        return NULL;
}

static void put_quarantined(struct control_request *request, struct json_object *list,
                            const struct object *object) {
        struct builder *build = &request->build;
        struct json_object *row = build_append_object(build, list);
        uint64_t retired = object->quarantined + request->control->config->quarantine_ns;

        build_int(build, row, "object", object->id);
        build_string(build, row, "pool", object->pool->config->name);
        build_int(build, row, "capacity", object_capacity(object));
        control_put_domain(request, row, object);
        control_put_age(request, row, "age_ns", object->quarantined);
        build_int(build, row, "proofs_failed", object->probes);
        if (object->state == OBJECT_QUARANTINE)
                build_int(build, row, "next_proof_in_ns",
                          object->retry.when > request->now ? object->retry.when - request->now
                                                            : 0);
        if (!object->escaped)
                build_int(build, row, "retires_in_ns",
                          retired > request->now ? retired - request->now : 0);
        control_put_marks(request, row, object);
        if (request->parameters.verify)
                control_put_allocated(request, row, object);
}

/* In quarantine, or just being proved once more. */
static bool is_quarantined(const struct object *object) {
        return object->quarantined != 0 &&
               (object->state == OBJECT_QUARANTINE || object->state == OBJECT_PROVING);
}

const char *control_quarantine(struct control_request *request) {
        const struct ledger *ledger = request->control->ledger;
        struct control_page page = control_page_of(request);
        struct json_object *list = build_array(&request->build, request->reply, "quarantine");
        const struct object *object = first_after(ledger, page.last);

        for (; object; object = object->hh.next) {
                if (!control_page_goes_on(&page, request, object->id))
                        break;
                if (!is_quarantined(object))
                        continue;
                put_quarantined(request, list, object);
                control_page_spend(&page, QUARANTINED_VALUES);
                page.rows--;
        }
        return NULL;
}
