/* SPDX-License-Identifier: Apache-2.0 */
/* Allocation, the cache and its limits. */
#include "scenarios.h"

#include <pthread.h>

static int cache_hit(void) {
        CLIENT client = NULL;
        BUFFER buffer = NULL;

        OK(NULL, connected(&client));
        OK(client, filled(client, NULL, 20 * MIB, 7, &buffer));
        CHECK(shmc_buffer_size(buffer) == 20 * MIB);
        CHECK(shmc_buffer_capacity(buffer) >= 20 * MIB);
        CHECK(shmc_buffer_is_writable(buffer));
        void *data = shmc_buffer_data(buffer);
        buffer = shmc_buffer_unref(buffer);
        CHECK(stats_of(client).cached_buffers == 1 && stats_of(client).held_buffers == 0);
        /* The same class by another size, and by the pool's name. */
        struct shmc_alloc_options options = SHMC_ALLOC_OPTIONS_INIT;
        options.pool = "default";
        OK(client, shmc_alloc(client, 20 * MIB - 1, &options, &buffer));
        CHECK(shmc_buffer_data(buffer) == data);
        CHECK(shmc_buffer_size(buffer) == 20 * MIB - 1);
        OK(client, has_only(buffer, 7));
        struct shmc_stats stats = stats_of(client);
        CHECK(stats.cache_hits == 1 && stats.cache_misses == 1 && stats.held_buffers == 1);
        return 0;
}

static int classes(void) {
        CLIENT client = NULL;
        BUFFER small = NULL;
        BUFFER large = NULL;
        BUFFER again = NULL;

        OK(NULL, connected(&client));
        OK(client, shmc_alloc(client, 4 * KIB, NULL, &small));
        OK(client, shmc_alloc(client, 20 * MIB, NULL, &large));
        void *at = shmc_buffer_data(small);
        small = shmc_buffer_unref(small);
        large = shmc_buffer_unref(large);
        OK(client, shmc_alloc(client, 1, NULL, &again));
        CHECK(shmc_buffer_data(again) == at);
        OK(client, shmc_alloc(client, 4 * KIB + 1, NULL, &small));
        CHECK(shmc_buffer_capacity(small) > 4 * KIB && shmc_buffer_capacity(small) < MIB);
        CHECK(stats_of(client).cache_hits == 1);
        return 0;
}

static int references(void) {
        CLIENT client = NULL;
        shmc_buffer *buffer = NULL;

        OK(NULL, connected(&client));
        OK(client, filled(client, NULL, 8 * KIB, 3, &buffer));
        CHECK(shmc_buffer_ref(buffer) == buffer);
        CHECK(shmc_buffer_unref(buffer) == NULL);
        CHECK(stats_of(client).held_buffers == 1);
        OK(client, has_only(buffer, 3));
        CHECK(shmc_buffer_unref(buffer) == NULL);
        CHECK(stats_of(client).held_buffers == 0);
        CHECK(shmc_buffer_unref(NULL) == NULL);
        return 0;
}

static int resize(void) {
        CLIENT client = NULL;
        BUFFER buffer = NULL;

        OK(NULL, connected(&client));
        OK(client, shmc_alloc(client, 5000, NULL, &buffer));
        size_t capacity = shmc_buffer_capacity(buffer);
        CHECK(capacity >= 8 * KIB);
        OK(client, shmc_buffer_resize(buffer, capacity));
        CHECK(shmc_buffer_size(buffer) == capacity);
        memset(shmc_buffer_data(buffer), 1, capacity);
        EXPECT(client, shmc_buffer_resize(buffer, capacity + 1), -ENOSPC);
        EXPECT(client, shmc_buffer_resize(buffer, 0), -EINVAL);
        CHECK(shmc_buffer_size(buffer) == capacity);
        OK(client, shmc_buffer_resize(buffer, 1));
        return 0;
}

