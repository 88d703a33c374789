/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger: who holds what. It decides every request and does no I/O: what must happen in
 * the world it asks of its owner through `struct ledger_ops`, and is told how that went. So
 * it can be tested, fuzzed and modelled alone.
 *
 * The life of a memory object:
 *
 *     MAKING -> FREE <-> LEASED -> (PROVING -> (SCRUBBING ->)) FREE
 *                 |        |          \-> QUARANTINE -> PROVING again, or
 *                 \--------+------------------------------> RETIRING -> gone
 *
 * LEASED means referenced: by a writer's lease, a reader's, or a token. When the last
 * reference goes, the object is FREE again within its domain at once, unless it left the
 * domain, gave out a raw descriptor, or lost a holder without a release: then PROVING asks
 * the kernel whether everyone has let go, and all but the last of these are scrubbed too.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "config.h"
#include "deadline.h"
#include "hash.h"
#include "lease-word.h"
#include "wire.h"

struct ledger;
struct client;
struct object;

enum object_state {
        OBJECT_MAKING,
        OBJECT_FREE,
        OBJECT_LEASED,
        OBJECT_PROVING,
        OBJECT_SCRUBBING,
        OBJECT_QUARANTINE,
        OBJECT_RETIRING,
};
#define OBJECT_STATES (OBJECT_RETIRING + 1)

enum work_kind {
        WORK_MAKE,   /* create and populate; sets fd, huge, numa */
        WORK_PROVE,  /* result 1: exclusive, 0: still seen, -errno: not known */
        WORK_SCRUB,  /* punch out and populate again */
        WORK_RETIRE, /* punch out and close */
};

/*
 * What is being done to an object's memory, away from the ledger: all that whoever does it
 * needs, so that it touches nothing else of the object. Embedded, so that it cannot fail to
 * be asked for.
 */
struct work {
        struct work *next;
        enum work_kind kind;
        int fd;      /* the memory; MAKE sets it */
        int result;  /* as ledger_work_done wants it */
        uid_t owner; /* on whose behalf; 0 also for nobody's */
        uint64_t size, offset;
        int numa_node;     /* wanted; -1: none */
        uint8_t want_huge; /* enum config_huge */
        bool huge, numa;   /* got */
};

enum lease_state {
        LEASE_HELD,   /* writer: HELD or IDLE by its word; reader: count > 0 */
        LEASE_SHARED, /* writer: given up, kept mapped while importers read */
        LEASE_KEPT,   /* reader: given up, kept mapped for the next import */
        LEASE_TAKEN,  /* the client has yet to say that it unmapped; no object */
};

/* One slot of one client's lease page. */
struct lease {
        struct object *object; /* NULL once TAKEN */
        struct client *client;
        struct lease *prev, *next; /* of the object */
        uint64_t since;            /* of the state */
        uint32_t slot, generation;
        uint32_t count;     /* reader: imports not yet released */
        uint32_t seen_uses; /* writer: the word's uses at the last look */
        uint8_t state;      /* enum lease_state */
        bool writer;
        bool seen_idle; /* writer: the word was IDLE at the last look */
};

struct object {
        uint64_t id;
        struct pool *pool;
        struct domain *domain;      /* whose data it has; NULL: nobody's */
        struct lease *leases;       /* HELD, SHARED and KEPT */
        struct lease *writer;       /* one of them, or NULL */
        struct waiter *wanted_by;   /* MAKING for this request */
        struct object *prev, *next; /* of the pool's list for this state */
        /* FREE: of its class, and domain if any. LEASED: of its domain. */
        struct object *bin_prev, *bin_next;
        uint64_t since;        /* of the state */
        uint64_t quarantined;  /* since when; 0: not */
        struct deadline retry; /* QUARANTINE */
        struct work work;      /* the owner's, while work is under way */
        int fd;                /* the memory; the owner's business, -1 until made */
        int spare_fd;          /* the owner's too: of the next writer's grant; -1: none */
        uint32_t n_leases;     /* in `leases` */
        uint32_t readers;      /* of them, HELD by readers */
        uint32_t tokens;
        uint16_t class_index;
        uint8_t state;     /* enum object_state */
        uint8_t probes;    /* proofs that failed in a row */
        bool fresh;        /* zeros: nobody has had it since it was made or scrubbed */
        bool left_domain;  /* its audience is more than its domain */
        bool escaped;      /* a raw descriptor was given out */
        bool lost_holder;  /* a holder went without a release */
        bool huge, numa;   /* what the owner got; against what the pool asks */
        UT_hash_handle hh; /* by id, in order of id */
};

/*
 * No more than so much lies IDLE in caches, as of that look at all of their words. It holds
 * as long as the look does: see struct ledger.
 */
