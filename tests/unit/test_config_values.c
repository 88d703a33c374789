/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration's values, defaults and classes. */
#include "config-fixture.h"

#include "config-host.h"
#include "config-keys.h"
#include "config-value.h"
#include "log.h"

/* ---- values ----------------------------------------------------------------------- */

static void test_sizes(void **state) {
        static const struct {
                const char *text;
                uint64_t bytes;
        } good[] = {
                { "0", 0 },         { "1", 1 },
                { "4096", 4096 },   { "12K", 12 * K },
                { "20M", 20 * M },  { "3G", 3 * G },
                { "2T", 2048 * G }, { "18446744073709551614", UINT64_MAX - 1 },
        };
        static const char *const bad[] = { "",   "K",   "-1",   "+1",   " 1", "1 K",     "1k",
                                           "1X", "1KB", "0x10", "1.5G", "1%", "infinity" };
        uint64_t bytes = 77;

        (void)state;
        for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
                assert_int_equal(config_parse_size(good[i].text, &bytes), 0);
                assert_true(bytes == good[i].bytes);
        }
        bytes = 77;
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                assert_int_equal(config_parse_size(bad[i], &bytes), -EINVAL);
        assert_int_equal(config_parse_size("18446744073709551615", &bytes), -ERANGE);
        assert_int_equal(config_parse_size("18446744073709551616", &bytes), -ERANGE);
        assert_int_equal(config_parse_size("16777216T", &bytes), -ERANGE);
        assert_int_equal(bytes, 77);
}

static void test_durations(void **state) {
        static const struct {
                const char *text;
                uint64_t ns;
        } good[] = {
                { "5", 5 * SECOND },
                { "5s", 5 * SECOND },
                { "250ms", SECOND / 4 },
                { "3us", 3000 },
                { "7ns", 7 },
                { "2min", 120 * SECOND },
                { "0", 0 },
                { "1h", 3600 * SECOND },
                { "1d", 86400 * SECOND },
        };
        static const char *const bad[] = { "", "s", "5 s", "5m", "-5", "5sec", "1.5s" };
        uint64_t ns = 77;

        (void)state;
        for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
                assert_int_equal(config_parse_duration(good[i].text, &ns), 0);
                assert_true(ns == good[i].ns);
        }
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                assert_int_equal(config_parse_duration(bad[i], &ns), -EINVAL);
        assert_int_equal(config_parse_duration("999999999999d", &ns), -ERANGE);
}

/* What is printed reads back as the same number. */
static void test_formats(void **state) {
        static const uint64_t numbers[] = {
                0,     1,      1023,       K,           K + 1,         1536,          5 * M,
                G - 1, SECOND, SECOND / 4, 61 * SECOND, 7200 * SECOND, UINT64_MAX - 1
        };
        char text[CONFIG_TEXT_SIZE];
        uint64_t back;

        (void)state;
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
                config_format_size(numbers[i], text);
                assert_int_equal(config_parse_size(text, &back), 0);
                assert_true(back == numbers[i]);
                config_format_duration(numbers[i], text);
                assert_int_equal(config_parse_duration(text, &back), 0);
                assert_true(back == numbers[i]);
        }
        config_format_size(UINT64_MAX, text);
        assert_string_equal(text, "infinity");
        config_format_size(1536 * M, text);
        assert_string_equal(text, "1536M");
        config_format_duration(90 * SECOND, text);
        assert_string_equal(text, "90s");
}

static void test_ids(void **state) {
        uid_t uid = 5;
        gid_t gid = 5;

        (void)state;
        assert_int_equal(config_parse_user("root", &uid), 0);
        assert_int_equal(uid, 0);
        assert_int_equal(config_parse_user("65534", &uid), 0);
        assert_int_equal(uid, 65534);
        assert_int_equal(config_parse_group("root", &gid), 0);
        assert_int_equal(gid, 0);
        assert_int_equal(config_parse_user("no-such-user", &uid), -ENOENT);
        assert_int_equal(config_parse_group("no-such-group", &gid), -ENOENT);
        /* (uid_t)-1 is nobody at all. */
        assert_int_equal(config_parse_user("4294967295", &uid), -ENOENT);
}

/* ---- the host --------------------------------------------------------------------- */

static void test_cgroup_limit(void **state) {
        struct fixture *fixture = *state;
        char membership[256], root[256];

        write_file(fixture, "cg/a/b/memory.max", "max\n");
        write_file(fixture, "cg/a/memory.max", "123456789\n");
        snprintf(root, sizeof root, "%s/cg", fixture->directory);
        snprintf(membership, sizeof membership, "%s",
                 write_file(fixture, "self", "4:memory:/else\n0::/a/b\n"));
        assert_true(config_host_cgroup_limit(membership, root) == 123456789);

        write_file(fixture, "cg/a/b/memory.max", "1000\n");
        assert_true(config_host_cgroup_limit(membership, root) == 1000);

        /* In a namespace of its own a group is the root of what it sees. */
        write_file(fixture, "self", "0::/\n");
        assert_true(config_host_cgroup_limit(membership, root) == UINT64_MAX);
        write_file(fixture, "cg/memory.max", "77\n");
        assert_true(config_host_cgroup_limit(membership, root) == 77);

        write_file(fixture, "self", "4:memory:/a\n");
        assert_true(config_host_cgroup_limit(membership, root) == UINT64_MAX);
        assert_true(config_host_cgroup_limit("/nonexistent", root) == UINT64_MAX);
}

