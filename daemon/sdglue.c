/* SPDX-License-Identifier: Apache-2.0 */
#include "sdglue.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "cleanup.h"

#define STATUS_SIZE 256u

/* ---- sockets ---------------------------------------------------------------------- */

static void free_names(char ***names) {
        for (size_t i = 0; *names && (*names)[i]; i++)
                free((*names)[i]);
        free(*names);
}

/* Whether it is what `name` promises: 0, or -errno and a sentence. */
static int examine(int fd, const char *name, int type, char *error, size_t error_size) {
        const char *word = type == SOCK_SEQPACKET ? "ListenSequentialPacket" : "ListenStream";
        int r = sd_is_socket_unix(fd, type, 1, NULL, 0);

        if (r < 0) {
                snprintf(error, error_size, "socket \"%s\" from systemd: %s", name,
                         strerror(-r));
                return r;
        }
        if (r == 0) {
                snprintf(error, error_size,
                         "socket \"%s\" from systemd is not a listening %s= Unix socket", name,
                         word);
                return -EPROTOTYPE;
        }
        int flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
                r = -errno;
                snprintf(error, error_size, "socket \"%s\" from systemd: %s", name,
                         strerror(errno));
                return r;
        }
        return 0;
}

static int assign(struct sdglue_sockets *sockets, int fd, const char *name, char *error,
                  size_t error_size) {
        bool broker = strcmp(name, SDGLUE_NAME_BROKER) == 0;
        int *slot = broker ? &sockets->broker : &sockets->control;

        if (!broker && strcmp(name, SDGLUE_NAME_CONTROL) != 0) {
                snprintf(error, error_size,
                         "socket \"%s\" from systemd: FileDescriptorName= is neither "
                         "\"" SDGLUE_NAME_BROKER "\" nor \"" SDGLUE_NAME_CONTROL "\"",
                         name);
                return -EINVAL;
        }
        if (*slot >= 0) {
                snprintf(error, error_size, "socket \"%s\" from systemd came twice", name);
                return -EEXIST;
        }
        int r = examine(fd, name, broker ? SOCK_SEQPACKET : SOCK_STREAM, error, error_size);
        if (r == 0)
                *slot = fd;
        return r;
}

int sdglue_listen_fds(struct sdglue_sockets *ret_sockets, char *error, size_t error_size) {
        struct sdglue_sockets sockets = { -1, -1 };
        SHMB_CLEANUP(free_names) char **names = NULL;
        int r = 0;

        int n = sd_listen_fds_with_names(1, &names);
        if (n < 0) {
                snprintf(error, error_size, "the sockets from systemd: %s", strerror(-n));
                return n;
        }
        for (int i = 0; i < n && r == 0; i++)
                r = assign(&sockets, SD_LISTEN_FDS_START + i, names[i], error, error_size);
        if (r < 0) {
                for (int i = 0; i < n; i++)
                        close(SD_LISTEN_FDS_START + i);
                return r;
        }
        *ret_sockets = sockets;
        return 0;
}

/* ---- notification ----------------------------------------------------------------- */

__attribute__((format(printf, 2, 0))) static void notify(const char *prefix, const char *format,
                                                         va_list arguments) {
        char status[STATUS_SIZE];

        vsnprintf(status, sizeof status, format, arguments);
        sd_notifyf(0, "%sSTATUS=%s", prefix, status);
}

void sdglue_ready(const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        notify("READY=1\n", format, arguments);
        va_end(arguments);
}

void sdglue_status(const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        notify("", format, arguments);
        va_end(arguments);
}

void sdglue_stopping(void) {
        sd_notify(0, "STOPPING=1\nSTATUS=Stopping");
}
