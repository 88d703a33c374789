/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lease-word.h"

static void test_parts(void **state) {
        uint64_t value = shmb_word_make(0xdeadbeef, SHMB_WORD_TAKEN);

        (void)state;
        assert_true(value == 0xdeadbeef00000004);
        assert_int_equal(shmb_word_state_of(value), SHMB_WORD_TAKEN);
        assert_int_equal(shmb_word_uses(value), 0xdeadbeef);
        /* Bits 8 to 31 are of neither part. */
        assert_int_equal(shmb_word_state_of(value | 0xffffff00), SHMB_WORD_TAKEN);
        assert_int_equal(shmb_word_uses(value | 0xffffff00), 0xdeadbeef);
}

static void test_swap(void **state) {
        shmb_word word = 0;

        (void)state;
        shmb_word_store(&word, 7, SHMB_WORD_IDLE);
        assert_false(shmb_word_swap(&word, SHMB_WORD_SHARED, 0, SHMB_WORD_TAKEN));
        assert_true(shmb_word_load(&word) == shmb_word_make(7, SHMB_WORD_IDLE));
        assert_true(shmb_word_swap(&word, SHMB_WORD_IDLE, 1, SHMB_WORD_HELD));
        assert_true(shmb_word_load(&word) == shmb_word_make(8, SHMB_WORD_HELD));
        assert_false(shmb_word_swap(&word, SHMB_WORD_IDLE, 0, SHMB_WORD_TAKEN));
}

static void test_the_count_of_uses_wraps(void **state) {
        shmb_word word = 0;

        (void)state;
        shmb_word_store(&word, UINT32_MAX, SHMB_WORD_IDLE);
        assert_true(shmb_word_swap(&word, SHMB_WORD_IDLE, 1, SHMB_WORD_HELD));
        assert_true(shmb_word_load(&word) == shmb_word_make(0, SHMB_WORD_HELD));
}

enum { ROUNDS = 20000 };

struct contest {
        shmb_word word;
        pthread_barrier_t start, end;
        bool client_won[ROUNDS], broker_won[ROUNDS];
};

static void *broker_side(void *userdata) {
        struct contest *contest = userdata;

        for (int i = 0; i < ROUNDS; i++) {
                pthread_barrier_wait(&contest->start);
                contest->broker_won[i] = shmb_word_swap(&contest->word, SHMB_WORD_IDLE, 0,
                                                        SHMB_WORD_TAKEN);
                pthread_barrier_wait(&contest->end);
        }
        return NULL;
}

/* Out of IDLE there is one winner, and the word tells both sides who it was. */
static void test_one_winner(void **state) {
        static struct contest contest;
        pthread_t thread;

        (void)state;
        pthread_barrier_init(&contest.start, NULL, 2);
        pthread_barrier_init(&contest.end, NULL, 2);
        assert_int_equal(pthread_create(&thread, NULL, broker_side, &contest), 0);
        for (int i = 0; i < ROUNDS; i++) {
                shmb_word_store(&contest.word, (uint32_t)i, SHMB_WORD_IDLE);
                pthread_barrier_wait(&contest.start);
                contest.client_won[i] = shmb_word_swap(&contest.word, SHMB_WORD_IDLE, 1,
                                                       SHMB_WORD_HELD);
                pthread_barrier_wait(&contest.end);
                assert_int_not_equal(contest.client_won[i], contest.broker_won[i]);
                assert_int_equal(shmb_word_state_of(shmb_word_load(&contest.word)),
                                 contest.client_won[i] ? SHMB_WORD_HELD : SHMB_WORD_TAKEN);
        }
        pthread_join(thread, NULL);
        pthread_barrier_destroy(&contest.start);
        pthread_barrier_destroy(&contest.end);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parts),
                cmocka_unit_test(test_swap),
                cmocka_unit_test(test_the_count_of_uses_wraps),
                cmocka_unit_test(test_one_winner),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
