/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One client: its connection, its leases and its cache, under one mutex. Functions of the
 * library's own files are called with the mutex held, unless their comment says otherwise.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache.h"
#include "conn.h"
#include "lease.h"
#include "shmclient.h"
#include "wire.h"

enum {
        ERROR_TEXT_SIZE = 768,
        TOKEN_BATCH = 16, /* one getrandom(2) for so many */
};

struct shmc_client {
        pthread_mutex_t lock;
        volatile uint32_t *here; /* 0 in a forked child */
        bool closed;             /* and only kept until its last buffer goes */

        struct conn conn;
        uint64_t timeout_ns; /* of calls without one of their own */
        uint64_t max_ttl_ms;
        uint32_t max_requests;

        /* The lease page, and the records of what its slots stand for. */
        shmb_word *words;
        size_t words_size;
        struct lease **slots; /* [1 + lease_slots] */
        uint32_t lease_slots;
        uint32_t slots_used; /* as the broker counts: until the release is on its way */
        uint32_t held;       /* buffers the program has */

        struct cache cache;
        struct lease_list unwanted; /* readers' leases to drop once no import is under way */
        uint32_t imports;           /* under way; each may be granted on a reader's mapping */
        uint32_t retiring;          /* leases being unmapped, not yet released */
        uint32_t retiring_readers;  /* of these; imports wait for them */
        pthread_cond_t released;

        uint8_t tokens[TOKEN_BATCH][SHMB_TOKEN_SIZE];
        unsigned tokens_left;

        int fault; /* the first failure of a one-way call since the last shmc_sync */
        char fault_text[ERROR_TEXT_SIZE];
        char error_text[ERROR_TEXT_SIZE];

        struct shmc_stats stats; /* only the counters of events */
};

/* With or without the mutex. */
static inline bool client_is_forked(const struct shmc_client *client) {
        return *client->here == 0;
}

/* Makes a client without connection. Without the mutex. 0, -ENOMEM. */
int client_new(struct shmc_client **ret_client);

/*
 * Disconnects and frees all but what the program still has; the last of that frees the
 * client. Without the mutex. Accepts NULL, returns NULL.
 */
struct shmc_client *client_close(struct shmc_client *client);

/* Frees a closed client whose last buffer is gone. Without the mutex. */
void client_free(struct shmc_client *client);

/* Keeps the words for shmc_last_error; returns `error`. */
__attribute__((format(printf, 3, 4))) int client_failed(struct shmc_client *client, int error,
                                                        const char *format, ...);

/* The same, without the mutex. */
__attribute__((format(printf, 3, 4))) int client_fails(struct shmc_client *client, int error,
                                                       const char *format, ...);
