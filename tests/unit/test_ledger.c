/* SPDX-License-Identifier: Apache-2.0 */
/* The life of memory objects, leases and tokens. */
#include "ledger-rig.h"

#include <errno.h>

#define KEEP SHMB_RELEASE_KEEP

static enum object_state object_state(struct rig *rig, uint64_t id) {
        struct object *object;

        HASH_FIND(hh, rig->ledger->objects, &id, sizeof(id), object);
        assert_non_null(object);
        return (enum object_state)object->state;
}

static bool object_is_gone(struct rig *rig, uint64_t id) {
        struct object *object;

        HASH_FIND(hh, rig->ledger->objects, &id, sizeof(id), object);
        return !object;
}

static uint64_t object_id(struct rig *rig, struct client *client, struct shmb_lease_ref ref) {
        return rig_object(rig, client, ref)->id;
}

static int setup(void **state) {
        static struct rig rig;

        rig_init(&rig);
        *state = &rig;
        return 0;
}

static struct rig *start(void **state) {
        rig_start(*state);
        return *state;
}

/* ---- alloc and release ------------------------------------------------------------ */

static void test_made_then_recycled(void **state) {
        struct rig *rig = start(state);
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
        assert_int_equal(object_state(rig, object), OBJECT_FREE);
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
        struct rig *rig = start(state);
        struct client *a = rig_join(rig, UID_A), *b = rig_join(rig, UID_B);
        struct shmb_lease_ref of_a = rig_get(rig, a, PAGE);
        uint64_t id = object_id(rig, a, of_a);

        rig_release(rig, a, of_a, 0);
        struct shmb_lease_ref of_b = rig_get(rig, b, PAGE);
        assert_true(object_id(rig, b, of_b) != id);
        assert_true(object_id(rig, a, rig_get(rig, a, PAGE)) == id);
        rig_finish(rig);
}

static void test_stale_and_double_release(void **state) {
        struct rig *rig = start(state);
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
        struct rig *rig = start(state);
        struct client *client = rig_join(rig, UID_A);

        client->generation = UINT32_MAX;
        assert_int_equal(rig_get(rig, client, PAGE).generation, 1);
        rig_finish(rig);
}

static void test_making_fails(void **state) {
        struct rig *rig = start(state);
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
        struct rig *rig = start(state);
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
        struct rig *rig = start(state);
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

static void test_lease_page_full(void **state) {
        struct rig *rig = start(state);
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
        struct rig *rig = start(state);
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
        struct rig *rig = start(state);
        struct client *client = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, client, PAGE);
        uint64_t id = object_id(rig, client, ref);

        assert_false(rig_set_idle(rig, client, ref));
        /* In use now and then: it stays. */
        for (int i = 0; i < 40; i++) {
                rig_advance(rig, SECOND);
                assert_true(shmb_word_swap(rig_word(client, ref), SHMB_WORD_IDLE, 1,
                                           SHMB_WORD_HELD));
                rig_set_idle(rig, client, ref);
        }
        assert_int_equal(object_state(rig, id), OBJECT_LEASED);
        assert_true(object_is_cached(rig_object(rig, client, ref)));
        for (int i = 0; i < 12; i++)
                rig_advance(rig, SECOND);
        assert_int_equal(object_state(rig, id), OBJECT_RETIRING);
        assert_int_equal(rig_word_state(client, ref), SHMB_WORD_TAKEN);
        assert_int_equal(rig_reclaimed(rig, client, ref), 1);
        assert_int_equal(rig->ledger->pools[0].count.taken, 1);
        /* The slot is the client's until it says that it unmapped. */
        assert_int_equal(client->slots_used, 1);
        assert_int_equal(rig_escape(rig, client, ref, 0), SHMB_STATUS_STALE_BUFFER);
        assert_int_equal(rig_release(rig, client, ref, 0), SHMB_STATUS_OK);
        assert_int_equal(client->slots_used, 0);
        rig_do_all(rig);
        assert_true(object_is_gone(rig, id));
        rig_finish(rig);
}

static void test_held_for_long_is_not_taken(void **state) {
        struct rig *rig = start(state);
        struct client *client = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, client, PAGE);

        for (int i = 0; i < 200; i++)
                rig_advance(rig, SECOND);
        assert_int_equal(rig_word_state(client, ref), SHMB_WORD_HELD);
        assert_int_equal(rig_lease(rig, client, ref)->state, LEASE_HELD);
        rig_finish(rig);
}

