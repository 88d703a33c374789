/* SPDX-License-Identifier: Apache-2.0 */
/* What has to hold between settings, once all of them are read. */
#pragma once

#include "config.h"

/*
 * Gives every limit its number and every pool its classes. Where a setting of the file
 * cannot be had together with another of the file, -EINVAL and a sentence in `error`
 * (CONFIG_ERROR_SIZE bytes); a default gives way. 0, or -ENOMEM.
 */
int config_resolve(struct config *config, char *error);

/* Fills the pool's classes from size_min to size_max, both multiples of granule. */
int config_classes_geometric(struct pool_config *pool, uint64_t granule);

/* Rounds up, sorts and makes unique the classes a file gave. */
void config_classes_tidy(struct pool_config *pool, uint64_t granule);
