/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one table of what can be configured. Reading a file, the defaults, --check-config and
 * the test of the manual page all go by it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "config.h"

#define CONFIG_WHY_SIZE 160u

enum config_section {
        CONFIG_BROKER, /* fields of struct config */
        CONFIG_POOL,   /* fields of struct pool_config */
};

struct config_key;

/* How values of one kind are read and written. `section` is the struct the field is in. */
struct config_kind {
        const char *unit; /* for people: "bytes" */
        /*
         * 0; -ENOMEM; or -EINVAL with a clause in `why` (CONFIG_WHY_SIZE bytes) that says what
         * is wrong with the value. A list gains elements.
         */
        int (*parse)(const struct config_key *key, void *section, const char *value, char *why);
        /* Writes the value as parse would read it; never a line longer than the reader takes. */
        void (*format)(const struct config_key *key, const void *section, FILE *to);
        /* Frees what the field owns. NULL: nothing. */
        void (*clear)(const struct config_key *key, void *section);
        bool list; /* repeated assignments add up, and an empty one starts over */
};

struct config_key {
        enum config_section section;
        const char *name;
        const struct config_kind *kind;
        size_t offset;       /* of the field */
        size_t count_offset; /* of a list's length */
        const char *preset;  /* the default, as one would write it */
        uint64_t min, max;   /* of a number */
        bool infinity;       /* "infinity" is the largest number of the field's type */
        const char *help;
};

/* The rows, Broker's first. There are fewer than 64, so that `given` has a bit for each. */
const struct config_key *config_keys(size_t *ret_n);

/* By name; NULL if the section has no such key. */
const struct config_key *config_key_find(enum config_section section, const char *name);

/* The bit of `given` that stands for the key. */
uint64_t config_key_bit(const struct config_key *key);

/* Where a key of that section, a struct config or pool_config, was given. */
struct config_place *config_key_place(const struct config_key *key, void *section);

/* Was the field at this offset assigned by a file? */
bool config_given(const struct config *config, size_t offset);
bool pool_config_given(const struct pool_config *pool, size_t offset);

/* Gives every field of the section its preset, freeing what was there. 0 or -ENOMEM. */
int config_keys_preset(enum config_section section, void *data);

/* Frees what the fields own. */
void config_keys_clear(enum config_section section, void *data);

/*
 * Assigns as a file does: an empty value means the preset, or of a list, nothing. Returns as
 * struct config_kind's parse.
 */
int config_key_assign(const struct config_key *key, void *data, const char *value, char *why);
