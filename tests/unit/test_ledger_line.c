/* SPDX-License-Identifier: Apache-2.0 */
/* Limits, the line before them, and who is next. */
#include "ledger-rig.h"

#include <errno.h>
#include <string.h>

#define FOREVER SHMB_TIMEOUT_FOREVER

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

static void expect_refusal(struct rig *rig, uint32_t serial, enum shmb_status status,
                           uint64_t limit, const char *word) {
        const struct rig_answer *answer = rig_answer(rig, serial);

        assert_non_null(answer);
        assert_false(answer->granted);
        assert_int_equal(answer->refusal.status, status);
        assert_true(answer->refusal.limit == limit);
        if (!strstr(answer->refusal.text, word))
                fail_msg("\"%s\" does not name %s", answer->refusal.text, word);
}

/* ---- each limit by name ----------------------------------------------------------- */

static void test_what_is_refused_at_once(void **state) {
        struct rig *rig = *state;

        rig->pools[1].uid_memory_max = 8 * PAGE;
        rig_start(rig);
        struct client *client = rig_join(rig, UID_A);

        expect_refusal(rig, rig_ask(rig, client, "none", PAGE, FOREVER),
                       SHMB_STATUS_NO_SUCH_POOL, 0, "\"none\"");
        expect_refusal(rig, rig_ask(rig, client, "", PAGE, FOREVER), SHMB_STATUS_NO_SUCH_POOL,
                       0, "\"\"");
        expect_refusal(rig, rig_ask(rig, client, "default", 0, FOREVER), SHMB_STATUS_BAD_SIZE,
                       0, "one byte");
        expect_refusal(rig, rig_ask(rig, client, "default", 16 * PAGE + 1, FOREVER),
                       SHMB_STATUS_TOO_LARGE, 16 * PAGE, "largest");
        expect_refusal(rig, rig_ask(rig, client, "default", UINT64_C(1) << 63, FOREVER),
                       SHMB_STATUS_TOO_LARGE, 16 * PAGE, "largest");
        expect_refusal(rig, rig_ask(rig, client, "default", UINT64_MAX, FOREVER),
                       SHMB_STATUS_TOO_LARGE, 16 * PAGE, "largest");
        /* Never to be had, so not waited for either. */
        expect_refusal(rig, rig_ask(rig, client, "own", 9 * PAGE, FOREVER),
                       SHMB_STATUS_UID_BYTES, 8 * PAGE, "UidMemoryMax=");
        rig_finish(rig);
}

static void test_pool_bytes(void **state) {
        struct rig *rig = start(state);
        struct client *a = rig_join(rig, UID_A), *b = rig_join(rig, UID_B);

        for (int i = 0; i < 3; i++)
                rig_get(rig, a, 16 * PAGE);
        rig_get(rig, b, 8 * PAGE);
        expect_refusal(rig, rig_ask(rig, b, "default", 16 * PAGE, 0), SHMB_STATUS_POOL_BYTES,
                       64 * PAGE, "MemoryMax=");
        rig_get(rig, b, 8 * PAGE);
        expect_refusal(rig, rig_ask(rig, b, "default", 1, 0), SHMB_STATUS_POOL_BYTES, 64 * PAGE,
                       "pool \"default\"");
        assert_int_equal(rig->ledger->pools[0].count.refused, 2);
        rig_finish(rig);
}

static void test_pool_buffers(void **state) {
        struct rig *rig = *state;

        rig->pools[0].buffers_max = 3;
        rig_start(rig);
        struct client *client = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, client, PAGE);

        rig_get(rig, client, PAGE);
        rig_get(rig, client, PAGE);
        expect_refusal(rig, rig_ask(rig, client, "default", PAGE, 0), SHMB_STATUS_POOL_BUFFERS,
                       3, "BuffersMax=");
        /* A free one of another size makes room. */
        rig_release(rig, client, ref, 0);
        uint32_t serial = rig_ask(rig, client, "default", 2 * PAGE, 0);
        assert_true(rig_waits(rig, serial));
        rig_do_all(rig);
        assert_int_equal(rig_status(rig, serial), SHMB_STATUS_OK);
        rig_finish(rig);
}

