/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration files: which ones, in which order, and their contents. */
#pragma once

#include "config.h"

/*
 * The directories that files are searched in, strongest first: of files of one name only the
 * strongest counts, so that an empty one in /etc masks one of the distribution.
 */
struct config_roots {
        const char *const *directories;
        size_t n;
};

extern const struct config_roots config_system_roots; /* /etc, /run and /usr/lib */

/*
 * Assigns what the files say, unresolved. With `path` that file, which must exist, and then
 * PATH.d/NAME.conf sorted by name; else the roots' shmbrokerd.conf and shmbrokerd.conf.d.
 * Returns as config_load.
 */
int config_read(struct config *config, const char *path, struct config_roots roots,
                char *error);

/* The pool of that name, made of presets if there is none yet; NULL without memory. */
struct pool_config *config_pool_obtain(struct config *config, const char *name);

/* config_load with other roots. */
int config_load_from(struct config *config, const char *path, struct config_roots roots,
                     char *error);
