/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "human.h"
#include "reply.h"
#include "show.h"

static double share_of(struct json_object *quota, const char *used, const char *most) {
        uint64_t whole = reply_int(quota, most);

        return whole ? (double)reply_int(quota, used) / (double)whole : 0;
}

/* The quota nearest its end: "12.5% default". */
static void show_quota(struct table *table, struct json_object *client) {
        struct json_object *quotas = reply_at(client, "quota");
        const char *pool = "";
        double highest = 0;

        for (size_t i = 0; i < reply_length(quotas); i++) {
                struct json_object *quota = json_object_array_get_idx(quotas, i);
                double bytes = share_of(quota, "bytes", "bytes_max");
                double buffers = share_of(quota, "buffers", "buffers_max");
                double share = bytes > buffers ? bytes : buffers;

                if (share > highest) {
                        highest = share;
                        pool = reply_text(quota, "pool");
                }
        }
        if (highest > 0)
                table_addf(table, "%.1f%% %s", 100 * highest, pool);
        else
                table_add(table, "-");
}

int show_clients(struct json_object *reply, const struct view *view) {
        static const struct column columns[] = {
                { .title = "CLIENT", .right = true },
                { .title = "PID", .right = true },
                { .title = "UID", .right = true, .spare = 3 },
                { .title = "NAME", .shrinks = true },
                { .title = "AGE", .right = true, .spare = 1 },
                { .title = "HELD", .right = true },
                { .title = "CACHED", .right = true },
                { .title = "SHARED", .right = true, .spare = 2 },
                { .title = "READING", .right = true },
                { .title = "KEPT", .right = true, .spare = 6 },
                { .title = "TOKENS", .right = true },
                { .title = "WAITING", .right = true, .spare = 4 },
                { .title = "SLOTS", .right = true, .spare = 5 },
                { .title = "QUOTA", .shrinks = true },
        };
        static const char *const amounts[] = { "held", "cached", "shared", "reading", "kept" };
        struct table table = TABLE_OF(columns);
        struct json_object *clients = reply_at(reply, "clients");

        for (size_t i = 0; i < reply_length(clients); i++) {
                struct json_object *client = json_object_array_get_idx(clients, i);

                table_add_int(&table, reply_int(client, "client"));
                table_add_int(&table, reply_int(client, "pid"));
                show_uid(&table, client);
                table_add(&table, reply_text(client, "name"));
                table_add_time(&table, reply_int(client, "age_ns"));
                for (size_t j = 0; j < sizeof amounts / sizeof *amounts; j++)
                        show_amount(&table, client, amounts[j]);
                table_add_int(&table, reply_int(client, "tokens"));
                table_add_int(&table, reply_int(client, "waiting"));
                table_addf(&table, "%" PRIu64 "/%" PRIu64, reply_int(client, "slots"),
                           reply_int(client, "slots_max"));
                show_quota(&table, client);
        }
        return show_table(&table, view);
}
