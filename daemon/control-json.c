/* SPDX-License-Identifier: Apache-2.0 */
#include "control-json.h"

static void put(struct builder *builder, struct json_object *parent, const char *key,
                struct json_object *value) {
        if (value && parent &&
            json_object_object_add_ex(parent, key, value,
                                      JSON_C_OBJECT_ADD_KEY_IS_NEW |
                                              JSON_C_OBJECT_ADD_CONSTANT_KEY) == 0)
                return;
        json_object_put(value);
        builder->failed = true;
}

static void append(struct builder *builder, struct json_object *array,
                   struct json_object *value) {
        if (value && array && json_object_array_add(array, value) == 0)
                return;
        json_object_put(value);
        builder->failed = true;
}

static struct json_object *new_int(uint64_t value) {
        return json_object_new_int64(value > INT64_MAX ? INT64_MAX : (int64_t)value);
}

struct json_object *build_object(struct builder *builder, struct json_object *parent,
                                 const char *key) {
        struct json_object *object = json_object_new_object();

        put(builder, parent, key, object);
        return builder->failed ? NULL : object;
}

struct json_object *build_array(struct builder *builder, struct json_object *parent,
                                const char *key) {
        struct json_object *array = json_object_new_array();

        put(builder, parent, key, array);
        return builder->failed ? NULL : array;
}

struct json_object *build_append_object(struct builder *builder, struct json_object *array) {
        struct json_object *object = json_object_new_object();

        append(builder, array, object);
        return builder->failed ? NULL : object;
}

void build_append_int(struct builder *builder, struct json_object *array, uint64_t value) {
        append(builder, array, new_int(value));
}

void build_append_string(struct builder *builder, struct json_object *array,
                         const char *value) {
        append(builder, array, json_object_new_string(value));
}

void build_int(struct builder *builder, struct json_object *parent, const char *key,
               uint64_t value) {
        put(builder, parent, key, new_int(value));
}

void build_bool(struct builder *builder, struct json_object *parent, const char *key,
                bool value) {
        put(builder, parent, key, json_object_new_boolean(value));
}

void build_string(struct builder *builder, struct json_object *parent, const char *key,
                  const char *value) {
        put(builder, parent, key, json_object_new_string(value));
}
