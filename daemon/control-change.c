/* SPDX-License-Identifier: Apache-2.0 */
/* Trim and Disconnect: what changes something, and who may. */
#include <unistd.h>

#include "control-internal.h"
#include "log.h"

/* NULL, or the error. */
static const char *refuse_others(struct control_request *request) {
        struct builder *build = &request->build;

        if (control_is_privileged(request->peer.uid))
                return NULL;
        build_int(build, request->reply, "uid", request->peer.uid);
        struct json_object *allowed = build_array(build, request->reply, "allowed");
        build_append_int(build, allowed, 0);
        if (geteuid() != 0)
                build_append_int(build, allowed, geteuid());
        return "io.shmbroker.PermissionDenied";
}

static void log_change(const struct control_request *request, const char *what,
                       uint64_t number) {
        log_limited(LOG_LEVEL_INFO,
                    LOG_FIELDS(LOG_NUMBER("pid", request->peer.pid),
                               LOG_NUMBER("uid", request->peer.uid), LOG_NUMBER(what, number)),
                    "%s, by the control socket", request->method);
}

const char *control_trim(struct control_request *request) {
        const struct control *control = request->control;
        const char *error = refuse_others(request);

        if (error)
                return error;
        uint64_t bytes = control->ops->trim(control->userdata);
        log_change(request, "bytes", bytes);
        build_int(&request->build, request->reply, "bytes", bytes);
        return NULL;
}

const char *control_no_such_client(struct control_request *request) {
        build_int(&request->build, request->reply, "client",
                  (uint64_t)request->parameters.client);
        return "io.shmbroker.NoSuchClient";
}

const char *control_disconnect(struct control_request *request) {
        const struct control *control = request->control;
        uint64_t client = (uint64_t)request->parameters.client;
        const char *error = refuse_others(request);

        if (error)
                return error;
        if (control->ops->disconnect(control->userdata, client) < 0)
                return control_no_such_client(request);
        log_change(request, "client", client);
        return NULL;
}
