/* SPDX-License-Identifier: Apache-2.0 */
/* Many connections and buffers at once: what each costs the broker, and what it slows. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "bench.h"
#include "cleanup.h"
#include "client.h"
#include "process.h"

enum {
        WORKERS = 4, /* processes */
        CONNECTIONS = 1000,
        BUFFERS = 20000,
        OWN_CONNECTIONS = CONNECTIONS / WORKERS,
        OWN_BUFFERS = BUFFERS / WORKERS,
        EACH_BUFFERS = BUFFERS / CONNECTIONS,
        DESCRIPTORS = 4096,
        BROKER_SPARE = 256, /* descriptors it may yet need beside the buffers' */
};

struct order {
        size_t connections, buffers; /* to have in all */
};

struct worker {
        const struct context *context;
        struct order have;
        shmc_client *clients[OWN_CONNECTIONS];
        shmc_buffer *buffers[OWN_BUFFERS]; /* EACH_BUFFERS of each client */
};

static int worker_follow(struct worker *w, const struct order *order) {
        for (size_t *n = &w->have.connections; *n < order->connections; ++*n) {
                int r = client_connect(w->context, &w->clients[*n]);
                if (r < 0)
                        return r;
        }
        for (size_t *n = &w->have.buffers; *n < order->buffers; ++*n) {
                shmc_client *client = w->clients[*n / EACH_BUFFERS];
                int r = shmc_alloc(client, w->context->size, NULL, &w->buffers[*n]);
                if (r < 0)
                        return client_failed(w->context, client, "shmc_alloc", r);
        }
        return 0;
}

/* Follows orders, and keeps what it has until the socket closes. */
static int worker(int fd, void *arg) {
        SHMB_FREE struct worker *w = calloc(1, sizeof(*w));
        struct order order;

        if (!w)
                return -ENOMEM;
        w->context = arg;
        for (;;) {
                int r = helper_receive(fd, &order, sizeof(order));
                if (r < 0)
                        return r == -EPIPE ? 0 : r; /* exiting returns everything */
                r = worker_follow(w, &order);
                if (r == 0)
                        r = helper_send(fd, &order, sizeof(order));
                if (r < 0)
                        return r;
        }
}

/* Each worker's share of so many connections and buffers. */
static int command(const struct context *context, struct helper *workers, size_t connections,
                   size_t buffers) {
        struct order order = { connections / WORKERS, buffers / WORKERS };
        int r = 0;

        for (size_t i = 0; i < WORKERS && r == 0; i++)
                r = helper_send(workers[i].fd, &order, sizeof(order));
        for (size_t i = 0; i < WORKERS && r == 0; i++)
                r = helper_receive(workers[i].fd, &order, sizeof(order));
        return r < 0 ? bench_failed(context, "worker", r) : 0;
}

/* The number behind `key` in a file of /proc, or -1. */
static int64_t proc_number(pid_t pid, const char *file, const char *key) {
        char path[64], line[256];
        int64_t number = -1;
        size_t length = strlen(key);

        snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
        FILE *stream = fopen(path, "re");
        if (!stream)
                return -1;
        while (number < 0 && fgets(line, sizeof(line), stream))
                if (strncmp(line, key, length) == 0)
                        number = strtoll(line + length, NULL, 10);
        fclose(stream);
        return number;
}

/*
 * The broker's anonymous memory: its heap and stacks, without the memory objects and lease
 * pages, which are shared memory. The walk of smaps_rollup is exact; the counter of status,
 * for who may not read that, is right to some hundred KiB.
 */
static int broker_memory(pid_t pid, uint64_t *ret_bytes) {
        int64_t kib = proc_number(pid, "smaps_rollup", "Anonymous:");

        if (kib < 0)
                kib = proc_number(pid, "status", "RssAnon:");
        if (kib < 0)
                return -ENODATA;
        *ret_bytes = (uint64_t)kib * KIB;
        return 0;
}

/* How many descriptors the broker has, now that all are connected. */
static int64_t broker_descriptors(pid_t pid) {
        char path[64];
        int64_t n = 0;

        snprintf(path, sizeof(path), "/proc/%d/fd", pid);
        DIR *directory = opendir(path);
        if (!directory) /* another user's: each client's socket and process, as far as known */
                return 2 * CONNECTIONS;
        while (readdir(directory))
                n++;
        closedir(directory);
        return n;
}

/* As many as wanted, or as the broker's descriptor limit leaves room for. */
static size_t buffers_possible(pid_t pid) {
        int64_t limit = proc_number(pid, "limits", "Max open files");
        int64_t room = limit - broker_descriptors(pid) - BROKER_SPARE;

        if (room < WORKERS || room >= BUFFERS)
                return BUFFERS;
        return (size_t)room / WORKERS * WORKERS;
}