static void test_idle_with_a_token_is_not_taken(void **state) {
        struct rig *rig = start(state);
        struct client *client = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, client, 16 * PAGE);
        uint64_t id = object_id(rig, client, ref);
        struct rig_token token = rig_token(rig);

        /* A client that caches what it exported errs; whoever imports must not suffer. */
        rig_export_as(rig, client, ref, &token, 0, 60000, 1);
        rig_set_idle(rig, client, ref);
        for (int i = 0; i < 30; i++)
                rig_advance(rig, SECOND);
        ledger_trim(rig->ledger);
        rig_check(rig);
        assert_int_equal(object_state(rig, id), OBJECT_LEASED);
        rig_import(rig, client, &token);
        rig_finish(rig);
}

static void test_trim_gives_all_unused_back(void **state) {
        struct rig *rig = start(state);
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
        struct rig *rig = start(state);
        struct client *writer = rig_join(rig, UID_A), *reader = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        uint64_t id = object_id(rig, writer, ref);
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
        assert_int_equal(object_state(rig, id), OBJECT_LEASED);

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
        struct rig *rig = start(state);
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
        struct rig *rig = start(state);
        struct client *client = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, client, PAGE);
        uint64_t id = object_id(rig, client, ref);
        struct rig_token token = rig_export(rig, client, ref, 0);

        rig_release(rig, client, ref, KEEP);
        shmb_word_store(rig_word(client, ref), 0, SHMB_WORD_NONE);
        assert_int_equal(client_revoke(client, token.bytes), SHMB_STATUS_OK);
        rig_check(rig);
        assert_int_equal(rig_reclaimed(rig, client, ref), 1);
        assert_int_equal(object_state(rig, id), OBJECT_FREE);
        assert_int_equal(rig_release(rig, client, ref, 0), SHMB_STATUS_OK);
        assert_int_equal(rig_release(rig, client, ref, 0), SHMB_STATUS_STALE_BUFFER);
        rig_finish(rig);
}

/* A KEEP that crosses the RECLAIM came to nothing; the answer is still to come. */
static void test_keep_crosses_reclaim(void **state) {
        struct rig *rig = start(state);
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
        struct rig *rig = start(state);
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
        struct rig *rig = start(state);
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
        struct rig *rig = start(state);
        struct client *writer = rig_join(rig, UID_A), *reader = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        uint64_t id = object_id(rig, writer, ref);
        struct rig_token token = rig_export(rig, writer, ref, 0);
        struct shmb_lease_ref first = rig_import(rig, reader, &token);
        struct shmb_lease_ref second = rig_import(rig, reader, &token);

        assert_int_equal(first.slot, second.slot);
        assert_int_equal(first.generation, second.generation);
        assert_int_equal(rig_object(rig, reader, first)->readers, 1);
        rig_release(rig, writer, ref, 0);
        client_revoke(writer, token.bytes);
        rig_release(rig, reader, first, 0);
        assert_int_equal(object_state(rig, id), OBJECT_LEASED);
        rig_release(rig, reader, first, 0);
        assert_int_equal(object_state(rig, id), OBJECT_FREE);
        assert_int_equal(rig_release(rig, reader, first, 0), SHMB_STATUS_STALE_BUFFER);
        rig_finish(rig);
}

/* A client may import its own token: then it holds the buffer twice, once for reading. */
static void test_import_ones_own(void **state) {
        struct rig *rig = start(state);
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
        struct rig *rig = start(state);
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
        struct rig *rig = start(state);
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

/* ---- tokens ----------------------------------------------------------------------- */

static void test_token_fates(void **state) {
        struct rig *rig = start(state);
        struct client *writer = rig_join(rig, UID_A), *reader = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        struct rig_token unknown = rig_token(rig);

        assert_int_equal(rig_import_as(rig, reader, &unknown, NULL), SHMB_STATUS_TOKEN_UNKNOWN);
        struct rig_token once = rig_export(rig, writer, ref, SHMB_EXPORT_ONCE);
        rig_import(rig, reader, &once);
        assert_int_equal(rig_import_as(rig, reader, &once, NULL), SHMB_STATUS_TOKEN_USED);
        struct rig_token many = rig_export(rig, writer, ref, 0);
        for (int i = 0; i < 3; i++)
                rig_import(rig, reader, &many);
        rig_advance(rig, SECOND - 1);
        rig_import(rig, reader, &many);
        rig_advance(rig, 1);
        assert_int_equal(rig_import_as(rig, reader, &many, NULL), SHMB_STATUS_TOKEN_EXPIRED);
        struct rig_token revoked = rig_export(rig, writer, ref, 0);
        assert_int_equal(client_revoke(reader, revoked.bytes), SHMB_STATUS_TOKEN_UNKNOWN);
        assert_int_equal(client_revoke(writer, revoked.bytes), SHMB_STATUS_OK);
        assert_int_equal(client_revoke(writer, revoked.bytes), SHMB_STATUS_OK);
        rig_check(rig);
        assert_int_equal(rig_import_as(rig, reader, &revoked, NULL), SHMB_STATUS_TOKEN_REVOKED);
        assert_int_equal(rig_export_as(rig, writer, ref, &revoked, 0, 1000, 1),
                         SHMB_STATUS_TOKEN_EXISTS);
        rig_finish(rig);
}

static void test_export_refusals(void **state) {
        struct rig *rig = start(state);
        struct client *writer = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE), bad = ref;
        struct rig_token token = rig_token(rig);

        bad.generation += 5;
        assert_int_equal(rig_export_as(rig, writer, bad, &token, 0, 1000, 1),
                         SHMB_STATUS_STALE_BUFFER);
        assert_int_equal(rig_export_as(rig, writer, ref, &token, 0, 0, 1), SHMB_STATUS_BAD_TTL);
        assert_int_equal(rig_export_as(rig, writer, ref, &token, 0, 60001, 1),
                         SHMB_STATUS_BAD_TTL);
        assert_int_equal(rig_export_as(rig, writer, ref, &token, 0, UINT64_MAX, 1),
                         SHMB_STATUS_BAD_TTL);
        assert_int_equal(rig_export_as(rig, writer, ref, &token, 0, 1000, 0),
                         SHMB_STATUS_BAD_LENGTH);
        assert_int_equal(rig_export_as(rig, writer, ref, &token, 0, 1000, PAGE + 1),
                         SHMB_STATUS_BAD_LENGTH);
        assert_int_equal(rig_export_as(rig, writer, ref, &token, 0, 60000, PAGE),
                         SHMB_STATUS_OK);
        rig_finish(rig);
}

