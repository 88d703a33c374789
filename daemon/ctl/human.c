/* SPDX-License-Identifier: Apache-2.0 */
#include "human.h"

#include <inttypes.h>
#include <stdio.h>

/* Tenths of a unit, rounded half up; no overflow up to a unit of 2^60. */
static uint64_t tenths(uint64_t value, uint64_t unit) {
        uint64_t whole = value / unit, rest = value % unit;

        return whole * 10 + (rest * 10 + unit / 2) / unit;
}

void human_bytes(char text[HUMAN_SIZE], uint64_t bytes) {
        static const char units[] = "KMGTPE";
        uint64_t unit = 1024;
        size_t i = 0;

        if (bytes < 1024) {
                snprintf(text, HUMAN_SIZE, "%" PRIu64, bytes);
                return;
        }
        /* 1023.95K and more would read 1024.0K. E is the last: 2^64 is 16 of it. */
        while (units[i] != 'E' && tenths(bytes, unit) >= 10240) {
                unit *= 1024;
                i++;
        }
        uint64_t t = tenths(bytes, unit);
        snprintf(text, HUMAN_SIZE, "%" PRIu64 ".%" PRIu64 "%c", t / 10, t % 10, units[i]);
}

void human_time(char text[HUMAN_SIZE], uint64_t ns) {
        const uint64_t us = 1000, ms = 1000 * us, s = 1000 * ms, minute = 60 * s;
        const uint64_t hour = 60 * minute, day = 24 * hour;

        if (ns == 0)
                snprintf(text, HUMAN_SIZE, "0");
        else if (ns < us)
                snprintf(text, HUMAN_SIZE, "%" PRIu64 "ns", ns);
        else if (ns < ms)
                snprintf(text, HUMAN_SIZE, "%" PRIu64 "us", ns / us);
        else if (ns < s)
                snprintf(text, HUMAN_SIZE, "%" PRIu64 "ms", ns / ms);
        else if (ns < minute)
                snprintf(text, HUMAN_SIZE, "%" PRIu64 ".%" PRIu64 "s", ns / s,
                         ns % s / (s / 10));
        else if (ns < hour)
                snprintf(text, HUMAN_SIZE, "%" PRIu64 "m%02" PRIu64 "s", ns / minute,
                         ns % minute / s);
        else if (ns < day)
                snprintf(text, HUMAN_SIZE, "%" PRIu64 "h%02" PRIu64 "m", ns / hour,
                         ns % hour / minute);
        else
                snprintf(text, HUMAN_SIZE, "%" PRIu64 "d%02" PRIu64 "h", ns / day,
                         ns % day / hour);
}

void human_share(char text[HUMAN_SIZE], uint64_t part, uint64_t whole) {
        if (whole == 0)
                snprintf(text, HUMAN_SIZE, "-");
        else
                snprintf(text, HUMAN_SIZE, "%.1f%%", 100.0 * (double)part / (double)whole);
}
