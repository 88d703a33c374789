/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "reply.h"
#include "show.h"

static const char *kind_of(struct json_object *token) {
        if (reply_true(token, "transfer"))
                return "transfer";
        return reply_true(token, "once") ? "once" : "many";
}

int show_tokens(struct json_object *reply, const struct view *view) {
        static const struct column columns[] = {
                { .title = "NUMBER", .right = true },
                { .title = "TOKEN" },
                { .title = "OBJECT", .right = true },
                { .title = "POOL", .shrinks = true },
                { .title = "LENGTH", .right = true },
                { .title = "CLIENT" },
                { .title = "UID", .right = true },
                { .title = "KIND" },
                { .title = "FOR" },
                { .title = "IMPORTS", .right = true },
                { .title = "AGE", .right = true },
                { .title = "EXPIRES", .right = true },
        };
        struct table table = TABLE_OF(columns);
        struct json_object *tokens = reply_at(reply, "tokens");

        for (size_t i = 0; i < reply_length(tokens); i++) {
                struct json_object *token = json_object_array_get_idx(tokens, i);

                table_add_int(&table, reply_int(token, "number"));
                table_add(&table, reply_text(token, "token"));
                table_add_int(&table, reply_int(token, "object"));
                table_add(&table, reply_text(token, "pool"));
                table_add_bytes(&table, reply_int(token, "length"));
                table_addf(&table, "%" PRIu64 "%s", reply_int(token, "client"),
                           reply_true(token, "connected") ? "" : " gone");
                show_uid(&table, token);
                table_add(&table, kind_of(token));
                table_add(&table, reply_true(token, "same_uid") ? "uid" : "any");
                table_add_int(&table, reply_int(token, "imports"));
                table_add_time(&table, reply_int(token, "age_ns"));
                table_add_time(&table, reply_int(token, "expires_in_ns"));
        }
        return show_table(&table, view);
}