static void test_uid_bytes(void **state) {
        struct rig *rig = start(state);
        struct client *a = rig_join(rig, UID_A), *second = rig_join(rig, UID_A);
        struct client *b = rig_join(rig, UID_B);

        for (int i = 0; i < 3; i++)
                rig_get(rig, a, 16 * PAGE);
        expect_refusal(rig, rig_ask(rig, second, "default", PAGE, 0), SHMB_STATUS_UID_BYTES,
                       48 * PAGE, "UidMemoryMax=");
        rig_get(rig, b, 16 * PAGE);
        rig_finish(rig);
}

static void test_uid_buffers(void **state) {
        struct rig *rig = *state;

        rig->pools[0].uid_buffers_max = 2;
        rig_start(rig);
        struct client *a = rig_join(rig, UID_A), *b = rig_join(rig, UID_B);
        struct shmb_lease_ref ref = rig_get(rig, a, PAGE);

        rig_get(rig, a, PAGE);
        expect_refusal(rig, rig_ask(rig, a, "default", PAGE, 0), SHMB_STATUS_UID_BUFFERS, 2,
                       "UidBuffersMax=");
        rig_get(rig, b, PAGE);
        rig_release(rig, a, ref, 0);
        rig_get(rig, a, PAGE);
        rig_finish(rig);
}

static void test_broker_bytes(void **state) {
        struct rig *rig = *state;

        rig->config.memory_max = 24 * PAGE;
        rig_start(rig);
        struct client *client = rig_join(rig, UID_A);

        rig_get(rig, client, 16 * PAGE);
        uint32_t serial = rig_ask(rig, client, "own", 8 * PAGE, 0);
        rig_do_all(rig);
        assert_int_equal(rig_status(rig, serial), SHMB_STATUS_OK);
        expect_refusal(rig, rig_ask(rig, client, "own", PAGE, 0), SHMB_STATUS_BROKER_BYTES,
                       24 * PAGE, "all pools together");
        rig_finish(rig);
}

static void test_broker_buffers(void **state) {
        struct rig *rig = *state;

        rig->config.buffers_max = 1;
        rig_start(rig);
        struct client *client = rig_join(rig, UID_A);

        rig_get(rig, client, PAGE);
        expect_refusal(rig, rig_ask(rig, client, "own", PAGE, 0), SHMB_STATUS_BROKER_BUFFERS, 1,
                       "BuffersMax=");
        rig_finish(rig);
}

/* ---- making room ------------------------------------------------------------------ */

static void test_free_of_others_is_retired(void **state) {
        struct rig *rig = start(state);
        struct client *a = rig_join(rig, UID_A), *b = rig_join(rig, UID_B);
        struct shmb_lease_ref ref[3];

        for (int i = 0; i < 3; i++)
                ref[i] = rig_get(rig, a, 16 * PAGE);
        for (int i = 0; i < 3; i++)
                rig_release(rig, a, ref[i], 0);
        rig_get(rig, b, 16 * PAGE);
        uint32_t serial = rig_ask(rig, b, "default", 16 * PAGE, 0);
        assert_true(rig_waits(rig, serial)); /* even without a timeout: it will come */
        assert_int_equal(rig_pending(rig, WORK_RETIRE), 1);
        rig_do(rig, WORK_RETIRE, 0);
        rig_do(rig, WORK_MAKE, 0);
        assert_int_equal(rig_status(rig, serial), SHMB_STATUS_OK);
        rig_finish(rig);
}

static void test_cached_of_others_is_taken(void **state) {
        struct rig *rig = start(state);
        struct client *a = rig_join(rig, UID_A), *b = rig_join(rig, UID_B);
        struct shmb_lease_ref ref[3];

        for (int i = 0; i < 3; i++)
                ref[i] = rig_get(rig, a, 16 * PAGE);
        rig_set_idle(rig, a, ref[1]);
        rig_get(rig, b, 16 * PAGE);
        uint32_t serial = rig_ask(rig, b, "default", 8 * PAGE, 0);
        assert_int_equal(rig_word_state(a, ref[1]), SHMB_WORD_TAKEN);
        assert_int_equal(rig_reclaimed(rig, a, ref[1]), 1);
        assert_int_equal(rig_word_state(a, ref[0]), SHMB_WORD_HELD);
        rig_do_all(rig);
        assert_int_equal(rig_status(rig, serial), SHMB_STATUS_OK);
        rig_finish(rig);
}

