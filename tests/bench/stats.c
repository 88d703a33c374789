/* SPDX-License-Identifier: Apache-2.0 */
#include "stats.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* With a time limit and no count: more than any bench takes in a minute. */
enum { ROOM_BY_TIME = 1 << 20 };

int samples_init(struct samples *samples, size_t operations, size_t batch, double seconds) {
        size_t room = operations ? (operations + batch - 1) / batch : ROOM_BY_TIME;
        double *ns = malloc(room * sizeof(*ns));

        if (!ns)
                return -ENOMEM;
        /* Not zeros: the compiler would turn malloc and memset into a calloc that faults later. */
        memset(ns, 0xff, room * sizeof(*ns));
        *samples = (struct samples){
                .ns = ns, .room = room, .batch = batch, .seconds = seconds
        };
        return 0;
}

void samples_done(struct samples *samples) {
        free(samples->ns);
        *samples = (struct samples){ 0 };
}

static int compare(const void *left, const void *right) {
        double a = *(const double *)left, b = *(const double *)right;
        return (a > b) - (a < b);
}

void samples_sort(struct samples *samples) {
        qsort(samples->ns, samples->n, sizeof(*samples->ns), compare);
}

double samples_quantile(const struct samples *samples, double fraction) {
        double rank = fraction * (double)samples->n;
        size_t at = (size_t)rank;

        if (at > 0 && (double)at >= rank)
                at--;
        return samples->ns[at < samples->n ? at : samples->n - 1];
}
