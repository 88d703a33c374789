/* SPDX-License-Identifier: Apache-2.0 */
#include "varlink.h"

#include <string.h>

#include "cleanup.h"

static void tokener_freep(struct json_tokener **tokener) {
        if (*tokener)
                json_tokener_free(*tokener);
}

static void json_putp(struct json_object **object) {
        json_object_put(*object);
}

/* A bool member that may be absent; false if it is something else. */
static bool read_flag(struct json_object *message, const char *key, bool *ret_flag) {
        struct json_object *value = NULL;

        if (!json_object_object_get_ex(message, key, &value) || !value)
                return true;
        if (!json_object_is_type(value, json_type_boolean))
                return false;
        *ret_flag = json_object_get_boolean(value);
        return true;
}

/* A string without NULs inside, or NULL. */
static const char *plain_string(struct json_object *value) {
        if (!json_object_is_type(value, json_type_string))
                return NULL;
        const char *string = json_object_get_string(value);
        return strlen(string) == (size_t)json_object_get_string_len(value) ? string : NULL;
}

static const char *parse_json(const char *text, size_t size, struct json_object **ret_message) {
        SHMB_CLEANUP(tokener_freep)
        struct json_tokener *tokener = json_tokener_new_ex(VARLINK_DEPTH_MAX);
        SHMB_CLEANUP(json_putp) struct json_object *message = NULL;

        if (!tokener)
                return "out of memory";
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        message = json_tokener_parse_ex(tokener, text, (int)size);
        switch (json_tokener_get_error(tokener)) {
        case json_tokener_success:
                break;
        case json_tokener_error_depth:
                return "JSON nested too deeply";
        case json_tokener_continue:
                return "JSON that breaks off";
        default:
                return "malformed JSON";
        }
        if (json_tokener_get_parse_end(tokener) != size)
                return "something behind the JSON";
        if (!json_object_is_type(message, json_type_object))
                return "not a JSON object";
        *ret_message = shmb_steal_ptr(message);
        return NULL;
}

const char *varlink_call_parse(const char *text, size_t size, struct varlink_call *ret_call) {
        SHMB_CLEANUP(json_putp) struct json_object *message = NULL;
        struct varlink_call call = { 0 };
        struct json_object *value = NULL;
        const char *wrong = parse_json(text, size, &message);
        bool more =
                false; /* a reply here is always a single one, which the caller must expect */

        if (wrong)
                return wrong;
        if (json_object_object_get_ex(message, "method", &value))
                call.method = plain_string(value);
        if (!call.method)
                return "no method";
        if (json_object_object_get_ex(message, "parameters", &call.parameters) &&
            call.parameters && !json_object_is_type(call.parameters, json_type_object))
                return "parameters are not an object";
        if (!read_flag(message, "oneway", &call.oneway) ||
            !read_flag(message, "upgrade", &call.upgrade) || !read_flag(message, "more", &more))
                return "a flag is not a bool";
        call.message = shmb_steal_ptr(message);
        *ret_call = call;
        return NULL;
}

void varlink_call_deinit(struct varlink_call *call) {
        json_object_put(call->message);
        *call = (struct varlink_call){ 0 };
}

static bool store(const struct varlink_parameter *parameter, struct json_object *value,
                  void *into) {
        void *field = (char *)into + parameter->offset;
        const char *string;
        int64_t number;

        switch (parameter->type) {
        case VARLINK_INT:
                if (!json_object_is_type(value, json_type_int))
                        return false;
                number = json_object_get_int64(value);
                /* What is too large for an int64_t is given as the largest. */
                if (json_object_get_uint64(value) > INT64_MAX)
                        return false;
                if (number < parameter->min || number > parameter->max)
                        return false;
                *(int64_t *)field = number;
                return true;
        case VARLINK_STRING:
                string = plain_string(value);
                if (!string)
                        return false;
                *(const char **)field = string;
                return true;
        case VARLINK_BOOL:
                if (!json_object_is_type(value, json_type_boolean))
                        return false;
                *(bool *)field = json_object_get_boolean(value);
                return true;
        }
        return false;
}

static const struct varlink_parameter *find(const struct varlink_parameter *table, size_t n,
                                            unsigned allowed, const char *name) {
        for (size_t i = 0; i < n; i++)
                if ((table[i].mask_bit & allowed) && strcmp(table[i].name, name) == 0)
                        return &table[i];
        return NULL;
}

const char *varlink_parameters_read(struct json_object *parameters,
                                    const struct varlink_parameter *table, size_t n,
                                    unsigned allowed, unsigned required, void *into) {
        unsigned seen = 0;

        if (parameters) {
                struct json_object_iterator at = json_object_iter_begin(parameters);
                struct json_object_iterator end = json_object_iter_end(parameters);

                for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
                        const char *name = json_object_iter_peek_name(&at);
                        struct json_object *value = json_object_iter_peek_value(&at);
                        const struct varlink_parameter *parameter = find(table, n, allowed,
                                                                         name);
                        if (!parameter)
                                return name;
                        if (!value)
                                continue;
                        if (!store(parameter, value, into))
                                return name;
                        seen |= parameter->mask_bit;
                }
        }
        for (size_t i = 0; i < n; i++)
                if (table[i].mask_bit & required & ~seen)
                        return table[i].name;
        return NULL;
}
