/* SPDX-License-Identifier: Apache-2.0 */
/* What the scenarios share: checks that say why, and the library's objects bound to a scope. */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "shmclient.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define SECOND_NS ((uint64_t)1000000000)

/* The pool of client_scenarios.conf: 4 MiB, of which 2 buffers of 2 MiB are all. */
#define SMALL_POOL "small"
enum { REQUESTS_MAX = 16 };

struct scenario {
        const char *name;
        int (*run)(void); /* 0, or -1 with the reason on stderr */
};

extern const struct scenario buffer_scenarios[], sharing_scenarios[], async_scenarios[],
        process_scenarios[], broker_scenarios[], hostile_scenarios[], thread_scenarios[];

/* Ends the scenario if the condition does not hold. */
#define CHECK(condition)                                                                       \
        do {                                                                                   \
                if (!(condition)) {                                                            \
                        fprintf(stderr, "%s:%d: not so: %s\n", __func__, __LINE__,             \
                                #condition);                                                   \
                        return -1;                                                             \
                }                                                                              \
        } while (0)

/* Ends the scenario if the call's result differs; says what the library says. */
#define EXPECT(client, call, wanted)                                                           \
        do {                                                                                   \
                int64_t got_ = (call);                                                         \
                if (got_ != (wanted))                                                          \
                        return unexpected(client, __func__, __LINE__, #call, got_, (wanted));  \
        } while (0)

#define OK(client, call) EXPECT(client, call, 0)

int unexpected(shmc_client *client, const char *function, int line, const char *call,
               int64_t got, int64_t wanted);

/* Connects with default options, or says why not. */
int connected(shmc_client **ret_client);

/* A buffer of the pool (NULL: the default one) with a byte of `fill` everywhere. */
int filled(shmc_client *client, const char *pool, size_t size, int fill,
           shmc_buffer **ret_buffer);

/* 0 if every byte of the buffer is `fill`. */
int has_only(const shmc_buffer *buffer, int fill);

/* A token, by a one-way export. */
int exported(shmc_buffer *buffer, uint32_t flags, struct shmc_token *ret_token);

struct shmc_stats stats_of(shmc_client *client);

/* Dispatches until the flag is set; -1 if that takes too long. */
int dispatch_until(shmc_client *client, const bool *flag);

static inline void client_done(shmc_client **client) {
        *client = shmc_close(*client);
}

static inline void buffer_done(shmc_buffer **buffer) {
        *buffer = shmc_buffer_unref(*buffer);
}

#define CLIENT SHMB_CLEANUP(client_done) shmc_client *
#define BUFFER SHMB_CLEANUP(buffer_done) shmc_buffer *
