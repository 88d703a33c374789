/* SPDX-License-Identifier: Apache-2.0 */
#include "call-error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "reply.h"

#define ELSEWHERE "name its control socket with --socket or $SHMBROKER_CONTROL"

__attribute__((format(printf, 3, 4))) static int say(struct call_error *error, int r,
                                                     const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(error->text, sizeof(error->text), format, arguments);
        va_end(arguments);
        return r;
}

int call_error_connect(struct call_error *error, const char *path, int r) {
        struct stat status;

        switch (r) {
        case -ECONNREFUSED:
                if (path[0] != '@' && stat(path, &status) == 0 && !S_ISSOCK(status.st_mode))
                        return say(error, r, "%s is not a socket: " ELSEWHERE, path);
                __attribute__((fallthrough));
        case -ENOENT:
        case -ENOTDIR:
                return say(error, r,
                           "no broker listens at %s (%s): is shmbrokerd running? Start it, or "
                           "if it is, " ELSEWHERE,
                           path, strerror(-r));
        case -EACCES:
        case -EPERM:
                return say(error, r,
                           "not allowed to connect to %s (%s): the broker's ControlMode= and "
                           "SocketGroup= say who is; join that group, or ask as root",
                           path, strerror(-r));
        case -EPROTOTYPE:
                return say(error, r,
                           "%s is not a control socket (%s): it may be the broker's data "
                           "socket; " ELSEWHERE,
                           path, strerror(-r));
        case -ENAMETOOLONG:
                return say(error, r, "%s is too long for the name of a socket", path);
        case -EINVAL:
                return say(error, r, "\"%s\" is not the name of a socket", path);
        default:
                return call_error_system(error, path, r);
        }
}

int call_error_system(struct call_error *error, const char *path, int r) {
        switch (r) {
        case -ENOMEM:
                return say(error, r, "out of memory");
        case -ETIMEDOUT:
                return say(error, r,
                           "the broker at %s did not answer within %d s: it is very busy or "
                           "stopped; its log may say why",
                           path, CALL_TIMEOUT_S);
        case -ENODATA:
        case -EPIPE:
        case -ECONNRESET:
                return say(error, r,
                           "the broker at %s closed the connection: it is going down, or its "
                           "log says why",
                           path);
        case -EBADMSG:
                return say(error, r, "what listens at %s does not speak Varlink: " ELSEWHERE,
                           path);
        case -EMSGSIZE:
                return say(error, r, "the reply from %s is longer than %zu bytes", path,
                           CALL_REPLY_MAX);
        default:
                return say(error, r, "cannot talk to the broker at %s: %s", path, strerror(-r));
        }
}

/* "uid 0 or uid 997" */
static const char *who_may(struct json_object *parameters, char *text, size_t size) {
        struct json_object *allowed = reply_at(parameters, "allowed");
        size_t at = 0;

        text[0] = '\0';
        for (size_t i = 0; i < reply_length(allowed) && at < size; i++) {
                int64_t uid = json_object_get_int64(json_object_array_get_idx(allowed, i));
                at += (size_t)snprintf(text + at, size - at, "%suid %" PRId64, i ? " or " : "",
                                       uid);
        }
        return text;
}

int call_error_reply(struct call_error *error, const char *path, const char *name,
                     struct json_object *parameters) {
        char allowed[128];

        if (strcmp(name, "io.shmbroker.PermissionDenied") == 0)
                return say(error, -EACCES, "not allowed for uid %" PRIu64 ": only for %s",
                           reply_int(parameters, "uid"),
                           who_may(parameters, allowed, sizeof(allowed)));
        if (strcmp(name, "io.shmbroker.NoSuchClient") == 0)
                return say(error, -ENOENT,
                           "no client %" PRIu64 " is connected: `shmbrokerctl clients` lists "
                           "them",
                           reply_int(parameters, "client"));
        if (strcmp(name, "io.shmbroker.NoSuchPool") == 0)
                return say(error, -ENOENT, "no pool \"%s\": `shmbrokerctl pools` lists them",
                           reply_text(parameters, "pool"));
        if (strcmp(name, "io.shmbroker.TooManyConnections") == 0)
                return say(error, -EREMOTEIO,
                           "the broker at %s has no room for another control connection: "
                           "ControlConnectionsMax= gives this user %" PRIu64,
                           path, reply_int(parameters, "limit"));
        if (strcmp(name, "org.varlink.service.InterfaceNotFound") == 0)
                return say(error, -EREMOTEIO,
                           "what listens at %s is not a shmbroker: " ELSEWHERE, path);
        if (strcmp(name, "org.varlink.service.MethodNotFound") == 0)
                return say(error, -EREMOTEIO,
                           "the broker at %s does not know %s: it is of another version", path,
                           reply_text(parameters, "method"));
        return say(error, -EREMOTEIO, "the broker at %s answered %s %s", path, name,
                   json_object_to_json_string_ext(parameters, JSON_C_TO_STRING_PLAIN));
}
