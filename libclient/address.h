/* SPDX-License-Identifier: Apache-2.0 */
/* Where the broker listens. */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

struct address {
        struct sockaddr_un socket;
        socklen_t size;
        char text[sizeof(((struct sockaddr_un *)0)->sun_path) +
                  1];       /* as given, cut if need be */
        const char *origin; /* who said so: "the address given", an environment variable, ... */
};

/*
 * The rules of shmc_connect. 0, or -EINVAL if it does not fit a socket address; `text` and
 * `origin` are set in any case.
 */
int address_resolve(const char *wanted, struct address *address);
