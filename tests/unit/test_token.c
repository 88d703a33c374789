/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "token.h"

static void test_format(void **state) {
        uint8_t token[SHMB_TOKEN_SIZE];
        char text[2 * SHMB_TOKEN_SIZE + 1];

        (void)state;
        for (unsigned i = 0; i < SHMB_TOKEN_SIZE; i++)
                token[i] = (uint8_t)(0xf0 - 0x0f * i);
        shmb_token_format(token, text);
        assert_string_equal(text, "f0e1d2c3b4a5968778695a4b3c2d1e0f");
}

static void test_every_byte_there_and_back(void **state) {
        (void)state;
        for (unsigned value = 0; value < 256; value++) {
                uint8_t token[SHMB_TOKEN_SIZE], parsed[SHMB_TOKEN_SIZE];
                char text[2 * SHMB_TOKEN_SIZE + 1];

                memset(token, (int)value, sizeof(token));
                shmb_token_format(token, text);
                assert_true(shmb_token_parse(text, parsed));
                assert_memory_equal(token, parsed, sizeof(token));
        }
}

static void test_parse_takes_either_case(void **state) {
        uint8_t lower[SHMB_TOKEN_SIZE], upper[SHMB_TOKEN_SIZE];

        (void)state;
        assert_true(shmb_token_parse("0123456789abcdef0123456789abcdef", lower));
        assert_true(shmb_token_parse("0123456789ABCDEF0123456789ABCDEF", upper));
        assert_memory_equal(lower, upper, sizeof(lower));
}

static void test_parse_refuses(void **state) {
        static const char *const bad[] = {
                "",
                "0",
                "0123456789abcdef0123456789abcde",
                "0123456789abcdef0123456789abcdef0",
                "0123456789abcdef0123456789abcdeg",
                " 123456789abcdef0123456789abcdef",
                "0x23456789abcdef0123456789abcdef",
                "0123456789abcdef0123456789abcde\n",
        };
        uint8_t token[SHMB_TOKEN_SIZE], before[SHMB_TOKEN_SIZE];

        (void)state;
        memset(token, 0x5a, sizeof(token));
        memcpy(before, token, sizeof(token));
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                assert_false(shmb_token_parse(bad[i], token));
                assert_memory_equal(token, before, sizeof(token));
        }
}

static void test_names(void **state) {
        char name[SHMB_NAME_MAX + 2];

        (void)state;
        assert_true(shmb_name_is_valid("a"));
        assert_true(shmb_name_is_valid("Video.1:cam_2@host-3"));
        assert_false(shmb_name_is_valid(""));
        memset(name, 'x', sizeof(name));
        name[SHMB_NAME_MAX] = '\0';
        assert_true(shmb_name_is_valid(name));
        name[SHMB_NAME_MAX] = 'x';
        name[SHMB_NAME_MAX + 1] = '\0';
        assert_false(shmb_name_is_valid(name));
        for (int c = 1; c < 256; c++) {
                char one[] = { (char)c, '\0' };
                bool allowed = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                               (c >= '0' && c <= '9') || strchr("._:@-", c);
                assert_int_equal(shmb_name_is_valid(one), allowed);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_format),
                cmocka_unit_test(test_every_byte_there_and_back),
                cmocka_unit_test(test_parse_takes_either_case),
                cmocka_unit_test(test_parse_refuses),
                cmocka_unit_test(test_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