static void test_token_limits(void **state) {
        struct rig *rig = *state;

        rig->config.tokens_max = 3;
        rig->config.uid_tokens_max = 5;
        rig_start(rig);
        struct client *first = rig_join(rig, UID_A), *second = rig_join(rig, UID_A);
        struct client *other = rig_join(rig, UID_B);
        struct shmb_lease_ref ref = rig_get(rig, first, PAGE), of_second;
        struct rig_token token;

        for (int i = 0; i < 3; i++)
                token = rig_export(rig, first, ref, 0);
        struct rig_token more = rig_token(rig);
        assert_int_equal(rig_export_as(rig, first, ref, &more, 0, 1000, 1),
                         SHMB_STATUS_TOKEN_LIMIT);
        of_second = rig_get(rig, second, PAGE);
        rig_export(rig, second, of_second, 0);
        rig_export(rig, second, of_second, 0);
        assert_int_equal(rig_export_as(rig, second, of_second, &more, 0, 1000, 1),
                         SHMB_STATUS_TOKEN_LIMIT);
        rig_export(rig, other, rig_get(rig, other, PAGE), 0);
        client_revoke(first, token.bytes);
        assert_int_equal(rig_export_as(rig, second, of_second, &more, 0, 1000, 1),
                         SHMB_STATUS_OK);
        /* Tokens outlive their exporter, and still count for its uid. */
        rig_leave(rig, first);
        assert_int_equal(rig->ledger->n_tokens, 6);
        rig_finish(rig);
}

static void test_tokens_over_are_forgotten_in_the_end(void **state) {
        struct rig *rig = start(state);
        struct client *writer = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        struct rig_token first = rig_export(rig, writer, ref, 0), token = first;

        client_revoke(writer, first.bytes);
        for (unsigned i = 1; i < TOKENS_OVER_MAX; i++) {
                token.bytes[8] = (uint8_t)i;
                token.bytes[9] = (uint8_t)(i >> 8);
                struct shmb_export request = { .lease = ref, .ttl_ms = 1, .length = 1 };
                for (size_t n = 0; n < SHMB_TOKEN_SIZE; n++)
                        request.token[n] = token.bytes[n];
                assert_int_equal(client_export(writer, &request), SHMB_STATUS_OK);
                assert_int_equal(client_revoke(writer, token.bytes), SHMB_STATUS_OK);
        }
        assert_int_equal(rig_import_as(rig, writer, &first, NULL), SHMB_STATUS_TOKEN_REVOKED);
        struct rig_token last = rig_export(rig, writer, ref, 0);
        client_revoke(writer, last.bytes);
        assert_int_equal(rig_import_as(rig, writer, &first, NULL), SHMB_STATUS_TOKEN_UNKNOWN);
        assert_int_equal(rig_import_as(rig, writer, &last, NULL), SHMB_STATUS_TOKEN_REVOKED);
        rig_finish(rig);
}

