/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cursor.h"

static void test_numbers_are_little_endian(void **state) {
        static const uint8_t wanted[] = { 0x34, 0x12, 0xef, 0xbe, 0xad, 0xde, 0x08,
                                          0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01 };
        uint8_t bytes[sizeof(wanted)];
        struct shmb_writer w = shmb_writer_init(bytes, sizeof(bytes));
        struct shmb_reader r = shmb_reader_init(wanted, sizeof(wanted));

        (void)state;
        shmb_write_u16(&w, 0x1234);
        shmb_write_u32(&w, 0xdeadbeef);
        shmb_write_u64(&w, 0x0102030405060708);
        assert_false(w.failed);
        assert_int_equal(w.at, sizeof(wanted));
        assert_memory_equal(bytes, wanted, sizeof(wanted));

        assert_int_equal(shmb_read_u16(&r), 0x1234);
        assert_int_equal(shmb_read_u32(&r), 0xdeadbeef);
        assert_false(shmb_reader_done(&r));
        assert_true(shmb_read_u64(&r) == 0x0102030405060708);
        assert_true(shmb_reader_done(&r));
}

static void test_reading_beyond_the_end_fails_for_good(void **state) {
        static const uint8_t bytes[] = { 1, 2, 3 };
        struct shmb_reader r = shmb_reader_init(bytes, sizeof(bytes));

        (void)state;
        assert_int_equal(shmb_read_u32(&r), 0);
        assert_true(r.failed);
        /* Even what would have fitted. */
        assert_int_equal(shmb_read_u16(&r), 0);
        assert_false(shmb_reader_done(&r));
}

static void test_bytes_of_a_failed_reader_are_zeros(void **state) {
        static const uint8_t bytes[] = { 1, 2, 3, 4 };
        uint8_t out[5];
        struct shmb_reader r = shmb_reader_init(bytes, sizeof(bytes));

        (void)state;
        shmb_read_bytes(&r, out, 4);
        assert_memory_equal(out, bytes, 4);
        assert_true(shmb_reader_done(&r));
        memset(out, 0xff, sizeof(out));
        shmb_read_bytes(&r, out, sizeof(out));
        for (size_t i = 0; i < sizeof(out); i++)
                assert_int_equal(out[i], 0);
        assert_true(r.failed);
}

static void test_an_empty_reader_is_done(void **state) {
        struct shmb_reader r = shmb_reader_init("", 0);

        (void)state;
        assert_true(shmb_reader_done(&r));
        assert_int_equal(shmb_read_u16(&r), 0);
        assert_false(shmb_reader_done(&r));
}

static void test_writing_beyond_the_room_writes_nothing(void **state) {
        uint8_t bytes[6];
        struct shmb_writer w = shmb_writer_init(bytes, 5);

        (void)state;
        memset(bytes, 0xaa, sizeof(bytes));
        shmb_write_u32(&w, 0);
        shmb_write_u16(&w, 0);
        assert_true(w.failed);
        assert_int_equal(w.at, 4);
        assert_int_equal(bytes[4], 0xaa);
        assert_int_equal(bytes[5], 0xaa);
        shmb_write_bytes(&w, "x", 1); /* would fit, but the message has a hole already */
        assert_int_equal(bytes[4], 0xaa);
}

static void test_strings(void **state) {
        uint8_t bytes[16];
        char out[6];
        struct shmb_writer w = shmb_writer_init(bytes, sizeof(bytes));

        (void)state;
        shmb_write_string(&w, "hello");
        shmb_write_string(&w, "");
        assert_int_equal(w.at, 2 + 5 + 2);
        struct shmb_reader r = shmb_reader_init(bytes, w.at);
        shmb_read_string(&r, out, sizeof(out));
        assert_string_equal(out, "hello");
        shmb_read_string(&r, out, sizeof(out));
        assert_string_equal(out, "");
        assert_true(shmb_reader_done(&r));
}

static void expect_bad_string(const uint8_t *bytes, size_t size, size_t room) {
        struct shmb_reader r = shmb_reader_init(bytes, size);
        char out[8] = "before";

        shmb_read_string(&r, out, room);
        assert_true(r.failed);
        assert_string_equal(out, "");
}

static void test_bad_strings(void **state) {
        static const uint8_t with_nul[] = { 3, 0, 'a', 0, 'b' }, cut[] = { 3, 0, 'a', 'b' },
                             fits[] = { 3, 0, 'a', 'b', 'c' }, no_length[] = { 3 };
        struct shmb_reader r = shmb_reader_init(fits, sizeof(fits));
        char out[4];

        (void)state;
        expect_bad_string(with_nul, sizeof(with_nul), 8);
        expect_bad_string(cut, sizeof(cut), 8);
        expect_bad_string(no_length, sizeof(no_length), 8);
        expect_bad_string(fits, sizeof(fits), 3); /* no room for the NUL */
        shmb_read_string(&r, out, sizeof(out));
        assert_string_equal(out, "abc");
}

static void test_a_string_without_end_is_refused(void **state) {
        static char longer[UINT16_MAX + 2];
        static uint8_t bytes[sizeof(longer) + 2];
        struct shmb_writer w = shmb_writer_init(bytes, sizeof(bytes));

        (void)state;
        memset(longer, 'x', sizeof(longer) - 1);
        shmb_write_string(&w, longer);
        assert_true(w.failed);
        assert_int_equal(w.at, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_numbers_are_little_endian),
                cmocka_unit_test(test_reading_beyond_the_end_fails_for_good),
                cmocka_unit_test(test_bytes_of_a_failed_reader_are_zeros),
                cmocka_unit_test(test_an_empty_reader_is_done),
                cmocka_unit_test(test_writing_beyond_the_room_writes_nothing),
                cmocka_unit_test(test_strings),
                cmocka_unit_test(test_bad_strings),
                cmocka_unit_test(test_a_string_without_end_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
