/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "deadline.h"

enum { NODES = 300 };

static void expect_heap(const struct deadline_queue *queue) {
        for (size_t i = 1; i <= queue->count; i++) {
                assert_int_equal(queue->heap[i]->place, i);
                if (i > 1)
                        assert_true(queue->heap[i / 2]->when <= queue->heap[i]->when);
        }
}

static void test_empty(void **state) {
        struct deadline_queue queue = { 0 };
        struct deadline node = { 0 };

        (void)state;
        assert_null(deadline_first(&queue));
        deadline_clear(&queue, &node);
        assert_int_equal(deadline_set(&queue, &node, DEADLINE_NEVER), 0);
        assert_null(deadline_first(&queue));
        deadline_queue_deinit(&queue);
}

static void test_order(void **state) {
        struct deadline_queue queue = { 0 };
        struct deadline nodes[NODES] = { 0 };
        uint64_t last = 0;

        (void)state;
        for (size_t i = 0; i < NODES; i++) /* 7919 is prime: a permutation */
                assert_int_equal(deadline_set(&queue, &nodes[i], 7919 * i % NODES), 0);
        expect_heap(&queue);
        for (size_t i = 0; i < NODES; i++) {
                struct deadline *first = deadline_first(&queue);
                assert_non_null(first);
                assert_true(first->when >= last);
                last = first->when;
                deadline_clear(&queue, first);
                assert_int_equal(first->place, 0);
        }
        assert_null(deadline_first(&queue));
        deadline_queue_deinit(&queue);
}

static void test_moved_both_ways(void **state) {
        struct deadline_queue queue = { 0 };
        struct deadline nodes[NODES] = { 0 };

        (void)state;
        for (size_t i = 0; i < NODES; i++)
                assert_int_equal(deadline_set(&queue, &nodes[i], 1000 + i), 0);
        assert_int_equal(deadline_set(&queue, &nodes[NODES - 1], 1), 0);
        assert_ptr_equal(deadline_first(&queue), &nodes[NODES - 1]);
        expect_heap(&queue);
        assert_int_equal(deadline_set(&queue, &nodes[NODES - 1], 5000), 0);
        assert_ptr_equal(deadline_first(&queue), &nodes[0]);
        expect_heap(&queue);
        assert_int_equal(queue.count, NODES);
        assert_int_equal(deadline_set(&queue, &nodes[0], DEADLINE_NEVER), 0);
        assert_ptr_equal(deadline_first(&queue), &nodes[1]);
        assert_int_equal(queue.count, NODES - 1);
        deadline_queue_deinit(&queue);
}

/* Anything in, out and about, against a plain array. */
static void test_random(void **state) {
        struct deadline_queue queue = { 0 };
        struct deadline nodes[NODES] = { 0 };
        uint64_t random = 42;

        (void)state;
        for (int step = 0; step < 20000; step++) {
                random = random * 6364136223846793005u + 1442695040888963407u;
                struct deadline *node = &nodes[(random >> 33) % NODES];
                if (random >> 60 < 4)
                        deadline_clear(&queue, node);
                else
                        assert_int_equal(deadline_set(&queue, node, random >> 48), 0);

                const struct deadline *first = deadline_first(&queue);
                size_t n = 0;
                for (size_t i = 0; i < NODES; i++) {
                        n += nodes[i].place > 0;
                        if (nodes[i].place > 0)
                                assert_true(first && first->when <= nodes[i].when);
                }
                assert_int_equal(n, queue.count);
        }
        expect_heap(&queue);
        deadline_queue_deinit(&queue);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_empty),
                cmocka_unit_test(test_order),
                cmocka_unit_test(test_moved_both_ways),
                cmocka_unit_test(test_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