static void test_transfer(void **state) {
        struct rig *rig = start(state);
        struct client *from = rig_join(rig, UID_A), *to = rig_join(rig, UID_A);
        struct client *other = rig_join(rig, UID_B);
        struct shmb_lease_ref ref = rig_get(rig, from, PAGE);
        struct rig_token shared = rig_export(rig, from, ref, 0), token = rig_token(rig);
        uint32_t serial = 0;

        assert_int_equal(rig_export_as(rig, from, ref, &token, SHMB_EXPORT_TRANSFER, 1000, 1),
                         SHMB_STATUS_BUSY_WRITER); /* by a token */
        struct shmb_lease_ref import = rig_import(rig, to, &shared);
        client_revoke(from, shared.bytes);
        assert_int_equal(rig_export_as(rig, from, ref, &token, SHMB_EXPORT_TRANSFER, 1000, 1),
                         SHMB_STATUS_BUSY_WRITER); /* by a reader */
        rig_release(rig, to, import, 0);
        token = rig_export(rig, from, ref, SHMB_EXPORT_TRANSFER);
        assert_int_equal(from->slots_used, 0);
        assert_int_equal(rig_word_state(from, ref), SHMB_WORD_NONE);
        assert_int_equal(rig_release(rig, from, ref, 0), SHMB_STATUS_STALE_BUFFER);
        assert_int_equal(rig_import_as(rig, other, &token, NULL), SHMB_STATUS_TOKEN_DOMAIN);
        rig->grant_status = SHMB_STATUS_NO_DESCRIPTORS;
        assert_int_equal(rig_import_as(rig, to, &token, NULL), SHMB_STATUS_NO_DESCRIPTORS);
        assert_int_equal(rig_import_as(rig, to, &token, &serial), SHMB_STATUS_OK);
        assert_true(rig_answer(rig, serial)->grant.flags & SHMB_GRANT_WRITABLE);
        ref = rig_answer(rig, serial)->grant.lease;
        assert_int_equal(rig_word_state(to, ref), SHMB_WORD_HELD);
        assert_int_equal(rig_import_as(rig, from, &token, NULL), SHMB_STATUS_TOKEN_USED);
        rig_finish(rig);
}

static void test_transfer_never_imported(void **state) {
        struct rig *rig = start(state);
        struct client *from = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, from, PAGE);
        uint64_t id = object_id(rig, from, ref);

        rig_export(rig, from, ref, SHMB_EXPORT_TRANSFER);
        rig_leave(rig, from);
        assert_int_equal(object_state(rig, id), OBJECT_LEASED);
        rig_advance(rig, SECOND);
        assert_int_equal(object_state(rig, id), OBJECT_FREE);
        rig_finish(rig);
}

/* Readers of another uid may look on after they let go: nobody gets that to write into. */
static void test_no_transfer_under_foreign_eyes(void **state) {
        struct rig *rig = start(state);
        struct client *from = rig_join(rig, UID_A), *other = rig_join(rig, UID_B);
        struct shmb_lease_ref ref = rig_get(rig, from, PAGE);
        struct rig_token token = rig_export(rig, from, ref, SHMB_EXPORT_ONCE);

        rig_release(rig, other, rig_import(rig, other, &token), 0);
        token = rig_token(rig);
        assert_int_equal(rig_export_as(rig, from, ref, &token, SHMB_EXPORT_TRANSFER, 1000, 1),
                         SHMB_STATUS_BUSY_WRITER);
        rig_finish(rig);
}

static void test_same_domain_only(void **state) {
        struct rig *rig = start(state);
        struct client *writer = rig_join(rig, UID_A), *other = rig_join(rig, UID_B);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        struct rig_token token = rig_export(rig, writer, ref, SHMB_EXPORT_SAME_DOMAIN);

        assert_int_equal(rig_import_as(rig, other, &token, NULL), SHMB_STATUS_TOKEN_DOMAIN);
        /* The whole pool may be of that kind. */
        uint32_t serial = rig_ask(rig, writer, "own", PAGE, 0);
        rig_do_all(rig);
        ref = rig_answer(rig, serial)->grant.lease;
        token = rig_export(rig, writer, ref, 0);
        assert_int_equal(rig_import_as(rig, other, &token, NULL), SHMB_STATUS_TOKEN_DOMAIN);
        rig_import(rig, writer, &token);
        rig_finish(rig);
}

static void test_import_needs_the_pool(void **state) {
        uid_t allowed[] = { UID_A };
        struct rig *rig = *state;

        rig->pools[0].allow_uids = allowed;
        rig->pools[0].n_allow_uids = 1;
        rig_start(rig);
        struct client *writer = rig_join(rig, UID_A), *other = rig_join(rig, UID_B);
        struct rig_token token = rig_export(rig, writer, rig_get(rig, writer, PAGE), 0);

        assert_int_equal(rig_import_as(rig, other, &token, NULL), SHMB_STATUS_POOL_DENIED);
        uint32_t serial = rig_ask(rig, other, "default", PAGE, 0);
        assert_int_equal(rig_status(rig, serial), SHMB_STATUS_POOL_DENIED);
        rig_finish(rig);
}

