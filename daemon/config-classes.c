/* SPDX-License-Identifier: Apache-2.0 */
/* The sizes buffers come in. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config-check.h"

static uint64_t round_up(uint64_t size, uint64_t granule) {
        return (size + granule - 1) / granule * granule;
}

/*
 * The next capacity above: four steps per doubling, so that at most a fifth of a buffer is
 * not asked for; or one page more, where a step would be less than a page.
 */
static uint64_t next_capacity(uint64_t capacity, uint64_t granule) {
        uint64_t doubling = UINT64_C(1) << (63 - __builtin_clzll(capacity));
        uint64_t step = doubling / 4 > granule ? doubling / 4 : granule;

        return (capacity / step + 1) * step;
}

int config_classes_geometric(struct pool_config *pool, uint64_t granule) {
        uint64_t classes[CONFIG_CLASSES_MAX];
        size_t n = 0;

        for (uint64_t c = pool->size_min; c < pool->size_max && n < CONFIG_CLASSES_MAX - 1;
             c = next_capacity(c, granule))
                classes[n++] = c;
        classes[n++] = pool->size_max;

        pool->classes = calloc(n, sizeof *pool->classes);
        if (!pool->classes)
                return -ENOMEM;
        memcpy(pool->classes, classes, n * sizeof *classes);
        pool->n_classes = n;
        return 0;
}

static int compare(const void *a, const void *b) {
        uint64_t x, y;

        memcpy(&x, a, sizeof x);
        memcpy(&y, b, sizeof y);
        return (x > y) - (x < y);
}

void config_classes_tidy(struct pool_config *pool, uint64_t granule) {
        size_t kept = 0;

        for (size_t i = 0; i < pool->n_classes; i++)
                pool->classes[i] = round_up(pool->classes[i], granule);
        qsort(pool->classes, pool->n_classes, sizeof *pool->classes, compare);
        for (size_t i = 0; i < pool->n_classes; i++)
                if (kept == 0 || pool->classes[kept - 1] != pool->classes[i])
                        pool->classes[kept++] = pool->classes[i];
        pool->n_classes = kept;
}
