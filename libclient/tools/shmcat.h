/* SPDX-License-Identifier: Apache-2.0 */
/* shmcat: the library at the shell. One function per command; each says itself what failed. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shmclient.h"

enum { STATUS_OK = 0, STATUS_FAILED = 1, STATUS_USAGE = 2 };

struct options {
        const char *socket; /* NULL: the library's choice */
        const char *pool;   /* NULL: the default one */
        const char *output; /* NULL: standard output */
        uint64_t ttl_ns, timeout_ns;
        bool once, same_user;
};

/* `operand` is a file, or "-"; the token goes to standard output. Returns an exit status. */
int shmcat_put(shmc_client *client, const struct options *options, const char *operand);

/* `operand` is a token; the bytes go to standard output, or the file asked for. */
int shmcat_get(shmc_client *client, const struct options *options, const char *operand);

/* Writes "shmcat: " and a sentence to standard error; returns STATUS_FAILED. */
__attribute__((format(printf, 1, 2))) int failed(const char *format, ...);

/* The same, after what the library has to say about its last failure, `error`. */
int library_failed(shmc_client *client, const char *what, int error);

static inline void buffer_done(shmc_buffer **buffer) {
        *buffer = shmc_buffer_unref(*buffer);
}
