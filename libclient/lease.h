/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases and the buffers that stand on them: from the grant to the release.
 *
 * Functions are called with the client's mutex held, unless they say otherwise. Unmapping a
 * large buffer takes long: leases are retired under the mutex, and released without it.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "conn.h"
#include "lease-word.h"
#include "shmclient.h"
#include "wire.h"

struct shmc_client;
struct size_class;
struct lease;

/* What the program has: one reference-counted hold on a lease. */
struct shmc_buffer {
        struct lease *lease;
        _Atomic(uint32_t) refs;
        size_t size;
        struct out out; /* its release */
};

enum lease_place {
        PLACE_USED,     /* the program has it */
        PLACE_IDLE,     /* cached: free to be used again */
        PLACE_SHARED,   /* cached: importers may still read it; its word tells */
        PLACE_WARM,     /* a reader's, cached for the next import */
        PLACE_UNWANTED, /* a reader's, to be dropped when no import is under way */
        PLACE_GONE,     /* in no book any more */
};

/* One slot and generation of the lease page, mapped. */
struct lease {
        struct shmc_client *client;
        shmb_word *word;
        void *data;
        struct size_class *class; /* NULL: not to be kept */
        uint64_t capacity;
        uint8_t place; /* enum lease_place */
        bool writable;
        bool may_keep; /* the broker lets it be cached */
        bool exported; /* since it was last taken into use */
        bool escaped;  /* a raw descriptor was given out */
        bool uncached; /* SHMC_ALLOC_UNCACHED */
        uint32_t features;
        TAILQ_ENTRY(lease) link;   /* of the list that goes with its place */
        TAILQ_ENTRY(lease) by_age; /* of what is cached */
        uint32_t count;            /* reader: buffers on it */
        struct shmc_buffer *owed;  /* UNWANTED: its last buffer, not yet released */
        uint64_t object;
        struct shmb_lease_ref ref;
        shmb_word disowned;     /* stands in for a word that may be another lease's by now */
        struct shmc_buffer own; /* a writer's only buffer; a reader's last release */
};
TAILQ_HEAD(lease_list, lease);

/*
 * Maps the memory a grant speaks of, after checking that the descriptor has it. Without the
 * mutex. 0, -ENOMEM, or -EPROTO.
 */
int lease_map(int fd, const struct shmb_grant *grant, void **ret_data);

/* Fills a record and enters it in its slot, which is free. */
void lease_enter(struct shmc_client *client, struct lease *lease,
                 const struct shmb_grant *grant, void *data);

/* The record of that slot and generation, or NULL. */
struct lease *lease_find(const struct shmc_client *client, struct shmb_lease_ref ref);

/* Makes a buffer of a writer's lease, or one more of a reader's, for the program. */
struct shmc_buffer *lease_use(struct lease *lease, struct shmc_buffer *buffer, size_t size);

/* Tells of one buffer less on a reader's lease; frees the buffer. */
void lease_read_less(struct lease *lease, struct shmc_buffer *buffer, uint32_t flags);

/* Takes the record out of all books and on to the list. */
void lease_retire(struct lease *lease, struct lease_list *retired);

/* Unmaps what was retired and tells the broker. Without the mutex. */
void leases_release(struct shmc_client *client, struct lease_list *retired);

/*
 * The broker has ended the lease, or may have and did not say so in time: the slot may be
 * another lease's, and nothing is done to the lease's word any more. The program keeps the
 * mapping until it lets go.
 */
void lease_disown(struct lease *lease);

/* Frees a disowned lease with the program's only buffer of it. Without the mutex. */
void lease_forget(struct lease *lease);

/* Gives back what was granted and cannot be used; `lease` carries the message, and is freed. */
void lease_refuse(struct shmc_client *client, struct lease *lease,
                  const struct shmb_grant *grant);

/* The broker wants the mapping gone. */
void lease_reclaim(struct shmc_client *client, struct shmb_lease_ref ref,
                   struct lease_list *retired);

/* If no import is under way any more, drops what had to wait for that. */
void leases_settle(struct shmc_client *client, struct lease_list *retired);
