/* SPDX-License-Identifier: Apache-2.0 */
/* The life of memory objects and leases in one domain. */
#include "ledger-rig.h"

#include <errno.h>

#define KEEP SHMB_RELEASE_KEEP

/* ---- alloc and release ------------------------------------------------------------ */

static void test_made_then_recycled(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *client = rig_join(rig, UID_A);
        uint32_t serial = rig_ask(rig, client, "default", 3 * PAGE, 0);

        assert_true(rig_waits(rig, serial));
        rig_do(rig, WORK_MAKE, 0);
        const struct rig_answer *answer = rig_answer(rig, serial);
        assert_true(answer->granted && answer->sent_fd);
        assert_true(answer->grant.capacity == 4 * PAGE);
        assert_true(answer->grant.length == 3 * PAGE);
        assert_true(answer->grant.class_floor == 2 * PAGE);
        assert_int_equal(answer->grant.flags,
                         SHMB_GRANT_WRITABLE | SHMB_GRANT_MAY_KEEP | SHMB_GRANT_ZEROED);
        struct shmb_lease_ref ref = answer->grant.lease;
        uint64_t object = answer->grant.object;
        assert_int_equal(rig_word_state(client, ref), SHMB_WORD_HELD);

        assert_int_equal(rig_release(rig, client, ref, 0), SHMB_STATUS_OK);
        assert_int_equal(rig_state_of(rig, object), OBJECT_FREE);
        assert_int_equal(rig_word_state(client, ref), SHMB_WORD_NONE);

        serial = rig_ask(rig, client, "default", 4 * PAGE, 0);
        answer = rig_answer(rig, serial);
        assert_true(answer && answer->granted && answer->grant.object == object);
        assert_false(answer->grant.flags & SHMB_GRANT_ZEROED);
        assert_int_equal(rig->ledger->pools[0].count.made, 1);
        assert_int_equal(rig->ledger->pools[0].count.recycled, 1);
        rig_finish(rig);
}

/* What one uid gave back is not for another: that one gets memory nobody had. */
static void test_free_stays_in_its_domain(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *a = rig_join(rig, UID_A), *b = rig_join(rig, UID_B);
        struct shmb_lease_ref of_a = rig_get(rig, a, PAGE);
        uint64_t id = rig_id_of(rig, a, of_a);

        rig_release(rig, a, of_a, 0);
        struct shmb_lease_ref of_b = rig_get(rig, b, PAGE);
        assert_true(rig_id_of(rig, b, of_b) != id);
        assert_true(rig_id_of(rig, a, rig_get(rig, a, PAGE)) == id);
        rig_finish(rig);
}

static void test_stale_and_double_release(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *client = rig_join(rig, UID_A), *other = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, client, PAGE), bad = ref;

        assert_int_equal(rig_release(rig, other, ref, 0), SHMB_STATUS_STALE_BUFFER);
        bad.generation++;
        assert_int_equal(rig_release(rig, client, bad, 0), SHMB_STATUS_STALE_BUFFER);
        bad = (struct shmb_lease_ref){ 0, 0 };
        assert_int_equal(rig_release(rig, client, bad, 0), SHMB_STATUS_STALE_BUFFER);
        bad = (struct shmb_lease_ref){ UINT32_MAX, ref.generation };
        assert_int_equal(rig_release(rig, client, bad, KEEP), SHMB_STATUS_STALE_BUFFER);
        assert_int_equal(rig_release(rig, client, ref, 0), SHMB_STATUS_OK);
        assert_int_equal(rig_release(rig, client, ref, 0), SHMB_STATUS_STALE_BUFFER);

        /* The slot is used again, under another generation. */
        struct shmb_lease_ref again = rig_get(rig, client, PAGE);
        assert_int_equal(again.slot, ref.slot);
        assert_true(again.generation != ref.generation);
        assert_int_equal(rig_release(rig, client, ref, 0), SHMB_STATUS_STALE_BUFFER);
        assert_int_equal(rig_escape(rig, client, ref, 0), SHMB_STATUS_STALE_BUFFER);
        rig_finish(rig);
}

static void test_generation_zero_is_skipped(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *client = rig_join(rig, UID_A);

        client->generation = UINT32_MAX;
        assert_int_equal(rig_get(rig, client, PAGE).generation, 1);
        rig_finish(rig);
}

