/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "reply.h"
#include "show.h"

/* The limit of that name. */
static uint64_t limit_of(struct json_object *pool, const char *name) {
        struct json_object *limits = reply_at(pool, "limits");

        for (size_t i = 0; i < reply_length(limits); i++) {
                struct json_object *limit = json_object_array_get_idx(limits, i);
                if (strcmp(reply_text(limit, "name"), name) == 0)
                        return reply_int(limit, "limit");
        }
        return 0;
}

/* What is neither held, cached nor free. */
static uint64_t other_bytes(struct json_object *memory) {
        static const char *const states[] = { "making", "proving", "scrubbing", "quarantine",
                                              "retiring" };
        uint64_t sum = 0;

        for (size_t i = 0; i < sizeof states / sizeof *states; i++)
                sum += reply_int(reply_at(memory, states[i]), "bytes");
        return sum;
}

static struct table table_of_sums(struct json_object *pools) {
        static const struct column columns[] = {
                { .title = "POOL", .shrinks = true },     { .title = "HELD", .right = true },
                { .title = "CACHED", .right = true },     { .title = "FREE", .right = true },
                { .title = "OTHER", .right = true },      { .title = "TOTAL", .right = true },
                { .title = "MEMORYMAX", .right = true },  { .title = "BUFFERS", .right = true },
                { .title = "BUFFERSMAX", .right = true }, { .title = "TOKENS", .right = true },
                { .title = "WAITING", .right = true },
        };
        struct table table = TABLE_OF(columns);

        for (size_t i = 0; i < reply_length(pools); i++) {
                struct json_object *pool = json_object_array_get_idx(pools, i);
                struct json_object *memory = reply_at(pool, "memory");

                table_add(&table, reply_text(pool, "name"));
                show_amount(&table, memory, "held");
                show_amount(&table, memory, "cached");
                show_amount(&table, memory, "free");
                table_add_bytes(&table, other_bytes(memory));
                show_amount(&table, memory, "total");
                table_add_bytes(&table, limit_of(pool, "MemoryMax"));
                table_add_int(&table, reply_int(reply_at(memory, "total"), "buffers"));
                table_add_int(&table, limit_of(pool, "BuffersMax"));
                table_add_int(&table, reply_int(pool, "tokens"));
                table_add_int(&table, reply_int(pool, "waiting"));
        }
        return table;
}

static struct table table_of_counters(struct json_object *pools) {
        static const struct column columns[] = {
                { .title = "POOL", .shrinks = true },   { .title = "GRANTS", .right = true },
                { .title = "RECYCLED", .right = true }, { .title = "MADE", .right = true },
                { .title = "REFUSED", .right = true },  { .title = "WAITED", .right = true },
                { .title = "PROOFS", .right = true },   { .title = "FAILED", .right = true },
                { .title = "SCRUBS", .right = true },   { .title = "RETIRED", .right = true },
                { .title = "TAKEN", .right = true },
        };
        static const char *const keys[] = { "grants",  "recycled", "made",          "refused",
                                            "waited",  "proofs",   "proofs_failed", "scrubs",
                                            "retired", "taken" };
        struct table table = TABLE_OF(columns);

        for (size_t i = 0; i < reply_length(pools); i++) {
                struct json_object *pool = json_object_array_get_idx(pools, i);

                table_add(&table, reply_text(pool, "name"));
                for (size_t j = 0; j < sizeof keys / sizeof *keys; j++)
                        table_add_int(&table, reply_int(reply_at(pool, "counters"), keys[j]));
        }
        return table;
}

static struct table table_of_classes(struct json_object *pools) {
        static const struct column columns[] = {
                { .title = "POOL", .shrinks = true },
                { .title = "CLASS", .right = true },
                { .title = "HELD", .right = true },
                { .title = "CACHED", .right = true },
                { .title = "FREE", .right = true },
                { .title = "MAKING", .right = true },
                { .title = "OTHER", .right = true },
                { .title = "PREALLOCATED", .right = true },
        };
        static const char *const keys[] = { "held",   "cached", "free",
                                            "making", "other",  "preallocated" };
        struct table table = TABLE_OF(columns);

        for (size_t i = 0; i < reply_length(pools); i++) {
                struct json_object *pool = json_object_array_get_idx(pools, i);
                struct json_object *classes = reply_at(pool, "classes");

                for (size_t j = 0; j < reply_length(classes); j++) {
                        struct json_object *row = json_object_array_get_idx(classes, j);
                        table_add(&table, reply_text(pool, "name"));
                        table_add_bytes(&table, reply_int(row, "capacity"));
                        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
                                table_add_int(&table, reply_int(row, keys[k]));
                }
        }
        return table;
}

static struct table table_of_users(struct json_object *pools) {
        static const struct column columns[] = {
                { .title = "POOL", .shrinks = true },
                { .title = "UID", .right = true },
                { .title = "BYTES", .right = true },
                { .title = "UIDMEMORYMAX", .right = true },
                { .title = "BUFFERS", .right = true },
                { .title = "UIDBUFFERSMAX", .right = true },
                { .title = "TOKENS", .right = true },
                { .title = "WAITING", .right = true },
        };
        struct table table = TABLE_OF(columns);

        for (size_t i = 0; i < reply_length(pools); i++) {
                struct json_object *pool = json_object_array_get_idx(pools, i);
                struct json_object *users = reply_at(pool, "users");

                for (size_t j = 0; j < reply_length(users); j++) {
                        struct json_object *user = json_object_array_get_idx(users, j);
                        table_add(&table, reply_text(pool, "name"));
                        table_add_int(&table, reply_int(user, "uid"));
                        table_add_bytes(&table, reply_int(user, "bytes"));
                        table_add_bytes(&table, limit_of(pool, "UidMemoryMax"));
                        table_add_int(&table, reply_int(user, "buffers"));
                        table_add_int(&table, limit_of(pool, "UidBuffersMax"));
                        table_add_int(&table, reply_int(user, "tokens"));
                        table_add_int(&table, reply_int(user, "waiting"));
                }
        }
        return table;
}

int show_pools(struct json_object *reply, const struct view *view) {
        static struct table (*const parts[])(struct json_object *) = {
                table_of_sums,
                table_of_classes,
                table_of_users,
                table_of_counters,
        };
        struct json_object *pools = reply_at(reply, "pools");
        int r = 0;

        for (size_t i = 0; r == 0 && i < sizeof parts / sizeof *parts; i++) {
                struct table table = parts[i](pools);

                if (i > 0 && table.n_cells == 0 && !table.failed)
                        continue;
                if (i > 0)
                        fputc('\n', view->to);
                r = show_table(&table, view);
        }
        return r;
}
