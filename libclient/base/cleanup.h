/* SPDX-License-Identifier: Apache-2.0 */
/* Scope-bound ownership: descriptors and heap memory. */
#pragma once

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* Closes a descriptor, keeps errno, returns -1 so that `fd = shmb_close(fd)` forgets it. */
static inline int shmb_close(int fd) {
        if (fd >= 0) {
                int saved = errno;
                close(fd);
                errno = saved;
        }
        return -1;
}

static inline void shmb_closep(int *fd) {
        *fd = shmb_close(*fd);
}

/* Moves a descriptor out of its owner. */
static inline int shmb_steal_fd(int *fd) {
        int stolen = *fd;
        *fd = -1;
        return stolen;
}

static inline void shmb_freep(void *p) {
        free(*(void **)p);
}

#define SHMB_CLEANUP(function) __attribute__((cleanup(function)))
#define SHMB_CLOSE SHMB_CLEANUP(shmb_closep)
#define SHMB_FREE SHMB_CLEANUP(shmb_freep)

#define shmb_steal_ptr(pointer)                                                                \
        (__extension__({                                                                       \
                __typeof__(pointer) *_p = &(pointer);                                          \
                __typeof__(pointer) _v = *_p;                                                  \
                *_p = NULL;                                                                    \
                _v;                                                                            \
        }))
