/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making JSON. A builder that once ran out of memory stays failed, so that whoever builds
 * checks once, at the end. Keys are literals: they are not copied.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

struct builder {
        bool failed;
};

/* Both give up `parent`'s new member to it; NULL when out of memory, and accept NULL. */
struct json_object *build_object(struct builder *builder, struct json_object *parent,
                                 const char *key);
struct json_object *build_array(struct builder *builder, struct json_object *parent,
                                const char *key);

/* A new object at the end of the array, and its own. */
struct json_object *build_append_object(struct builder *builder, struct json_object *array);
void build_append_int(struct builder *builder, struct json_object *array, uint64_t value);
void build_append_string(struct builder *builder, struct json_object *array, const char *value);

/* Varlink's int is signed: what is larger is given as its maximum. */
void build_int(struct builder *builder, struct json_object *parent, const char *key,
               uint64_t value);
void build_bool(struct builder *builder, struct json_object *parent, const char *key,
                bool value);
void build_string(struct builder *builder, struct json_object *parent, const char *key,
                  const char *value);
