/* SPDX-License-Identifier: Apache-2.0 */
#include "config-value.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct unit {
        const char *suffix;
        uint64_t factor;
};

/* Ascending; "" is what a bare number means. */
static const struct unit size_units[] = {
        { "", 1 },
        { "K", UINT64_C(1) << 10 },
        { "M", UINT64_C(1) << 20 },
        { "G", UINT64_C(1) << 30 },
        { "T", UINT64_C(1) << 40 },
};

static const struct unit duration_units[] = {
        { "ns", 1 },
        { "us", UINT64_C(1000) },
        { "ms", UINT64_C(1000000) },
        { "s", UINT64_C(1000000000) },
        { "min", UINT64_C(60000000000) },
        { "h", UINT64_C(3600000000000) },
        { "d", UINT64_C(86400000000000) },
};

#define SECOND 3 /* in duration_units */
#define ELEMENTS(array) (sizeof(array) / sizeof *(array))

/* strtoull takes signs, blanks and wraps: none of them is a number here. */
static int digits(const char *text, unsigned base, uint64_t *ret_number, const char **ret_end) {
        uint64_t number = 0;
        const char *at = text;

        for (; *at >= '0' && *at < (char)('0' + (int)base); at++)
                if (__builtin_mul_overflow(number, base, &number) ||
                    __builtin_add_overflow(number, (uint64_t)(*at - '0'), &number))
                        return -ERANGE;
        if (at == text)
                return -EINVAL;

        *ret_number = number;
        *ret_end = at;
        return 0;
}

static int with_unit(const char *text, const struct unit *units, size_t n_units, size_t bare,
                     uint64_t *ret_number) {
        uint64_t number;
        const char *suffix;

        int r = digits(text, 10, &number, &suffix);
        if (r < 0)
                return r;

        const struct unit *unit = *suffix == '\0' ? &units[bare] : NULL;
        for (size_t i = 0; !unit && i < n_units; i++)
                if (strcmp(suffix, units[i].suffix) == 0)
                        unit = &units[i];
        if (!unit)
                return -EINVAL;
        /* The largest number is kept for "infinity". */
        if (__builtin_mul_overflow(number, unit->factor, &number) || number == UINT64_MAX)
                return -ERANGE;

        *ret_number = number;
        return 0;
}

int config_parse_size(const char *text, uint64_t *ret_bytes) {
        return with_unit(text, size_units, ELEMENTS(size_units), 0, ret_bytes);
}

int config_parse_duration(const char *text, uint64_t *ret_ns) {
        return with_unit(text, duration_units, ELEMENTS(duration_units), SECOND, ret_ns);
}

int config_parse_percent(const char *text, unsigned *ret_percent) {
        uint64_t number;
        const char *suffix;

        int r = digits(text, 10, &number, &suffix);
        if (r < 0)
                return r;
        if (strcmp(suffix, "%") != 0 || number < 1 || number > 100)
                return -EINVAL;

        *ret_percent = (unsigned)number;
        return 0;
}

static int whole(const char *text, unsigned base, uint64_t *ret_number) {
        uint64_t number;
        const char *end;

        int r = digits(text, base, &number, &end);
        if (r < 0)
                return r;
        if (*end != '\0')
                return -EINVAL;

        *ret_number = number;
        return 0;
}

int config_parse_number(const char *text, uint64_t *ret_number) {
        return whole(text, 10, ret_number);
}

int config_parse_octal(const char *text, uint64_t *ret_number) {
        return whole(text, 8, ret_number);
}

static void format_unit(uint64_t number, const struct unit *units, size_t n_units,
                        char text[CONFIG_TEXT_SIZE]) {
        size_t unit = 0;

        if (number == UINT64_MAX) {
                snprintf(text, CONFIG_TEXT_SIZE, "infinity");
                return;
        }
        for (size_t i = 1; i < n_units && number != 0; i++)
                if (number % units[i].factor == 0)
                        unit = i;
        snprintf(text, CONFIG_TEXT_SIZE, "%llu%s",
                 (unsigned long long)(number / units[unit].factor), units[unit].suffix);
}

void config_format_size(uint64_t bytes, char text[CONFIG_TEXT_SIZE]) {
        format_unit(bytes, size_units, ELEMENTS(size_units), text);
}

void config_format_duration(uint64_t ns, char text[CONFIG_TEXT_SIZE]) {
        format_unit(ns, duration_units, ELEMENTS(duration_units), text);
}

/* The largest id means "no one" to the system calls. */
static bool is_id(const char *text, uint32_t *ret_id) {
        uint64_t number;

        if (config_parse_number(text, &number) < 0 || number >= UINT32_MAX)
                return false;
        *ret_id = (uint32_t)number;
        return true;
}

int config_parse_user(const char *text, uid_t *ret_uid) {
        if (is_id(text, ret_uid))
                return 0;

        const struct passwd *user = getpwnam(text);
        if (!user)
                return -ENOENT;
        *ret_uid = user->pw_uid;
        return 0;
}

int config_parse_group(const char *text, gid_t *ret_gid) {
        if (is_id(text, ret_gid))
                return 0;

        const struct group *group = getgrnam(text);
        if (!group)
                return -ENOENT;
        *ret_gid = group->gr_gid;
        return 0;
}