/* ---- out of the domain, and back -------------------------------------------------- */

static void test_foreign_import_proof_scrub_fresh(void **state) {
        struct rig *rig = start(state);
        struct client *writer = rig_join(rig, UID_A), *other = rig_join(rig, UID_B);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        uint64_t id = object_id(rig, writer, ref);
        struct rig_token token = rig_export(rig, writer, ref, SHMB_EXPORT_ONCE);
        uint32_t serial = 0;

        shmb_word_store(rig_word(writer, ref), 0, SHMB_WORD_SHARED);
        rig_release(rig, writer, ref, KEEP);
        assert_int_equal(rig_import_as(rig, other, &token, &serial), SHMB_STATUS_OK);
        assert_int_equal(rig_answer(rig, serial)->grant.flags, 0);
        struct shmb_lease_ref import = rig_answer(rig, serial)->grant.lease;

        /* Whoever asks to keep it is asked back instead, the writer too. */
        assert_int_equal(rig_release(rig, other, import, KEEP), SHMB_STATUS_OK);
        assert_int_equal(rig_reclaimed(rig, other, import), 1);
        assert_int_equal(rig_reclaimed(rig, writer, ref), 1);
        assert_int_equal(rig_word_state(writer, ref), SHMB_WORD_TAKEN);
        assert_int_equal(object_state(rig, id), OBJECT_PROVING);
        rig_do(rig, WORK_PROVE, 1);
        assert_int_equal(object_state(rig, id), OBJECT_SCRUBBING);
        rig_do(rig, WORK_SCRUB, 0);
        assert_int_equal(object_state(rig, id), OBJECT_FREE);

        /* Now it is anybody's, as if new. */
        serial = rig_ask(rig, other, "default", PAGE, 0);
        assert_true(rig_answer(rig, serial)->grant.object == id);
        assert_true(rig_answer(rig, serial)->grant.flags & SHMB_GRANT_ZEROED);
        rig_finish(rig);
}

static void test_own_reader_may_not_keep_what_left(void **state) {
        struct rig *rig = start(state);
        struct client *writer = rig_join(rig, UID_A), *same = rig_join(rig, UID_A);
        struct client *warm = rig_join(rig, UID_A), *other = rig_join(rig, UID_B);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        uint64_t id = object_id(rig, writer, ref);
        struct rig_token token = rig_export(rig, writer, ref, 0);
        struct shmb_lease_ref of_warm = rig_import(rig, warm, &token);
        struct shmb_lease_ref of_same = rig_import(rig, same, &token), of_other;

        rig_release(rig, warm, of_warm, KEEP); /* while it still could */
        of_other = rig_import(rig, other, &token);
        rig_release(rig, other, of_other, 0);
        rig_release(rig, same, of_same, KEEP);
        assert_int_equal(rig_reclaimed(rig, same, of_same), 1);
        client_revoke(writer, token.bytes);
        assert_int_equal(rig_reclaimed(rig, warm, of_warm), 0);
        rig_release(rig, writer, ref, 0);
        assert_int_equal(rig_reclaimed(rig, warm, of_warm), 1);
        assert_int_equal(object_state(rig, id), OBJECT_PROVING);
        rig_finish(rig);
}

static void test_scrub_fails(void **state) {
        struct rig *rig = start(state);
        struct client *writer = rig_join(rig, UID_A), *other = rig_join(rig, UID_B);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        uint64_t id = object_id(rig, writer, ref);
        struct rig_token token = rig_export(rig, writer, ref, SHMB_EXPORT_ONCE);

        rig_release(rig, other, rig_import(rig, other, &token), 0);
        rig_release(rig, writer, ref, 0);
        rig_do(rig, WORK_PROVE, 1);
        rig_do(rig, WORK_SCRUB, -ENOMEM);
        assert_int_equal(object_state(rig, id), OBJECT_RETIRING);
        rig_do(rig, WORK_RETIRE, 0);
        assert_true(object_is_gone(rig, id));
        rig_finish(rig);
}

/* A raw descriptor: reused only on proof, and scrubbed, for nobody knows who saw it. */
static void test_escaped(void **state) {
        struct rig *rig = start(state);
        struct client *client = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, client, PAGE);
        uint64_t id = object_id(rig, client, ref);

        assert_int_equal(rig_escape(rig, client, ref, 0), SHMB_STATUS_OK);
        shmb_word_store(rig_word(client, ref), 0, SHMB_WORD_SHARED);
        rig_release(rig, client, ref, KEEP);
        assert_int_equal(rig_reclaimed(rig, client, ref), 1);
        assert_int_equal(object_state(rig, id), OBJECT_PROVING);
        rig_do(rig, WORK_PROVE, 1);
        rig_do(rig, WORK_SCRUB, 0);
        assert_int_equal(object_state(rig, id), OBJECT_FREE);
        rig_finish(rig);
}

