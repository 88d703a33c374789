/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "status.h"

/* The numbers the protocol has given out so far: without gaps in two ranges. */
static bool is_given(uint32_t status) {
        return status <= SHMB_STATUS_DISCONNECTED ||
               (status >= SHMB_STATUS_BAD_SIZE && status <= SHMB_STATUS_BROKER_BUFFERS);
}

static void test_every_status_has_a_name_of_its_own(void **state) {
        (void)state;
        for (uint32_t a = 0; a < 256; a++) {
                if (!is_given(a)) {
                        assert_string_equal(shmb_status_name(a), "unknown-status");
                        assert_int_equal(shmb_status_errno(a), -EPROTO);
                        continue;
                }
                assert_string_not_equal(shmb_status_name(a), "unknown-status");
                assert_true(strlen(shmb_status_text(a)) > 0);
                for (uint32_t b = 0; b < a; b++)
                        if (is_given(b)) {
                                assert_string_not_equal(shmb_status_name(a),
                                                        shmb_status_name(b));
                                assert_string_not_equal(shmb_status_text(a),
                                                        shmb_status_text(b));
                        }
        }
}

static void test_only_ok_is_no_error(void **state) {
        (void)state;
        assert_int_equal(shmb_status_errno(SHMB_STATUS_OK), 0);
        for (uint32_t status = 1; status < 256; status++)
                assert_true(shmb_status_errno(status) < 0);
}

static void test_names_are_plain(void **state) {
        (void)state;
        for (uint32_t status = 0; status < 256; status++) {
                const char *name = shmb_status_name(status);
                assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz-"), strlen(name));
                assert_true(strlen(shmb_status_text(status)) <= SHMB_TEXT_MAX);
        }
}

/* What shmclient.h promises by name. */
static void test_errno_of_the_header(void **state) {
        (void)state;
        assert_int_equal(shmb_status_errno(SHMB_STATUS_TOO_LARGE), -E2BIG);
        assert_int_equal(shmb_status_errno(SHMB_STATUS_NO_SUCH_POOL), -ENOENT);
        assert_int_equal(shmb_status_errno(SHMB_STATUS_POOL_DENIED), -EACCES);
        assert_int_equal(shmb_status_errno(SHMB_STATUS_POOL_BYTES), -ENOSPC);
        assert_int_equal(shmb_status_errno(SHMB_STATUS_BROKER_BUFFERS), -ENOSPC);
        assert_int_equal(shmb_status_errno(SHMB_STATUS_UID_BYTES), -EDQUOT);
        assert_int_equal(shmb_status_errno(SHMB_STATUS_LEASE_SLOTS), -EMFILE);
        assert_int_equal(shmb_status_errno(SHMB_STATUS_NO_DESCRIPTORS), -ENFILE);
        assert_int_equal(shmb_status_errno(SHMB_STATUS_TIMED_OUT), -ETIMEDOUT);
        assert_int_equal(shmb_status_errno(SHMB_STATUS_TOKEN_EXPIRED), -ESTALE);
        assert_int_equal(shmb_status_errno(SHMB_STATUS_TOKEN_USED), -ESTALE);
        assert_int_equal(shmb_status_errno(SHMB_STATUS_TOKEN_REVOKED), -ESTALE);
        assert_int_equal(shmb_status_errno(SHMB_STATUS_TOKEN_UNKNOWN), -ENOENT);
        assert_int_equal(shmb_status_errno(SHMB_STATUS_TOO_MANY_CLIENTS), -EUSERS);
        assert_int_equal(shmb_status_errno(SHMB_STATUS_VERSION), -EPROTONOSUPPORT);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_every_status_has_a_name_of_its_own),
                cmocka_unit_test(test_only_ok_is_no_error),
                cmocka_unit_test(test_names_are_plain),
                cmocka_unit_test(test_errno_of_the_header),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
