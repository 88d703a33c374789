/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration files, and what has to hold between settings. */
#include "config-fixture.h"

#include "config-host.h"
#include "config-keys.h"
#include "config-read.h"
#include "log.h"

/* ---- one file --------------------------------------------------------------------- */

static void test_every_kind(void **state) {
        CONFIG config = load(*state, "\xef\xbb\xbf# a comment\n"
                                     "[Broker]\r\n"
                                     "  MemoryMax = 512M\r\n"
                                     "\tConnectionsMax=10 ; and one behind\n"
                                     "TokenTtlMax=90\n"
                                     "CacheIdle=infinity\n"
                                     "SocketMode=666\n"
                                     "SocketGroup=root\n"
                                     "LogLevel=debug\n"
                                     "Socket=@abstract\n"
                                     "\n"
                                     "[Pool cam:1]\n"
                                     "MemoryMax=100M\nUidMemoryMax=50M\nUidBuffersMax=3\n"
                                     "Share=same-uid\nHugePages=thp\nNumaNode=1\n"
                                     "FreeIdle=0\n"
                                     "Preallocate=4x20M 2x1\n"
                                     "AllowUsers=root 1000\nAllowGroups=7\n"
                                     "[Pool bare]\n");
        const struct pool_config *pool = config_pool(config, "cam:1");

        assert_true(config->memory_max == 512 * M);
        assert_int_equal(config->connections_max, 10);
        assert_int_equal(config->connections_per_uid_max, 10); /* a default gives way */
        assert_true(config->token_ttl_max_ns == 90 * SECOND);
        assert_true(config->cache_idle_ns == UINT64_MAX);
        assert_int_equal(config->socket_mode, 0666);
        assert_int_equal(config->socket_gid, 0);
        assert_int_equal(config->log_level, LOG_LEVEL_DEBUG);
        assert_string_equal(config->socket_path, "@abstract");

        assert_non_null(pool);
        assert_true(pool->memory_max == 100 * M && pool->uid_memory_max == 50 * M);
        assert_int_equal(pool->uid_buffers_max, 3);
        assert_int_equal(pool->share, CONFIG_SHARE_UID);
        assert_int_equal(pool->huge, CONFIG_HUGE_THP);
        assert_int_equal(pool->numa_node, 1);
        assert_true(pool->free_idle_ns == 0);
        assert_int_equal(pool->n_prealloc, 2);
        assert_int_equal(pool->prealloc[0].count, 4);
        assert_true(pool->prealloc[0].capacity == 20 * M);
        assert_true(pool->prealloc[1].capacity == 4 * K); /* rounded up to its class */
        assert_int_equal(pool->n_allow_uids, 2);
        assert_int_equal(pool->n_allow_gids, 1);

        /* A section without keys makes its pool all the same. */
        assert_non_null(config_pool(config, "bare"));
        assert_int_equal(config->n_pools, 3);
        assert_string_equal(config->pools[0].name, "default");
}

static void test_empty_assignment(void **state) {
        CONFIG config = load(*state, "[Broker]\nMemoryMax=1G\nWorkers=7\nWorkers=\n"
                                     "[Pool default]\nClasses=4K 8K\nClasses=\n"
                                     "Preallocate=1x4K\nPreallocate=\n"
                                     "AllowUsers=1\nAllowUsers=\nAllowUsers=2\n");

        assert_int_equal(config->workers, 2);
        assert_true(config->pools[0].n_classes > 2);
        assert_int_equal(config->pools[0].n_prealloc, 0);
        assert_int_equal(config->pools[0].n_allow_uids, 1);
        assert_int_equal(config->pools[0].allow_uids[0], 2);
        assert_false(config_given(config, offsetof(struct config, workers)));
        assert_true(config_given(config, offsetof(struct config, memory_max)));
}

