/* SPDX-License-Identifier: Apache-2.0 */
/* Memory objects as the kernel sees them. Sizes in bytes, multiples of the page size. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The sealed size that huge pages need: 2 MiB, the only size asked for. */
#define SHMB_HUGE_PAGE_SIZE ((size_t)2 << 20)

/*
 * Makes a memfd of that size, sealed against SHRINK, GROW and SEAL, mode 0600, empty: no
 * page is allocated. With `huge` it comes from the hugetlb pool. Returns a descriptor the
 * caller owns, close-on-exec, or -errno (-ENOMEM, -EMFILE, -ENFILE).
 *
 * The mode matters: a fresh memfd has 0777, and any holder of a read-only descriptor could
 * reopen it for writing through its own /proc/self/fd.
 */
int shmb_memfd_new(const char *name, size_t size, bool huge);

/*
 * Opens the object anew through /proc/self/fd, so that the access mode is the new
 * descriptor's own and the broker's original never travels. Returns a descriptor the caller
 * owns, or -errno. O_NONBLOCK: a lease that a same-uid client took on its descriptor must
 * not stall the broker (fcntl(2), F_SETLEASE).
 */
int shmb_memfd_reopen(int fd, bool writable);

/*
 * The same, a third quicker, through `directory`: an O_PATH descriptor of this process's
 * /proc/self/fd.
 */
int shmb_memfd_reopen_in(int directory, int fd, bool writable);

/* Allocates the pages of a range in the kernel: 0, or -ENOMEM, -ENOSPC. */
int shmb_memfd_populate(int fd, size_t offset, size_t size);

/* Frees the pages of a range; page references elsewhere (pipes) keep the old pages. */
int shmb_memfd_punch(int fd, size_t offset, size_t size);

/*
 * Proof of return: 1 if no other open file and no mapping of the object exists, 0 if some
 * does, or -errno. A write lease on a fresh reopen is granted only then (fcntl(2)); the
 * original descriptor, O_PATH ones and page references are not seen.
 */
int shmb_memfd_is_exclusive(int fd);

/* Bytes the kernel has allocated to the object, or -errno. */
int64_t shmb_memfd_allocated(int fd);