/* A cache is not given up for a request that would be refused all the same. */
static void test_nothing_is_given_up_in_vain(void **state) {
        struct rig *rig = start(state);
        struct client *a = rig_join(rig, UID_A), *b = rig_join(rig, UID_B);
        struct shmb_lease_ref cached = rig_get(rig, a, 4 * PAGE);

        rig_set_idle(rig, a, cached);
        for (int i = 0; i < 5; i++)
                rig_get(rig, a, 8 * PAGE);
        rig_get(rig, b, 16 * PAGE);
        expect_refusal(rig, rig_ask(rig, b, "default", 16 * PAGE, 0), SHMB_STATUS_POOL_BYTES,
                       64 * PAGE, "MemoryMax=");
        expect_refusal(rig, rig_ask(rig, a, "default", 16 * PAGE, 0), SHMB_STATUS_UID_BYTES,
                       48 * PAGE, "UidMemoryMax=");
        assert_int_equal(rig_word_state(a, cached), SHMB_WORD_IDLE);
        rig_finish(rig);
}

static void test_own_cache_makes_room_under_uid_limits(void **state) {
        struct rig *rig = *state;

        rig->pools[0].uid_buffers_max = 3;
        rig_start(rig);
        struct client *a = rig_join(rig, UID_A), *b = rig_join(rig, UID_B);
        struct shmb_lease_ref of_b = rig_get(rig, b, PAGE), ref[3];

        rig_set_idle(rig, b, of_b);
        for (int i = 0; i < 3; i++)
                ref[i] = rig_get(rig, a, 16 * PAGE);
        rig_set_idle(rig, a, ref[2]);
        uint32_t serial = rig_ask(rig, a, "default", 8 * PAGE, 0);
        assert_int_equal(rig_word_state(a, ref[2]), SHMB_WORD_TAKEN);
        assert_int_equal(rig_word_state(b, of_b), SHMB_WORD_IDLE);
        rig_do_all(rig);
        assert_int_equal(rig_status(rig, serial), SHMB_STATUS_OK);
        rig_finish(rig);
}

/* What is being proven and scrubbed for this very uid comes free: even the hasty wait. */
static void test_uid_waits_for_what_is_being_scrubbed(void **state) {
        struct rig *rig = *state;

        rig->pools[0].uid_buffers_max = 1;
        rig_start(rig);
        struct client *a = rig_join(rig, UID_A), *b = rig_join(rig, UID_B);
        struct shmb_lease_ref ref = rig_get(rig, a, PAGE);
        struct rig_token token = rig_export(rig, a, ref, SHMB_EXPORT_ONCE);

        rig_release(rig, b, rig_import(rig, b, &token), 0);
        rig_release(rig, a, ref, 0);
        uint32_t serial = rig_ask(rig, a, "default", PAGE, 0);
        assert_true(rig_waits(rig, serial));
        /* Nobody else is held up. */
        uint32_t other = rig_ask(rig, b, "default", PAGE, 0);
        rig_do(rig, WORK_MAKE, 0);
        assert_int_equal(rig_status(rig, other), SHMB_STATUS_OK);
        rig_do(rig, WORK_PROVE, 1);
        rig_do(rig, WORK_SCRUB, 0);
        assert_int_equal(rig_status(rig, serial), SHMB_STATUS_OK);
        /* And where it does not come, they are told. */
        ref = rig_answer(rig, serial)->grant.lease;
        rig_escape(rig, a, ref, 0);
        rig_release(rig, a, ref, 0);
        serial = rig_ask(rig, a, "default", PAGE, 0);
        rig_do(rig, WORK_PROVE, 0);
        expect_refusal(rig, serial, SHMB_STATUS_UID_BUFFERS, 1, "UidBuffersMax=");
        rig_finish(rig);
}

