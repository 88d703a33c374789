/* SPDX-License-Identifier: Apache-2.0 */
/* What leaves its domain or loses its holders. */
#include "ledger-rig.h"

#include <errno.h>

#define KEEP SHMB_RELEASE_KEEP

/* ---- out of the domain, and back -------------------------------------------------- */

static void test_foreign_import_proof_scrub_fresh(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *writer = rig_join(rig, UID_A), *other = rig_join(rig, UID_B);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        uint64_t id = rig_id_of(rig, writer, ref);
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
        assert_int_equal(rig_state_of(rig, id), OBJECT_PROVING);
        rig_do(rig, WORK_PROVE, 1);
        assert_int_equal(rig_state_of(rig, id), OBJECT_SCRUBBING);
        rig_do(rig, WORK_SCRUB, 0);
        assert_int_equal(rig_state_of(rig, id), OBJECT_FREE);

        /* Now it is anybody's, as if new. */
        serial = rig_ask(rig, other, "default", PAGE, 0);
        assert_true(rig_answer(rig, serial)->grant.object == id);
        assert_true(rig_answer(rig, serial)->grant.flags & SHMB_GRANT_ZEROED);
        rig_finish(rig);
}

static void test_own_reader_may_not_keep_what_left(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *writer = rig_join(rig, UID_A), *same = rig_join(rig, UID_A);
        struct client *warm = rig_join(rig, UID_A), *other = rig_join(rig, UID_B);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        uint64_t id = rig_id_of(rig, writer, ref);
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
        assert_int_equal(rig_state_of(rig, id), OBJECT_PROVING);
        rig_finish(rig);
}

static void test_scrub_fails(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *writer = rig_join(rig, UID_A), *other = rig_join(rig, UID_B);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        uint64_t id = rig_id_of(rig, writer, ref);
        struct rig_token token = rig_export(rig, writer, ref, SHMB_EXPORT_ONCE);

        rig_release(rig, other, rig_import(rig, other, &token), 0);
        rig_release(rig, writer, ref, 0);
        rig_do(rig, WORK_PROVE, 1);
        rig_do(rig, WORK_SCRUB, -ENOMEM);
        assert_int_equal(rig_state_of(rig, id), OBJECT_RETIRING);
        rig_do(rig, WORK_RETIRE, 0);
        assert_true(rig_is_gone(rig, id));
        rig_finish(rig);
}

/* A raw descriptor: reused only on proof, and scrubbed, for nobody knows who saw it. */
static void test_escaped(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *client = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, client, PAGE);
        uint64_t id = rig_id_of(rig, client, ref);

        assert_int_equal(rig_escape(rig, client, ref, 0), SHMB_STATUS_OK);
        shmb_word_store(rig_word(client, ref), 0, SHMB_WORD_SHARED);
        rig_release(rig, client, ref, KEEP);
        assert_int_equal(rig_reclaimed(rig, client, ref), 1);
        assert_int_equal(rig_state_of(rig, id), OBJECT_PROVING);
        rig_do(rig, WORK_PROVE, 1);
        rig_do(rig, WORK_SCRUB, 0);
        assert_int_equal(rig_state_of(rig, id), OBJECT_FREE);
        rig_finish(rig);
}

/* However long the descriptor stays open: the memory under it is never punched out. */
static void test_escaped_is_never_retired_under_its_user(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *client = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, client, PAGE);
        struct shmb_lease_ref cached = rig_get(rig, client, PAGE);
        uint64_t id = rig_id_of(rig, client, ref);

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
        assert_int_equal(rig_state_of(rig, id), OBJECT_FREE);
        rig_finish(rig);
}

static void test_quarantine_then_free(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *writer = rig_join(rig, UID_A), *other = rig_join(rig, UID_B);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        uint64_t id = rig_id_of(rig, writer, ref);
        struct rig_token token = rig_export(rig, writer, ref, SHMB_EXPORT_ONCE);

        rig_release(rig, other, rig_import(rig, other, &token), 0);
        rig_release(rig, writer, ref, 0);
        uint64_t wait = MS;
        for (int i = 0; i < 5; i++, wait *= 2) {
                rig_do(rig, WORK_PROVE, 0);
                assert_int_equal(rig_state_of(rig, id), OBJECT_QUARANTINE);
                rig_advance(rig, wait - 1);
                assert_int_equal(rig_pending(rig, WORK_PROVE), 0);
                rig_advance(rig, 1);
                assert_int_equal(rig_state_of(rig, id), OBJECT_PROVING);
        }
        assert_int_equal(rig->ledger->pools[0].count.proofs_failed, 5);
        rig_do_all(rig);
        assert_int_equal(rig_state_of(rig, id), OBJECT_FREE);

        /* The next time it begins with short waits again. */
        ref = rig_get(rig, writer, PAGE);
        assert_true(rig_id_of(rig, writer, ref) == id);
        rig_escape(rig, writer, ref, 0);
        rig_release(rig, writer, ref, 0);
        rig_do(rig, WORK_PROVE, 0);
        rig_advance(rig, MS);
        assert_int_equal(rig_pending(rig, WORK_PROVE), 1);
        rig_finish(rig);
}

