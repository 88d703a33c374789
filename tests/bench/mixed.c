/* SPDX-License-Identifier: Apache-2.0 */
/* One client's small round trips while another has the broker make 1 GiB again and again. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>

#include "bench.h"
#include "cleanup.h"
#include "client.h"
#include "private.h"
#include "process.h"

#define LOAD GIB

/* Fewer would leave the median to chance. */
enum { LOADS_MIN = 5 };

struct load {
        const struct context *context;
        _Atomic(uint32_t) done;
        _Atomic(uint32_t) stop;
};

static int load_once(shmc_client *client) {
        static const struct shmc_alloc_options uncached = ALLOC_UNCACHED;
        shmc_buffer *buffer = NULL;
        int r = shmc_alloc(client, LOAD, &uncached, &buffer);

        if (r < 0)
                return r;
        shmc_buffer_unref(buffer);
        r = shmc_sync(client);
        return r < 0 ? r : broker_trim(); /* the next one is cold again */
}

static int loader(int fd, void *arg) {
        struct load *load = arg;
        SHMB_CLEANUP(client_done) shmc_client *client = NULL;
        char begun = 1;
        int r = client_connect(load->context, &client);

        if (r == 0)
                r = helper_send(fd, &begun, sizeof(begun));
        while (r == 0 && !atomic_load(&load->stop)) {
                r = load_once(client);
                if (r < 0)
                        return client_failed(load->context, client, "1 GiB", r);
                atomic_fetch_add(&load->done, 1);
        }
        return r;
}

static int small_round(shmc_client *client, size_t size, struct samples *samples) {
        static const struct shmc_alloc_options uncached = ALLOC_UNCACHED;
        shmc_buffer *buffer = NULL;
        uint64_t begin = samples_begin(samples);
        int r = shmc_alloc(client, size, &uncached, &buffer);

        if (r < 0)
                return r;
        samples_end(samples, begin);
        shmc_buffer_unref(buffer);
        return 0;
}

/* At least `least` samples, and until the load was repeated often enough, if there is one. */
static int measure(shmc_client *client, const struct context *context, struct samples *samples,
                   size_t least, struct load *load) {
        int r = 0;

        for (size_t i = 0; r == 0 && i < 200; i++) {
                samples->n = 0;
                r = small_round(client, context->size, samples);
        }
        samples->n = 0;
        while (r == 0 && samples_more(samples)) {
                if (samples->n >= least && (!load || atomic_load(&load->done) >= LOADS_MIN))
                        break;
                r = small_round(client, context->size, samples);
        }
        return r;
}

static int measure_busy(const struct context *context, struct load *load, size_t least,
                        struct samples *samples) {
        SHMB_CLEANUP(helper_kill) struct helper other = HELPER_NONE;
        SHMB_CLEANUP(client_done) shmc_client *client = NULL;
        char begun;
        int r = helper_start(&other, loader, load);

        if (r < 0)
                return bench_failed(context, "fork", r);
        r = helper_receive(other.fd, &begun, sizeof(begun));
        if (r < 0)
                return bench_failed(context, "loader", r);
        r = client_connect(context, &client);
        if (r < 0)
                return r;
        r = measure(client, context, samples, least, load);
        if (r < 0)
                return client_failed(context, client, "shmc_alloc", r);
        if (atomic_load(&load->done) == 0)
                return bench_failed(context, "1 GiB never came", -ETIMEDOUT);
        atomic_store(&load->stop, 1);
        r = helper_end(&other);
        return r < 0 ? bench_failed(context, "loader", r) : 0;
}

static int measure_quiet(const struct context *context, size_t least, struct samples *samples) {
        SHMB_CLEANUP(client_done) shmc_client *client = NULL;
        int r = client_connect(context, &client);

        if (r < 0)
                return r;
        r = measure(client, context, samples, least, NULL);
        return r < 0 ? client_failed(context, client, "shmc_alloc", r) : 0;
}

int run_mixed(const struct context *context) {
        SHMB_CLEANUP(samples_done) struct samples quiet = { 0 }, busy = { 0 };
        double seconds = context->options->seconds;
        size_t least = context->count ? context->count : SIZE_MAX;
        char extra[64], note[96];
        int r = samples_init(&quiet, 0, 1, seconds);

        if (r == 0)
                r = samples_init(&busy, 0, 1, seconds);
        if (r != 0)
                return bench_failed(context, "samples", r);
        struct load *load = mmap(NULL, sizeof(*load), PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (load == MAP_FAILED)
                return bench_failed(context, "mmap", -errno);
        load->context = context;
        r = measure_quiet(context, least, &quiet);
        if (r == 0)
                r = measure_busy(context, load, least, &busy);
        uint32_t loads = atomic_load(&load->done);
        munmap(load, sizeof(*load));
        if (r < 0)
                return r;
        snprintf(extra, sizeof(extra), "\"loads\": %u", loads);
        snprintf(note, sizeof(note), "while another client took 1 GiB cold, %u times", loads);
        report(context, "mixed.quiet", &quiet, "alone", NULL);
        report(context, "mixed.busy", &busy, note, extra);
        return 0;
}