static void test_making_fails(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *client = rig_join(rig, UID_A);

        uint32_t serial = rig_ask(rig, client, "default", PAGE, 0);
        rig_do(rig, WORK_MAKE, -ENOMEM);
        assert_int_equal(rig_status(rig, serial), SHMB_STATUS_NO_MEMORY);
        serial = rig_ask(rig, client, "default", PAGE, SECOND);
        rig_do(rig, WORK_MAKE, -ENFILE);
        assert_int_equal(rig_status(rig, serial), SHMB_STATUS_NO_DESCRIPTORS);
        assert_int_equal(rig->ledger->buffers, 0);
        rig_finish(rig);
}

/* The kernel's refusal is not passed on before what lies unused was given up, and is gone. */
static void test_making_fails_until_the_unused_is_gone(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *a = rig_join(rig, UID_A), *b = rig_join(rig, UID_B);
        struct shmb_lease_ref of_a = rig_get(rig, a, 4 * PAGE);

        rig_release(rig, a, of_a, 0);
        uint32_t serial = rig_ask(rig, b, "default", 4 * PAGE, 0);
        rig_do(rig, WORK_MAKE, -ENOMEM);
        assert_true(rig_waits(rig, serial));
        assert_int_equal(rig_pending(rig, WORK_RETIRE), 1);
        assert_int_equal(rig_pending(rig, WORK_MAKE), 0);
        rig_do(rig, WORK_RETIRE, 0);
        rig_do(rig, WORK_MAKE, 0);
        assert_int_equal(rig_status(rig, serial), SHMB_STATUS_OK);
        rig_finish(rig);
}

static void test_grant_that_cannot_be_sent(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *client = rig_join(rig, UID_A);
        uint32_t serial = rig_ask(rig, client, "default", PAGE, 0);

        rig->grant_status = SHMB_STATUS_NO_DESCRIPTORS;
        rig_do(rig, WORK_MAKE, 0);
        assert_int_equal(rig_status(rig, serial), SHMB_STATUS_NO_DESCRIPTORS);
        assert_int_equal(client->slots_used, 0);
        assert_int_equal(rig->ledger->pools[0].buffers[OBJECT_FREE], 1);
        /* Nobody has seen it: it is as fresh as before. */
        serial = rig_ask(rig, client, "default", PAGE, 0);
        assert_true(rig_answer(rig, serial)->grant.flags & SHMB_GRANT_ZEROED);
        rig_finish(rig);
}

/* Descriptors run out where too many objects lie about: those go first. */
static void test_grant_waits_for_a_descriptor(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *client = rig_join(rig, UID_A);
        struct shmb_lease_ref small = rig_get(rig, client, PAGE);
        struct shmb_lease_ref large = rig_get(rig, client, 4 * PAGE);

        rig_release(rig, client, small, 0);
        rig_release(rig, client, large, 0);
        rig->grant_status = SHMB_STATUS_NO_DESCRIPTORS;
        uint32_t serial = rig_ask(rig, client, "default", 4 * PAGE, 0);
        assert_true(rig_waits(rig, serial));
        assert_int_equal(rig_pending(rig, WORK_RETIRE), 1);
        rig_do(rig, WORK_RETIRE, 0);
        assert_int_equal(rig_status(rig, serial), SHMB_STATUS_OK);
        assert_true(rig->ledger->bytes == 4 * PAGE);
        rig_finish(rig);
}

static void test_lease_page_full(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *client = rig_join_slots(rig, UID_A, 2), *other = rig_join(rig, UID_A);
        struct shmb_lease_ref first = rig_get(rig, client, PAGE);
        struct rig_token token = rig_export(rig, other, rig_get(rig, other, PAGE), 0);

        rig_get(rig, client, PAGE);
        uint32_t serial = rig_ask(rig, client, "default", PAGE, SECOND);
        assert_int_equal(rig_status(rig, serial), SHMB_STATUS_LEASE_SLOTS);
        assert_true(rig_answer(rig, serial)->refusal.limit == 2);
        assert_int_equal(rig_import_as(rig, client, &token, NULL), SHMB_STATUS_LEASE_SLOTS);
        rig_release(rig, client, first, 0);
        assert_int_equal(rig_import(rig, client, &token).slot, first.slot);
        rig_finish(rig);
}

