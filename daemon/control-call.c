/* SPDX-License-Identifier: Apache-2.0 */
/* From a message to its reply: which method it names, and what Varlink wants of any service. */
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "control-internal.h"
#include "varlink-definitions.h"

enum {
        AFTER = 1 << 0,
        LIMIT = 1 << 1,
        CLIENT = 1 << 2,
        POOL = 1 << 3,
        VERIFY = 1 << 4,
        INTERFACE = 1 << 5,
};

#define FIELD(field) offsetof(struct control_parameters, field)

static const struct varlink_parameter parameters[] = {
        { "after", FIELD(after), VARLINK_INT, 0, INT64_MAX, AFTER },
        { "limit", FIELD(limit), VARLINK_INT, 1, CONTROL_PAGE_MAX, LIMIT },
        { "client", FIELD(client), VARLINK_INT, 1, INT64_MAX, CLIENT },
        { "pool", FIELD(pool), VARLINK_STRING, 0, 0, POOL },
        { "verify", FIELD(verify), VARLINK_BOOL, 0, 0, VERIFY },
        { "interface", FIELD(interface), VARLINK_STRING, 0, 0, INTERFACE },
};

struct method {
        const char *name;
        const char *(*run)(struct control_request *request);
        unsigned allowed, required; /* parameters */
};

static const struct method service_methods[] = {
        { "GetInfo", control_get_info, 0, 0 },
        { "GetInterfaceDescription", control_get_interface_description, INTERFACE, INTERFACE },
        { NULL },
};

static const struct method own_methods[] = {
        { "Status", control_status, 0, 0 },
        { "Pools", control_pools, AFTER | LIMIT, 0 },
        { "Clients", control_clients, AFTER | LIMIT, 0 },
        { "Buffers", control_buffers, AFTER | LIMIT | CLIENT | POOL | VERIFY, 0 },
        { "Tokens", control_tokens, AFTER | LIMIT, 0 },
        { "Quarantine", control_quarantine, AFTER | LIMIT | VERIFY, 0 },
        { "Trim", control_trim, 0, 0 },
        { "Disconnect", control_disconnect, CLIENT, CLIENT },
        { NULL },
};

static const struct interface {
        const char *name, *description;
        const struct method *methods;
} interfaces[] = {
        { "org.varlink.service", varlink_org_varlink_service, service_methods },
        { "io.shmbroker", varlink_io_shmbroker, own_methods },
};
#define N_INTERFACES (sizeof interfaces / sizeof *interfaces)

static const struct interface *find_interface(const char *name, size_t length) {
        for (size_t i = 0; i < N_INTERFACES; i++)
                if (strlen(interfaces[i].name) == length &&
                    memcmp(interfaces[i].name, name, length) == 0)
                        return &interfaces[i];
        return NULL;
}

/* An error with one word. */
static const char *error_word(struct control_request *request, const char *error,
                              const char *key, const char *word, size_t length) {
        char copy[256];

        snprintf(copy, sizeof(copy), "%.*s", (int)(length < 255 ? length : 255), word);
        build_string(&request->build, request->reply, key, copy);
        return error;
}

static const char *error_whole_word(struct control_request *request, const char *error,
                                    const char *key, const char *word) {
        return error_word(request, error, key, word, strlen(word));
}

const char *control_get_info(struct control_request *request) {
        struct builder *build = &request->build;

        build_string(build, request->reply, "vendor", "shmbroker");
        build_string(build, request->reply, "product", "shmbrokerd");
        build_string(build, request->reply, "version", SHMB_VERSION);
        build_string(build, request->reply, "url", "man:shmbrokerd(8)");
        struct json_object *names = build_array(build, request->reply, "interfaces");
        for (size_t i = 0; i < N_INTERFACES; i++)
                build_append_string(build, names, interfaces[i].name);
        return NULL;
}