static void test_refusals(void **state) {
        static const char *const cases[][2] = {
                { "[Broker]\n\nMemoryMax=12X\n",
                  "a.conf:3: [Broker] MemoryMax=12X: not a size (bytes, or with K, M, G, T" },
                { "[Broker]\nMemoryMax=101%\n", ":2: [Broker] MemoryMax=101%: not a size" },
                { "[Broker]\nMemoryMax=infinity\n", "MemoryMax=infinity: not a size" },
                { "[Broker]\nMemoryMax=1\n", "MemoryMax=1: out of range: from 4K to 1024T" },
                { "[Broker]\nMemoryMax=99999999999999999999\n", "out of range" },
                { "[Broker]\nWorkers=0\n", "Workers=0: out of range: from 1 to 64" },
                { "[Broker]\nWorkers=-1\n", "Workers=-1: not a number" },
                { "[Broker]\nWorkers=infinity\n", "Workers=infinity: not a number" },
                { "[Broker]\nWorkers=18446744073709551616\n", "out of range" },
                { "[Broker]\nLeaseSlots=16384\n", "out of range: from 1 to 16383" },
                { "[Broker]\nHelloTimeout=5m\n", "HelloTimeout=5m: not a duration" },
                { "[Broker]\nSocketMode=0999\n", "SocketMode=0999: not an access mode" },
                { "[Broker]\nSocketMode=1777\n", "not an access mode" },
                { "[Broker]\nSocketGroup=no-such-group\n", "no such group" },
                { "[Broker]\nLogLevel=loud\n", "not one of error, warning, info, debug" },
                { "[Broker]\nMemorymax=1G\n", "[Broker] Memorymax=1G: no such key" },
                { "[Broker]\nClasses=1G\n", "[Broker] Classes=1G: no such key" },
                { "[Pool a]\nClasses=4K 5Q\n", ":2: [Pool a] Classes=4K 5Q: 5Q is not a size" },
                { "[Pool a]\nPreallocate=20M\n", "20M is not COUNTxSIZE, as in 4x20M" },
                { "[Pool a]\nPreallocate=0x1M\n", "0x1M is not COUNTxSIZE" },
                { "[Pool a]\nPreallocate=99999999999999x1M\n", "is not COUNTxSIZE" },
                { "[Pool a]\nPreallocate=4x\n", "4x is not a size" },
                { "[Pool a]\nAllowUsers=root ghost\n", "no such user: ghost" },
                { "[Pool a]\nAllowGroups=ghost\n", "no such group: ghost" },
                { "[Pool a]\nShare=all\n", "not any or same-uid" },
                { "[Pool a]\nHugePages=1G\n", "not one of no, thp, 2M" },
                { "[Pool a]\nNumaNode=-1\n", "not a NUMA node's number, or none" },
                { "[Pool]\nShare=any\n", ":1: [Pool]: not a section" },
                { "\n[Pool a b]\n", ":2: the name of a pool is" },
                { "[Pool ]\n", ":1: the name of a pool is" },
                { "[Bogus]\nWorkers=0\n", ":1: [Bogus]: not a section; there are [Broker]" },
                { "Workers=1\n", ":1: a section must come first" },
                { "[Broker]\nWorkers\n", ":2: neither [Section] nor Key=Value" },
                { "[Broker\nWorkers=1\n", ":1: neither [Section] nor Key=Value" },
                /* The first of several is told. */
                { "[Broker]\nrubbish\nWorkers=0\n", ":2: neither" },
                { "[Broker]\nWorkers=0\nrubbish\n", ":2: [Broker] Workers=0" },
        };

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                assert_refused(*state, cases[i][0], cases[i][1]);

        /* The line of the setting at fault; of the other one, if that was a default. */
        assert_refused(*state, "[Broker]\nMemoryMax=1G\n\n[Pool a]\nMemoryMax=2G\n",
                       ":5: [Pool a] MemoryMax=2G: more than");
        assert_refused(*state, "[Broker]\n[Pool a]\nPreallocate=4x4K\nBuffersMax=3\n",
                       ":3: [Pool a] Preallocate=4x4K: more than");
        assert_refused(*state, "[Pool a]\nSizeMin=2M\nMemoryMax=1M\n",
                       ":2: [Pool a] SizeMin=2M: more than");
}

/* inih would cut a long line in two and a long name short. */
static void test_lengths(void **state) {
        struct fixture *fixture = *state;
        char text[2048] = "[Broker]\nSocket=/", error[CONFIG_ERROR_SIZE];
        char name[SHMB_NAME_MAX + 2] = "";

        memset(text + strlen(text), 'x', 110);
        assert_refused(fixture, text, ":2: [Broker] Socket=/xxx");
        assert_refused(fixture, text, "longer than a socket's path may be");
        memset(text + strlen(text), 'x', 300);
        assert_refused(fixture, text, ":2: longer than 198 bytes");

        memset(name, 'n', SHMB_NAME_MAX);
        snprintf(text, sizeof text, "[Pool %s]\nShare=same-uid\n", name);
        CONFIG config = load(fixture, text);
        assert_non_null(config_pool(config, name));
        assert_int_equal(config_pool(config, name)->share, CONFIG_SHARE_UID);
        name[SHMB_NAME_MAX] = 'n';
        snprintf(text, sizeof text, "[Pool %s]\n", name);
        assert_refused(fixture, text, ":1: the name of a pool is 1 to 63");

        /* A comment may be as long as it likes. */
        snprintf(text, sizeof text, "#%01000d\n[Broker]\nWorkers=0\n", 0);
        assert_refused(fixture, text, ":3: [Broker] Workers=0");

        static const char nul[] = "[Broker]\nWorkers=1\0002\n";
        const char *path = write_bytes(fixture, "a.conf", nul, sizeof nul - 1);
        assert_int_equal(config_load(config, path, error), -EINVAL);
        assert_non_null(strstr(error, ":2: a NUL byte"));
}

