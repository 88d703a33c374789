/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handover: a file's bytes, written by one process and read by another, handed over in
 * different ways in one run. A time is from before the memory is asked for until the reader
 * has read all of it, given it back, and answered with what it read.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "handover.h"
#include "process.h"
#include "stats.h"

enum {
        ROUNDS = 60,
        ROUNDS_MAX = 10000,
        WARM_UP = 8, /* enough for every buffer of a pool to have had its turn */
        EXIT_USAGE = 2,
};

struct digest payload_write(void *payload, const void *source, size_t size, uint64_t seed) {
        const uint64_t *from = source;
        uint64_t *words = payload;
        struct digest digest = { 0 };

        for (size_t i = 0; i < size / sizeof(*words); i++) {
                uint64_t word = from[i] + seed;
                words[i] = word;
                digest.sum += word;
                digest.parity ^= word;
        }
        return digest;
}

struct digest payload_read(const void *payload, size_t size) {
        const uint64_t *words = payload;
        struct digest digest = { 0 };

        for (size_t i = 0; i < size / sizeof(*words); i++) {
                digest.sum += words[i];
                digest.parity ^= words[i];
        }
        return digest;
}

struct trial {
        const struct way *way;
        struct handover h;
};

static int consumer(int fd, void *arg) {
        struct trial *trial = arg;
        struct digest digest;
        char ready = 1;

        trial->h.fd = fd;
        trial->h.producer = false;
        int r = trial->way->open(&trial->h);
        if (r == 0)
                r = helper_send(fd, &ready, sizeof(ready));
        while (r == 0) {
                r = trial->way->take(&trial->h, &digest);
                if (r == 0)
                        r = helper_send(fd, &digest, sizeof(digest));
        }
        trial->way->close(&trial->h);
        return r == -EPIPE ? 0 : r;
}

static int hand_over(struct trial *trial, uint64_t seed) {
        struct digest written = { 0 }, read = { 0 };
        int r = trial->way->give(&trial->h, seed, &written);

        if (r == 0)
                r = helper_receive(trial->h.fd, &read, sizeof(read));
        if (r < 0)
                return r;
        return written.sum == read.sum && written.parity == read.parity ? 0 : -EBADMSG;
}

static int produce(struct trial *trial, struct samples *samples) {
        char ready;
        int r = helper_receive(trial->h.fd, &ready, sizeof(ready));

        for (uint64_t seed = 1; r == 0 && seed <= WARM_UP; seed++)
                r = hand_over(trial, seed);
        for (uint64_t seed = 1000; r == 0 && samples_more(samples); seed++) {
                uint64_t begin = samples_begin(samples);
                r = hand_over(trial, seed);
                samples_end(samples, begin);
        }
        return r;
}

static int try_with_consumer(struct trial *trial, struct samples *samples) {
        SHMB_CLEANUP(helper_kill) struct helper other = HELPER_NONE;
        int r = helper_start(&other, consumer, trial);

        if (r < 0)
                return r;
        trial->h.fd = other.fd;
        trial->h.producer = true;
        r = trial->way->open(&trial->h);
        if (r == 0)
                r = produce(trial, samples);
        trial->way->close(&trial->h);
        return r < 0 ? r : helper_end(&other);
}

static int try_way(const struct way *way, const void *source, size_t size,
                   struct samples *samples) {
        struct trial trial = { .way = way, .h = { .fd = -1, .source = source, .size = size } };
        int r = way->setup ? way->setup(&trial.h) : 0;

        if (r == 0)
                r = try_with_consumer(&trial, samples);
        if (way->teardown)
                way->teardown(&trial.h);
        if (r == -EBADMSG)
                fprintf(stderr, "handover: %s: the reader saw other bytes than were written\n",
                        way->name);
        else if (r < 0)
                fprintf(stderr, "handover: %s: %s\n", way->name, strerror(-r));
        samples_sort(samples);
        return r;
}

static int compare(const void *source, size_t size, size_t rounds) {
        static const struct way *const ways[] = { &way_floor, &way_token, &way_posix,
                                                  &way_socket };
        enum { FLOOR, TOKEN, N = sizeof(ways) / sizeof(ways[0]) };
        struct samples samples[N] = { 0 };
        double p50[N];
        int r = 0;

        for (size_t i = 0; i < N && r == 0; i++) {
                r = samples_init(&samples[i], rounds, 1, 0);
                if (r == 0)
                        r = try_way(ways[i], source, size, &samples[i]);
                if (r == 0)
                        p50[i] = samples_quantile(&samples[i], 0.5);
        }
        if (r == 0)
                printf("%-20s %10s %10s %9s %11s\n", "", "median", "p99", "times",
                       "over floor");
        for (size_t i = 0; i < N && r == 0; i++) {
                printf("%-20s %7.2f ms %7.2f ms %8.2fx", ways[i]->name, p50[i] / 1e6,
                       samples_quantile(&samples[i], 0.99) / 1e6, p50[i] / p50[TOKEN]);
                if (i == FLOOR)
                        printf(" %11s\n", "-");
                else
                        printf(" %8.2f ms\n", (p50[i] - p50[FLOOR]) / 1e6);
        }
        if (r == 0)
                printf("\n");
        for (size_t i = 0; i < N && r == 0; i++)
                printf("%-20s %s\n", ways[i]->name, ways[i]->what);
        for (size_t i = 0; i < N; i++)
                samples_done(&samples[i]);
        return r;
}

/* The file in memory, padded with zeros to whole words. */
static int load(const char *path, void **ret_bytes, size_t *ret_size) {
        SHMB_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (st.st_size <= 0)
                return -ENODATA;
        size_t size = ((size_t)st.st_size + 7) / 8 * 8;
        SHMB_FREE char *bytes = calloc(1, size);
        if (!bytes)
                return -ENOMEM;
        for (size_t at = 0; at < (size_t)st.st_size;) {
                ssize_t got = read(fd, bytes + at, (size_t)st.st_size - at);
                if (got <= 0)
                        return got < 0 ? -errno : -ENODATA;
                at += (size_t)got;
        }
        *ret_bytes = shmb_steal_ptr(bytes);
        *ret_size = size;
        return 0;
}

int main(int argc, char **argv) {
        SHMB_FREE void *source = NULL;
        unsigned long rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : ROUNDS;
        size_t size = 0;

        if (argc < 2 || argc > 3 || rounds == 0 || rounds > ROUNDS_MAX) {
                fprintf(stderr, "Usage: handover FILE [ROUNDS], with a broker in "
                                "$SHMBROKER_SOCKET\n");
                return EXIT_USAGE;
        }
        int r = load(argv[1], &source, &size);
        if (r < 0) {
                fprintf(stderr, "handover: %s: %s\n", argv[1], strerror(-r));
                return EXIT_FAILURE;
        }
        return compare(source, size, rounds) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
