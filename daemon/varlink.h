/* SPDX-License-Identifier: Apache-2.0 */
/* The Varlink protocol's own part: what a call is, and which parameters it may have. */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VARLINK_MESSAGE_MAX ((size_t)64 << 10) /* bytes of a call, without its NUL */
#define VARLINK_DEPTH_MAX 16                   /* of nested JSON */

#define VARLINK_ERROR_INTERFACE "org.varlink.service.InterfaceNotFound"
#define VARLINK_ERROR_METHOD "org.varlink.service.MethodNotFound"
#define VARLINK_ERROR_UNIMPLEMENTED "org.varlink.service.MethodNotImplemented"
#define VARLINK_ERROR_PARAMETER "org.varlink.service.InvalidParameter"

struct varlink_call {
        struct json_object *message;    /* owned */
        const char *method;             /* the message's */
        struct json_object *parameters; /* the message's; NULL: none */
        bool oneway;                    /* no reply is wanted */
        bool upgrade;                   /* the caller wants the connection for something else */
};

/*
 * Reads a call out of one message. Returns NULL, or what is wrong with it, static; then the
 * peer does not speak Varlink. varlink_call_deinit frees what *ret_call owns.
 */
const char *varlink_call_parse(const char *text, size_t size, struct varlink_call *ret_call);
void varlink_call_deinit(struct varlink_call *call);

enum varlink_type {
        VARLINK_INT,    /* int64_t */
        VARLINK_STRING, /* const char *, borrowed from the message */
        VARLINK_BOOL,   /* bool */
};

struct varlink_parameter {
        const char *name;
        size_t offset; /* of the field that takes it */
        enum varlink_type type;
        int64_t min, max;  /* of an int */
        unsigned mask_bit; /* in `allowed` and `required` */
};

/*
 * Stores the parameters in the fields of `into`; one that is absent, or null, leaves its field
 * as it is. Returns NULL, or the name of the first that is wrong, unknown or missing, borrowed
 * from the message or the table.
 */
const char *varlink_parameters_read(struct json_object *parameters,
                                    const struct varlink_parameter *table, size_t n,
                                    unsigned allowed, unsigned required, void *into);
