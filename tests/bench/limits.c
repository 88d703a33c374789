/* SPDX-License-Identifier: Apache-2.0 */
/* What the machine itself costs, to divide the other figures by. No broker takes part. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"
#include "cleanup.h"
#include "memfd.h"
#include "packet.h"
#include "process.h"

enum {
        CACHE_LINE = 64,
        /* An ALLOC that names a pool of seven letters, and its GRANT (docs/protocol.md). */
        REQUEST_SIZE = 8 + 8 + 8 + 4 + 2 + 7,
        REPLY_SIZE = 8 + 48,
};

/* A round trip measured, one way reported. */
static void samples_halve(struct samples *samples) {
        for (size_t i = 0; i < samples->n; i++)
                samples->ns[i] /= 2;
}

/* ---- two processes spin on one cache line ------------------------------------------ */

struct ball {
        _Alignas(CACHE_LINE) _Atomic(uint64_t) turn;
        _Alignas(CACHE_LINE) _Atomic(bool) yield; /* not apart: the other must be let in */
};

static void wait_for(struct ball *ball, uint64_t turn, uint64_t end) {
        uint64_t seen;

        while ((seen = atomic_load_explicit(&ball->turn, memory_order_acquire)) != turn &&
               seen != end)
                if (atomic_load_explicit(&ball->yield, memory_order_relaxed))
                        sched_yield();
}

/* Answers each odd turn with the even one that follows, until the last. */
static int spin_peer(int fd, void *arg) {
        struct ball *ball = arg;

        (void)fd;
        for (uint64_t turn = 1;; turn += 2) {
                wait_for(ball, turn, UINT64_MAX);
                if (atomic_load(&ball->turn) == UINT64_MAX)
                        return 0;
                atomic_store_explicit(&ball->turn, turn + 1, memory_order_release);
        }
}

static void spin_batch(struct ball *ball, uint64_t *turn, size_t batch) {
        for (size_t i = 0; i < batch; i++, *turn += 2) {
                atomic_store_explicit(&ball->turn, *turn, memory_order_release);
                wait_for(ball, *turn + 1, *turn + 1);
        }
}

static int spin_measure(struct ball *ball, struct samples *samples) {
        SHMB_CLEANUP(helper_kill) struct helper peer = HELPER_NONE;
        uint64_t turn = 1;

        atomic_store(&ball->yield, true);
        int r = helper_start(&peer, spin_peer, ball);
        if (r < 0)
                return r;
        atomic_store(&ball->yield, !pin_apart(peer.pid));
        for (size_t i = 0; i < 10; i++)
                spin_batch(ball, &turn, samples->batch);
        while (samples_more(samples)) {
                uint64_t begin = samples_begin(samples);
                spin_batch(ball, &turn, samples->batch);
                samples_end(samples, begin);
        }
        atomic_store(&ball->turn, UINT64_MAX);
        unpin();
        return helper_end(&peer);
}

