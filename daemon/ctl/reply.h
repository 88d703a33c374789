/* SPDX-License-Identifier: Apache-2.0 */
/* Reading replies: what is not there, or of another type, is 0, "" or empty. */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline struct json_object *reply_at(struct json_object *object, const char *key) {
        struct json_object *value = NULL;

        if (json_object_is_type(object, json_type_object))
                json_object_object_get_ex(object, key, &value);
        return value;
}

static inline bool reply_has(struct json_object *object, const char *key) {
        return reply_at(object, key) != NULL;
}

static inline uint64_t reply_int(struct json_object *object, const char *key) {
        struct json_object *value = reply_at(object, key);

        if (!json_object_is_type(value, json_type_int))
                return 0;
        int64_t number = json_object_get_int64(value);
        return number > 0 ? (uint64_t)number : 0;
}

static inline bool reply_true(struct json_object *object, const char *key) {
        struct json_object *value = reply_at(object, key);

        return json_object_is_type(value, json_type_boolean) && json_object_get_boolean(value);
}

static inline const char *reply_text(struct json_object *object, const char *key) {
        struct json_object *value = reply_at(object, key);

        return json_object_is_type(value, json_type_string) ? json_object_get_string(value)
                                                            : "";
}

static inline size_t reply_length(struct json_object *array) {
        return json_object_is_type(array, json_type_array) ? json_object_array_length(array)
                                                           : 0;
}
