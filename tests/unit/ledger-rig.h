/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fake owner of the ledger: lease pages are plain memory, and work under way is a queue
 * that the test completes in any order, with any outcome. Every helper ends by checking all
 * of the ledger's books against sums of its own (ledger-check.c).
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "internal.h"

#define PAGE 4096u
#define MS 1000000u
#define SECOND 1000000000u
#define UID_A 1000u
#define UID_B 1001u
#define UID_C 1002u

#define RIG_POOLS 2u
#define RIG_ANSWERS 64u
#define RIG_RECLAIMS 64u

/* Who may have seen an object's memory: bit uid - UID_A, or: nobody knows. */
#define AUDIENCE_UNKNOWN 0x80000000u

struct rig_work {
        struct object *object;
        enum work_kind kind;
};

/* What became of a request. */
struct rig_answer {
        uint64_t client;
        uint32_t serial;
        bool granted, sent_fd;
        struct shmb_grant grant;
        struct refusal refusal;
};

struct rig_seen { /* by object */
        uint64_t id;
        uint32_t audience;
        UT_hash_handle hh;
};

struct rig {
        struct config config;
        struct pool_config pools[RIG_POOLS];
        struct ledger *ledger;
        uint64_t now;
        uint32_t serial, token;

        struct rig_work *work;
        size_t n_work, work_room;
        struct rig_seen *seen;
        struct rig_answer answers[RIG_ANSWERS]; /* the latest, by serial */
        struct {
                uint64_t client;
                struct shmb_lease_ref lease;
        } reclaims[RIG_RECLAIMS];
        size_t n_reclaims;

        enum shmb_status grant_status; /* what the next grant meets; then OK again */
        bool may_want_memory;          /* allocations may fail: see test_ledger_random.c */
        uint64_t seed, step;           /* for messages */
};

/* Fails the test, with the seed and the step. */
_Noreturn void rig_fail(const struct rig *rig, const char *file, int line, const char *what);
#define rig_require(rig, condition)                                                            \
        ((condition) ? (void)0 : rig_fail((rig), __FILE__, __LINE__, #condition))

/*
 * Classes of 1, 2, 4, 8 and 16 pages; "default" with room for 64 pages and 32 buffers, 48 and
 * 24 for one uid; "own", in one uid, 16 pages; the broker 72 pages. Then change, then start.
 */
void rig_init(struct rig *rig);
void rig_start(struct rig *rig);

/* Everybody leaves, all work succeeds: nothing may be left. */
void rig_finish(struct rig *rig);

struct client *rig_join(struct rig *rig, uid_t uid);
struct client *rig_join_slots(struct rig *rig, uid_t uid, uint32_t slots);
void rig_leave(struct rig *rig, struct client *client);

/* Asks; returns the request's serial. */
uint32_t rig_ask(struct rig *rig, struct client *client, const char *pool, uint64_t size,
                 uint64_t timeout_ns);
/* NULL: undecided. */
const struct rig_answer *rig_answer(const struct rig *rig, uint32_t serial);
/* The status of a refusal; SHMB_STATUS_OK: granted. Fails if undecided. */
enum shmb_status rig_status(const struct rig *rig, uint32_t serial);
bool rig_waits(const struct rig *rig, uint32_t serial);

/* Completes the first work of that kind; fails if there is none. */
void rig_do(struct rig *rig, enum work_kind kind, int result);
void rig_do_nth(struct rig *rig, size_t i, int result);
/* Completes everything, with success, until nothing is left. */
void rig_do_all(struct rig *rig);
size_t rig_pending(const struct rig *rig, enum work_kind kind);

/* Asks in "default", completes what must be, and expects a grant. */
struct shmb_lease_ref rig_get(struct rig *rig, struct client *client, uint64_t size);

enum shmb_status rig_release(struct rig *rig, struct client *client, struct shmb_lease_ref ref,
                             uint32_t flags);

/* A token of its own for each call. */
struct rig_token {
        uint8_t bytes[SHMB_TOKEN_SIZE];
};
struct rig_token rig_token(struct rig *rig);
enum shmb_status rig_export_as(struct rig *rig, struct client *client,
                               struct shmb_lease_ref ref, const struct rig_token *token,
                               uint32_t flags, uint64_t ttl_ms, uint64_t length);
/* Ttl 1 s, one byte; expects success. */
struct rig_token rig_export(struct rig *rig, struct client *client, struct shmb_lease_ref ref,
                            uint32_t flags);
enum shmb_status rig_import_as(struct rig *rig, struct client *client,
                               const struct rig_token *token, uint32_t *ret_serial);
/* Expects success. */
struct shmb_lease_ref rig_import(struct rig *rig, struct client *client,
                                 const struct rig_token *token);
enum shmb_status rig_escape(struct rig *rig, struct client *client, struct shmb_lease_ref ref,
                            uint32_t flags);

void rig_advance(struct rig *rig, uint64_t by_ns);

shmb_word *rig_word(struct client *client, struct shmb_lease_ref ref);
enum shmb_word_state rig_word_state(struct client *client, struct shmb_lease_ref ref);
/* As an honest client does, up to the look at word 0: true if the broker wants the buffer. */
bool rig_set_idle(struct rig *rig, struct client *client, struct shmb_lease_ref ref);
struct lease *rig_lease(struct rig *rig, struct client *client, struct shmb_lease_ref ref);
struct object *rig_object(struct rig *rig, struct client *client, struct shmb_lease_ref ref);
uint32_t *rig_audience(struct rig *rig, const struct object *object);

/* How often that lease was asked back. */
size_t rig_reclaimed(const struct rig *rig, const struct client *client,
                     struct shmb_lease_ref ref);

/* ---- ledger-check.c ---- */

void rig_check(const struct rig *rig);

/* ---- what tests ask and begin with ---- */

enum object_state rig_state_of(struct rig *rig, uint64_t id);
bool rig_is_gone(struct rig *rig, uint64_t id);
uint64_t rig_id_of(struct rig *rig, struct client *client, struct shmb_lease_ref ref);

/* A test's setup, and its first call. */
int rig_setup(void **state);
struct rig *rig_begin(void **state);
