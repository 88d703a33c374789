/* SPDX-License-Identifier: Apache-2.0 */
/*
 * victims COUNT SEED - forks COUNT clients of the broker at $SHMBROKER_SOCKET, one after the
 * other in each of several lines, and kills each at a random moment. Prints what they were
 * doing when they died, and when the last one was gone (CLOCK_MONOTONIC, ns).
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "shmclient.h"

enum {
        LINES = 6,
        TOKENS = 64,
        HELD_MOST = 6,
        TOKEN_TTL_MS = 20,    /* what a token holds is to be gone soon after the last death */
        FIRST_LIFE_US = 6000, /* the longest, to begin with */
        LONGEST_LIFE_US = 500000,
};

/* What a victim was about. */
enum deed {
        DEED_CONNECT,
        DEED_ALLOC,
        DEED_FILL,
        DEED_EXPORT,
        DEED_IMPORT,
        DEED_READ,
        DEED_RAW,
        DEED_RELEASE,
        DEEDS,
};

static const char *const deed_names[DEEDS] = {
        "connecting", "allocating", "holding", "exporting",
        "importing",  "reading",    "raw",     "releasing",
};

/* Between all processes. Tokens may be read half written: then they are unknown ones. */
struct common {
        struct shmc_token tokens[TOKENS];
        _Atomic(uint32_t) next_token;
        _Atomic(uint32_t) deeds[LINES]; /* of the victim of that line */
        _Atomic(uint32_t) deaths[DEEDS];
        _Atomic(uint32_t) imports, failures;
};

struct victim {
        struct common *common;
        unsigned line;
        uint64_t random;
        uint32_t longest_us; /* of its line's lives */
        shmc_client *client;
        shmc_buffer *held[HELD_MOST];
};

static uint32_t roll(uint64_t *random, uint32_t sides) {
        *random = *random * 6364136223846793005u + 1442695040888963407u;
        return (uint32_t)(*random >> 33) % sides;
}

/* ---- a victim's life -------------------------------------------------------------- */

static void doing(struct victim *v, enum deed deed) {
        atomic_store_explicit(&v->common->deeds[v->line], deed, memory_order_relaxed);
}

/* Refusals for want of memory are part of life; anything else is a failure of the test. */
static bool went_well(struct victim *v, const char *what, int result) {
        char text[512];

        if (result >= 0)
                return true;
        if (result == -ENOSPC || result == -EDQUOT || result == -ETIMEDOUT)
                return false;
        shmc_last_error(v->client, text, sizeof(text));
        fprintf(stderr, "%s: %s: %s\n", what, strerror(-result), text);
        atomic_fetch_add(&v->common->failures, 1);
        return false;
}

static void allocate(struct victim *v, shmc_buffer **place) {
        struct shmc_alloc_options options = SHMC_ALLOC_OPTIONS_INIT;
        size_t size = (size_t)4096 << roll(&v->random, 10);

        options.timeout_ns = roll(&v->random, 2) ? 0 : 2000000;
        options.flags = roll(&v->random, 4) ? 0 : SHMC_ALLOC_UNCACHED;
        doing(v, DEED_ALLOC);
        if (!went_well(v, "alloc", shmc_alloc(v->client, size, &options, place)))
                return;
        doing(v, DEED_FILL);
        memset(shmc_buffer_data(*place), (int)v->line, size);
}

static void export(struct victim *v, shmc_buffer *buffer) {
        struct shmc_export_options options = SHMC_EXPORT_OPTIONS_INIT;
        struct shmc_token token;

        options.ttl_ns = (uint64_t)TOKEN_TTL_MS * 1000000;
        options.flags = roll(&v->random, 2) ? SHMC_EXPORT_ONCE : 0;
        if (roll(&v->random, 4) == 0)
                options.flags |= SHMC_EXPORT_CONFIRM;
        doing(v, DEED_EXPORT);
        if (!shmc_buffer_is_writable(buffer) ||
            !went_well(v, "export", shmc_buffer_export(buffer, &options, &token)))
                return;
        uint32_t i = atomic_fetch_add(&v->common->next_token, 1) % TOKENS;
        memcpy(&v->common->tokens[i], &token, sizeof(token));
}

static void import(struct victim *v, shmc_buffer **place) {
        struct shmc_token token;
        volatile uint8_t sum = 0;

        memcpy(&token, &v->common->tokens[roll(&v->random, TOKENS)], sizeof(token));
        doing(v, DEED_IMPORT);
        int r = shmc_import(v->client, &token, NULL, place);
        if (r == -ENOENT || r == -ESTALE || !went_well(v, "import", r))
                return;
        atomic_fetch_add(&v->common->imports, 1);
        doing(v, DEED_READ);
        const uint8_t *data = shmc_buffer_data(*place);
        for (size_t i = 0; i < shmc_buffer_size(*place); i += 16)
                sum = (uint8_t)(sum + data[i]);
}

