/* SPDX-License-Identifier: Apache-2.0 */
/* Calls to the control socket, one at a time, each with a time limit. */
#pragma once

#include <json-c/json.h>
#include <stddef.h>

#define CALL_TIMEOUT_S 5
#define CALL_REPLY_MAX ((size_t)64 << 20)

struct call; /* a connection */

/* A failure in words, for people; they end in no full stop. */
struct call_error {
        char text[1024];
};

/*
 * Connects to `path`, or to an abstract name after '@'. The caller owns the connection and
 * ends it with call_free. Returns 0, or -errno with the reason in `error`.
 */
int call_new(struct call **ret_call, const char *path, struct call_error *error);

/* Accepts NULL, returns NULL. */
struct call *call_free(struct call *call);

/*
 * Calls `method`; `parameters` is consumed, NULL: none. Returns 0, with the reply's parameters
 * owned by the caller; or -errno with the reason in `error`.
 */
int call_method(struct call *call, const char *method, struct json_object *parameters,
                struct json_object **ret_reply, struct call_error *error);

/*
 * The same for a method that gives a list in pages: calls it until there are no more, and puts
 * all entries into the list `key` of one reply.
 */
int call_list(struct call *call, const char *method, const char *key,
              struct json_object *parameters, struct json_object **ret_reply,
              struct call_error *error);