struct idle_most {
        uint64_t look, bytes;
        uint32_t buffers;
};

/* One uid in one pool: whose data may meet in one recycled buffer. */
struct domain {
        struct pool *pool;
        uid_t uid;
        uint64_t bytes; /* of objects not FREE or RETIRING: what counts against its limits */
        uint64_t leaving_bytes; /* of these, what will soon not count any more */
        uint32_t buffers, leaving_buffers;
        uint32_t tokens;
        uint32_t references;                  /* objects, waiters and tokens; 0: freed */
        struct waiter *waiters;               /* first come first served */
        struct domain *turn_prev, *turn_next; /* of domains with waiters */
        struct object **free;  /* by class: bins of FREE objects; allocated when needed */
        struct object *leased; /* LEASED ones, oldest first */
        struct idle_most idle;
        UT_hash_handle hh; /* by uid */
};

struct pool {
        const struct pool_config *config;
        struct ledger *ledger;
        uint32_t index;
        struct object **fresh; /* by class: bins of FREE objects of nobody */
        uint32_t *kept_free;   /* by class: how many FREE, against preallocation */
        uint32_t *prealloc;    /* by class: how many the configuration wants kept */
        struct object *lists[OBJECT_STATES]; /* by state, oldest first */
        uint64_t bytes[OBJECT_STATES];       /* by state */
        uint32_t buffers[OBJECT_STATES];
        uint64_t leaving_bytes; /* of what will soon be FREE or gone by itself */
        uint32_t leaving_buffers;
        struct idle_most idle;
        struct domain *domains; /* by uid */
        struct domain *turn;    /* whose waiters come next */
        uint32_t n_waiters, n_turns;
        struct waiter *hasty; /* those that may not wait */
        struct {              /* since the start */
                uint64_t grants, recycled, made, refused, waited, proofs, proofs_failed, scrubs,
                        retired, taken;
        } count;
};

struct client {
        struct ledger *ledger;
        uint64_t id;
        pid_t pid;
        uid_t uid;
        gid_t *gids; /* borrowed from whoever joined it */
        size_t n_gids;
        char name[SHMB_NAME_MAX + 1];
        shmb_word *words;     /* its lease page, borrowed; [1 + lease_slots] */
        uint32_t lease_slots; /* at most so many leases */
        struct lease **slots; /* [0] unused */
        uint32_t slots_room, slots_used, slot_hint;
        uint32_t generation;
        uint32_t n_tokens;
        uint32_t n_waiters;
        struct waiter *waiters;
        uint64_t since;
        void *peer;        /* the owner's */
        UT_hash_handle hh; /* by id, in order of id */
};

/* An ALLOC not yet decided. */
struct waiter {
        struct client *client;
        struct pool *pool;
        struct domain *domain;
        struct object *object;      /* being made for it; then it stands in no line */
        struct waiter *prev, *next; /* of the domain */
        struct waiter *client_prev, *client_next; /* of the client */
        struct waiter *hasty_prev, *hasty_next;   /* of the pool */
        struct deadline deadline;
        uint64_t size, since;
        uint32_t serial;
        uint16_t class_index;
        bool in_line;
        bool may_wait; /* came with a timeout */
        bool retried;  /* the kernel refused memory or a descriptor once already */
};

enum token_fate { /* the status an import gets once it is over */
                  TOKEN_LIVE = SHMB_STATUS_OK,
                  TOKEN_EXPIRED = SHMB_STATUS_TOKEN_EXPIRED,
                  TOKEN_USED = SHMB_STATUS_TOKEN_USED,
                  TOKEN_REVOKED = SHMB_STATUS_TOKEN_REVOKED,
};

struct token {
        uint8_t bytes[SHMB_TOKEN_SIZE];
        uint64_t number;       /* in order of export; no secret, unlike the bytes */
        struct object *object; /* NULL once over */
        uint64_t exporter;     /* the client's number; it may have left */
        struct domain *domain; /* the exporter's; NULL once over */
        uid_t uid;
        uint32_t flags; /* SHMB_EXPORT_* */
        uint32_t imports;
        enum token_fate fate;
        uint64_t length, since;
        struct deadline expiry;
        struct token *prev, *next; /* of those over, oldest first */
        UT_hash_handle hh;         /* by bytes */
};

struct ledger_grant {
        struct shmb_grant message; /* all but SHMB_GRANT_HAS_FD */
        struct object *object;
        bool send_fd, writable;
};

struct refusal {
        enum shmb_status status;
        uint64_t limit, used;
        char text[SHMB_TEXT_MAX + 1];
};