const char *control_get_interface_description(struct control_request *request) {
        const char *name = request->parameters.interface;
        const struct interface *interface = find_interface(name, strlen(name));

        if (!interface)
                return error_whole_word(request, VARLINK_ERROR_INTERFACE, "interface", name);
        build_string(&request->build, request->reply, "description", interface->description);
        return NULL;
}

/* The method of that name, or NULL with the error in *ret_error. */
static const struct method *find_method(struct control_request *request,
                                        const char **ret_error) {
        const char *dot = strrchr(request->method, '.');
        size_t length = dot ? (size_t)(dot - request->method) : strlen(request->method);
        const struct interface *interface = find_interface(request->method, length);

        if (!interface) {
                *ret_error = error_word(request, VARLINK_ERROR_INTERFACE, "interface",
                                        request->method, length);
                return NULL;
        }
        for (const struct method *method = interface->methods; dot && method->name; method++)
                if (strcmp(method->name, dot + 1) == 0)
                        return method;
        *ret_error = error_whole_word(request, VARLINK_ERROR_METHOD, "method", request->method);
        return NULL;
}

/* Runs the method; NULL, or the error. */
static const char *run(struct control_request *request, const struct varlink_call *call) {
        const char *error = NULL;
        const struct method *method = find_method(request, &error);

        if (!method)
                return error;
        if (call->upgrade)
                return error_whole_word(request, VARLINK_ERROR_UNIMPLEMENTED, "method",
                                        request->method);
        const char *wrong = varlink_parameters_read(
                call->parameters, parameters, sizeof parameters / sizeof *parameters,
                method->allowed, method->required, &request->parameters);
        if (wrong)
                return error_whole_word(request, VARLINK_ERROR_PARAMETER, "parameter", wrong);
        return method->run(request);
}

static struct json_object *begin_reply(const char *error, struct builder *build,
                                       struct json_object **ret_parameters) {
        struct json_object *reply = json_object_new_object();

        if (error)
                build_string(build, reply, "error", error);
        *ret_parameters = build_object(build, reply, "parameters");
        return reply;
}

static struct json_object *unless_failed(struct json_object *reply,
                                         const struct builder *build) {
        if (!build->failed)
                return reply;
        json_object_put(reply);
        return NULL;
}

struct json_object *control_error_reply(const char *error, const char *key, uint64_t value) {
        struct builder build = { 0 };
        struct json_object *fields = NULL;
        struct json_object *reply = begin_reply(error, &build, &fields);

        build_int(&build, fields, key, value);
        return unless_failed(reply, &build);
}

static struct json_object *no_memory_reply(void) {
        struct builder build = { 0 };
        struct json_object *fields = NULL;

        return unless_failed(begin_reply("io.shmbroker.NoMemory", &build, &fields), &build);
}

/* NULL: out of memory even for saying so. */
static struct json_object *reply_to(struct control_request *request,
                                    const struct varlink_call *call) {
        struct json_object *reply = begin_reply(NULL, &request->build, &request->reply);
        const char *error = run(request, call);

        if (error)
                build_string(&request->build, reply, "error", error);
        reply = unless_failed(reply, &request->build);
        return reply ? reply : no_memory_reply();
}

const char *control_answer(struct control *control, struct control_peer peer,
                           const char *message, size_t size, struct json_object **ret_reply) {
        struct varlink_call call = { 0 };
        const char *wrong = varlink_call_parse(message, size, &call);

        if (wrong)
                return wrong;
        struct control_request request = {
                .control = control,
                .peer = peer,
                .now = control_now(),
                .method = call.method,
                .parameters = { .limit = CONTROL_PAGE_MAX },
        };
        struct json_object *reply = reply_to(&request, &call);
        if (!reply) {
                wrong = "no memory for its reply";
        } else if (call.oneway) {
                json_object_put(reply);
        } else {
                *ret_reply = reply;
        }
        varlink_call_deinit(&call);
        return wrong;
}
