/* SPDX-License-Identifier: Apache-2.0 */
/* Clients: who is connected, and what each holds. */
#include "control-internal.h"

#define CLIENT_VALUES 32u
#define QUOTA_VALUES 6u

struct holdings {
        struct control_amount held, cached, shared, reading, kept;
        uint32_t unmapping;
};

static void add(struct control_amount *amount, const struct lease *lease) {
        amount->bytes += object_capacity(lease->object);
        amount->buffers++;
}

static void count_lease(struct holdings *holdings, const struct lease *lease) {
        switch ((enum lease_state)lease->state) {
        case LEASE_HELD:
                if (!lease->writer)
                        add(&holdings->reading, lease);
                else if (lease_is_idle(lease))
                        add(&holdings->cached, lease);
                else
                        add(&holdings->held, lease);
                break;
        case LEASE_SHARED:
                add(&holdings->shared, lease);
                break;
        case LEASE_KEPT:
                add(&holdings->kept, lease);
                break;
        case LEASE_TAKEN:
                holdings->unmapping++;
                break;
        }
}

static struct holdings count_leases(const struct client *client) {
        struct holdings holdings = { 0 };

        for (uint32_t slot = 1; slot < client->slots_room; slot++)
                if (client->slots[slot])
                        count_lease(&holdings, client->slots[slot]);
        return holdings;
}

static void put_quota(struct control_request *request, struct json_object *parent,
                      const struct client *client) {
        const struct ledger *ledger = request->control->ledger;
        struct builder *build = &request->build;
        struct json_object *list = build_array(build, parent, "quota");

        for (size_t i = 0; i < ledger->n_pools; i++) {
                const struct pool *pool = &ledger->pools[i];
                const struct domain *domain;

                HASH_FIND(hh, pool->domains, &client->uid, sizeof(client->uid), domain);
                if (!domain)
                        continue;
                struct json_object *object = build_append_object(build, list);
                build_string(build, object, "pool", pool->config->name);
                build_int(build, object, "bytes", domain->bytes);
                build_int(build, object, "bytes_max", pool->config->uid_memory_max);
                build_int(build, object, "buffers", domain->buffers);
                build_int(build, object, "buffers_max", pool->config->uid_buffers_max);
        }
}

static void put_client(struct control_request *request, struct json_object *list,
                       const struct client *client) {
        struct builder *build = &request->build;
        struct json_object *object = build_append_object(build, list);
        const struct holdings holdings = count_leases(client);

        build_int(build, object, "client", client->id);
        build_int(build, object, "pid", (uint64_t)client->pid);
        build_int(build, object, "uid", client->uid);
        build_string(build, object, "name", client->name);
        control_put_age(request, object, "age_ns", client->since);
        control_put_amount(request, object, "held", holdings.held);
        control_put_amount(request, object, "cached", holdings.cached);
        control_put_amount(request, object, "shared", holdings.shared);
        control_put_amount(request, object, "reading", holdings.reading);
        control_put_amount(request, object, "kept", holdings.kept);
        build_int(build, object, "unmapping", holdings.unmapping);
        build_int(build, object, "slots", client->slots_used);
        build_int(build, object, "slots_max", client->lease_slots);
        build_int(build, object, "tokens", client->n_tokens);
        build_int(build, object, "waiting", client->n_waiters);
        put_quota(request, object, client);
}

/* The first client behind that number. */
static const struct client *first_after(const struct ledger *ledger, uint64_t after) {
        const struct client *client = ledger->clients;
        const struct client *found;

        HASH_FIND(hh, ledger->clients, &after, sizeof(after), found);
        if (found)
                return found->hh.next;
        while (client && client->id <= after)
                client = client->hh.next;
        return client;
}

const char *control_clients(struct control_request *request) {
        const struct ledger *ledger = request->control->ledger;
        struct control_page page = control_page_of(request);
        struct json_object *list = build_array(&request->build, request->reply, "clients");
        const struct client *client = first_after(ledger, page.last);

        for (; client; client = client->hh.next) {
                if (!control_page_goes_on(&page, request, client->id))
                        break;
                put_client(request, list, client);
                page.rows--;
                control_page_spend(&page, client->slots_room + CLIENT_VALUES +
                                                  QUOTA_VALUES * (uint32_t)ledger->n_pools);
        }
        return NULL;
}
