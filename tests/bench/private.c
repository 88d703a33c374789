/* SPDX-License-Identifier: Apache-2.0 */
#include "private.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "shmbroker-proto.h"

enum {
        ARGUMENTS_MAX = 16 + 2 * SIZES_MAX,
        NUMBER_SIZE = 24,
        TRIM_TIMEOUT_S = 10,
};

bool broker_is_given(void) {
        const char *socket = getenv(SHMB_ENV_SOCKET);
        return socket && *socket;
}

/* The daemon of the same build tree, or the installed one. */
static const char *daemon_path(const char *self, char path[PATH_MAX]) {
        const char *given = getenv("SHMBROKERD");
        const char *slash = strrchr(self, '/');

        if (given && *given)
                return given;
        if (slash) {
                int length = snprintf(path, PATH_MAX, "%.*s/../../daemon/shmbrokerd",
                                      (int)(slash - self), self);
                if (length < PATH_MAX && access(path, X_OK) == 0)
                        return path;
        }
        return "shmbrokerd";
}

struct arguments {
        const char *list[ARGUMENTS_MAX + 1];
        size_t n;
        char numbers[SIZES_MAX + 2][NUMBER_SIZE];
        size_t n_numbers;
};

static void add(struct arguments *arguments, const char *argument) {
        if (arguments->n < ARGUMENTS_MAX)
                arguments->list[arguments->n++] = argument;
}

static char *number(struct arguments *arguments) {
        return arguments->numbers[arguments->n_numbers++];
}

static void add_options(struct arguments *arguments, const struct options *options) {
        if (options->json)
                add(arguments, "--json");
        add(arguments, "--no-header");
        if (options->count) {
                char *text = number(arguments);
                snprintf(text, NUMBER_SIZE, "%zu", options->count);
                add(arguments, "--count");
                add(arguments, text);
        }
        if (options->seconds > 0) {
                char *text = number(arguments);
                snprintf(text, NUMBER_SIZE, "%.3f", options->seconds);
                add(arguments, "--seconds");
                add(arguments, text);
        }
        for (size_t i = 0; i < options->n_sizes; i++) {
                char *text = number(arguments);
                snprintf(text, NUMBER_SIZE, "%zu", options->sizes[i]);
                add(arguments, "--size");
                add(arguments, text);
        }
}

static int run_and_wait(const char *program, struct arguments *arguments) {
        pid_t pid;
        int status;

        fflush(NULL);
        int r = posix_spawnp(&pid, program, NULL, NULL, (char **)arguments->list, environ);
        if (r != 0) {
                fprintf(stderr, "shmbench: %s: %s (set SHMBROKERD to the daemon)\n", program,
                        strerror(r));
                return -r;
        }
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                return 0;
        fprintf(stderr, "shmbench: %s --run: %s %d\n", program,
                WIFSIGNALED(status) ? "signal" : "exit status",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        return -ECHILD;
}

int broker_run(const struct bench *bench, const struct options *options) {
        struct arguments arguments = { 0 };
        char self[PATH_MAX], path[PATH_MAX];
        ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

        if (length < 0)
                return -errno;
        self[length] = '\0';

        const char *program = daemon_path(self, path);
        add(&arguments, program);
        add(&arguments, "--log-level");
        add(&arguments, "error"); /* its other news is not this program's */
        add(&arguments, "--run");
        add(&arguments, "--");
        add(&arguments, self);
        add(&arguments, "run");
        add_options(&arguments, options);
        add(&arguments, bench->name);
        return run_and_wait(program, &arguments);
}

/* Sends one call of the control socket, and reads the reply up to its NUL. */
static int call(int fd, const char *request, char *reply, size_t room) {
        size_t size = strlen(request) + 1, at = 0;

        if (send(fd, request, size, MSG_NOSIGNAL) != (ssize_t)size)
                return -errno;
        while (at < room) {
                ssize_t got = recv(fd, reply + at, room - at, 0);
                if (got <= 0)
                        return got < 0 ? -errno : -ECONNRESET;
                at += (size_t)got;
                if (reply[at - 1] == '\0')
                        return 0;
        }
        return -EMSGSIZE;
}

int broker_trim(void) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        struct timeval timeout = { .tv_sec = TRIM_TIMEOUT_S };
        const char *path = getenv(SHMB_ENV_CONTROL);
        char reply[4 * KIB];

        if (!path || strlen(path) >= sizeof(address.sun_path))
                return -EDESTADDRREQ;
        SHMB_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        memcpy(address.sun_path, path, strlen(path) + 1);
        if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
            connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
                return -errno;
        int r = call(fd, "{\"method\": \"io.shmbroker.Trim\"}", reply, sizeof(reply));
        if (r < 0)
                return r;
        return strstr(reply, "\"error\"") ? -EPROTO : 0;
}
