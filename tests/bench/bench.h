/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of shmbench share: the table of benches and how a row is reported. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stats.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

/* The payload the project is about. */
#define PAYLOAD (20 * MIB)

enum { SIZES_MAX = 8 };

struct options {
        bool json, no_header;
        size_t count;   /* 0: the bench's own */
        double seconds; /* 0: no limit */
        size_t sizes[SIZES_MAX];
        size_t n_sizes; /* 0: the bench's own */
};

struct bench;

struct context {
        const struct bench *bench;
        const struct options *options;
        size_t size;  /* of the payload; 0 where a bench has none */
        size_t count; /* operations wanted */
};

struct bench {
        const char *name, *about;
        /* 0, or -errno with the reason already on stderr. Called once per size. */
        int (*run)(const struct context *context);
        size_t count;    /* operations, unless -n says otherwise */
        size_t sizes[2]; /* payload sizes; a lone 0: it has none */
        bool broker;     /* needs one */
};

/*
 * Operations per reading of the clock, for what takes about as long as reading it. A sample
 * is then a mean of so many, which p99 and max inherit.
 */
static inline size_t batch_size(const struct context *context) {
        return context->count && context->count < 1000 ? context->count : 1000;
}

/* Says on stderr what failed, and returns `error` (a -errno). */
int bench_failed(const struct context *context, const char *what, int error);

/*
 * Prints one row. `name` is the bench's or one derived from it; `note` (or NULL) says what
 * the figures cover; `extra` (or NULL) is more JSON members, such as "\"clients\": 1000".
 */
void report(const struct context *context, const char *name, struct samples *samples,
            const char *note, const char *extra);
void report_header(const struct options *options);

int run_spin(const struct context *context);
int run_eventfd(const struct context *context);
int run_seqpacket(const struct context *context);
int run_malloc(const struct context *context);
int run_memcpy(const struct context *context);
int run_pool_cached(const struct context *context);
int run_pool_brokered(const struct context *context);
int run_pool_cold(const struct context *context);
int run_token_import(const struct context *context);
int run_mixed(const struct context *context);
int run_scale(const struct context *context);