static void test_too_many(void **state) {
        char text[8192] = "";

        for (unsigned i = 0; i < CONFIG_POOLS_MAX; i++)
                sprintf(text + strlen(text), "[Pool p%u]\n", i);
        assert_refused(*state, text, ":64: more than 64 pools"); /* "default" is one */

        snprintf(text, sizeof text, "[Broker]\nMemoryMax=1G\n[Pool a]\n");
        for (unsigned i = 1; i <= CONFIG_CLASSES_MAX + 1; i++)
                sprintf(text + strlen(text), "Classes=%uK\n", 4 * i);
        assert_refused(*state, text, "[Pool a] Classes=: 257 of them, at most 256");
}

/* ---- what has to hold between settings -------------------------------------------- */

static void test_contradictions(void **state) {
        static const char *const cases[][2] = {
                { "[Broker]\nMemoryMax=1G\n[Pool a]\nMemoryMax=2G\n",
                  "[Pool a] MemoryMax=2G: more than [Broker] MemoryMax=1G" },
                { "[Broker]\nBuffersMax=10\n[Pool a]\nBuffersMax=11\n",
                  "[Pool a] BuffersMax=11: more than [Broker] BuffersMax=10" },
                { "[Pool a]\nMemoryMax=1M\nUidMemoryMax=2M\n",
                  "[Pool a] UidMemoryMax=2M: more than [Pool a] MemoryMax=1M" },
                { "[Pool a]\nBuffersMax=1\nUidBuffersMax=2\n",
                  "[Pool a] UidBuffersMax=2: more than [Pool a] BuffersMax=1" },
                { "[Pool a]\nMemoryMax=1M\nSizeMax=2M\n",
                  "[Pool a] SizeMax=2M: more than [Pool a] MemoryMax=1M" },
                { "[Broker]\nMemoryMax=1M\n[Pool a]\nSizeMax=2M\n",
                  "[Pool a] SizeMax=2M: more than [Broker] MemoryMax=1M" },
                { "[Pool a]\nSizeMin=2M\nSizeMax=1M\n",
                  "[Pool a] SizeMin=2M: more than [Pool a] SizeMax=1M" },
                { "[Pool a]\nMemoryMax=1M\nSizeMin=2M\n",
                  "[Pool a] SizeMin=2M: more than [Pool a] SizeMax=1M (its default)" },
                { "[Pool a]\nMemoryMax=1M\nClasses=4K 2M\n",
                  "[Pool a] Classes=2M: more than the pool's memory, 1M" },
                { "[Pool a]\nMemoryMax=1M\nHugePages=2M\n",
                  "[Pool a] MemoryMax=1M: less than one page of [Pool a] HugePages=2M" },
                { "[Pool a]\nClasses=8K 64K\nSizeMin=4K\n",
                  "[Pool a] SizeMin=: Classes= decides" },
                { "[Pool a]\nClasses=8K 64K\nSizeMax=128K\n",
                  "[Pool a] SizeMax=: Classes= decides" },
                { "[Pool a]\nMemoryMax=10M\nPreallocate=2x4M 1x4M\n",
                  "[Pool a] Preallocate=1x4M: more than the pool's MemoryMax" },
                { "[Pool a]\nBuffersMax=3\nPreallocate=4x4K\n",
                  "[Pool a] Preallocate=4x4K: more than the pool's MemoryMax or BuffersMax" },
                { "[Pool a]\nPreallocate=4294967295x1024T\n", "more than the largest class" },
                { "[Pool a]\nClasses=4K\nPreallocate=1x8K\n", "more than the largest class" },
                { "[Broker]\nMemoryMax=10M\n[Pool a]\nPreallocate=1x6M\n"
                  "[Pool b]\nPreallocate=1x6M\n",
                  "[Pool b] Preallocate=1x6M: with the other pools" },
                { "[Broker]\nConnectionsMax=5\nUidConnectionsMax=6\n",
                  "[Broker] UidConnectionsMax=6: more than [Broker] ConnectionsMax=5" },
                { "[Broker]\nLeaseSlots=600\nLeaseSlotsMax=500\n",
                  "[Broker] LeaseSlots=600: more than [Broker] LeaseSlotsMax=500" },
                { "[Broker]\nQueueMax=10\nRequestsMax=20\n",
                  "[Broker] QueueMax=10: less than [Broker] RequestsMax=20" },
        };

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                assert_refused(*state, cases[i][0], cases[i][1]);
}

