/* SPDX-License-Identifier: Apache-2.0 */
/* What went wrong, where, why, and what to do about it. All return the error, negative. */
#pragma once

#include "call.h"

/* connect(2) failed. */
int call_error_connect(struct call_error *error, const char *path, int r);

/* A call broke off. -ENODATA: the broker closed; -EBADMSG: what came is no reply. */
int call_error_system(struct call_error *error, const char *path, int r);

/* The broker answered with an error; -EREMOTEIO, or -EACCES, -ENOENT. */
int call_error_reply(struct call_error *error, const char *path, const char *name,
                     struct json_object *parameters);
