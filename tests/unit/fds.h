/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a test left a descriptor open. */
#pragma once

#include <dirent.h>

static inline int count_fds(void) {
        DIR *directory = opendir("/proc/self/fd");
        int count = 0;

        while (directory && readdir(directory))
                count++;
        if (directory)
                closedir(directory);
        return count;
}

/* cmocka's setup and teardown of a test: `state` keeps the count. */
static inline int fds_before(void **state) {
        static int count;

        count = count_fds();
        *state = &count;
        return 0;
}

static inline int fds_after(void **state) {
        return count_fds() == *(int *)*state ? 0 : -1;
}

#define fd_test(function) cmocka_unit_test_setup_teardown(function, fds_before, fds_after)
