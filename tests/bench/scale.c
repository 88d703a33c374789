/* SPDX-License-Identifier: Apache-2.0 */
/* Many connections and buffers at once: what each costs the broker, and what it slows. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "bench.h"
#include "cleanup.h"
#include "client.h"
#include "process.h"

enum {
        WORKERS = 4, /* processes */
        CONNECTIONS = 1000,
        BUFFERS = 20000,
        OWN_CONNECTIONS = CONNECTIONS / WORKERS,
        OWN_BUFFERS = BUFFERS / CONNECTIONS,
        DESCRIPTORS = 4096,
};

enum order {
        ORDER_CONNECT = 1,
        ORDER_ALLOCATE,
};

struct worker {
        const struct context *context;
        shmc_client *clients[OWN_CONNECTIONS];
        shmc_buffer *buffers[OWN_CONNECTIONS][OWN_BUFFERS];
};

static int worker_connect(struct worker *w) {
        for (size_t i = 0; i < OWN_CONNECTIONS; i++) {
                int r = client_connect(w->context, &w->clients[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int worker_allocate(struct worker *w) {
        for (size_t i = 0; i < OWN_CONNECTIONS; i++)
                for (size_t j = 0; j < OWN_BUFFERS; j++) {
                        int r = shmc_alloc(w->clients[i], w->context->size, NULL,
                                           &w->buffers[i][j]);
                        if (r < 0)
                                return client_failed(w->context, w->clients[i], "shmc_alloc",
                                                     r);
                }
        return 0;
}

/* Follows orders, and keeps what it has until the socket closes. */
static int worker(int fd, void *arg) {
        SHMB_FREE struct worker *w = calloc(1, sizeof(*w));
        enum order order;

        if (!w)
                return -ENOMEM;
        w->context = arg;
        for (;;) {
                int r = helper_receive(fd, &order, sizeof(order));
                if (r < 0)
                        return r == -EPIPE ? 0 : r; /* exiting returns everything */
                r = order == ORDER_CONNECT ? worker_connect(w) : worker_allocate(w);
                if (r == 0)
                        r = helper_send(fd, &order, sizeof(order));
                if (r < 0)
                        return r;
        }
}

static int command(const struct context *context, struct helper *workers, enum order order) {
        for (size_t i = 0; i < WORKERS; i++) {
                int r = helper_send(workers[i].fd, &order, sizeof(order));
                if (r < 0)
                        return bench_failed(context, "worker", r);
        }
        for (size_t i = 0; i < WORKERS; i++) {
                enum order done;
                int r = helper_receive(workers[i].fd, &done, sizeof(done));
                if (r < 0)
                        return bench_failed(context, "worker", r);
        }
        return 0;
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
static int broker_memory(shmc_client *client, uint64_t *ret_bytes) {
        struct ucred peer;
        socklen_t size = sizeof(peer);

        if (getsockopt(shmc_get_fd(client), SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
                return -errno;
        int64_t kib = proc_number(peer.pid, "smaps_rollup", "Anonymous:");
        if (kib < 0)
                kib = proc_number(peer.pid, "status", "RssAnon:");
        if (kib < 0)
                return -ENODATA;
        *ret_bytes = (uint64_t)kib * KIB;
        return 0;
}

static int rounds(const struct context *context, shmc_client *client, struct samples *samples) {
        static const struct shmc_alloc_options uncached = ALLOC_UNCACHED;
        int r = 0;

        for (size_t i = 0; r == 0 && samples_more(samples); i++) {
                shmc_buffer *buffer = NULL;
                if (i == 200) /* warm */
                        samples->n = 0;
                uint64_t begin = samples_begin(samples);
                r = shmc_alloc(client, context->size, &uncached, &buffer);
                samples_end(samples, begin);
                shmc_buffer_unref(buffer);
        }
        return r < 0 ? client_failed(context, client, "shmc_alloc", r) : 0;
}

struct memory {
        uint64_t start, connected, allocated;
};

static int grow(const struct context *context, shmc_client *client, struct helper *workers,
                struct memory *memory) {
        int r = broker_memory(client, &memory->start);

        if (r == 0)
                r = command(context, workers, ORDER_CONNECT);
        if (r == 0)
                r = broker_memory(client, &memory->connected);
        if (r == 0)
                r = command(context, workers, ORDER_ALLOCATE);
        if (r == 0)
                r = broker_memory(client, &memory->allocated);
        return r < 0 ? bench_failed(context, "growing", r) : 0;
}

static double per(uint64_t before, uint64_t after, size_t count) {
        return ((double)after - (double)before) / (double)count;
}

static int run_with_workers(const struct context *context, struct helper *workers) {
        SHMB_CLEANUP(samples_done) struct samples one = { 0 }, all = { 0 };
        SHMB_CLEANUP(client_done) shmc_client *client = NULL;
        struct memory memory = { 0 };
        char extra[256], note[128];
        int r = samples_init(&one, context->count, 1, context->options->seconds);

        if (r == 0)
                r = samples_init(&all, context->count, 1, context->options->seconds);
        if (r != 0)
                return bench_failed(context, "samples", r);
        r = client_connect(context, &client);
        if (r == 0)
                r = rounds(context, client, &one);
        if (r == 0)
                r = grow(context, client, workers, &memory);
        if (r == 0)
                r = rounds(context, client, &all);
        if (r < 0)
                return r;

        double a_client = per(memory.start, memory.connected, CONNECTIONS);
        double a_buffer = per(memory.connected, memory.allocated, BUFFERS);
        snprintf(extra, sizeof(extra),
                 "\"clients\": %d, \"buffers\": %d, \"client_bytes\": %.0f, "
                 "\"buffer_bytes\": %.0f, \"start_bytes\": %" PRIu64,
                 CONNECTIONS, BUFFERS, a_client, a_buffer, memory.start);
        snprintf(note, sizeof(note),
                 "%d clients at %.0f B, %d buffers at %.0f B of the broker's", CONNECTIONS,
                 a_client, BUFFERS, a_buffer);
        report(context, "scale.one", &one, "round trip, the only client", NULL);
        report(context, "scale.all", &all, note, extra);
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
        for (size_t i = 0; i < n; i++)
                if (r < 0)
                        helper_kill(&workers[i]);
                else
                        r = helper_end(&workers[i]);
        return r;
}