static int zero(void) {
        struct shmc_alloc_options options = SHMC_ALLOC_OPTIONS_INIT;
        CLIENT client = NULL;
        BUFFER buffer = NULL;

        options.flags = SHMC_ALLOC_ZERO;
        OK(NULL, connected(&client));
        OK(client, filled(client, NULL, MIB, 0xff, &buffer));
        buffer = shmc_buffer_unref(buffer);
        OK(client, shmc_alloc(client, MIB, &options, &buffer));
        CHECK(stats_of(client).cache_hits == 1);
        OK(client, has_only(buffer, 0));
        memset(shmc_buffer_data(buffer), 0xee, MIB);
        buffer = shmc_buffer_unref(buffer);
        /* What comes back by way of the broker is no less dirty. */
        CHECK(shmc_trim(client) >= (int64_t)MIB);
        OK(client, shmc_sync(client));
        OK(client, shmc_alloc(client, MIB, &options, &buffer));
        return has_only(buffer, 0);
}

static int uncached(void) {
        struct shmc_alloc_options options = SHMC_ALLOC_OPTIONS_INIT;
        CLIENT client = NULL;
        BUFFER buffer = NULL;

        options.flags = SHMC_ALLOC_UNCACHED;
        OK(NULL, connected(&client));
        for (int i = 0; i < 3; i++) {
                OK(client, shmc_alloc(client, 64 * KIB, &options, &buffer));
                buffer = shmc_buffer_unref(buffer);
                CHECK(stats_of(client).cached_buffers == 0);
        }
        CHECK(stats_of(client).cache_hits == 0 && stats_of(client).cache_misses == 3);
        OK(client, shmc_sync(client));
        return 0;
}

static int cache_limit(void) {
        struct shmc_connect_options options = SHMC_CONNECT_OPTIONS_INIT;
        CLIENT client = NULL;
        shmc_buffer *buffers[3];
        void *data[3];

        options.cache_bytes = 2 * MIB;
        OK(NULL, shmc_connect(&client, NULL, &options));
        for (int i = 0; i < 3; i++) {
                OK(client, shmc_alloc(client, MIB, NULL, &buffers[i]));
                data[i] = shmc_buffer_data(buffers[i]);
        }
        for (int i = 0; i < 3; i++)
                shmc_buffer_unref(buffers[i]);
        CHECK(stats_of(client).cached_buffers == 2);
        CHECK(stats_of(client).cached_bytes == 2 * MIB);
        /* The latest come out first; the oldest was let go. */
        for (int i = 2; i >= 1; i--) {
                OK(client, shmc_alloc(client, MIB, NULL, &buffers[i]));
                CHECK(shmc_buffer_data(buffers[i]) == data[i]);
        }
        CHECK(stats_of(client).cache_hits == 2);
        for (int i = 1; i <= 2; i++)
                shmc_buffer_unref(buffers[i]);
        /* Larger than the whole cache. */
        OK(client, shmc_alloc(client, 4 * MIB, NULL, &buffers[0]));
        shmc_buffer_unref(buffers[0]);
        CHECK(stats_of(client).cached_buffers == 2);
        OK(client, shmc_sync(client));
        return 0;
}

static int no_cache(void) {
        struct shmc_connect_options options = SHMC_CONNECT_OPTIONS_INIT;
        CLIENT client = NULL;
        BUFFER buffer = NULL;

        options.cache_bytes = UINT64_MAX;
        OK(NULL, shmc_connect(&client, NULL, &options));
        OK(client, shmc_alloc(client, 1, NULL, &buffer));
        buffer = shmc_buffer_unref(buffer);
        CHECK(stats_of(client).cached_buffers == 0);
        OK(client, shmc_sync(client));
        return 0;
}

static int trim(void) {
        CLIENT client = NULL;
        shmc_buffer *buffers[200];

        OK(NULL, connected(&client));
        /* More than one RELEASE has room for. */
        for (int i = 0; i < 200; i++)
                OK(client, shmc_alloc(client, 4 * KIB, NULL, &buffers[i]));
        for (int i = 0; i < 200; i++)
                shmc_buffer_unref(buffers[i]);
        CHECK(stats_of(client).cached_buffers == 200);
        EXPECT(client, shmc_trim(client), (int64_t)(200 * 4 * KIB));
        CHECK(stats_of(client).cached_buffers == 0 && stats_of(client).cached_bytes == 0);
        EXPECT(client, shmc_trim(client), 0);
        OK(client, shmc_sync(client));
        return 0;
}

