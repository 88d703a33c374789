/* SPDX-License-Identifier: Apache-2.0 */
/* What several tables share, and the replies that are one sentence. */
#include "show.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "human.h"
#include "reply.h"

int show_table(struct table *table, const struct view *view) {
        int r = table_print(table, view);

        table_deinit(table);
        return r;
}

void show_amount(struct table *table, struct json_object *parent, const char *key) {
        table_add_bytes(table, reply_int(reply_at(parent, key), "bytes"));
}

void show_uid(struct table *table, struct json_object *object) {
        if (reply_has(object, "uid"))
                table_add_int(table, reply_int(object, "uid"));
        else
                table_add(table, "-");
}

void show_marks(struct table *table, struct json_object *object) {
        static const struct {
                const char *key, *word;
        } marks[] = {
                { "fresh", "fresh" },      { "left_domain", "left" }, { "escaped", "escaped" },
                { "lost_holder", "lost" }, { "huge", "huge" },        { "numa", "numa" },
        };
        char text[64];
        size_t at = 0;

        text[0] = '\0';
        for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
                if (reply_true(object, marks[i].key) && at < sizeof(text))
                        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s",
                                               at ? "," : "", marks[i].word);
        table_add(table, text);
}

static int written(const struct view *view) {
        return ferror(view->to) ? -EIO : 0;
}

int show_trim(struct json_object *reply, const struct view *view) {
        char bytes[HUMAN_SIZE];

        human_bytes(bytes, reply_int(reply, "bytes"));
        fprintf(view->to, "%s given back to the kernel\n", bytes);
        return written(view);
}

int show_disconnect(struct json_object *reply, const struct view *view) {
        (void)reply;
        fputs("disconnected\n", view->to);
        return written(view);
}
