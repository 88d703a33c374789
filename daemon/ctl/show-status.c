/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "human.h"
#include "reply.h"
#include "show.h"

static const char *plural(uint64_t count) {
        return count == 1 ? "" : "s";
}

int show_status_heading(struct json_object *status, const struct view *view) {
        uint64_t clients = reply_int(status, "clients");
        uint64_t connections = reply_int(status, "connections");
        uint64_t control = reply_int(status, "control_connections");
        uint64_t pools = reply_int(status, "pools"), tokens = reply_int(status, "tokens");
        uint64_t waiting = reply_int(status, "waiting");
        char uptime[HUMAN_SIZE];

        human_time(uptime, reply_int(status, "uptime_ns"));
        fprintf(view->to, "shmbrokerd %s, pid %" PRIu64 ", uid %" PRIu64 ", up %s\n",
                reply_text(status, "version"), reply_int(status, "pid"),
                reply_int(status, "uid"), uptime);
        fprintf(view->to,
                "%" PRIu64 " client%s on %" PRIu64 " connection%s, %" PRIu64
                " control connection%s, %" PRIu64 " pool%s, %" PRIu64 " token%s, %" PRIu64
                " request%s waiting\n",
                clients, plural(clients), connections, plural(connections), control,
                plural(control), pools, plural(pools), tokens, plural(tokens), waiting,
                plural(waiting));
        return ferror(view->to) ? -EIO : 0;
}

static int show_memory(struct json_object *status, const struct view *view) {
        static const struct column columns[] = {
                { .title = "MEMORY" },
                { .title = "BYTES", .right = true },
                { .title = "BUFFERS", .right = true },
        };
        struct table table = TABLE_OF(columns);
        struct json_object *memory = reply_at(status, "memory");

        if (memory) {
                json_object_object_foreach(memory, state, amount) {
                        table_add(&table, state);
                        table_add_bytes(&table, reply_int(amount, "bytes"));
                        table_add_int(&table, reply_int(amount, "buffers"));
                }
        }
        return show_table(&table, view);
}

static void add_quantity(struct table *table, const char *limit, uint64_t value) {
        /* The one limit of the broker that counts bytes. */
        if (strcmp(limit, "MemoryMax") == 0)
                table_add_bytes(table, value);
        else
                table_add_int(table, value);
}

static int show_limits(struct json_object *status, const struct view *view) {
        static const struct column columns[] = {
                { .title = "LIMIT" },
                { .title = "USED", .right = true },
                { .title = "MOST", .right = true },
                { .title = "SHARE", .right = true },
        };
        struct table table = TABLE_OF(columns);
        struct json_object *limits = reply_at(status, "limits");

        for (size_t i = 0; i < reply_length(limits); i++) {
                struct json_object *limit = json_object_array_get_idx(limits, i);
                const char *name = reply_text(limit, "name");
                uint64_t most = reply_int(limit, "limit"), used = reply_int(limit, "used");
                char share[HUMAN_SIZE];

                if (!reply_has(limit, "used"))
                        continue; /* of each client by itself: no news here */
                human_share(share, used, most);
                table_add(&table, name);
                add_quantity(&table, name, used);
                add_quantity(&table, name, most);
                table_add(&table, share);
        }
        return show_table(&table, view);
}

static int show_counters(struct json_object *status, const struct view *view) {
        static const struct column columns[] = {
                { .title = "SINCE THE START" },
                { .title = "COUNT", .right = true },
        };
        struct table table = TABLE_OF(columns);
        struct json_object *counters = reply_at(status, "counters");
        struct json_object *connections = reply_at(status, "connection_counters");

        if (counters) {
                json_object_object_foreach(counters, name, count) {
                        table_add(&table, name);
                        table_add_int(&table, (uint64_t)json_object_get_int64(count));
                }
        }
        if (connections) {
                json_object_object_foreach(connections, name, count) {
                        table_addf(&table, "connections %s", name);
                        table_add_int(&table, (uint64_t)json_object_get_int64(count));
                }
        }
        return show_table(&table, view);
}

int show_status(struct json_object *reply, const struct view *view) {
        int r = show_status_heading(reply, view);

        fputc('\n', view->to);
        if (r == 0)
                r = show_memory(reply, view);
        fputc('\n', view->to);
        if (r == 0)
                r = show_limits(reply, view);
        fputc('\n', view->to);
        if (r == 0)
                r = show_counters(reply, view);
        return r;
}