/* Two objects are made for it, and only one slot is left: one is refused, none is lost. */
static void test_lease_page_fills_while_making(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *client = rig_join_slots(rig, UID_A, 1);
        uint32_t first = rig_ask(rig, client, "default", PAGE, 0);
        uint32_t second = rig_ask(rig, client, "default", PAGE, 0);

        rig_do_all(rig);
        assert_int_equal(rig_status(rig, first), SHMB_STATUS_OK);
        assert_int_equal(rig_status(rig, second), SHMB_STATUS_LEASE_SLOTS);
        assert_int_equal(rig->ledger->pools[0].buffers[OBJECT_FREE], 1);
        rig_finish(rig);
}

static void test_preallocation(void **state) {
        struct config_prealloc prealloc[] = { { PAGE, 3 } };
        struct rig *rig = *state;

        rig->pools[0].prealloc = prealloc;
        rig->pools[0].n_prealloc = 1;
        rig->pools[0].free_idle_ns = SECOND;
        rig_start(rig);
        assert_int_equal(rig_pending(rig, WORK_MAKE), 3);
        rig_do_all(rig);
        struct client *client = rig_join(rig, UID_A);
        uint32_t serial = rig_ask(rig, client, "default", PAGE, 0);
        assert_true(rig_answer(rig, serial)->grant.flags & SHMB_GRANT_ZEROED);
        /* Two are left, fewer than configured: none of them grows too old. */
        rig_advance(rig, 10 * (uint64_t)SECOND);
        assert_int_equal(rig->ledger->pools[0].buffers[OBJECT_FREE], 2);
        rig_release(rig, client, rig_answer(rig, serial)->grant.lease, 0);
        struct shmb_lease_ref more[4];
        for (int i = 0; i < 4; i++)
                more[i] = rig_get(rig, client, PAGE);
        for (int i = 0; i < 4; i++)
                rig_release(rig, client, more[i], 0);
        rig_advance(rig, 10 * (uint64_t)SECOND);
        assert_int_equal(rig->ledger->pools[0].buffers[OBJECT_FREE], 3);
        assert_int_equal(rig_pending(rig, WORK_RETIRE), 1);
        rig_finish(rig);
}

/* ---- the cache -------------------------------------------------------------------- */

static void test_idle_for_long_is_taken(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *client = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, client, PAGE);
        uint64_t id = rig_id_of(rig, client, ref);

        assert_false(rig_set_idle(rig, client, ref));
        /* In use now and then: it stays. */
        for (int i = 0; i < 40; i++) {
                rig_advance(rig, SECOND);
                assert_true(shmb_word_swap(rig_word(client, ref), SHMB_WORD_IDLE, 1,
                                           SHMB_WORD_HELD));
                rig_set_idle(rig, client, ref);
        }
        assert_int_equal(rig_state_of(rig, id), OBJECT_LEASED);
        assert_true(object_is_cached(rig_object(rig, client, ref)));
        for (int i = 0; i < 12; i++)
                rig_advance(rig, SECOND);
        assert_int_equal(rig_state_of(rig, id), OBJECT_RETIRING);
        assert_int_equal(rig_word_state(client, ref), SHMB_WORD_TAKEN);
        assert_int_equal(rig_reclaimed(rig, client, ref), 1);
        assert_int_equal(rig->ledger->pools[0].count.taken, 1);
        /* The slot is the client's until it says that it unmapped. */
        assert_int_equal(client->slots_used, 1);
        assert_int_equal(rig_escape(rig, client, ref, 0), SHMB_STATUS_STALE_BUFFER);
        assert_int_equal(rig_release(rig, client, ref, 0), SHMB_STATUS_OK);
        assert_int_equal(client->slots_used, 0);
        rig_do_all(rig);
        assert_true(rig_is_gone(rig, id));
        rig_finish(rig);
}

static void test_held_for_long_is_not_taken(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *client = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, client, PAGE);

        for (int i = 0; i < 200; i++)
                rig_advance(rig, SECOND);
        assert_int_equal(rig_word_state(client, ref), SHMB_WORD_HELD);
        assert_int_equal(rig_lease(rig, client, ref)->state, LEASE_HELD);
        rig_finish(rig);
}

