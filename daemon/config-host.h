/* SPDX-License-Identifier: Apache-2.0 */
/* What the configuration's defaults need to know of the host and the user. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/* Bytes of RAM. */
uint64_t config_host_ram(void);

/*
 * The lowest memory.max of this process's version 2 control group and its parents, by
 * `membership` (/proc/self/cgroup) and the tree at `root` (/sys/fs/cgroup); UINT64_MAX where
 * there is none.
 */
uint64_t config_host_cgroup_limit(const char *membership, const char *root);

/*
 * What a relative socket path is below: `variable` ($XDG_RUNTIME_DIR) for a user's own
 * broker, /run for root's and where the variable is unset, relative, or too long for a
 * socket's address to begin with. Borrowed.
 */
const char *config_host_runtime_directory(uid_t uid, const char *variable);