static int bad_arguments(void) {
        struct shmc_alloc_options options = SHMC_ALLOC_OPTIONS_INIT;
        CLIENT client = NULL;
        BUFFER buffer = NULL;
        char text[512];

        OK(NULL, connected(&client));
        EXPECT(client, shmc_alloc(client, 0, NULL, &buffer), -EINVAL);
        EXPECT(client, shmc_alloc(client, (size_t)1 << 63, NULL, &buffer), -E2BIG);
        shmc_last_error(client, text, sizeof(text));
        CHECK(strstr(text, "9223372036854775808") && strstr(text, "too-large") &&
              strstr(text, "\"default\""));
        EXPECT(client, shmc_alloc(client, SIZE_MAX, NULL, &buffer), -E2BIG);
        options.pool = "no-such-pool";
        EXPECT(client, shmc_alloc(client, 1, &options, &buffer), -ENOENT);
        options.pool = "not a name";
        EXPECT(client, shmc_alloc(client, 1, &options, &buffer), -EINVAL);
        options.pool = NULL;
        options.flags = 0x80;
        EXPECT(client, shmc_alloc(client, 1, &options, &buffer), -EINVAL);
        options.flags = 0;
        options.struct_size = 0;
        EXPECT(client, shmc_alloc(client, 1, &options, &buffer), -EINVAL);
        options.struct_size = SIZE_MAX / 2; /* as uninitialised memory may have it */
        EXPECT(client, shmc_alloc(client, 1, &options, &buffer), -EINVAL);
        CHECK(!buffer);
        /* A longer struct of a newer header, which sets nothing this library lacks. */
        struct {
                struct shmc_alloc_options known;
                uint64_t later;
        } newer = { .known = SHMC_ALLOC_OPTIONS_INIT };
        newer.known.struct_size = sizeof(newer);
        OK(client, shmc_alloc(client, 1, &newer.known, &buffer));
        newer.later = 1;
        EXPECT(client, shmc_alloc(client, 1, &newer.known, &buffer), -EINVAL);
        return 0;
}

/* The figures' struct of an older header, and of a newer one. */
static int stats_sizes(void) {
        CLIENT client = NULL;
        struct {
                struct shmc_stats known;
                uint64_t later;
        } stats;

        OK(NULL, connected(&client));
        memset(&stats, 0xff, sizeof(stats));
        stats.known.struct_size = offsetof(struct shmc_stats, cached_buffers);
        OK(client, shmc_get_stats(client, &stats.known));
        CHECK(stats.known.cached_bytes == 0 && stats.known.cached_buffers == UINT64_MAX);
        stats.known.struct_size = sizeof(stats);
        OK(client, shmc_get_stats(client, &stats.known));
        CHECK(stats.known.struct_size == sizeof(stats));
        CHECK(stats.known.taken == 0 && stats.later == 0);
        stats.known.struct_size = 0;
        EXPECT(client, shmc_get_stats(client, &stats.known), -EINVAL);
        return 0;
}

static int max_buffers(void) {
        struct shmc_connect_options options = SHMC_CONNECT_OPTIONS_INIT;
        CLIENT client = NULL;
        shmc_buffer *buffers[4];
        BUFFER more = NULL;

        options.max_buffers = 4;
        OK(NULL, shmc_connect(&client, NULL, &options));
        for (int i = 0; i < 4; i++)
                OK(client, shmc_alloc(client, 4 * KIB, NULL, &buffers[i]));
        EXPECT(client, shmc_alloc(client, 4 * KIB, NULL, &more), -EMFILE);
        for (int i = 0; i < 4; i++)
                shmc_buffer_unref(buffers[i]);
        CHECK(stats_of(client).cached_buffers == 4);
        /* What lies in the cache does not use the slots up. */
        OK(client, shmc_alloc(client, MIB, NULL, &more));
        CHECK(stats_of(client).cached_buffers < 4);
        return 0;
}

/* ---- memory that others hold ----------------------------------------------------------- */