static void test_runtime_directory(void **state) {
        char long_path[80];

        (void)state;
        memset(long_path, '/', sizeof long_path);
        long_path[sizeof long_path - 1] = '\0';
        assert_string_equal(config_host_runtime_directory(0, "/run/user/0"), "/run");
        assert_string_equal(config_host_runtime_directory(1000, "/run/user/1000"),
                            "/run/user/1000");
        assert_string_equal(config_host_runtime_directory(1000, NULL), "/run");
        assert_string_equal(config_host_runtime_directory(1000, "relative"), "/run");
        assert_string_equal(config_host_runtime_directory(1000, long_path), "/run");
}

/* ---- defaults and classes --------------------------------------------------------- */

static void test_defaults(void **state) {
        CONFIG config = defaults();
        const struct pool_config *pool = config_pool(config, "default");

        (void)state;
        assert_int_equal(config->n_pools, 1);
        assert_ptr_equal(pool, &config->pools[0]);
        assert_true(config->memory_max <= config_host_ram() / 2);
        assert_true(config->memory_max % 4096 == 0);
        assert_true(pool->memory_max == config->memory_max);
        assert_true(pool->uid_memory_max == config->memory_max);
        assert_int_equal(pool->buffers_max, config->buffers_max);
        assert_int_equal(config->lease_slots_default, 511);
        assert_int_equal(config->lease_slots_max, CONFIG_LEASE_SLOTS_LIMIT);
        assert_true(config->token_ttl_max_ns == 86400 * SECOND);
        assert_int_equal(config->socket_mode, 0660);
        assert_true(config->socket_gid == (gid_t)-1);
        assert_int_equal(config->log_level, LOG_LEVEL_INFO);
        assert_int_equal(pool->numa_node, -1);
        assert_true(config->given == 0 && pool->given == 0);
        assert_null(config_pool(config, "other"));
        assert_null(config_free(NULL));
}

/* However small a request, less than a page or a fifth of what it gets is left unused. */
static void assert_little_waste(const struct pool_config *pool, uint64_t page) {
        assert_true(pool->n_classes > 0 && pool->n_classes <= CONFIG_CLASSES_MAX);
        assert_true(pool->classes[0] == pool->size_min);
        assert_true(pool->classes[pool->n_classes - 1] == pool->size_max);
        for (size_t i = 0; i < pool->n_classes; i++) {
                uint64_t capacity = pool->classes[i];

                assert_true(capacity % page == 0);
                if (i == 0)
                        continue;
                uint64_t waste = capacity - pool->classes[i - 1] - 1;
                assert_true(capacity > pool->classes[i - 1]);
                assert_true(waste < page || waste <= capacity / 5);
        }
}

static void test_geometric_classes(void **state) {
        static const char *const texts[] = {
                "[Broker]\nMemoryMax=1024T\n[Pool default]\nSizeMax=1024T\n",
                "[Broker]\nMemoryMax=1024T\n",
                "[Broker]\nMemoryMax=4K\n",
                "[Broker]\nMemoryMax=1G\n[Pool default]\nSizeMin=5000\nSizeMax=999999\n",
                "[Broker]\nMemoryMax=1G\n[Pool default]\nSizeMin=7M\n",
        };
        static const uint64_t first[] = { 4 * K,  8 * K,  12 * K, 16 * K, 20 * K,
                                          24 * K, 28 * K, 32 * K, 40 * K, 48 * K,
                                          56 * K, 64 * K, 80 * K };

        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
                CONFIG config = load(*state, texts[i]);
                assert_little_waste(&config->pools[0], 4096);
        }
        CONFIG config = defaults();
        assert_memory_equal(config->pools[0].classes, first, sizeof first);

        CONFIG huge = load(*state, "[Broker]\nMemoryMax=1G\n[Pool default]\nHugePages=2M\n");
        assert_true(huge->pools[0].size_min == 2 * M);
        assert_little_waste(&huge->pools[0], 2 * M);
        CONFIG large = load(*state, "[Broker]\nMemoryMax=1024T\n");
        assert_true(large->pools[0].size_max == 64 * G);
}

static void test_explicit_classes(void **state) {
        static const uint64_t expected[] = { 4 * K, 64 * K, 1 * M, 20 * M };
        CONFIG config = load(*state, "[Broker]\nMemoryMax=1G\n"
                                     "[Pool video]\nClasses=20M 64K,1M\nClasses=65530 1\n");
        const struct pool_config *pool = config_pool(config, "video");

        assert_int_equal(pool->n_classes, 4);
        assert_memory_equal(pool->classes, expected, sizeof expected);
        assert_true(pool->size_min == 4 * K && pool->size_max == 20 * M);

        CONFIG huge = load(*state, "[Broker]\nMemoryMax=1G\n"
                                   "[Pool default]\nHugePages=2M\nClasses=1 3M\n");
        assert_int_equal(huge->pools[0].n_classes, 2);
        assert_true(huge->pools[0].classes[0] == 2 * M && huge->pools[0].classes[1] == 4 * M);
}

static void test_class_of_size(void **state) {
        CONFIG config = load(*state, "[Broker]\nMemoryMax=1G\n");
        const struct pool_config *pool = &config->pools[0];

        for (int i = 0; i < (int)pool->n_classes; i++) {
                assert_int_equal(pool_config_class(pool, pool->classes[i]), i);
                assert_int_equal(pool_config_class(pool, pool->classes[i] + 1),
                                 i + 1 < (int)pool->n_classes ? i + 1 : -1);
        }
        assert_int_equal(pool_config_class(pool, 1), 0);
        assert_int_equal(pool_config_class(pool, UINT64_C(1) << 63), -1);
        assert_int_equal(pool_config_class(pool, UINT64_MAX), -1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_sizes),
                TEST(test_durations),
                TEST(test_formats),
                TEST(test_ids),
                TEST(test_cgroup_limit),
                TEST(test_runtime_directory),
                TEST(test_defaults),
                TEST(test_geometric_classes),
                TEST(test_explicit_classes),
                TEST(test_class_of_size),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