static void test_defaults_give_way(void **state) {
        CONFIG config = load(*state, "[Broker]\nMemoryMax=10M\nRequestsMax=1000\n"
                                     "LeaseSlotsMax=100\n[Pool a]\nUidMemoryMax=20M\n");
        const struct pool_config *pool = config_pool(config, "a");

        assert_int_equal(config->queue_max, 1000);
        assert_int_equal(config->lease_slots_default, 100);
        assert_true(pool->memory_max == 10 * M);
        assert_true(pool->uid_memory_max == 10 * M);
        assert_true(pool->size_max == 10 * M);

        CONFIG queue = load(*state, "[Broker]\nQueueMax=8\n");
        assert_int_equal(queue->requests_max, 8);
        CONFIG odd = load(*state, "[Broker]\nMemoryMax=1048577\n");
        assert_true(odd->memory_max == M && odd->pools[0].size_max == M);
        CONFIG share = load(*state, "[Broker]\nMemoryMax=10%\n");
        assert_true(share->memory_max <= config_host_ram() / 10 &&
                    share->memory_max > config_host_ram() / 10 - M);
}

static void test_admits(void **state) {
        static const gid_t seven[] = { 1, 7 }, eight[] = { 8 };
        CONFIG config = load(*state, "[Pool a]\nAllowUsers=5\nAllowGroups=7\n"
                                     "[Pool g]\nAllowGroups=7\n");
        const struct pool_config *a = config_pool(config, "a");

        assert_true(pool_config_admits(&config->pools[0], 5, NULL, 0));
        assert_true(pool_config_admits(a, 5, NULL, 0));
        assert_false(pool_config_admits(a, 6, NULL, 0));
        assert_false(pool_config_admits(a, 0, eight, 1));
        assert_true(pool_config_admits(a, 6, seven, 2));
        assert_false(pool_config_admits(config_pool(config, "g"), 5, eight, 1));
}

/* ---- which files ------------------------------------------------------------------ */

static void test_drop_ins(void **state) {
        struct fixture *fixture = *state;
        char error[CONFIG_ERROR_SIZE], path[256];
        CONFIG config = defaults();

        write_file(fixture, "m.conf.d/20-b.conf", "[Broker]\nWorkers=5\n[Pool a]\nShare=any\n");
        write_file(fixture, "m.conf.d/10-a.conf", "[Broker]\nWorkers=4\nQueueMax=99\n");
        write_file(fixture, "m.conf.d/.hidden.conf", "rubbish\n");
        write_file(fixture, "m.conf.d/30-c.conf~", "rubbish\n");
        snprintf(path, sizeof path, "%s",
                 write_file(fixture, "m.conf",
                            "[Broker]\nWorkers=3\nTokensMax=9\n"
                            "[Pool a]\nShare=same-uid\nNumaNode=2\n"));
        assert_int_equal(config_load(config, path, error), 0);
        assert_int_equal(config->workers, 5);
        assert_int_equal(config->queue_max, 99);
        assert_int_equal(config->tokens_max, 9);
        assert_int_equal(config->n_pools, 2); /* sections of one name are one pool */
        assert_int_equal(config->pools[1].share, CONFIG_SHARE_ANY);
        assert_int_equal(config->pools[1].numa_node, 2);

        /* A second load starts over. */
        write_file(fixture, "m.conf", "");
        assert_int_equal(config_load(config, path, error), 0);
        assert_int_equal(config->tokens_max, 1024);

        write_file(fixture, "m.conf.d/20-b.conf", "[Broker]\nWorkers=x\n");
        assert_int_equal(config_load(config, path, error), -EINVAL);
        assert_non_null(strstr(error, "m.conf.d/20-b.conf:2: [Broker] Workers=x"));
}

