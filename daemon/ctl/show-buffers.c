/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "human.h"
#include "reply.h"
#include "show.h"

/* "camera[123] write held 3.2s, viewer[124] read held 20ms" */
static void show_holders(struct table *table, struct json_object *buffer) {
        struct json_object *holders = reply_at(buffer, "holders");
        uint64_t more = reply_int(buffer, "holders_more");
        char *text = NULL, age[HUMAN_SIZE];
        size_t size = 0;
        FILE *to = open_memstream(&text, &size);

        if (!to) {
                table->failed = true;
                return;
        }
        for (size_t i = 0; i < reply_length(holders); i++) {
                struct json_object *holder = json_object_array_get_idx(holders, i);
                uint64_t count = reply_int(holder, "count");

                human_time(age, reply_int(holder, "age_ns"));
                fprintf(to, "%s%s[%" PRIu64 "] %s %s", i ? ", " : "",
                        reply_text(holder, "name"), reply_int(holder, "pid"),
                        reply_text(holder, "mode"), reply_text(holder, "state"));
                if (count > 1)
                        fprintf(to, " %" PRIu64 " times", count);
                fprintf(to, " %s", age);
        }
        if (more > 0)
                fprintf(to, ", and %" PRIu64 " more", more);
        if (fclose(to) != 0)
                table->failed = true;
        else
                table_add(table, text);
        free(text);
}

static void show_allocated(struct table *table, struct json_object *object) {
        if (reply_has(object, "allocated"))
                table_add_bytes(table, reply_int(object, "allocated"));
        else
                table_add(table, "-");
}

/* Was the kernel asked? Then there is a column for what it said. */
static bool is_verified(struct json_object *list) {
        for (size_t i = 0; i < reply_length(list); i++)
                if (reply_has(json_object_array_get_idx(list, i), "allocated"))
                        return true;
        return false;
}

int show_buffers(struct json_object *reply, const struct view *view) {
        static const struct column plain[] = {
                { .title = "OBJECT", .right = true },    { .title = "POOL", .shrinks = true },
                { .title = "SIZE", .right = true },      { .title = "STATE" },
                { .title = "AGE", .right = true },       { .title = "UID", .right = true },
                { .title = "TOKENS", .right = true },    { .title = "MARKS" },
                { .title = "HOLDERS", .shrinks = true },
        };
        static const struct column verified[] = {
                { .title = "OBJECT", .right = true },
                { .title = "POOL", .shrinks = true },
                { .title = "SIZE", .right = true },
                { .title = "ALLOCATED", .right = true },
                { .title = "STATE" },
                { .title = "AGE", .right = true },
                { .title = "UID", .right = true },
                { .title = "TOKENS", .right = true },
                { .title = "MARKS" },
                { .title = "HOLDERS", .shrinks = true },
        };
        struct json_object *buffers = reply_at(reply, "buffers");
        bool asked = is_verified(buffers);
        struct table table = asked ? TABLE_OF(verified) : TABLE_OF(plain);

        for (size_t i = 0; i < reply_length(buffers); i++) {
                struct json_object *buffer = json_object_array_get_idx(buffers, i);

                table_add_int(&table, reply_int(buffer, "object"));
                table_add(&table, reply_text(buffer, "pool"));
                table_add_bytes(&table, reply_int(buffer, "capacity"));
                if (asked)
                        show_allocated(&table, buffer);
                table_add(&table, reply_text(buffer, "state"));
                table_add_time(&table, reply_int(buffer, "age_ns"));
                show_uid(&table, buffer);
                table_add_int(&table, reply_int(buffer, "tokens"));
                show_marks(&table, buffer);
                show_holders(&table, buffer);
        }
        return show_table(&table, view);
}

int show_quarantine(struct json_object *reply, const struct view *view) {
        static const struct column columns[] = {
                { .title = "OBJECT", .right = true },  { .title = "POOL", .shrinks = true },
                { .title = "SIZE", .right = true },    { .title = "ALLOCATED", .right = true },
                { .title = "AGE", .right = true },     { .title = "UID", .right = true },
                { .title = "PROOFS", .right = true },  { .title = "NEXT", .right = true },
                { .title = "RETIRES", .right = true }, { .title = "MARKS" },
        };
        struct table table = TABLE_OF(columns);
        struct json_object *list = reply_at(reply, "quarantine");

        for (size_t i = 0; i < reply_length(list); i++) {
                struct json_object *object = json_object_array_get_idx(list, i);

                table_add_int(&table, reply_int(object, "object"));
                table_add(&table, reply_text(object, "pool"));
                table_add_bytes(&table, reply_int(object, "capacity"));
                show_allocated(&table, object);
                table_add_time(&table, reply_int(object, "age_ns"));
                show_uid(&table, object);
                table_add_int(&table, reply_int(object, "proofs_failed"));
                if (reply_has(object, "next_proof_in_ns"))
                        table_add_time(&table, reply_int(object, "next_proof_in_ns"));
                else
                        table_add(&table, "now");
                if (reply_has(object, "retires_in_ns"))
                        table_add_time(&table, reply_int(object, "retires_in_ns"));
                else
                        table_add(&table, "never");
                show_marks(&table, object);
        }
        return show_table(&table, view);
}