/* So does what is being made for a request that went away. */
static void test_what_is_made_for_nobody_is_waited_for(void **state) {
        struct rig *rig = start(state);
        struct client *a = rig_join(rig, UID_A), *b = rig_join(rig, UID_B);
        uint32_t serials[4];

        for (int i = 0; i < 3; i++)
                rig_get(rig, a, 16 * PAGE);
        uint32_t gone = rig_ask(rig, b, "default", 16 * PAGE, SECOND);
        serials[0] = rig_ask(rig, b, "default", 16 * PAGE, 0);
        expect_refusal(rig, serials[0], SHMB_STATUS_POOL_BYTES, 64 * PAGE, "MemoryMax=");
        client_cancel(b, gone);
        rig_check(rig);
        serials[1] = rig_ask(rig, b, "default", 16 * PAGE, 0);
        assert_true(rig_waits(rig, serials[1]));
        rig_do(rig, WORK_MAKE, 0);
        assert_int_equal(rig_status(rig, serials[1]), SHMB_STATUS_OK);
        rig_finish(rig);
}

/* ---- the line --------------------------------------------------------------------- */

static void test_fifo_within_one_uid(void **state) {
        struct rig *rig = start(state);
        struct client *a = rig_join(rig, UID_A), *b = rig_join(rig, UID_B);
        struct shmb_lease_ref ref[3];
        uint32_t serials[3];

        for (int i = 0; i < 3; i++)
                ref[i] = rig_get(rig, a, 16 * PAGE);
        rig_get(rig, b, 16 * PAGE);
        serials[0] = rig_ask(rig, b, "default", 16 * PAGE, FOREVER);
        serials[1] = rig_ask(rig, b, "default", PAGE, FOREVER);
        serials[2] = rig_ask(rig, b, "default", PAGE, FOREVER);
        assert_int_equal(rig->ledger->pools[0].count.waited, 3);
        assert_int_equal(shmb_word_load(&a->words[0]), SHMB_WORD_ZERO_WANTED);
        rig_release(rig, a, ref[0], 0);
        rig_do(rig, WORK_RETIRE, 0); /* the domain is another's */
        rig_do(rig, WORK_MAKE, 0);
        assert_int_equal(rig_status(rig, serials[0]), SHMB_STATUS_OK);
        assert_true(rig_waits(rig, serials[1]) && rig_waits(rig, serials[2]));
        rig_release(rig, a, ref[1], 0);
        rig_do_all(rig);
        assert_int_equal(rig_status(rig, serials[1]), SHMB_STATUS_OK);
        assert_int_equal(rig_status(rig, serials[2]), SHMB_STATUS_OK);
        assert_int_equal(shmb_word_load(&a->words[0]), 0);
        rig_finish(rig);
}

/* One uid's hundred requests do not put off another's one. */
static void test_fair_between_uids(void **state) {
        struct rig *rig = start(state);
        struct client *holder = rig_join(rig, UID_C), *greedy = rig_join(rig, UID_A);
        struct client *modest = rig_join(rig, UID_B);
        struct shmb_lease_ref ref[4];
        uint32_t many[6], one;

        for (int i = 0; i < 3; i++)
                ref[i] = rig_get(rig, holder, 16 * PAGE);
        rig_get(rig, greedy, 16 * PAGE);
        for (int i = 0; i < 6; i++)
                many[i] = rig_ask(rig, greedy, "default", 8 * PAGE, FOREVER);
        one = rig_ask(rig, modest, "default", 8 * PAGE, FOREVER);
        rig_release(rig, holder, ref[0], 0);
        rig_do_all(rig); /* room for two: one each */
        assert_int_equal(rig_status(rig, many[0]), SHMB_STATUS_OK);
        assert_int_equal(rig_status(rig, one), SHMB_STATUS_OK);
        assert_true(rig_waits(rig, many[1]));
        rig_finish(rig);
}

