/* SPDX-License-Identifier: Apache-2.0 */
/* shmbrokerctl: the control socket for people, and with --json for programs. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "call.h"
#include "cleanup.h"
#include "options.h"
#include "shmbroker-proto.h"
#include "terminal.h"
#include "top.h"

static void json_putp(struct json_object **object) {
        json_object_put(*object);
}

static void call_freep(struct call **call) {
        call_free(*call);
}

/* The user's own broker, if its socket is there; owned by the caller, NULL: no. */
static char *user_path(void) {
        const char *directory = getenv("XDG_RUNTIME_DIR");
        char *path = NULL;

        if (!directory || *directory != '/' ||
            asprintf(&path, "%s/" SHMB_DEFAULT_USER_CONTROL, directory) < 0)
                return NULL;
        if (access(path, F_OK) == 0)
                return path;
        free(path);
        return NULL;
}

/* Owned by the caller; NULL: out of memory. */
static char *find_path(const struct options *options) {
        const char *given = options->socket_path ? options->socket_path
                                                 : getenv(SHMB_ENV_CONTROL);

        if (given && (options->socket_path || *given))
                return strdup(given);
        char *path = user_path();
        return path ? path : strdup(SHMB_DEFAULT_SYSTEM_CONTROL);
}

static struct json_object *parameters_of(const struct options *options) {
        struct json_object *parameters = json_object_new_object();

        if (options->client)
                json_object_object_add(parameters, "client",
                                       json_object_new_int64((int64_t)options->client));
        if (options->pool)
                json_object_object_add(parameters, "pool",
                                       json_object_new_string(options->pool));
        if (options->verify)
                json_object_object_add(parameters, "verify", json_object_new_boolean(true));
        return parameters;
}

static int print_json(struct json_object *reply) {
        const char *text = json_object_to_json_string_ext(
                reply, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

        if (!text)
                return -ENOMEM;
        return puts(text) < 0 ? -errno : 0;
}

static int ask(const struct options *options, struct call *call, struct call_error *error) {
        SHMB_CLEANUP(json_putp) struct json_object *reply = NULL;
        const struct command *command = options->command;
        struct view view = {
                .to = stdout,
                .width = terminal_width(STDOUT_FILENO),
                .header = !options->no_header,
        };
        int r = command->list ? call_list(call, command->method, command->list,
                                          parameters_of(options), &reply, error)
                              : call_method(call, command->method, parameters_of(options),
                                            &reply, error);

        if (r < 0)
                return r;
        r = options->json ? print_json(reply) : command->show(reply, &view);
        if (r == 0 && fflush(stdout) != 0)
                r = -errno;
        if (r < 0)
                snprintf(error->text, sizeof(error->text), "cannot write: %s", strerror(-r));
        return r;
}

static int run(const struct options *options, struct call_error *error) {
        SHMB_CLEANUP(call_freep) struct call *call = NULL;
        SHMB_FREE char *path = find_path(options);

        if (!path) {
                snprintf(error->text, sizeof(error->text), "out of memory");
                return -ENOMEM;
        }
        int r = call_new(&call, path, error);
        if (r < 0)
                return r;
        return options->command->method ? ask(options, call, error)
                                        : top_run(options, call, error);
}

int main(int argc, char **argv) {
        struct options options;
        struct call_error error = { 0 };
        int status = EXIT_SUCCESS;

        if (options_parse(argc, argv, &options, &status) == OPTIONS_EXIT)
                return status;
        if (run(&options, &error) < 0) {
                fprintf(stderr, "shmbrokerctl: %s\n", error.text);
                return EXIT_FAILED;
        }
        return EXIT_SUCCESS;
}
