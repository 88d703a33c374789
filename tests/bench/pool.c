/* SPDX-License-Identifier: Apache-2.0 */
/* Allocation: from the client's cache, from the broker's free buffers, from nothing. */
#include <errno.h>
#include <string.h>

#include "bench.h"
#include "cleanup.h"
#include "client.h"
#include "private.h"
#include "process.h"

/* ---- the cache ------------------------------------------------------------------------ */

static int cached_batch(shmc_client *client, size_t size, size_t batch) {
        shmc_buffer *buffer = NULL;

        for (size_t i = 0; i < batch; i++) {
                int r = shmc_alloc(client, size, NULL, &buffer);
                if (r < 0)
                        return r;
                shmc_buffer_unref(buffer);
        }
        return 0;
}

int run_pool_cached(const struct context *context) {
        SHMB_CLEANUP(samples_done) struct samples samples = { 0 };
        SHMB_CLEANUP(client_done) shmc_client *client = NULL;
        struct shmc_stats before = { sizeof(before) }, after = { sizeof(after) };
        size_t batch = batch_size(context);
        int r = samples_init(&samples, context->count, batch, context->options->seconds);

        if (r < 0)
                return bench_failed(context, "samples", r);
        r = client_connect(context, &client);
        if (r < 0)
                return r;
        r = cached_batch(client, context->size, batch);
        shmc_get_stats(client, &before);
        while (r == 0 && samples_more(&samples)) {
                uint64_t begin = samples_begin(&samples);
                r = cached_batch(client, context->size, batch);
                samples_end(&samples, begin);
        }
        if (r < 0)
                return client_failed(context, client, "shmc_alloc", r);
        shmc_get_stats(client, &after);
        /* Broker round trips would be another bench under this one's name. */
        if (after.cache_misses - before.cache_misses > samples.n / 100)
                return bench_failed(context, "the cache does not keep this size", -ENOSPC);
        report(context, context->bench->name, &samples, "alloc and unref", NULL);
        return 0;
}

/* ---- the broker's free buffers ----------------------------------------------------------- */

static int brokered_round(shmc_client *client, size_t size, struct samples *alloc,
                          struct samples *pair) {
        static const struct shmc_alloc_options uncached = ALLOC_UNCACHED;
        shmc_buffer *buffer = NULL;
        uint64_t begin = samples_begin(alloc);
        int r = shmc_alloc(client, size, &uncached, &buffer);

        if (r < 0)
                return r;
        samples_end(alloc, begin);
        shmc_buffer_unref(buffer);
        samples_end(pair, begin);
        return 0;
}

int run_pool_brokered(const struct context *context) {
        SHMB_CLEANUP(samples_done) struct samples alloc = { 0 }, pair = { 0 };
        SHMB_CLEANUP(client_done) shmc_client *client = NULL;
        double seconds = context->options->seconds;
        int r = samples_init(&alloc, context->count, 1, seconds);

        if (r == 0)
                r = samples_init(&pair, context->count, 1, seconds);
        if (r != 0)
                return bench_failed(context, "samples", r);
        r = client_connect(context, &client);
        if (r < 0)
                return r;
        pin_apart(client_broker(client));
        for (size_t i = 0; r == 0 && i < 200; i++) {
                alloc.n = pair.n = 0;
                r = brokered_round(client, context->size, &alloc, &pair);
        }
        alloc.n = pair.n = 0;
        while (r == 0 && samples_more(&alloc))
                r = brokered_round(client, context->size, &alloc, &pair);
        unpin();
        if (r < 0)
                return client_failed(context, client, "shmc_alloc", r);
        report(context, "pool.brokered", &alloc, "alloc past the cache, mapped", NULL);
        report(context, "pool.brokered.pair", &pair, "the same and unref", NULL);
        return 0;
}

/* ---- memory that has yet to be made ------------------------------------------------------- */

/* So much is held at once, to have each allocation find nothing to reuse. */
#define COLD_BUDGET (GIB / 2)
enum { COLD_HELD_MAX = 64 };

struct cold {
        shmc_client *client;
        shmc_buffer *held[COLD_HELD_MAX];
        size_t n;
};

/* Everything back to the kernel. */
static int cold_release(struct cold *cold) {
        while (cold->n > 0)
                shmc_buffer_unref(cold->held[--cold->n]);
        int64_t trimmed = shmc_trim(cold->client);
        if (trimmed < 0)
                return (int)trimmed;
        int r = shmc_sync(cold->client);
        return r < 0 ? r : broker_trim();
}

static int cold_round(struct cold *cold, size_t size, struct samples *alloc,
                      struct samples *touched) {
        static const struct shmc_alloc_options uncached = ALLOC_UNCACHED;
        shmc_buffer *buffer = NULL;

        if (cold->n == COLD_HELD_MAX || (cold->n > 0 && (cold->n + 1) * size > COLD_BUDGET)) {
                int r = cold_release(cold);
                if (r < 0)
                        return r;
        }
        uint64_t begin = samples_begin(alloc);
        int r = shmc_alloc(cold->client, size, &uncached, &buffer);
        if (r < 0)
                return r;
        samples_end(alloc, begin);
        memset(shmc_buffer_data(buffer), 0x5a, size);
        samples_end(touched, begin);
        cold->held[cold->n++] = buffer;
        return 0;
}

int run_pool_cold(const struct context *context) {
        SHMB_CLEANUP(samples_done) struct samples alloc = { 0 }, touched = { 0 };
        SHMB_CLEANUP(client_done) shmc_client *client = NULL;
        double seconds = context->options->seconds;
        struct cold cold = { 0 };
        int r = samples_init(&alloc, context->count, 1, seconds);

        if (r == 0)
                r = samples_init(&touched, context->count, 1, seconds);
        if (r != 0)
                return bench_failed(context, "samples", r);
        r = client_connect(context, &client);
        if (r < 0)
                return r;
        cold.client = client;
        r = cold_release(&cold); /* what others left in the broker would be warm */
        while (r == 0 && samples_more(&alloc))
                r = cold_round(&cold, context->size, &alloc, &touched);
        if (r < 0)
                client_failed(context, client, "shmc_alloc or trim", r);
        int released = cold_release(&cold);
        if (r == 0 && released < 0)
                r = client_failed(context, client, "trim", released);
        if (r < 0)
                return r;
        report(context, "pool.cold", &alloc, "alloc; payload not touched", NULL);
        report(context, "pool.cold.touched", &touched, "alloc, and the payload written once",
               NULL);
        return 0;
}
