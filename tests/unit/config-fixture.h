/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of the configuration: a directory for each, and no descriptor left behind. */
#pragma once

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cleanup.h"
#include "config.h"

#define K (UINT64_C(1) << 10)
#define M (UINT64_C(1) << 20)
#define G (UINT64_C(1) << 30)
#define SECOND UINT64_C(1000000000)

struct fixture {
        char directory[64];
        unsigned open;
};

static inline unsigned open_descriptors(void) {
        unsigned n = 0;
        DIR *directory = opendir("/proc/self/fd");

        assert_non_null(directory);
        while (readdir(directory))
                n++;
        closedir(directory);
        return n;
}

static inline int set_up(void **state) {
        struct fixture *fixture = calloc(1, sizeof *fixture);

        assert_non_null(fixture);
        fixture->open = open_descriptors();
        snprintf(fixture->directory, sizeof fixture->directory, "/tmp/test-config-XXXXXX");
        assert_non_null(mkdtemp(fixture->directory));
        alarm(30);
        *state = fixture;
        return 0;
}

static inline void remove_tree(const char *path) {
        DIR *directory = opendir(path);

        for (struct dirent *entry; directory && (entry = readdir(directory));) {
                SHMB_FREE char *below = NULL;

                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                assert_true(asprintf(&below, "%s/%s", path, entry->d_name) > 0);
                remove_tree(below);
        }
        if (directory)
                closedir(directory);
        assert_int_equal(remove(path), 0);
}

static inline int tear_down(void **state) {
        struct fixture *fixture = *state;

        alarm(0);
        remove_tree(fixture->directory);
        assert_int_equal(open_descriptors(), fixture->open);
        free(fixture);
        return 0;
}

/* Writes DIRECTORY/name, making one directory above it if need be, and returns its path. */
static inline const char *write_bytes(struct fixture *fixture, const char *name,
                                      const char *text, size_t size) {
        static char path[256];
        const char *slash = strrchr(name, '/');

        if (slash) {
                for (const char *at = strchr(name, '/'); at; at = strchr(at + 1, '/')) {
                        snprintf(path, sizeof path, "%s/%.*s", fixture->directory,
                                 (int)(at - name), name);
                        assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
                }
        }
        snprintf(path, sizeof path, "%s/%s", fixture->directory, name);
        FILE *file = fopen(path, "we");
        assert_non_null(file);
        assert_int_equal(fwrite(text, 1, size, file), size);
        assert_int_equal(fclose(file), 0);
        return path;
}

static inline const char *write_file(struct fixture *fixture, const char *name,
                                     const char *text) {
        return write_bytes(fixture, name, text, strlen(text));
}

static inline void config_freep(struct config **config) {
        config_free(*config);
}
#define CONFIG SHMB_CLEANUP(config_freep) struct config *

static inline struct config *defaults(void) {
        struct config *config = NULL;

        assert_int_equal(config_new(&config), 0);
        return config;
}

/* Loads a file of this text, which must be good. */
static inline struct config *load(struct fixture *fixture, const char *text) {
        struct config *config = defaults();
        char error[CONFIG_ERROR_SIZE];

        int r = config_load(config, write_file(fixture, "a.conf", text), error);
        if (r < 0)
                fail_msg("%s", error);
        return config;
}

static inline void assert_refused(struct fixture *fixture, const char *text,
                                  const char *expected) {
        CONFIG config = defaults();
        char error[CONFIG_ERROR_SIZE];

        assert_int_equal(config_load(config, write_file(fixture, "a.conf", text), error),
                         -EINVAL);
        if (!strstr(error, expected))
                fail_msg("\"%s\" does not say \"%s\"", error, expected);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