static void test_idle_with_a_token_is_not_taken(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *client = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, client, 16 * PAGE);
        uint64_t id = rig_id_of(rig, client, ref);
        struct rig_token token = rig_token(rig);

        /* A client that caches what it exported errs; whoever imports must not suffer. */
        rig_export_as(rig, client, ref, &token, 0, 60000, 1);
        rig_set_idle(rig, client, ref);
        for (int i = 0; i < 30; i++)
                rig_advance(rig, SECOND);
        ledger_trim(rig->ledger);
        rig_check(rig);
        assert_int_equal(rig_state_of(rig, id), OBJECT_LEASED);
        rig_import(rig, client, &token);
        rig_finish(rig);
}

static void test_trim_gives_all_unused_back(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *client = rig_join(rig, UID_A);
        struct shmb_lease_ref held = rig_get(rig, client, PAGE), idle, freed;

        idle = rig_get(rig, client, 2 * PAGE);
        freed = rig_get(rig, client, 4 * PAGE);
        rig_set_idle(rig, client, idle);
        rig_release(rig, client, freed, 0);
        assert_true(ledger_trim(rig->ledger) == 6 * PAGE);
        rig_check(rig);
        assert_int_equal(rig_word_state(client, held), SHMB_WORD_HELD);
        assert_int_equal(rig_word_state(client, idle), SHMB_WORD_TAKEN);
        rig_do_all(rig);
        assert_true(rig->ledger->bytes == PAGE);
        rig_finish(rig);
}

/* ---- sharing in one domain -------------------------------------------------------- */

static void test_shared_comes_back_warm(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *writer = rig_join(rig, UID_A), *reader = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        uint64_t id = rig_id_of(rig, writer, ref);
        struct rig_token token = rig_export(rig, writer, ref, SHMB_EXPORT_ONCE);

        shmb_word_store(rig_word(writer, ref), 7, SHMB_WORD_SHARED);
        assert_int_equal(rig_release(rig, writer, ref, KEEP), SHMB_STATUS_OK);
        assert_int_equal(rig_lease(rig, writer, ref)->state, LEASE_SHARED);
        /* Given up: what only a holder may do is over, a second KEEP too. */
        assert_int_equal(rig_release(rig, writer, ref, KEEP), SHMB_STATUS_STALE_BUFFER);
        assert_int_equal(rig_escape(rig, writer, ref, 0), SHMB_STATUS_STALE_BUFFER);
        struct rig_token second = rig_token(rig);
        assert_int_equal(rig_export_as(rig, writer, ref, &second, 0, 1000, 1),
                         SHMB_STATUS_STALE_BUFFER);

        struct shmb_lease_ref import = rig_import(rig, reader, &token);
        assert_int_equal(rig_word_state(writer, ref), SHMB_WORD_SHARED);
        assert_int_equal(rig_release(rig, reader, import, KEEP), SHMB_STATUS_OK);
        assert_int_equal(rig_word_state(writer, ref), SHMB_WORD_IDLE);
        assert_int_equal(shmb_word_uses(shmb_word_load(rig_word(writer, ref))), 7);
        assert_int_equal(rig_lease(rig, writer, ref)->state, LEASE_HELD);
        assert_int_equal(rig_state_of(rig, id), OBJECT_LEASED);

        /* Warm on both sides: no descriptor travels. */
        assert_true(shmb_word_swap(rig_word(writer, ref), SHMB_WORD_IDLE, 1, SHMB_WORD_HELD));
        token = rig_export(rig, writer, ref, 0);
        uint32_t serial = 0;
        assert_int_equal(rig_import_as(rig, reader, &token, &serial), SHMB_STATUS_OK);
        assert_false(rig_answer(rig, serial)->sent_fd);
        assert_int_equal(rig_answer(rig, serial)->grant.lease.slot, import.slot);
        assert_int_equal(rig_answer(rig, serial)->grant.lease.generation, import.generation);
        rig_finish(rig);
}

static void test_shared_with_nobody_is_warm_at_once(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *client = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, client, PAGE);

        shmb_word_store(rig_word(client, ref), 0, SHMB_WORD_SHARED);
        assert_int_equal(rig_release(rig, client, ref, KEEP), SHMB_STATUS_OK);
        assert_int_equal(rig_word_state(client, ref), SHMB_WORD_IDLE);
        rig_finish(rig);
}