int run_spin(const struct context *context) {
        SHMB_CLEANUP(samples_done) struct samples samples = { 0 };
        int r = samples_init(&samples, context->count, batch_size(context),
                             context->options->seconds);

        if (r < 0)
                return bench_failed(context, "samples", r);
        struct ball *ball = mmap(NULL, sizeof(*ball), PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (ball == MAP_FAILED)
                return bench_failed(context, "mmap", -errno);
        r = spin_measure(ball, &samples);
        bool yielded = ball->yield;
        munmap(ball, sizeof(*ball));
        if (r < 0)
                return bench_failed(context, "ping-pong", r);
        samples_halve(&samples);
        report(context, context->bench->name, &samples,
               yielded ? "half a round trip; one processor, yielding" : "half a round trip",
               NULL);
        return 0;
}

/* ---- two processes sleep on eventfds ------------------------------------------------- */

struct bells {
        int there, back;
};

static int eventfd_peer(int fd, void *arg) {
        struct bells *bells = arg;
        uint64_t value;

        (void)fd;
        for (;;) {
                if (read(bells->there, &value, sizeof(value)) != (ssize_t)sizeof(value))
                        return -errno;
                if (value > 1)
                        return 0;
                if (write(bells->back, &value, sizeof(value)) != (ssize_t)sizeof(value))
                        return -errno;
        }
}

static int eventfd_round(const struct bells *bells) {
        uint64_t value = 1;

        if (write(bells->there, &value, sizeof(value)) != (ssize_t)sizeof(value) ||
            read(bells->back, &value, sizeof(value)) != (ssize_t)sizeof(value))
                return -errno;
        return 0;
}

static int eventfd_measure(struct samples *samples, struct bells *bells) {
        SHMB_CLEANUP(helper_kill) struct helper peer = HELPER_NONE;
        uint64_t end = 2;
        int r = helper_start(&peer, eventfd_peer, bells);

        pin_apart(peer.pid);
        for (size_t i = 0; r == 0 && i < 200; i++)
                r = eventfd_round(bells);
        while (r == 0 && samples_more(samples)) {
                uint64_t begin = samples_begin(samples);
                r = eventfd_round(bells);
                samples_end(samples, begin);
        }
        unpin();
        if (r == 0 && write(bells->there, &end, sizeof(end)) != (ssize_t)sizeof(end))
                r = -errno;
        return r < 0 ? r : helper_end(&peer);
}

int run_eventfd(const struct context *context) {
        SHMB_CLEANUP(samples_done) struct samples samples = { 0 };
        SHMB_CLOSE int there = eventfd(0, EFD_CLOEXEC), back = eventfd(0, EFD_CLOEXEC);
        struct bells bells = { there, back };
        int r;

        if (there < 0 || back < 0)
                return bench_failed(context, "eventfd", -errno);
        r = samples_init(&samples, context->count, 1, context->options->seconds);
        if (r < 0)
                return bench_failed(context, "samples", r);
        r = eventfd_measure(&samples, &bells);
        if (r < 0)
                return bench_failed(context, "ping-pong", r);
        samples_halve(&samples);
        report(context, context->bench->name, &samples,
               "half a round trip, both sides sleeping", NULL);
        return 0;
}

/* ---- a server that does nothing but answer with a descriptor --------------------------- */

static int seqpacket_peer(int fd, void *arg) {
        SHMB_CLOSE int object = shmb_memfd_new("shmbench", 4 * KIB, false);
        char request[REQUEST_SIZE], reply[REPLY_SIZE] = { 1 };

        (void)arg;
        if (object < 0)
                return object;
        for (;;) {
                int r = helper_receive(fd, request, sizeof(request));
                if (r < 0)
                        return r == -EPIPE ? 0 : r;
                r = shmb_packet_send(fd, reply, sizeof(reply), object, 0);
                if (r < 0)
                        return r;
        }
}

static int seqpacket_round(int fd) {
        char request[REQUEST_SIZE] = { 1 }, reply[REPLY_SIZE];
        int object = -1, r;
        size_t size;

        r = helper_send(fd, request, sizeof(request));
        if (r < 0)
                return r;
        r = shmb_packet_receive(fd, reply, sizeof(reply), 0, &size, &object);
        if (r != SHMB_PACKET_OK)
                return r < 0 ? r : -EPROTO;
        if (object < 0)
                return -EPROTO;
        close(object);
        return 0;
}

int run_seqpacket(const struct context *context) {
        SHMB_CLEANUP(samples_done) struct samples samples = { 0 };
        SHMB_CLEANUP(helper_kill) struct helper peer = HELPER_NONE;
        int r = samples_init(&samples, context->count, 1, context->options->seconds);

        if (r < 0)
                return bench_failed(context, "samples", r);
        r = helper_start(&peer, seqpacket_peer, NULL);
        pin_apart(peer.pid);
        for (size_t i = 0; r == 0 && i < 200; i++)
                r = seqpacket_round(peer.fd);
        while (r == 0 && samples_more(&samples)) {
                uint64_t begin = samples_begin(&samples);
                r = seqpacket_round(peer.fd);
                samples_end(&samples, begin);
        }
        unpin();
        if (r == 0)
                r = helper_end(&peer);
        if (r < 0)
                return bench_failed(context, "round trip", r);
        report(context, context->bench->name, &samples,
               "request, reply with one descriptor, close", NULL);
        return 0;
}

/* ---- memory ----------------------------------------------------------------------------- */

static void malloc_batch(size_t batch) {
        for (size_t i = 0; i < batch; i++) {
                void *block = malloc(64);
                /* Unseen by the compiler, the block might be used: the pair must stay. */
                __asm__ volatile("" : "+r"(block) : : "memory");
                free(block);
        }
}

int run_malloc(const struct context *context) {
        SHMB_CLEANUP(samples_done) struct samples samples = { 0 };
        size_t batch = batch_size(context);
        int r = samples_init(&samples, context->count, batch, context->options->seconds);

        if (r < 0)
                return bench_failed(context, "samples", r);
        for (size_t i = 0; i < 10; i++)
                malloc_batch(batch);
        while (samples_more(&samples)) {
                uint64_t begin = samples_begin(&samples);
                malloc_batch(batch);
                samples_end(&samples, begin);
        }
        report(context, context->bench->name, &samples, "malloc(64) and free", NULL);
        return 0;
}

int run_memcpy(const struct context *context) {
        SHMB_CLEANUP(samples_done) struct samples samples = { 0 };
        SHMB_FREE uint8_t *source = malloc(context->size);
        SHMB_CLOSE int object = shmb_memfd_new("shmbench", context->size, false);
        int r = samples_init(&samples, context->count, 1, context->options->seconds);

        if (r < 0 || !source)
                return bench_failed(context, "samples", -ENOMEM);
        if (object < 0)
                return bench_failed(context, "memfd_create", object);
        void *target = mmap(NULL, context->size, PROT_READ | PROT_WRITE, MAP_SHARED, object, 0);
        if (target == MAP_FAILED)
                return bench_failed(context, "mmap", -errno);
        memset(source, 0x5a, context->size);
        memcpy(target, source, context->size);
        while (samples_more(&samples)) {
                uint64_t begin = samples_begin(&samples);
                memcpy(target, source, context->size);
                __asm__ volatile("" : : "r"(target) : "memory");
                samples_end(&samples, begin);
        }
        munmap(target, context->size);
        report(context, context->bench->name, &samples, "into a mapping already touched", NULL);
        return 0;
}
