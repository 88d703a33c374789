/* SPDX-License-Identifier: Apache-2.0 */
/* The memory a client and the broker share for lease words. */
#pragma once

#include <stddef.h>

#include "lease-word.h"

/* The bytes of a page for so many leases and word 0. */
size_t lease_page_size(uint32_t slots);

/*
 * Makes a page (or more) for `slots` leases and word 0, and maps it. The caller owns the
 * mapping, *ret_size bytes, and the descriptor, which is the client's copy to be. 0 or -errno.
 */
int lease_page_new(uint32_t slots, shmb_word **ret_words, size_t *ret_size, int *ret_fd);

/*
 * Unmaps it, and takes its memory away: a client that keeps it mapped sees zeros, and cannot
 * make the broker pay for it any longer. Accepts NULL.
 */
void lease_page_free(shmb_word *words, size_t size);
