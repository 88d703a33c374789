/* SPDX-License-Identifier: Apache-2.0 */
/* Status: the broker at a glance. */
#include <unistd.h>

#include "control-internal.h"

static struct control_counts count(const struct control *control) {
        struct control_counts counts = {
                .connections = HASH_COUNT(control->ledger->clients),
        };

        if (control->ops->counts)
                control->ops->counts(control->userdata, &counts);
        return counts;
}

static void put_limits(struct control_request *request, const struct control_counts *counts) {
        const struct control *control = request->control;
        const struct config *config = control->config;
        const struct ledger *ledger = control->ledger;
        const struct {
                const char *name;
                uint64_t limit, used;
        } limits[] = {
                { "MemoryMax", config->memory_max, ledger->bytes },
                { "BuffersMax", config->buffers_max, ledger->buffers },
                { "ConnectionsMax", config->connections_max, counts->connections },
                { "ControlConnectionsMax", config->control_connections_max,
                  control->n_connections },
                { "UidConnectionsMax", config->connections_per_uid_max, CONTROL_NO_USE },
                { "RequestsMax", config->requests_max, CONTROL_NO_USE },
                { "QueueMax", config->queue_max, CONTROL_NO_USE },
                { "TokensMax", config->tokens_max, CONTROL_NO_USE },
                { "UidTokensMax", config->uid_tokens_max, CONTROL_NO_USE },
                { "LeaseSlotsMax", config->lease_slots_max, CONTROL_NO_USE },
        };
        struct json_object *list = build_array(&request->build, request->reply, "limits");

        for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
                control_put_limit(request, list, limits[i].name, limits[i].limit,
                                  limits[i].used);
}

static void put_connection_counters(struct control_request *request,
                                    const struct control_counts *counts) {
        struct json_object *object = build_object(&request->build, request->reply,
                                                  "connection_counters");

        build_int(&request->build, object, "accepted", counts->accepted);
        build_int(&request->build, object, "refused", counts->refused);
        build_int(&request->build, object, "breaches", counts->breaches);
}

const char *control_status(struct control_request *request) {
        const struct control *control = request->control;
        const struct ledger *ledger = control->ledger;
        const struct control_counts counts = count(control);
        struct builder *build = &request->build;
        struct control_memory memory = { 0 };
        uint32_t waiting = 0;

        for (size_t i = 0; i < ledger->n_pools; i++) {
                control_memory_add(&memory, &ledger->pools[i]);
                waiting += ledger->pools[i].n_waiters;
        }
        build_string(build, request->reply, "version", SHMB_VERSION);
        build_int(build, request->reply, "pid", (uint64_t)getpid());
        build_int(build, request->reply, "uid", geteuid());
        control_put_age(request, request->reply, "uptime_ns", control->started);
        build_int(build, request->reply, "connections", counts.connections);
        build_int(build, request->reply, "clients", HASH_COUNT(ledger->clients));
        build_int(build, request->reply, "control_connections", control->n_connections);
        build_int(build, request->reply, "pools", ledger->n_pools);
        build_int(build, request->reply, "tokens", ledger->n_tokens);
        build_int(build, request->reply, "waiting", waiting);
        control_put_memory(request, request->reply, &memory);
        put_limits(request, &counts);
        control_put_counters(request, request->reply, ledger->pools, ledger->n_pools);
        put_connection_counters(request, &counts);
        return NULL;
}