static int shortage(void) {
        struct shmc_alloc_options options = SHMC_ALLOC_OPTIONS_INIT;
        CLIENT client = NULL;
        CLIENT other = NULL;
        BUFFER first = NULL;
        BUFFER second = NULL;
        BUFFER third = NULL;
        char text[512];

        OK(NULL, connected(&client));
        OK(NULL, connected(&other));
        OK(client, filled(client, SMALL_POOL, 2 * MIB, 1, &first));
        OK(client, filled(client, SMALL_POOL, 2 * MIB, 2, &second));
        options.pool = SMALL_POOL;
        EXPECT(other, shmc_alloc(other, 2 * MIB, &options, &third), -ENOSPC);
        shmc_last_error(other, text, sizeof(text));
        CHECK(strstr(text, "pool-bytes") && strstr(text, "\"small\""));
        options.timeout_ns = SECOND_NS / 50;
        EXPECT(other, shmc_alloc(other, 2 * MIB, &options, &third), -ETIMEDOUT);
        /* The line is as it was: what comes back is there for the next. */
        first = shmc_buffer_unref(first);
        options.timeout_ns = 10 * SECOND_NS;
        OK(other, shmc_alloc(other, 2 * MIB, &options, &third));
        return has_only(second, 2);
}

struct wait_in_line {
        shmc_client *client;
        shmc_buffer *buffer;
        int result;
};

static void *wait_in_line(void *userdata) {
        struct shmc_alloc_options options = SHMC_ALLOC_OPTIONS_INIT;
        struct wait_in_line *waiting = userdata;

        options.pool = SMALL_POOL;
        options.timeout_ns = SHMC_FOREVER;
        waiting->result = shmc_alloc(waiting->client, 2 * MIB, &options, &waiting->buffer);
        return NULL;
}

/* One thread waits in line while others of the same client come and go. */
static int waiting_thread(void) {
        struct wait_in_line waiting = { 0 };
        CLIENT client = NULL;
        CLIENT other = NULL;
        BUFFER first = NULL;
        BUFFER second = NULL;
        pthread_t thread;

        OK(NULL, connected(&client));
        OK(NULL, connected(&other));
        OK(other, filled(other, SMALL_POOL, 2 * MIB, 1, &first));
        OK(other, filled(other, SMALL_POOL, 2 * MIB, 2, &second));
        waiting.client = client;
        CHECK(pthread_create(&thread, NULL, wait_in_line, &waiting) == 0);
        for (int i = 0; i < 1000; i++)
                if (shmc_sync(client) != 0)
                        break;
        first = shmc_buffer_unref(first);
        CHECK(pthread_join(thread, NULL) == 0);
        OK(client, waiting.result);
        shmc_buffer_unref(waiting.buffer);
        OK(client, shmc_sync(client));
        return 0;
}

/* The broker takes cached memory of one client for another. */
static int taken(void) {
        CLIENT client = NULL;
        CLIENT other = NULL;
        shmc_buffer *buffers[2];
        BUFFER wanted = NULL;

        OK(NULL, connected(&client));
        OK(NULL, connected(&other));
        for (int i = 0; i < 2; i++)
                OK(client, filled(client, SMALL_POOL, 2 * MIB, i, &buffers[i]));
        for (int i = 0; i < 2; i++)
                shmc_buffer_unref(buffers[i]);
        CHECK(stats_of(client).cached_buffers == 2);
        OK(other, filled(other, SMALL_POOL, 2 * MIB, 9, &wanted));
        /* It finds out by the words of the lease page, or by the message. */
        OK(client, filled(client, SMALL_POOL, 2 * MIB, 5, &buffers[0]));
        CHECK(stats_of(client).taken <= 1);
        shmc_buffer_unref(buffers[0]);
        OK(client, shmc_sync(client));
        CHECK(stats_of(client).taken == 1);
        CHECK(stats_of(client).cached_buffers == 1);
        return has_only(wanted, 9);
}

const struct scenario buffer_scenarios[] = {
        { "cache-hit", cache_hit },
        { "classes", classes },
        { "references", references },
        { "resize", resize },
        { "zero", zero },
        { "uncached", uncached },
        { "cache-limit", cache_limit },
        { "no-cache", no_cache },
        { "trim", trim },
        { "bad-arguments", bad_arguments },
        { "stats-sizes", stats_sizes },
        { "max-buffers", max_buffers },
        { "shortage", shortage },
        { "waiting-thread", waiting_thread },
        { "taken", taken },
        { NULL, NULL },
};