/* The client dropped the buffer while the broker wanted to make it warm: its release crosses
   the RECLAIM, and both are settled by one answer. */
static void test_shared_dropped_meanwhile(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *client = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, client, PAGE);
        uint64_t id = rig_id_of(rig, client, ref);
        struct rig_token token = rig_export(rig, client, ref, 0);

        rig_release(rig, client, ref, KEEP);
        shmb_word_store(rig_word(client, ref), 0, SHMB_WORD_NONE);
        assert_int_equal(client_revoke(client, token.bytes), SHMB_STATUS_OK);
        rig_check(rig);
        assert_int_equal(rig_reclaimed(rig, client, ref), 1);
        assert_int_equal(rig_state_of(rig, id), OBJECT_FREE);
        assert_int_equal(rig_release(rig, client, ref, 0), SHMB_STATUS_OK);
        assert_int_equal(rig_release(rig, client, ref, 0), SHMB_STATUS_STALE_BUFFER);
        rig_finish(rig);
}

/* A KEEP that crosses the RECLAIM came to nothing; the answer is still to come. */
static void test_keep_crosses_reclaim(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *client = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, client, PAGE);

        rig_set_idle(rig, client, ref);
        ledger_trim(rig->ledger);
        assert_int_equal(rig_release(rig, client, ref, KEEP), SHMB_STATUS_OK);
        assert_int_equal(client->slots_used, 1);
        assert_int_equal(rig_release(rig, client, ref, 0), SHMB_STATUS_OK);
        assert_int_equal(client->slots_used, 0);
        rig_finish(rig);
}

static void test_warm_reader_is_asked_back_when_memory_goes(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *writer = rig_join(rig, UID_A), *reader = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        struct rig_token token = rig_export(rig, writer, ref, SHMB_EXPORT_ONCE);
        struct shmb_lease_ref import = rig_import(rig, reader, &token);

        rig_release(rig, writer, ref, 0);
        rig_release(rig, reader, import, KEEP);
        assert_int_equal(rig->ledger->pools[0].buffers[OBJECT_FREE], 1);
        assert_int_equal(rig_reclaimed(rig, reader, import), 0);
        ledger_trim(rig->ledger);
        rig_check(rig);
        assert_int_equal(rig_reclaimed(rig, reader, import), 1);
        rig_finish(rig);
}

/* FREE with a warm reader, granted anew to its own uid: the reader's mapping serves again. */
static void test_recycled_under_a_warm_reader(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *writer = rig_join(rig, UID_A), *reader = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        struct rig_token token = rig_export(rig, writer, ref, SHMB_EXPORT_ONCE);
        struct shmb_lease_ref import = rig_import(rig, reader, &token);
        uint32_t serial = 0;

        rig_release(rig, writer, ref, 0);
        rig_release(rig, reader, import, KEEP);
        ref = rig_get(rig, writer, PAGE);
        token = rig_export(rig, writer, ref, SHMB_EXPORT_ONCE);
        assert_int_equal(rig_import_as(rig, reader, &token, &serial), SHMB_STATUS_OK);
        assert_false(rig_answer(rig, serial)->sent_fd);
        rig_finish(rig);
}

static void test_import_twice_is_one_lease(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *writer = rig_join(rig, UID_A), *reader = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        uint64_t id = rig_id_of(rig, writer, ref);
        struct rig_token token = rig_export(rig, writer, ref, 0);
        struct shmb_lease_ref first = rig_import(rig, reader, &token);
        struct shmb_lease_ref second = rig_import(rig, reader, &token);

        assert_int_equal(first.slot, second.slot);
        assert_int_equal(first.generation, second.generation);
        assert_int_equal(rig_object(rig, reader, first)->readers, 1);
        rig_release(rig, writer, ref, 0);
        client_revoke(writer, token.bytes);
        rig_release(rig, reader, first, 0);
        assert_int_equal(rig_state_of(rig, id), OBJECT_LEASED);
        rig_release(rig, reader, first, 0);
        assert_int_equal(rig_state_of(rig, id), OBJECT_FREE);
        assert_int_equal(rig_release(rig, reader, first, 0), SHMB_STATUS_STALE_BUFFER);
        rig_finish(rig);
}