/* Who waits for its own limit holds up nobody but its own. */
static void test_uid_limit_holds_up_only_its_own(void **state) {
        struct rig *rig = start(state);
        struct client *a = rig_join(rig, UID_A), *b = rig_join(rig, UID_B);
        struct shmb_lease_ref ref;

        for (int i = 0; i < 3; i++)
                ref = rig_get(rig, a, 16 * PAGE);
        uint32_t waiting = rig_ask(rig, a, "default", PAGE, FOREVER);
        uint32_t hasty = rig_ask(rig, a, "default", PAGE, 0);
        expect_refusal(rig, hasty, SHMB_STATUS_UID_BYTES, 48 * PAGE, "in line");
        uint32_t other = rig_ask(rig, b, "default", PAGE, 0);
        rig_do_all(rig);
        assert_int_equal(rig_status(rig, other), SHMB_STATUS_OK);
        assert_true(rig_waits(rig, waiting));
        rig_release(rig, a, ref, 0);
        rig_do_all(rig);
        assert_int_equal(rig_status(rig, waiting), SHMB_STATUS_OK);
        rig_finish(rig);
}

/* A small request does not overtake a large one that waits; and who may not wait is told,
   without hearing what the other asked for. */
static void test_hasty_behind_others(void **state) {
        struct rig *rig = start(state);
        struct client *a = rig_join(rig, UID_A), *b = rig_join(rig, UID_B);
        struct client *c = rig_join(rig, UID_C);

        for (int i = 0; i < 3; i++)
                rig_get(rig, a, 16 * PAGE);
        rig_get(rig, b, 8 * PAGE);
        uint32_t large = rig_ask(rig, b, "default", 16 * PAGE, FOREVER);
        uint32_t small = rig_ask(rig, c, "default", PAGE, 0);
        expect_refusal(rig, small, SHMB_STATUS_POOL_BYTES, 64 * PAGE, "in line");
        assert_null(strstr(rig_answer(rig, small)->refusal.text, "65536"));
        assert_true(rig_waits(rig, large));
        rig_finish(rig);
}

static void test_deadline(void **state) {
        struct rig *rig = start(state);
        struct client *a = rig_join(rig, UID_A), *b = rig_join(rig, UID_B);

        for (int i = 0; i < 3; i++)
                rig_get(rig, a, 16 * PAGE);
        rig_get(rig, b, 8 * PAGE);
        uint32_t large = rig_ask(rig, b, "default", 16 * PAGE, SECOND);
        uint32_t small = rig_ask(rig, b, "default", 8 * PAGE, 2 * (uint64_t)SECOND);
        assert_true(ledger_next_deadline(rig->ledger) <= rig->now + SECOND);
        rig_advance(rig, SECOND - 1);
        assert_true(rig_waits(rig, large));
        rig_advance(rig, 1);
        expect_refusal(rig, large, SHMB_STATUS_TIMED_OUT, 64 * PAGE, "deadline");
        rig_do_all(rig); /* the next in line has room */
        assert_int_equal(rig_status(rig, small), SHMB_STATUS_OK);
        rig_finish(rig);
}

static void test_deadline_while_it_is_being_made(void **state) {
        struct rig *rig = start(state);
        struct client *client = rig_join(rig, UID_A);
        uint32_t serial = rig_ask(rig, client, "default", PAGE, MS);

        rig_advance(rig, MS);
        expect_refusal(rig, serial, SHMB_STATUS_TIMED_OUT, 64 * PAGE, "deadline");
        rig_do(rig, WORK_MAKE, 0);
        assert_int_equal(rig->ledger->pools[0].buffers[OBJECT_FREE], 1);
        rig_finish(rig);
}

static void test_cancel(void **state) {
        struct rig *rig = start(state);
        struct client *a = rig_join(rig, UID_A), *b = rig_join(rig, UID_B);

        for (int i = 0; i < 3; i++)
                rig_get(rig, a, 16 * PAGE);
        rig_get(rig, b, 8 * PAGE);
        uint32_t large = rig_ask(rig, b, "default", 16 * PAGE, FOREVER);
        uint32_t small = rig_ask(rig, a, "default", 8 * PAGE, FOREVER);
        uint32_t other = rig_ask(rig, b, "default", 8 * PAGE, FOREVER);
        client_cancel(a, large); /* not its own */
        rig_check(rig);
        assert_true(rig_waits(rig, large));
        client_cancel(b, large);
        rig_check(rig);
        assert_int_equal(rig_status(rig, large), SHMB_STATUS_CANCELLED);
        client_cancel(b, large);
        rig_do_all(rig);
        assert_true(rig_waits(rig, small)); /* of the full uid */
        assert_int_equal(rig_status(rig, other), SHMB_STATUS_OK);
        client_cancel(b, other); /* too late: it is granted */
        rig_check(rig);
        rig_finish(rig);
}

