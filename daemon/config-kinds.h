/* SPDX-License-Identifier: Apache-2.0 */
/* The kinds of values in the table of keys. */
#pragma once

#include "config-keys.h"

extern const struct config_kind config_kind_size;     /* uint64_t, bytes */
extern const struct config_kind config_kind_memory;   /* uint64_t, bytes, or a share of RAM */
extern const struct config_kind config_kind_duration; /* uint64_t, nanoseconds */
extern const struct config_kind config_kind_count;    /* uint32_t */
extern const struct config_kind config_kind_mode;     /* mode_t */
extern const struct config_kind config_kind_socket;   /* char * */
extern const struct config_kind config_kind_group;    /* gid_t; (gid_t)-1 for none */
extern const struct config_kind config_kind_level;    /* int, enum log_level */
extern const struct config_kind config_kind_node;     /* int; -1 for none */
extern const struct config_kind config_kind_share;    /* enum config_share */
extern const struct config_kind config_kind_huge;     /* enum config_huge */

extern const struct config_kind config_kind_sizes;    /* uint64_t * */
extern const struct config_kind config_kind_prealloc; /* struct config_prealloc * */
extern const struct config_kind config_kind_users;    /* uid_t * */
extern const struct config_kind config_kind_groups;   /* gid_t * */

/* Field of a key. */
static inline void *config_field(const struct config_key *key, void *section) {
        return (char *)section + key->offset;
}

static inline const void *config_field_of(const struct config_key *key, const void *section) {
        return (const char *)section + key->offset;
}