static int rounds(const struct context *context, shmc_client *client, struct samples *samples) {
        static const struct shmc_alloc_options uncached = ALLOC_UNCACHED;
        int r = 0;

        pin_apart(client_broker(client));
        for (bool warm = false; r == 0 && samples_more(samples);) {
                shmc_buffer *buffer = NULL;
                if (!warm && samples->n == samples->room / 10) {
                        samples->n = 0;
                        warm = true;
                }
                uint64_t begin = samples_begin(samples);
                r = shmc_alloc(client, context->size, &uncached, &buffer);
                samples_end(samples, begin);
                shmc_buffer_unref(buffer);
        }
        unpin();
        return r < 0 ? client_failed(context, client, "shmc_alloc", r) : 0;
}

struct growth {
        pid_t broker;
        size_t buffers;
        uint64_t start, connected, allocated; /* bytes of the broker's */
};

static int grow(const struct context *context, shmc_client *client, struct helper *workers,
                struct growth *growth) {
        growth->broker = client_broker(client);
        if (growth->broker < 0)
                return bench_failed(context, "the broker's process", -ESRCH);
        int r = broker_memory(growth->broker, &growth->start);
        if (r == 0)
                r = command(context, workers, CONNECTIONS, 0);
        if (r == 0)
                r = broker_memory(growth->broker, &growth->connected);
        if (r < 0)
                return bench_failed(context, "connecting", r);
        growth->buffers = buffers_possible(growth->broker);
        r = command(context, workers, CONNECTIONS, growth->buffers);
        if (r == 0)
                r = broker_memory(growth->broker, &growth->allocated);
        return r < 0 ? bench_failed(context, "allocating", r) : 0;
}

static void report_growth(const struct context *context, const struct growth *growth,
                          struct samples *all) {
        double a_client = (double)(int64_t)(growth->connected - growth->start) / CONNECTIONS;
        double a_buffer = (double)(int64_t)(growth->allocated - growth->connected) /
                          (double)growth->buffers;
        char extra[256], note[160];

        snprintf(extra, sizeof(extra),
                 "\"clients\": %d, \"buffers\": %zu, \"client_bytes\": %.0f, "
                 "\"buffer_bytes\": %.0f, \"start_bytes\": %" PRIu64,
                 CONNECTIONS, growth->buffers, a_client, a_buffer, growth->start);
        snprintf(note, sizeof(note), "with %d clients at %.0f B and %zu buffers at %.0f B%s",
                 CONNECTIONS, a_client, growth->buffers, a_buffer,
                 growth->buffers < BUFFERS ? " (the broker's descriptor limit)" : "");
        report(context, "scale.all", all, note, extra);
}

static int run_with_workers(const struct context *context, struct helper *workers) {
        SHMB_CLEANUP(samples_done) struct samples one = { 0 }, all = { 0 };
        SHMB_CLEANUP(client_done) shmc_client *client = NULL;
        struct growth growth = { 0 };
        int r = samples_init(&one, context->count, 1, context->options->seconds);

        if (r == 0)
                r = samples_init(&all, context->count, 1, context->options->seconds);
        if (r != 0)
                return bench_failed(context, "samples", r);
        r = client_connect(context, &client);
        if (r == 0)
                r = rounds(context, client, &one);
        if (r == 0)
                r = grow(context, client, workers, &growth);
        if (r == 0)
                r = rounds(context, client, &all);
        if (r < 0)
                return r;
        report(context, "scale.one", &one, "round trip, the only client", NULL);
        report_growth(context, &growth, &all);
        return 0;
}

int run_scale(const struct context *context) {
        struct rlimit limit;
        struct helper workers[WORKERS];
        size_t n = 0;
        int r = 0;

        if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < DESCRIPTORS) {
                limit.rlim_cur = limit.rlim_max < DESCRIPTORS ? limit.rlim_max : DESCRIPTORS;
                (void)setrlimit(RLIMIT_NOFILE, &limit);
        }
        while (n < WORKERS && r == 0) {
                r = helper_start(&workers[n], worker, (void *)context);
                n += r == 0;
        }
        if (r < 0)
                bench_failed(context, "fork", r);
        else
                r = run_with_workers(context, workers);
        /* The last first: each was forked with the sockets of those before it. */
        while (n-- > 0)
                if (r < 0)
                        helper_kill(&workers[n]);
                else if ((r = helper_end(&workers[n])) < 0)
                        bench_failed(context, "worker", r);
        return r;
}