/* However long the descriptor stays open: the memory under it is never punched out. */
static void test_escaped_is_never_retired_under_its_user(void **state) {
        struct rig *rig = start(state);
        struct client *client = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, client, PAGE);
        struct shmb_lease_ref cached = rig_get(rig, client, PAGE);
        uint64_t id = object_id(rig, client, ref);

        rig_escape(rig, client, cached, 0);
        rig_set_idle(rig, client, cached);
        ledger_trim(rig->ledger);
        rig_check(rig);
        assert_int_equal(rig_word_state(client, cached), SHMB_WORD_IDLE);

        rig_escape(rig, client, ref, 0);
        rig_release(rig, client, ref, 0);
        for (int i = 0; i < 100; i++) {
                if (rig_pending(rig, WORK_PROVE))
                        rig_do(rig, WORK_PROVE, i % 2 ? 0 : -EMFILE);
                rig_advance(rig, SECOND);
                assert_int_equal(rig_pending(rig, WORK_RETIRE), 0);
        }
        assert_true(rig->ledger->pools[0].domains->bytes == 2 * PAGE); /* its uid pays */
        rig_do_all(rig);
        assert_int_equal(object_state(rig, id), OBJECT_FREE);
        rig_finish(rig);
}

static void test_quarantine_then_free(void **state) {
        struct rig *rig = start(state);
        struct client *writer = rig_join(rig, UID_A), *other = rig_join(rig, UID_B);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        uint64_t id = object_id(rig, writer, ref);
        struct rig_token token = rig_export(rig, writer, ref, SHMB_EXPORT_ONCE);

        rig_release(rig, other, rig_import(rig, other, &token), 0);
        rig_release(rig, writer, ref, 0);
        uint64_t wait = MS;
        for (int i = 0; i < 5; i++, wait *= 2) {
                rig_do(rig, WORK_PROVE, 0);
                assert_int_equal(object_state(rig, id), OBJECT_QUARANTINE);
                rig_advance(rig, wait - 1);
                assert_int_equal(rig_pending(rig, WORK_PROVE), 0);
                rig_advance(rig, 1);
                assert_int_equal(object_state(rig, id), OBJECT_PROVING);
        }
        assert_int_equal(rig->ledger->pools[0].count.proofs_failed, 5);
        rig_do_all(rig);
        assert_int_equal(object_state(rig, id), OBJECT_FREE);

        /* The next time it begins with short waits again. */
        ref = rig_get(rig, writer, PAGE);
        assert_true(object_id(rig, writer, ref) == id);
        rig_escape(rig, writer, ref, 0);
        rig_release(rig, writer, ref, 0);
        rig_do(rig, WORK_PROVE, 0);
        rig_advance(rig, MS);
        assert_int_equal(rig_pending(rig, WORK_PROVE), 1);
        rig_finish(rig);
}

static void test_quarantine_then_retired(void **state) {
        struct rig *rig = start(state);
        struct client *client = rig_join(rig, UID_A), *other = rig_join(rig, UID_B);
        struct shmb_lease_ref ref = rig_get(rig, client, PAGE);
        uint64_t id = object_id(rig, client, ref);
        struct rig_token token = rig_export(rig, client, ref, SHMB_EXPORT_ONCE);
        int tries = 0;

        rig_release(rig, other, rig_import(rig, other, &token), 0);
        rig_release(rig, client, ref, 0);
        while (object_state(rig, id) != OBJECT_RETIRING) {
                if (rig_pending(rig, WORK_PROVE))
                        rig_do(rig, WORK_PROVE, 0);
                rig_advance(rig, 100 * MS);
                assert_true(++tries < 30);
        }
        assert_true(tries >= 10); /* QuarantineMax= is a second */
        rig_finish(rig);
}

/* ---- the death of holders --------------------------------------------------------- */

static void test_leave_holding(void **state) {
        struct rig *rig = start(state);
        struct client *client = rig_join(rig, UID_A);
        uint64_t id = object_id(rig, client, rig_get(rig, client, PAGE));

        rig_leave(rig, client);
        assert_int_equal(object_state(rig, id), OBJECT_PROVING); /* it may live on, unheard */
        rig_do(rig, WORK_PROVE, 1);
        assert_int_equal(object_state(rig, id), OBJECT_FREE);
        /* Still of its domain: nobody else saw it. */
        struct client *other = rig_join(rig, UID_B), *same = rig_join(rig, UID_A);
        assert_true(object_id(rig, other, rig_get(rig, other, PAGE)) != id);
        assert_true(object_id(rig, same, rig_get(rig, same, PAGE)) == id);
        rig_finish(rig);
}