static void test_quarantine_then_retired(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *client = rig_join(rig, UID_A), *other = rig_join(rig, UID_B);
        struct shmb_lease_ref ref = rig_get(rig, client, PAGE);
        uint64_t id = rig_id_of(rig, client, ref);
        struct rig_token token = rig_export(rig, client, ref, SHMB_EXPORT_ONCE);
        int tries = 0;

        rig_release(rig, other, rig_import(rig, other, &token), 0);
        rig_release(rig, client, ref, 0);
        while (rig_state_of(rig, id) != OBJECT_RETIRING) {
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
        struct rig *rig = rig_begin(state);
        struct client *client = rig_join(rig, UID_A);
        uint64_t id = rig_id_of(rig, client, rig_get(rig, client, PAGE));

        rig_leave(rig, client);
        assert_int_equal(rig_state_of(rig, id), OBJECT_PROVING); /* it may live on, unheard */
        rig_do(rig, WORK_PROVE, 1);
        assert_int_equal(rig_state_of(rig, id), OBJECT_FREE);
        /* Still of its domain: nobody else saw it. */
        struct client *other = rig_join(rig, UID_B), *same = rig_join(rig, UID_A);
        assert_true(rig_id_of(rig, other, rig_get(rig, other, PAGE)) != id);
        assert_true(rig_id_of(rig, same, rig_get(rig, same, PAGE)) == id);
        rig_finish(rig);
}

static void test_leave_while_it_is_being_made(void **state) {
        struct rig *rig = rig_begin(state);
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
        struct rig *rig = rig_begin(state);
        struct client *client = rig_join(rig, UID_A);

        rig_ask(rig, client, "default", PAGE, 0);
        rig_leave(rig, client);
        rig_do(rig, WORK_MAKE, -ENOMEM);
        assert_int_equal(rig->ledger->buffers, 0);
        rig_finish(rig);
}

static void test_leave_in_line(void **state) {
        struct rig *rig = rig_begin(state);
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
        struct rig *rig = rig_begin(state);
        struct client *writer = rig_join(rig, UID_A), *reader = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        uint64_t id = rig_id_of(rig, writer, ref);
        struct rig_token token = rig_export(rig, writer, ref, SHMB_EXPORT_ONCE);

        rig_leave(rig, writer);
        assert_int_equal(rig_state_of(rig, id), OBJECT_LEASED);
        struct shmb_lease_ref import = rig_import(rig, reader, &token);
        rig_release(rig, reader, import, 0);
        assert_int_equal(rig_state_of(rig, id), OBJECT_PROVING);
        rig_finish(rig);
}

static void test_reader_leaves(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *writer = rig_join(rig, UID_A), *reader = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        uint64_t id = rig_id_of(rig, writer, ref);
        struct rig_token token = rig_export(rig, writer, ref, SHMB_EXPORT_ONCE);

        rig_import(rig, reader, &token);
        shmb_word_store(rig_word(writer, ref), 0, SHMB_WORD_SHARED);
        rig_release(rig, writer, ref, KEEP);
        /* Not warm again: the reader may still look. */
        rig_leave(rig, reader);
        assert_int_equal(rig_word_state(writer, ref), SHMB_WORD_TAKEN);
        assert_int_equal(rig_state_of(rig, id), OBJECT_PROVING);
        rig_finish(rig);
}

static void test_warm_and_shared_holders_leave(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *writer = rig_join(rig, UID_A), *reader = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        uint64_t id = rig_id_of(rig, writer, ref);
        struct rig_token token = rig_export(rig, writer, ref, 0);

        rig_release(rig, reader, rig_import(rig, reader, &token), KEEP);
        rig_release(rig, writer, ref, KEEP);
        rig_leave(rig, reader);
        rig_leave(rig, writer);
        assert_int_equal(rig_state_of(rig, id), OBJECT_LEASED);
        rig_advance(rig, SECOND);
        assert_int_equal(rig_state_of(rig, id), OBJECT_FREE);
        rig_finish(rig);
}

static void test_leave_with_everything_cached(void **state) {
        struct rig *rig = rig_begin(state);
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
        struct rig *rig = rig_begin(state);
        struct client *client = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, client, PAGE);

        rig_set_idle(rig, client, ref);
        ledger_trim(rig->ledger);
        rig_leave(rig, client);
        rig_finish(rig);
}

static void test_escaped_reader_of_another_uid_leaves(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *writer = rig_join(rig, UID_A), *other = rig_join(rig, UID_B);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        uint64_t id = rig_id_of(rig, writer, ref);
        struct rig_token token = rig_export(rig, writer, ref, SHMB_EXPORT_ONCE);
        struct shmb_lease_ref import = rig_import(rig, other, &token);

        assert_int_equal(rig_escape(rig, other, import, SHMB_FD_READONLY), SHMB_STATUS_OK);
        rig_leave(rig, other);
        rig_leave(rig, writer);
        assert_int_equal(rig_state_of(rig, id), OBJECT_PROVING);
        rig_do(rig, WORK_PROVE, 0);
        assert_int_equal(rig_state_of(rig, id), OBJECT_QUARANTINE);
        rig_finish(rig);
}

/* The broker itself ends while all kinds of things are about. */
static void test_free_with_everything_about(void **state) {
        struct rig *rig = rig_begin(state);
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

#define LIFE(name) cmocka_unit_test_setup(name, rig_setup)

int main(void) {
        const struct CMUnitTest tests[] = {
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
