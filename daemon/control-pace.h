/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much of the event loop's time the control socket may take: a credit that grows with
 * time up to PACE_BURST_NS, and is spent by what a call cost. A call is served while there is
 * credit left, so one may overdraw it; then the next waits until it is paid back.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define PACE_SHARE 4u /* at most a quarter of the time */
#define PACE_BURST_NS 5000000

struct pace {
        uint64_t at; /* when `credit_ns` was right */
        int64_t credit_ns;
};

static inline bool pace_allows(struct pace *pace, uint64_t now) {
        int64_t credit = pace->credit_ns;

        if (now > pace->at)
                credit += (int64_t)((now - pace->at) / PACE_SHARE);
        pace->credit_ns = credit < PACE_BURST_NS ? credit : PACE_BURST_NS;
        pace->at = now;
        return pace->credit_ns > 0;
}

static inline void pace_spend(struct pace *pace, uint64_t cost_ns) {
        pace->credit_ns -= (int64_t)cost_ns;
}

/* How long until there is credit, from the last pace_allows on. */
static inline uint64_t pace_wait_ns(const struct pace *pace) {
        return pace->credit_ns > 0 ? 0 : (uint64_t)(1 - pace->credit_ns) * PACE_SHARE;
}