static void test_leave_while_it_is_being_made(void **state) {
        struct rig *rig = start(state);
        struct client *client = rig_join(rig, UID_A), *other = rig_join(rig, UID_B);

        rig_ask(rig, client, "default", PAGE, 0);
        rig_leave(rig, client);
        rig_do(rig, WORK_MAKE, 0);
        assert_int_equal(rig->ledger->pools[0].buffers[OBJECT_FREE], 1);
        uint32_t serial = rig_ask(rig, other, "default", PAGE, 0);
        assert_true(rig_answer(rig, serial)->grant.flags & SHMB_GRANT_ZEROED);
        rig_finish(rig);
}

static void test_leave_while_it_fails_to_be_made(void **state) {
        struct rig *rig = start(state);
        struct client *client = rig_join(rig, UID_A);

        rig_ask(rig, client, "default", PAGE, 0);
        rig_leave(rig, client);
        rig_do(rig, WORK_MAKE, -ENOMEM);
        assert_int_equal(rig->ledger->buffers, 0);
        rig_finish(rig);
}

static void test_leave_in_line(void **state) {
        struct rig *rig = start(state);
        struct client *holder = rig_join(rig, UID_A), *waiting = rig_join(rig, UID_B);
        struct client *next = rig_join(rig, UID_C);
        struct shmb_lease_ref ref[4];

        for (int i = 0; i < 3; i++)
                ref[i] = rig_get(rig, holder, 16 * PAGE);
        rig_get(rig, next, 8 * PAGE);
        rig_ask(rig, waiting, "default", 16 * PAGE, SHMB_TIMEOUT_FOREVER);
        uint32_t serial = rig_ask(rig, next, "default", 8 * PAGE, SHMB_TIMEOUT_FOREVER);
        assert_true(rig_waits(rig, serial)); /* behind one that needs more */
        rig_leave(rig, waiting);
        rig_do_all(rig);
        assert_int_equal(rig_status(rig, serial), SHMB_STATUS_OK);
        (void)ref;
        rig_finish(rig);
}

static void test_exporter_leaves_token_stays(void **state) {
        struct rig *rig = start(state);
        struct client *writer = rig_join(rig, UID_A), *reader = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        uint64_t id = object_id(rig, writer, ref);
        struct rig_token token = rig_export(rig, writer, ref, SHMB_EXPORT_ONCE);

        rig_leave(rig, writer);
        assert_int_equal(object_state(rig, id), OBJECT_LEASED);
        struct shmb_lease_ref import = rig_import(rig, reader, &token);
        rig_release(rig, reader, import, 0);
        assert_int_equal(object_state(rig, id), OBJECT_PROVING);
        rig_finish(rig);
}

static void test_reader_leaves(void **state) {
        struct rig *rig = start(state);
        struct client *writer = rig_join(rig, UID_A), *reader = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        uint64_t id = object_id(rig, writer, ref);
        struct rig_token token = rig_export(rig, writer, ref, SHMB_EXPORT_ONCE);

        rig_import(rig, reader, &token);
        shmb_word_store(rig_word(writer, ref), 0, SHMB_WORD_SHARED);
        rig_release(rig, writer, ref, KEEP);
        /* Not warm again: the reader may still look. */
        rig_leave(rig, reader);
        assert_int_equal(rig_word_state(writer, ref), SHMB_WORD_TAKEN);
        assert_int_equal(object_state(rig, id), OBJECT_PROVING);
        rig_finish(rig);
}

static void test_warm_and_shared_holders_leave(void **state) {
        struct rig *rig = start(state);
        struct client *writer = rig_join(rig, UID_A), *reader = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        uint64_t id = object_id(rig, writer, ref);
        struct rig_token token = rig_export(rig, writer, ref, 0);

        rig_release(rig, reader, rig_import(rig, reader, &token), KEEP);
        rig_release(rig, writer, ref, KEEP);
        rig_leave(rig, reader);
        rig_leave(rig, writer);
        assert_int_equal(object_state(rig, id), OBJECT_LEASED);
        rig_advance(rig, SECOND);
        assert_int_equal(object_state(rig, id), OBJECT_FREE);
        rig_finish(rig);
}