/* What one pool frees is what another's line waits for, under the broker's limit. */
static void test_other_pools_are_served(void **state) {
        struct rig *rig = *state;

        rig->config.memory_max = 16 * PAGE;
        rig_start(rig);
        struct client *client = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, client, 16 * PAGE);
        uint32_t serial = rig_ask(rig, client, "own", PAGE, FOREVER);

        assert_true(rig_waits(rig, serial));
        rig_release(rig, client, ref, 0);
        rig_do_all(rig);
        assert_int_equal(rig_status(rig, serial), SHMB_STATUS_OK);
        rig_finish(rig);
}

/* ---- who waits, and what lies idle ------------------------------------------------ */

static void test_idle_seen_after_wanted_was_raised(void **state) {
        struct rig *rig = start(state);
        struct client *a = rig_join(rig, UID_A), *b = rig_join(rig, UID_B);
        struct shmb_lease_ref ref[3];

        for (int i = 0; i < 3; i++)
                ref[i] = rig_get(rig, a, 16 * PAGE);
        rig_get(rig, b, 16 * PAGE);
        uint32_t serial = rig_ask(rig, b, "default", PAGE, FOREVER);
        /* From now on a client that puts a buffer aside is told to give it up. */
        assert_true(rig_set_idle(rig, a, ref[0]));
        assert_true(shmb_word_swap(rig_word(a, ref[0]), SHMB_WORD_IDLE, 0, SHMB_WORD_HELD));
        shmb_word_store(rig_word(a, ref[0]), 0, SHMB_WORD_NONE);
        rig_release(rig, a, ref[0], 0);
        rig_do_all(rig);
        assert_int_equal(rig_status(rig, serial), SHMB_STATUS_OK);
        assert_false(rig_set_idle(rig, a, ref[1]));
        struct client *late = rig_join(rig, UID_C);
        assert_int_equal(shmb_word_load(&late->words[0]), 0);
        rig_finish(rig);
}

/* Its word is looked at again now and then, and those who wait need nobody else's doing. */
static void test_idle_in_spite_of_wanted(void **state) {
        struct rig *rig = start(state);
        struct client *a = rig_join(rig, UID_A), *b = rig_join(rig, UID_B);
        struct shmb_lease_ref ref[3];

        for (int i = 0; i < 3; i++)
                ref[i] = rig_get(rig, a, 16 * PAGE);
        rig_get(rig, b, 16 * PAGE);
        uint32_t serial = rig_ask(rig, b, "default", PAGE, FOREVER);
        assert_true(rig_set_idle(rig, a, ref[0]));
        assert_true(rig_waits(rig, serial));
        rig_advance(rig, 3 * (uint64_t)SECOND);
        rig_do_all(rig);
        assert_int_equal(rig_word_state(a, ref[0]), SHMB_WORD_TAKEN);
        assert_int_equal(rig_status(rig, serial), SHMB_STATUS_OK);
        rig_finish(rig);
}

/* However many wait and whatever others do meanwhile, the words are looked at once. */
static void test_one_look_for_all_who_wait(void **state) {
        struct rig *rig = start(state);
        struct client *a = rig_join(rig, UID_A), *b = rig_join(rig, UID_B);
        struct shmb_lease_ref ref[3];

        for (int i = 0; i < 3; i++)
                ref[i] = rig_get(rig, a, 16 * PAGE);
        struct shmb_lease_ref small = rig_get(rig, b, PAGE);
        uint32_t serial = rig_ask(rig, b, "default", 16 * PAGE, FOREVER);
        /* Aside in spite of that: whoever looked again would take it. */
        assert_true(rig_set_idle(rig, a, ref[0]));
        rig_ask(rig, b, "default", PAGE, FOREVER);
        rig_release(rig, b, small, 0);
        assert_int_equal(rig_word_state(a, ref[0]), SHMB_WORD_IDLE);
        assert_true(rig_waits(rig, serial));
        rig_finish(rig);
}

