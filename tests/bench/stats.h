/* SPDX-License-Identifier: Apache-2.0 */
/* Samples of a duration, and what is read out of them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct samples {
        double *ns; /* of one operation */
        size_t n, room;
        size_t batch;        /* operations per sample */
        double seconds;      /* 0: no limit */
        uint64_t until, now; /* clock */
};

static inline uint64_t clock_ns(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t); /* in the vdso: no system call */
        return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/*
 * Room for `operations` in batches of `batch`, all of it touched, so that taking samples
 * neither allocates nor faults. With `seconds` it also ends by the clock. 0 or -ENOMEM.
 */
int samples_init(struct samples *samples, size_t operations, size_t batch, double seconds);

/* Accepts a zeroed struct. */
void samples_done(struct samples *samples);

/* True while more samples are wanted. */
static inline bool samples_more(const struct samples *s) {
        return s->n < s->room && (s->until == 0 || s->now < s->until);
}

static inline uint64_t samples_begin(struct samples *s) {
        uint64_t now = clock_ns();
        if (s->n == 0 && s->seconds > 0)
                s->until = now + (uint64_t)(s->seconds * 1e9);
        return now;
}

/* Ends a batch of operations begun at `begin`. */
static inline void samples_end(struct samples *s, uint64_t begin) {
        s->now = clock_ns();
        s->ns[s->n++] = (double)(s->now - begin) / (double)s->batch;
}

/* Sorts; the other readers below need it first. At least one sample must be there. */
void samples_sort(struct samples *samples);

/* The value that `fraction` of the samples do not exceed (nearest rank). */
double samples_quantile(const struct samples *samples, double fraction);