static void test_leave_with_everything_cached(void **state) {
        struct rig *rig = start(state);
        struct client *client = rig_join(rig, UID_A), *waiting = rig_join(rig, UID_B);
        struct shmb_lease_ref ref[3];

        for (int i = 0; i < 3; i++)
                ref[i] = rig_get(rig, client, 16 * PAGE);
        rig_get(rig, waiting, 8 * PAGE);
        uint32_t serial = rig_ask(rig, waiting, "default", 16 * PAGE, SECOND);
        assert_true(rig_waits(rig, serial));
        for (int i = 0; i < 3; i++) /* too late for the broker to look at them */
                shmb_word_store(rig_word(client, ref[i]), 0, SHMB_WORD_IDLE);
        rig_leave(rig, client); /* on_reclaim fails if it hears anything */
        rig_do_all(rig);
        assert_int_equal(rig_status(rig, serial), SHMB_STATUS_OK);
        rig_finish(rig);
}

static void test_leave_with_taken(void **state) {
        struct rig *rig = start(state);
        struct client *client = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, client, PAGE);

        rig_set_idle(rig, client, ref);
        ledger_trim(rig->ledger);
        rig_leave(rig, client);
        rig_finish(rig);
}

static void test_escaped_reader_of_another_uid_leaves(void **state) {
        struct rig *rig = start(state);
        struct client *writer = rig_join(rig, UID_A), *other = rig_join(rig, UID_B);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        uint64_t id = object_id(rig, writer, ref);
        struct rig_token token = rig_export(rig, writer, ref, SHMB_EXPORT_ONCE);
        struct shmb_lease_ref import = rig_import(rig, other, &token);

        assert_int_equal(rig_escape(rig, other, import, SHMB_FD_READONLY), SHMB_STATUS_OK);
        rig_leave(rig, other);
        rig_leave(rig, writer);
        assert_int_equal(object_state(rig, id), OBJECT_PROVING);
        rig_do(rig, WORK_PROVE, 0);
        assert_int_equal(object_state(rig, id), OBJECT_QUARANTINE);
        rig_finish(rig);
}

/* The broker itself ends while all kinds of things are about. */
static void test_free_with_everything_about(void **state) {
        struct rig *rig = start(state);
        struct client *a = rig_join(rig, UID_A), *b = rig_join(rig, UID_B);
        struct shmb_lease_ref held = rig_get(rig, a, 16 * PAGE), ref = rig_get(rig, a, PAGE);
        struct rig_token token = rig_export(rig, a, held, 0);
        shmb_word *words[] = { a->words, b->words };
        struct rig_seen *seen, *next;

        rig_import(rig, b, &token);
        rig_set_idle(rig, a, ref);
        rig_get(rig, b, 16 * PAGE);
        rig_get(rig, b, 16 * PAGE);
        rig_ask(rig, b, "default", 16 * PAGE, SECOND);
        rig_do_all(rig);
        assert_int_equal(rig->n_work, 0);
        ledger_free(rig->ledger);
        test_free(words[0]);
        test_free(words[1]);
        test_free(rig->work);
        HASH_ITER(hh, rig->seen, seen, next) {
                HASH_DELETE(hh, rig->seen, seen);
                test_free(seen);
        }
}

#define LIFE(name) cmocka_unit_test_setup(name, setup)

int main(void) {
        const struct CMUnitTest tests[] = {
                LIFE(test_made_then_recycled),
                LIFE(test_free_stays_in_its_domain),
                LIFE(test_stale_and_double_release),
                LIFE(test_generation_zero_is_skipped),
                LIFE(test_making_fails),
                LIFE(test_making_fails_until_the_unused_is_gone),
                LIFE(test_grant_that_cannot_be_sent),
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
                LIFE(test_token_fates),
                LIFE(test_export_refusals),
                LIFE(test_token_limits),
                LIFE(test_tokens_over_are_forgotten_in_the_end),
                LIFE(test_transfer),
                LIFE(test_transfer_never_imported),
                LIFE(test_no_transfer_under_foreign_eyes),
                LIFE(test_same_domain_only),
                LIFE(test_import_needs_the_pool),
                LIFE(test_foreign_import_proof_scrub_fresh),
                LIFE(test_own_reader_may_not_keep_what_left),
                LIFE(test_scrub_fails),
                LIFE(test_escaped),
                LIFE(test_escaped_is_never_retired_under_its_user),
                LIFE(test_quarantine_then_free),
                LIFE(test_quarantine_then_retired),
                LIFE(test_leave_holding),
                LIFE(test_leave_while_it_is_being_made),
                LIFE(test_leave_while_it_fails_to_be_made),
                LIFE(test_leave_in_line),
                LIFE(test_exporter_leaves_token_stays),
                LIFE(test_reader_leaves),
                LIFE(test_warm_and_shared_holders_leave),
                LIFE(test_leave_with_everything_cached),
                LIFE(test_leave_with_taken),
                LIFE(test_escaped_reader_of_another_uid_leaves),
                LIFE(test_free_with_everything_about),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