/* What the ledger asks of its owner. None of these may call back into the ledger. */
struct ledger_ops {
        /*
         * The request is served. Returns SHMB_STATUS_OK, or why it could not be passed on;
         * the ledger then undoes the grant and calls `refused`.
         */
        enum shmb_status (*granted)(void *userdata, struct client *client, uint32_t serial,
                                    const struct ledger_grant *grant);
        void (*refused)(void *userdata, struct client *client, uint32_t serial,
                        const struct refusal *refusal);
        /* The client shall unmap this lease's memory and release it. */
        void (*reclaim)(void *userdata, struct client *client, struct shmb_lease_ref lease);
        /* Begins; the answer comes through ledger_work_done, later, exactly once. */
        void (*work)(void *userdata, struct object *object, enum work_kind kind);
};

struct ledger {
        const struct ledger_ops *ops;
        void *userdata;
        const struct config *config;
        uint64_t now; /* set by the owner before each call: CLOCK_MONOTONIC, ns */
        struct pool *pools;
        size_t n_pools;
        struct client *clients;
        struct object *objects;
        struct token *tokens;      /* live and over */
        struct token *tokens_over; /* the most recent TOKENS_OVER_MAX */
        uint32_t n_tokens, n_tokens_over;
        struct deadline_queue deadlines;
        struct deadline housekeeping;
        uint64_t next_client, next_object, next_token;
        uint64_t bytes;         /* of all objects */
        uint64_t leaving_bytes; /* of these, as in the pools */
        uint32_t buffers, leaving_buffers;
        size_t first_served; /* index of the pool whose line comes first */
        bool serving;        /* lines are being served, or are not to be yet */
        bool serve_again;    /* something came free meanwhile */
        bool wanted;         /* somebody waits for memory */
        /*
         * While somebody waits, clients put nothing aside, so what was seen idle at one look
         * needs no other. Looks with another number than this are void.
         */
        uint64_t look;
};

#define TOKENS_OVER_MAX 4096u

/* ---- ledger.c ---- */

/* `config`, `ops` and `userdata` are borrowed for its life. Begins preallocation. */
int ledger_new(struct ledger **ret_ledger, const struct config *config,
               const struct ledger_ops *ops, void *userdata, uint64_t now);

/* Accepts NULL, returns NULL. No work may be under way; object descriptors are the owner's. */
struct ledger *ledger_free(struct ledger *ledger);

/* Handles everything due by `now`. */
void ledger_advance(struct ledger *ledger, uint64_t now);

/* When to call ledger_advance next; DEADLINE_NEVER if there is nothing to wait for. */
uint64_t ledger_next_deadline(const struct ledger *ledger);

/*
 * The outcome of ops->work: for WORK_PROVE 1 or 0, else 0, or -errno. After WORK_RETIRE, and
 * after a WORK_MAKE that failed, the object is gone.
 */
void ledger_work_done(struct ledger *ledger, struct object *object, enum work_kind kind,
                      int result);

/* Gives FREE objects and cached leases back to the kernel; returns how many bytes. */
uint64_t ledger_trim(struct ledger *ledger);

/* ---- for whoever reports ---- */

uint64_t object_capacity(const struct object *object);

/* A writer's lease whose buffer lies unused in its client's cache, as far as the word says. */
bool lease_is_idle(const struct lease *lease);

/* A leased object that is in nobody's use but its writer's cache. */
bool object_is_cached(const struct object *object);

/* ---- client.c ---- */

/*
 * `template` gives identity, name and lease page. 0 or -ENOMEM. The ledger owns the client
 * until client_leave, which takes back everything it held.
 */
int client_join(struct ledger *ledger, const struct client *template,
                struct client **ret_client);
void client_leave(struct client *client);

/* The lease a client names, or NULL. */
struct lease *client_lease(struct client *client, struct shmb_lease_ref ref);

/* ---- alloc.c ---- */

/* Decided through ops->granted or ops->refused, now or later. */
void client_alloc(struct client *client, uint32_t serial, const struct shmb_alloc *request);
void client_cancel(struct client *client, uint32_t serial);

/* ---- release.c ---- */

enum shmb_status client_release(struct client *client, const struct shmb_release_entry *entry);

/* The object, if the client may have a descriptor of it. */
enum shmb_status client_may_escape(struct client *client, const struct shmb_fd *request,
                                   struct object **ret_object);

/* It got one. */
void object_escape(struct object *object);

/* ---- token.c ---- */

enum shmb_status client_export(struct client *client, const struct shmb_export *request);
enum shmb_status client_revoke(struct client *client, const uint8_t *bytes);

/*
 * Decided through ops->granted, unless another status is returned. TOKEN_UNKNOWN is not
 * final until every readable peer was read once.
 */
enum shmb_status client_import(struct client *client, uint32_t serial, const uint8_t *bytes);
