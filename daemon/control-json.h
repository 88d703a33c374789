/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making JSON. A builder that once ran out of memory stays failed, so that whoever builds
 * checks once, at the end. Keys are literals: they are not copied.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

struct json_builder {
        bool failed;
};

/* Both give up `parent`'s new member to it; NULL when out of memory, and accept NULL. */
struct json_object *json_put_object(struct json_builder *builder, struct json_object *parent,
                                    const char *key);
struct json_object *json_put_array(struct json_builder *builder, struct json_object *parent,
                                   const char *key);

/* A new object at the end of the array, and its own. */
struct json_object *json_append_object(struct json_builder *builder, struct json_object *array);
void json_append_int(struct json_builder *builder, struct json_object *array, uint64_t value);
void json_append_string(struct json_builder *builder, struct json_object *array,
                        const char *value);

/* Varlink's int is signed: what is larger is given as its maximum. */
void json_put_int(struct json_builder *builder, struct json_object *parent, const char *key,
                  uint64_t value);
void json_put_bool(struct json_builder *builder, struct json_object *parent, const char *key,
                   bool value);
void json_put_string(struct json_builder *builder, struct json_object *parent, const char *key,
                     const char *value);
