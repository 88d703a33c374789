/* SPDX-License-Identifier: Apache-2.0 */
/* The library's objects bound to a scope, and its errors in words. */
#pragma once

#include <sys/types.h>

#include "bench.h"
#include "shmclient.h"

static inline void client_done(shmc_client **client) {
        *client = shmc_close(*client);
}

static inline void buffer_done(shmc_buffer **buffer) {
        *buffer = shmc_buffer_unref(*buffer);
}

/* Connects; 0, or -errno with the reason on stderr. */
int client_connect(const struct context *context, shmc_client **ret_client);

/* The broker's process, or -1 if that cannot be told. */
pid_t client_broker(const shmc_client *client);

/* As bench_failed, with the words the library has for it. */
int client_failed(const struct context *context, shmc_client *client, const char *what,
                  int error);

/* Waits in line for up to ten seconds; asks the broker even if the cache has one. */
#define ALLOC_UNCACHED                                                                         \
        {                                                                                      \
                .struct_size = sizeof(struct shmc_alloc_options),                              \
                .flags = SHMC_ALLOC_UNCACHED, .timeout_ns = 10000000000u                       \
        }
