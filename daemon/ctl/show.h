/* SPDX-License-Identifier: Apache-2.0 */
/* Replies as tables. Each returns 0, or -errno: out of memory, or the output failed. */
#pragma once

#include <json-c/json.h>

#include "table.h"

typedef int (*show_fn)(struct json_object *reply, const struct view *view);

int show_status(struct json_object *reply, const struct view *view);
int show_pools(struct json_object *reply, const struct view *view);
int show_clients(struct json_object *reply, const struct view *view);
int show_buffers(struct json_object *reply, const struct view *view);
int show_tokens(struct json_object *reply, const struct view *view);
int show_quarantine(struct json_object *reply, const struct view *view);
int show_trim(struct json_object *reply, const struct view *view);
int show_disconnect(struct json_object *reply, const struct view *view);

/* Two or three lines that say it all. */
int show_status_heading(struct json_object *status, const struct view *view);

/* Prints and frees the table. */
int show_table(struct table *table, const struct view *view);

/* The bytes of an amount {bytes, buffers}. */
void show_amount(struct table *table, struct json_object *parent, const char *key);

/* "left,escaped": the marks of a memory object. */
void show_marks(struct table *table, struct json_object *object);

/* A uid, or "-" where there is none. */
void show_uid(struct table *table, struct json_object *object);
