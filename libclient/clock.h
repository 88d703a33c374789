/* SPDX-License-Identifier: Apache-2.0 */
/* Deadlines: nanoseconds of CLOCK_MONOTONIC; SHMC_FOREVER is none. */
#pragma once

#include <stdint.h>
#include <time.h>

#include "shmclient.h"

enum { NS_PER_MS = 1000000, NS_PER_S = 1000000000 };

static inline uint64_t clock_now(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* Saturates, so that sums of timeouts stay meaningful. */
static inline uint64_t clock_add(uint64_t a, uint64_t b) {
        return b > SHMC_FOREVER - a ? SHMC_FOREVER : a + b;
}

static inline uint64_t clock_after(uint64_t timeout) {
        return timeout == SHMC_FOREVER ? SHMC_FOREVER : clock_add(clock_now(), timeout);
}

static inline uint64_t clock_left(uint64_t deadline) {
        if (deadline == SHMC_FOREVER)
                return SHMC_FOREVER;
        uint64_t now = clock_now();
        return deadline > now ? deadline - now : 0;
}

static inline struct timespec clock_timespec(uint64_t ns) {
        return (struct timespec){ .tv_sec = (time_t)(ns / NS_PER_S),
                                  .tv_nsec = (long)(ns % NS_PER_S) };
}
