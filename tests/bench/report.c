/* SPDX-License-Identifier: Apache-2.0 */
/* One row of figures: JSON for programs, columns for people. */
#include <stdio.h>
#include <string.h>

#include "bench.h"

int bench_failed(const struct context *context, const char *what, int error) {
        fprintf(stderr, "shmbench: %s: %s: %s\n", context->bench->name, what, strerror(-error));
        return error;
}

struct text {
        char bytes[24];
};

static struct text duration(double ns) {
        struct text text;

        if (ns < 1e3)
                snprintf(text.bytes, sizeof(text), "%.1f ns", ns);
        else if (ns < 1e6)
                snprintf(text.bytes, sizeof(text), "%.2f us", ns / 1e3);
        else
                snprintf(text.bytes, sizeof(text), "%.2f ms", ns / 1e6);
        return text;
}

static struct text bytes(size_t size) {
        struct text text;

        if (size == 0)
                snprintf(text.bytes, sizeof(text), "-");
        else if (size >= GIB && size % GIB == 0)
                snprintf(text.bytes, sizeof(text), "%zu GiB", size / GIB);
        else if (size >= MIB && size % MIB == 0)
                snprintf(text.bytes, sizeof(text), "%zu MiB", size / MIB);
        else if (size >= KIB && size % KIB == 0)
                snprintf(text.bytes, sizeof(text), "%zu KiB", size / KIB);
        else
                snprintf(text.bytes, sizeof(text), "%zu B", size);
        return text;
}

void report_header(const struct options *options) {
        if (!options->json && !options->no_header)
                printf("%-24s %8s %9s %11s %11s %11s %11s\n", "name", "size", "n", "p50", "p99",
                       "min", "max");
}

void report(const struct context *context, const char *name, struct samples *samples,
            const char *note, const char *extra) {
        size_t operations = samples->n * samples->batch;

        samples_sort(samples);
        double p50 = samples_quantile(samples, 0.50), p99 = samples_quantile(samples, 0.99);
        double min = samples->ns[0], max = samples->ns[samples->n - 1];

        if (context->options->json) {
                printf("{\"name\": \"%s\", \"size\": %zu, \"n\": %zu, \"p50_ns\": %.1f, "
                       "\"p99_ns\": %.1f, \"min_ns\": %.1f, \"max_ns\": %.1f",
                       name, context->size, operations, p50, p99, min, max);
                if (extra)
                        printf(", %s", extra);
                if (note)
                        printf(", \"note\": \"%s\"", note);
                printf("}\n");
        } else {
                printf("%-24s %8s %9zu %11s %11s %11s %11s", name, bytes(context->size).bytes,
                       operations, duration(p50).bytes, duration(p99).bytes,
                       duration(min).bytes, duration(max).bytes);
                if (note)
                        printf("  %s", note);
                printf("\n");
        }
        fflush(stdout);
}