static void take_raw(struct victim *v, shmc_buffer *buffer) {
        SHMB_CLOSE int fd = -1;

        doing(v, DEED_RAW);
        went_well(v, "fd", shmc_buffer_fd(buffer, SHMC_FD_READONLY, &fd));
}

static void act(struct victim *v) {
        shmc_buffer **place = &v->held[roll(&v->random, HELD_MOST)];

        if (!*place) {
                if (roll(&v->random, 3))
                        allocate(v, place);
                else
                        import(v, place);
                return;
        }
        switch (roll(&v->random, 8)) {
        case 0:
        case 1:
        case 2:
                export(v, *place);
                break;
        case 3:
                take_raw(v, *place);
                break;
        default:
                doing(v, DEED_RELEASE);
                *place = shmc_buffer_unref(*place);
        }
}

static void live(struct victim *v) {
        doing(v, DEED_CONNECT);
        if (!went_well(v, "connect", shmc_connect(&v->client, NULL, NULL)))
                _exit(1);
        for (;;)
                act(v);
}

/* ---- their end -------------------------------------------------------------------- */

static int pidfd_open(pid_t pid) {
        return (int)syscall(SYS_pidfd_open, pid, 0);
}

/*
 * Lives grow longer until only one in six ends before it is connected: so the moments spread
 * over all deeds on a slow machine, or under a sanitizer, as they do on a fast one.
 */
static void adapt(struct victim *v, uint32_t deed) {
        if (deed != DEED_CONNECT)
                v->longest_us -= v->longest_us / 100;
        else if (v->longest_us < LONGEST_LIFE_US)
                v->longest_us += v->longest_us / 20;
}

/* One victim, from its birth to its end. */
static int kill_one(struct victim *v) {
        struct timespec life = { .tv_nsec = 1000L * roll(&v->random, v->longest_us) };
        pid_t pid = fork();

        if (pid < 0)
                return -errno;
        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                live(v);
        }
        SHMB_CLOSE int fd = pidfd_open(pid);
        struct pollfd died = { .fd = fd, .events = POLLIN };
        int early = ppoll(&died, 1, &life, NULL);
        kill(pid, SIGKILL);
        uint32_t deed = atomic_load(&v->common->deeds[v->line]);
        if (waitpid(pid, NULL, 0) < 0)
                return -errno;
        if (early != 0) {
                fprintf(stderr, "a victim ended by itself\n");
                return -ECHILD;
        }
        atomic_fetch_add(&v->common->deaths[deed % DEEDS], 1);
        adapt(v, deed);
        return 0;
}

/* A process of its own, so that no victim inherits anything of another. */
static int line(struct common *common, unsigned number, uint32_t count, uint64_t seed) {
        struct victim v = { .common = common,
                            .line = number,
                            .random = seed + number,
                            .longest_us = FIRST_LIFE_US };

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (uint32_t i = 0; i < count; i++) {
                int r = kill_one(&v);
                if (r < 0)
                        return 1;
                roll(&v.random, 2); /* the next one takes another path */
        }
        return 0;
}

static int start_lines(struct common *common, uint32_t count, uint64_t seed) {
        for (unsigned i = 0; i < LINES; i++) {
                uint32_t share = count / LINES + (i < count % LINES);
                pid_t pid = fork();

                if (pid < 0)
                        return -errno;
                if (pid == 0)
                        _exit(line(common, i, share, seed));
        }
        return 0;
}

static bool wait_lines(void) {
        bool good = true;
        int status;

        while (wait(&status) > 0)
                good = good && WIFEXITED(status) && WEXITSTATUS(status) == 0;
        return good;
}

static void report(const struct common *common) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        for (int i = 0; i < DEEDS; i++)
                printf("%s %u\n", deed_names[i], atomic_load(&common->deaths[i]));
        printf("imports %u\n", atomic_load(&common->imports));
        printf("failures %u\n", atomic_load(&common->failures));
        printf("end %lld\n", (long long)now.tv_sec * 1000000000 + now.tv_nsec);
}

int main(int argc, char **argv) {
        struct common *common = mmap(NULL, sizeof(*common), PROT_READ | PROT_WRITE,
                                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        if (argc != 3 || common == MAP_FAILED) {
                fprintf(stderr, "Usage: victims COUNT SEED\n");
                return 2;
        }
        int r = start_lines(common, (uint32_t)strtoul(argv[1], NULL, 10),
                            strtoull(argv[2], NULL, 10));
        if (!wait_lines() || r < 0)
                return 1;
        report(common);
        return 0;
}
