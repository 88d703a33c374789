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
        struct helper other; /* the consumer */
        struct samples samples;
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

static int trial_failed(const struct trial *trial, int error) {
        if (error == -EBADMSG)
                fprintf(stderr, "handover: %s: the reader saw other bytes than were written\n",
                        trial->way->name);
        else
                fprintf(stderr, "handover: %s: %s\n", trial->way->name, strerror(-error));
        return error;
}

/* Makes the consumer; every one of them before any producer opens anything. */
static int trial_start(struct trial *trial, const struct way *way, const void *source,
                       size_t size, size_t rounds) {
        *trial = (struct trial){
                .way = way,
                .h = { .fd = -1, .source = source, .size = size },
                .other = HELPER_NONE,
        };
        int r = samples_init(&trial->samples, rounds, 1, 0);
        if (r == 0 && way->setup)
                r = way->setup(&trial->h);
        if (r == 0)
                r = helper_start(&trial->other, consumer, trial);
        return r < 0 ? trial_failed(trial, r) : 0;
}

static int trial_open(struct trial *trial) {
        char ready;

        trial->h.fd = trial->other.fd;
        trial->h.producer = true;
        int r = trial->way->open(&trial->h);
        if (r == 0)
                r = helper_receive(trial->h.fd, &ready, sizeof(ready));
        return r < 0 ? trial_failed(trial, r) : 0;
}

static int trial_round(struct trial *trial, uint64_t seed, bool measured) {
        struct digest written = { 0 }, read = { 0 };
        uint64_t begin = samples_begin(&trial->samples);
        int r = trial->way->give(&trial->h, seed, &written);

        if (r == 0)
                r = helper_receive(trial->h.fd, &read, sizeof(read));
        if (r == 0 && (written.sum != read.sum || written.parity != read.parity))
                r = -EBADMSG;
        if (r < 0)
                return trial_failed(trial, r);
        if (measured)
                samples_end(&trial->samples, begin);
        return 0;
}

/* Accepts one that did not start. `failed`: the consumer may be stuck. */
static int trial_end(struct trial *trial, bool failed) {
        int r = 0;

        if (!trial->way)
                return 0;
        if (trial->h.producer)
                trial->way->close(&trial->h);
        if (failed)
                helper_kill(&trial->other);
        else if ((r = helper_end(&trial->other)) < 0)
                trial_failed(trial, r);
        if (trial->way->teardown)
                trial->way->teardown(&trial->h);
        return r;
}

static const struct way *const ways[] = { &way_floor, &way_token, &way_posix, &way_socket };
enum { FLOOR, TOKEN, WAYS = sizeof(ways) / sizeof(ways[0]) };

/* By turns, so that whatever else the machine does meets all of them alike. */
static int measure(struct trial *trials, size_t rounds) {
        int r = 0;

        for (size_t i = 0; i < WAYS && r == 0; i++)
                r = trial_open(&trials[i]);
        for (uint64_t seed = 1; r == 0 && seed <= WARM_UP + rounds; seed++)
                for (size_t i = 0; i < WAYS && r == 0; i++)
                        r = trial_round(&trials[i], seed, seed > WARM_UP);
        return r;
}

static void print(struct trial *trials) {
        double p50[WAYS];

        for (size_t i = 0; i < WAYS; i++) {
                samples_sort(&trials[i].samples);
                p50[i] = samples_quantile(&trials[i].samples, 0.5);
        }
        printf("%-20s %10s %10s %9s %12s\n", "", "median", "p99", "times", "over floor");
        for (size_t i = 0; i < WAYS; i++) {
                printf("%-20s %7.2f ms %7.2f ms %8.2fx", ways[i]->name, p50[i] / 1e6,
                       samples_quantile(&trials[i].samples, 0.99) / 1e6, p50[i] / p50[TOKEN]);
                if (i == FLOOR)
                        printf(" %12s\n", "-");
                else
                        printf(" %9.2f ms\n", (p50[i] - p50[FLOOR]) / 1e6);
        }
        printf("\n");
        for (size_t i = 0; i < WAYS; i++)
                printf("%-20s %s\n", ways[i]->name, ways[i]->what);
}

static int compare(const void *source, size_t size, size_t rounds) {
        struct trial trials[WAYS] = { 0 };
        int r = 0;

        for (size_t i = 0; i < WAYS && r == 0; i++)
                r = trial_start(&trials[i], ways[i], source, size, rounds);
        if (r == 0)
                r = measure(trials, rounds);
        if (r == 0)
                print(trials);
        /* The last first: each was forked with the sockets of those before it. */
        for (size_t i = WAYS; i-- > 0;) {
                int ended = trial_end(&trials[i], r < 0);
                r = r < 0 ? r : ended;
                samples_done(&trials[i].samples);
        }
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