static void test_who_joins_late_sees_wanted(void **state) {
        struct rig *rig = start(state);
        struct client *a = rig_join(rig, UID_A);

        for (int i = 0; i < 3; i++)
                rig_get(rig, a, 16 * PAGE);
        rig_ask(rig, a, "default", PAGE, FOREVER);
        struct client *late = rig_join(rig, UID_C);
        assert_int_equal(shmb_word_load(&late->words[0]), SHMB_WORD_ZERO_WANTED);
        rig_finish(rig);
}

/* A buffer made warm again while others wait goes to them. */
static void test_warm_again_is_had_by_those_who_wait(void **state) {
        struct rig *rig = start(state);
        struct client *a = rig_join(rig, UID_A), *b = rig_join(rig, UID_B);
        struct shmb_lease_ref ref[3];

        for (int i = 0; i < 3; i++)
                ref[i] = rig_get(rig, a, 16 * PAGE);
        rig_get(rig, b, 16 * PAGE);
        uint32_t serial = rig_ask(rig, b, "default", PAGE, FOREVER);
        shmb_word_store(rig_word(a, ref[2]), 0, SHMB_WORD_SHARED);
        rig_release(rig, a, ref[2], SHMB_RELEASE_KEEP);
        assert_int_equal(rig_word_state(a, ref[2]), SHMB_WORD_TAKEN);
        rig_do_all(rig);
        assert_int_equal(rig_status(rig, serial), SHMB_STATUS_OK);
        rig_finish(rig);
}

/* A client that finds its cached buffer wanted between the broker's look and its swap. */
static void test_hostile_words(void **state) {
        static const uint64_t words[] = {
                0, UINT64_MAX,     SHMB_WORD_IDLE,   SHMB_WORD_TAKEN, 0xff,
                5, SHMB_WORD_HELD, SHMB_WORD_SHARED, 0x12345603,      0x8000000000000003
        };
        struct rig *rig = start(state);
        struct client *client = rig_join(rig, UID_A), *other = rig_join(rig, UID_B);

        for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
                struct shmb_lease_ref ref = rig_get(rig, client, 16 * PAGE);
                for (uint32_t slot = 0; slot <= client->lease_slots; slot++)
                        atomic_store(&client->words[slot], words[i]);
                uint32_t serial = rig_ask(rig, other, "default", 16 * PAGE, 0);
                rig_release(rig, client, ref, i % 2 ? SHMB_RELEASE_KEEP : 0);
                rig_release(rig, client, ref, 0);
                ledger_trim(rig->ledger);
                rig_advance(rig, 3 * (uint64_t)SECOND);
                rig_do_all(rig);
                assert_int_equal(rig_status(rig, serial), SHMB_STATUS_OK);
                rig_release(rig, other, rig_answer(rig, serial)->grant.lease, 0);
        }
        rig_finish(rig);
}

#define LINE(name) cmocka_unit_test_setup(name, setup)

int main(void) {
        const struct CMUnitTest tests[] = {
                LINE(test_what_is_refused_at_once),
                LINE(test_pool_bytes),
                LINE(test_pool_buffers),
                LINE(test_uid_bytes),
                LINE(test_uid_buffers),
                LINE(test_broker_bytes),
                LINE(test_broker_buffers),
                LINE(test_free_of_others_is_retired),
                LINE(test_cached_of_others_is_taken),
                LINE(test_nothing_is_given_up_in_vain),
                LINE(test_own_cache_makes_room_under_uid_limits),
                LINE(test_uid_waits_for_what_is_being_scrubbed),
                LINE(test_what_is_made_for_nobody_is_waited_for),
                LINE(test_fifo_within_one_uid),
                LINE(test_fair_between_uids),
                LINE(test_uid_limit_holds_up_only_its_own),
                LINE(test_hasty_behind_others),
                LINE(test_deadline),
                LINE(test_deadline_while_it_is_being_made),
                LINE(test_cancel),
                LINE(test_other_pools_are_served),
                LINE(test_idle_seen_after_wanted_was_raised),
                LINE(test_idle_in_spite_of_wanted),
                LINE(test_one_look_for_all_who_wait),
                LINE(test_who_joins_late_sees_wanted),
                LINE(test_warm_again_is_had_by_those_who_wait),
                LINE(test_hostile_words),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
