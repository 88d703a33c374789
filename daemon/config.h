/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's configuration: limits, sockets and pools, as plain values.
 *
 * Everything is resolved when config_load returns: percentages and defaults that depend on
 * the host or on another setting are numbers, every pool has its classes, and what could
 * not work together was refused. Users read fields and ask nothing of the file system.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "shmbroker-proto.h"

#define CONFIG_DEFAULT_FILE "/etc/shmbroker/shmbrokerd.conf"
#define CONFIG_CLASSES_MAX 256u
#define CONFIG_POOLS_MAX 64u
#define CONFIG_LEASE_SLOTS_LIMIT 16383u /* 128 KiB of lease words */
#define CONFIG_ERROR_SIZE 512u

enum config_share {
        CONFIG_SHARE_ANY, /* a token may be imported by any uid */
        CONFIG_SHARE_UID, /* only by the exporter's */
};

enum config_huge {
        CONFIG_HUGE_NO,
        CONFIG_HUGE_THP, /* advice only */
        CONFIG_HUGE_2M,  /* hugetlb; capacities are multiples of 2 MiB */
};

struct config_prealloc {
        uint64_t capacity; /* one of the pool's classes */
        uint32_t count;
};

/* Where a setting was given; file NULL: nowhere. */
struct config_place {
        const char *file; /* one of the configuration's own `files` */
        int line;
};
#define CONFIG_KEYS_MAX 64u /* bits of `given` */

/* A [Pool NAME] section. */
struct pool_config {
        char name[SHMB_NAME_MAX + 1];
        uint64_t memory_max;     /* bytes of all memory objects of the pool */
        uint64_t uid_memory_max; /* bytes granted to one uid, at most memory_max */
        uint32_t buffers_max;    /* memory objects of the pool */
        uint32_t uid_buffers_max;
        uint64_t size_min, size_max; /* smallest and largest class */
        uint64_t *classes; /* capacities, ascending, whole (huge) pages; never empty */
        size_t n_classes;
        struct config_prealloc *prealloc;
        size_t n_prealloc;
        uint64_t free_idle_ns; /* a free object unused this long goes back to the kernel;
                                  UINT64_MAX: never */
        enum config_share share;
        enum config_huge huge;
        int numa_node;     /* -1: none */
        uid_t *allow_uids; /* both lists empty: everyone may use the pool */
        size_t n_allow_uids;
        gid_t *allow_gids;
        size_t n_allow_gids;
        uint64_t given; /* bit i: row i of config_keys() was given by a file, not a default */
        struct config_place places[CONFIG_KEYS_MAX]; /* by row of config_keys() */
};

/* The [Broker] section, and the pools. */
struct config {
        uint64_t memory_max;  /* bytes of all memory objects together */
        uint32_t buffers_max; /* memory objects together */
        uint32_t connections_max, connections_per_uid_max;
        uint32_t control_connections_max;
        uint32_t requests_max;        /* outstanding, of one client */
        uint32_t tokens_max;          /* outstanding, of one client */
        uint32_t uid_tokens_max;      /* outstanding, of one uid in one pool */
        uint32_t queue_max;           /* packets queued to one client */
        uint32_t lease_slots_default; /* of a client that names no number */
        uint32_t lease_slots_max;
        uint32_t workers; /* threads that populate and scrub */
        uint64_t token_ttl_max_ns;
        uint64_t cache_bytes;   /* default of one client's cache */
        uint64_t cache_idle_ns; /* a cached buffer unused this long is taken back;
                                   UINT64_MAX: never */
        uint64_t quarantine_ns; /* an object not proven free this long is retired */
        uint64_t hello_timeout_ns;
        char *socket_path, *control_path; /* NULL: that of the user it runs as */
        mode_t socket_mode, control_mode;
        gid_t socket_gid; /* (gid_t)-1: leave as created */
        int log_level;    /* enum log_level, a syslog priority */
        uint64_t given;
        struct config_place places[CONFIG_KEYS_MAX];
        char **files; /* that were read */
        size_t n_files;

        struct pool_config *pools; /* pools[0] is "default" */
        size_t n_pools;
};

/* A configuration of defaults only, complete and valid. 0 or -ENOMEM. */
int config_new(struct config **ret_config);

/*
 * Reads `path`, or with NULL the default file and its drop-ins, over the defaults. Returns 0,
 * -ENOMEM, or another -errno with a sentence in `error` (CONFIG_ERROR_SIZE bytes) that names
 * file, line, section and key: -ENOENT for a named file that is not there, -EINVAL for
 * contents. After a failure `config` may only be freed.
 */
int config_load(struct config *config, const char *path, char *error);

/* Accepts NULL, returns NULL. */
struct config *config_free(struct config *config);

/* The pool of that name, or NULL. */
const struct pool_config *config_pool(const struct config *config, const char *name);

/* True if the pool's access rules let someone of this uid and these groups in. */
bool pool_config_admits(const struct pool_config *pool, uid_t uid, const gid_t *gids,
                        size_t n_gids);

/* The smallest class that holds `size` bytes: an index of classes[], or -1 if none does. */
int pool_config_class(const struct pool_config *pool, uint64_t size);

/*
 * Writes the configuration as a file that gives the same one, every key with its meaning and
 * whether it is a default.
 */
void config_dump(const struct config *config, FILE *to);
