/* SPDX-License-Identifier: Apache-2.0 */
#include "address.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shmbroker-proto.h"

static int fill(const char *text, const char *origin, struct address *address) {
        size_t length = strlen(text);
        bool abstract = text[0] == '@';

        *address = (struct address){ .socket.sun_family = AF_UNIX, .origin = origin };
        snprintf(address->text, sizeof(address->text), "%s", text);
        if (length == 0 || (abstract && length == 1))
                return -EINVAL;
        /* A path needs its NUL; an abstract name has one in place of the '@', and its length
           says where it ends. */
        if (length + !abstract > sizeof(address->socket.sun_path))
                return -EINVAL;
        memcpy(address->socket.sun_path, text, length);
        if (abstract)
                address->socket.sun_path[0] = '\0';
        address->size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length +
                                    !abstract);
        return 0;
}

/* The user's own broker, if there is one. */
static int fill_user(struct address *address) {
        const char *directory = secure_getenv("XDG_RUNTIME_DIR");
        char path[sizeof(address->socket.sun_path)];

        if (!directory || *directory == '\0')
                return -ENOENT;
        int length = snprintf(path, sizeof(path), "%s/%s", directory, SHMB_DEFAULT_USER_SOCKET);
        if (length < 0 || (size_t)length >= sizeof(path) || access(path, F_OK) < 0)
                return -ENOENT;
        return fill(path, "XDG_RUNTIME_DIR", address);
}

int address_resolve(const char *wanted, struct address *address) {
        if (wanted)
                return fill(wanted, "the address given", address);
        wanted = secure_getenv(SHMB_ENV_SOCKET);
        if (wanted && *wanted != '\0')
                return fill(wanted, "$" SHMB_ENV_SOCKET, address);
        if (fill_user(address) == 0)
                return 0;
        return fill(SHMB_DEFAULT_SYSTEM_SOCKET, "the default", address);
}