/* A client may import its own token: then it holds the buffer twice, once for reading. */
static void test_import_ones_own(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *client = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, client, PAGE);
        struct rig_token token = rig_export(rig, client, ref, SHMB_EXPORT_ONCE);
        struct shmb_lease_ref import = rig_import(rig, client, &token);

        assert_true(import.slot != ref.slot);
        rig_release(rig, client, ref, 0);
        assert_int_equal(rig_object(rig, client, import)->readers, 1);
        rig_finish(rig);
}

static void test_reader_may_not_write_export_or_escape_writable(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *writer = rig_join(rig, UID_A), *reader = rig_join(rig, UID_A);
        struct rig_token token = rig_export(rig, writer, rig_get(rig, writer, PAGE), 0);
        struct shmb_lease_ref import = rig_import(rig, reader, &token);
        struct rig_token second = rig_token(rig);

        assert_int_equal(rig_export_as(rig, reader, import, &second, 0, 1000, 1),
                         SHMB_STATUS_NOT_WRITER);
        assert_int_equal(rig_escape(rig, reader, import, 0), SHMB_STATUS_NOT_WRITER);
        assert_false(rig_object(rig, reader, import)->escaped);
        assert_int_equal(rig_escape(rig, reader, import, SHMB_FD_READONLY), SHMB_STATUS_OK);
        rig_finish(rig);
}

static void test_import_that_cannot_be_sent(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *writer = rig_join(rig, UID_A), *same = rig_join(rig, UID_A);
        struct client *other = rig_join(rig, UID_B);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        struct rig_token token = rig_export(rig, writer, ref, SHMB_EXPORT_ONCE);

        rig->grant_status = SHMB_STATUS_NO_DESCRIPTORS;
        assert_int_equal(rig_import_as(rig, other, &token, NULL), SHMB_STATUS_NO_DESCRIPTORS);
        assert_false(rig_object(rig, writer, ref)->left_domain);
        assert_int_equal(other->slots_used, 0);
        /* The token is not used up. */
        struct shmb_lease_ref import = rig_import(rig, same, &token);
        rig_release(rig, same, import, KEEP);
        token = rig_export(rig, writer, ref, 0);
        rig->grant_status = SHMB_STATUS_NO_DESCRIPTORS;
        assert_int_equal(rig_import_as(rig, same, &token, NULL), SHMB_STATUS_NO_DESCRIPTORS);
        assert_int_equal(rig_lease(rig, same, import)->state, LEASE_KEPT);
        assert_int_equal(rig_object(rig, writer, ref)->readers, 0);
        rig_finish(rig);
}

#define LIFE(name) cmocka_unit_test_setup(name, rig_setup)

int main(void) {
        const struct CMUnitTest tests[] = {
                LIFE(test_made_then_recycled),
                LIFE(test_free_stays_in_its_domain),
                LIFE(test_stale_and_double_release),
                LIFE(test_generation_zero_is_skipped),
                LIFE(test_making_fails),
                LIFE(test_making_fails_until_the_unused_is_gone),
                LIFE(test_grant_that_cannot_be_sent),
                LIFE(test_grant_waits_for_a_descriptor),
                LIFE(test_lease_page_full),
                LIFE(test_lease_page_fills_while_making),
                LIFE(test_preallocation),
                LIFE(test_idle_for_long_is_taken),
                LIFE(test_held_for_long_is_not_taken),
                LIFE(test_idle_with_a_token_is_not_taken),
                LIFE(test_trim_gives_all_unused_back),
                LIFE(test_shared_comes_back_warm),
                LIFE(test_shared_with_nobody_is_warm_at_once),
                LIFE(test_shared_dropped_meanwhile),
                LIFE(test_keep_crosses_reclaim),
                LIFE(test_warm_reader_is_asked_back_when_memory_goes),
                LIFE(test_recycled_under_a_warm_reader),
                LIFE(test_import_twice_is_one_lease),
                LIFE(test_import_ones_own),
                LIFE(test_reader_may_not_write_export_or_escape_writable),
                LIFE(test_import_that_cannot_be_sent),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