static void test_roots(void **state) {
        struct fixture *fixture = *state;
        char etc[128], run[128], lib[128], error[CONFIG_ERROR_SIZE];
        const char *directories[] = { etc, run, lib };
        struct config_roots roots = { directories, 3 };
        CONFIG config = defaults();

        snprintf(etc, sizeof etc, "%s/etc", fixture->directory);
        snprintf(run, sizeof run, "%s/run", fixture->directory);
        snprintf(lib, sizeof lib, "%s/lib", fixture->directory);
        assert_int_equal(config_load_from(config, NULL, roots, error), 0);

        write_file(fixture, "lib/shmbrokerd.conf", "[Broker]\nWorkers=3\n");
        write_file(fixture, "lib/shmbrokerd.conf.d/50.conf", "[Broker]\nQueueMax=300\n");
        write_file(fixture, "lib/shmbrokerd.conf.d/60.conf", "[Broker]\nTokensMax=60\n");
        write_file(fixture, "run/shmbrokerd.conf.d/55.conf", "[Broker]\nTokensMax=55\n");
        assert_int_equal(config_load_from(config, NULL, roots, error), 0);
        assert_int_equal(config->workers, 3);
        assert_int_equal(config->queue_max, 300);
        assert_int_equal(config->tokens_max, 60); /* by name, whatever the directory */

        /* Of one name the strongest counts, even to say nothing. */
        write_file(fixture, "etc/shmbrokerd.conf", "[Broker]\nHelloTimeout=1s\n");
        write_file(fixture, "run/shmbrokerd.conf.d/50.conf", "[Broker]\nQueueMax=400\n");
        write_file(fixture, "etc/shmbrokerd.conf.d/60.conf", "");
        assert_int_equal(config_load_from(config, NULL, roots, error), 0);
        assert_int_equal(config->workers, 2);
        assert_true(config->hello_timeout_ns == SECOND);
        assert_int_equal(config->queue_max, 400);
        assert_int_equal(config->tokens_max, 55);
}

static void test_missing(void **state) {
        struct fixture *fixture = *state;
        char path[256], error[CONFIG_ERROR_SIZE];
        CONFIG config = defaults();

        snprintf(path, sizeof path, "%s/none.conf", fixture->directory);
        assert_int_equal(config_load(config, path, error), -ENOENT);
        assert_non_null(strstr(error, "none.conf: No such file or directory"));
        assert_int_equal(config_load(config, fixture->directory, error), -EIO);
        assert_non_null(strstr(error, "cannot be read"));
}

/* ---- printing --------------------------------------------------------------------- */

static char *dump(const struct config *config) {
        char *text = NULL;
        size_t size;
        FILE *stream = open_memstream(&text, &size);

        assert_non_null(stream);
        config_dump(config, stream);
        assert_int_equal(fclose(stream), 0);
        return text;
}

/* Cuts the comments, which say what is a default: in the copy nothing is. */
static char *without_comments(char *text) {
        char *to = text;

        for (const char *from = text; *from;) {
                if (strncmp(from, " ; default", 10) == 0)
                        from += strcspn(from, "\n");
                *to++ = *from++;
        }
        *to = '\0';
        return text;
}

static void test_dump_reads_back(void **state) {
        static const char *const texts[] = {
                "",
                "[Broker]\nMemoryMax=1024T\nSocketGroup=5\nCacheIdle=infinity\n",
                "[Broker]\nMemoryMax=3G\n[Pool v]\nClasses=1 3M 20M\nPreallocate=3x20M 1x1\n"
                "AllowUsers=1 2 3 4 5 6 7 8 9 10 11 12\nAllowGroups=9\nNumaNode=3\n"
                "HugePages=2M\nShare=same-uid\nFreeIdle=infinity\n",
        };

        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
                CONFIG config = load(*state, texts[i]);
                SHMB_FREE char *first = dump(config);
                CONFIG again = load(*state, first);
                SHMB_FREE char *second = dump(again);

                assert_string_equal(without_comments(first), without_comments(second));
        }
}

static void test_dump_has_every_key(void **state) {
        CONFIG config = defaults();
        SHMB_FREE char *text = dump(config);
        size_t n;
        const struct config_key *keys = config_keys(&n);

        (void)state;
        assert_true(n > 30);
        for (size_t i = 0; i < n; i++) {
                char line[80];

                snprintf(line, sizeof line, "\n%s=", keys[i].name);
                assert_non_null(strstr(text, line));
                assert_non_null(strstr(text, keys[i].help));
                assert_ptr_equal(config_key_find(keys[i].section, keys[i].name), &keys[i]);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_every_kind),
                TEST(test_empty_assignment),
                TEST(test_refusals),
                TEST(test_lengths),
                TEST(test_too_many),
                TEST(test_contradictions),
                TEST(test_defaults_give_way),
                TEST(test_admits),
                TEST(test_drop_ins),
                TEST(test_roots),
                TEST(test_missing),
                TEST(test_dump_reads_back),
                TEST(test_dump_has_every_key),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
