/* SPDX-License-Identifier: Apache-2.0 */
#include "memory.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "memfd.h"

/* Linux 5.14. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/*
 * Binds the object, not a mapping of it, to a node: a policy set through a shared mapping of
 * shmem belongs to the inode (mbind(2)) and holds for the populate that follows.
 */
static bool bind_node(int fd, uint64_t size, int node) {
        enum { BITS = 8 * sizeof(unsigned long), NODES = 1024 };
        unsigned long mask[NODES / BITS] = { 0 };

        if (node < 0 || node >= NODES)
                return false;
        void *at = mmap(NULL, size, PROT_NONE, MAP_SHARED, fd, 0);
        if (at == MAP_FAILED)
                return false;
        mask[(size_t)node / BITS] = 1ul << ((size_t)node % BITS);
        long r = syscall(SYS_mbind, at, size, MPOL_BIND, mask, (unsigned long)NODES, 0);
        munmap(at, size);
        return r == 0;
}

/* Shared memory gets huge pages on advice only where the host's policy is not to refuse. */
static bool host_advises_huge(void) {
        char policy[128] = "";
        FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "re");

        if (!f)
                return false;
        char *line = fgets(policy, sizeof(policy), f);
        fclose(f);
        return line && !strstr(policy, "[never]") && !strstr(policy, "[deny]");
}

/* Creates the object; 0 or -errno. */
static int create(struct work *work) {
        int fd = -1;

        work->huge = work->numa = false;
        if (work->want_huge == CONFIG_HUGE_2M) {
                fd = shmb_memfd_new("shmbroker", work->size, true);
                work->huge = fd >= 0;
        }
        /* No huge pages to be had, or not wanted: plain ones, and the grant says so. */
        if (fd < 0)
                fd = shmb_memfd_new("shmbroker", work->size, false);
        if (fd < 0)
                return fd;
        work->fd = fd;
        if (work->want_huge == CONFIG_HUGE_THP)
                work->huge = host_advises_huge();
        if (work->numa_node >= 0)
                work->numa = bind_node(work->fd, work->size, work->numa_node);
        return 0;
}

/* Advice is given on a mapping, so this populates through one. */
static int populate_advised(const struct work *work, uint64_t size) {
        void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, work->fd,
                        (off_t)work->offset);
        int r = 0;

        if (at == MAP_FAILED)
                return -errno;
        madvise(at, size, MADV_HUGEPAGE);
        if (madvise(at, size, MADV_POPULATE_WRITE) < 0)
                r = errno == EINVAL ? shmb_memfd_populate(work->fd, work->offset, size)
                                    : -ENOMEM;
        munmap(at, size);
        return r;
}

static uint64_t step_size(const struct work *work) {
        uint64_t left = work->size - work->offset;

        return left < MEMORY_STEP ? left : MEMORY_STEP;
}

static int populate(struct work *work) {
        uint64_t size = step_size(work);

        return work->want_huge == CONFIG_HUGE_THP && work->huge
                       ? populate_advised(work, size)
                       : shmb_memfd_populate(work->fd, work->offset, size);
}

static bool finish(struct work *work, int result) {
        work->result = result;
        return true;
}

static bool step_make(struct work *work) {
        int r = work->fd < 0 ? create(work) : 0;

        if (r < 0)
                return finish(work, r);
        r = populate(work);
        if (r < 0 && work->want_huge == CONFIG_HUGE_2M && work->huge) {
                /* The pool of huge pages ran dry on the way: begin again with plain ones. */
                work->fd = shmb_close(work->fd);
                work->want_huge = CONFIG_HUGE_NO;
                work->offset = 0;
                return false;
        }
        if (r < 0) {
                work->fd = shmb_close(work->fd);
                return finish(work, r);
        }
        work->offset += step_size(work);
        return work->offset == work->size && finish(work, 0);
}

/* Piece by piece out and in again: whoever still refers to an old page keeps the old page. */
static bool step_scrub(struct work *work) {
        int r = shmb_memfd_punch(work->fd, work->offset, step_size(work));

        if (r == 0)
                r = populate(work);
        if (r < 0)
                return finish(work, r);
        work->offset += step_size(work);
        return work->offset == work->size && finish(work, 0);
}

/* Punched out before it is closed: a mapping somebody kept must not keep the memory. */
static bool step_retire(struct work *work) {
        int r = work->fd < 0 ? 0 : shmb_memfd_punch(work->fd, work->offset, step_size(work));

        work->offset += step_size(work);
        if (r == 0 && work->fd >= 0 && work->offset < work->size)
                return false;
        work->fd = shmb_close(work->fd);
        return finish(work, 0);
}

bool memory_step(struct work *work) {
        switch (work->kind) {
        case WORK_MAKE:
                return step_make(work);
        case WORK_PROVE:
                return finish(work, shmb_memfd_is_exclusive(work->fd));
        case WORK_SCRUB:
                return step_scrub(work);
        case WORK_RETIRE:
                return step_retire(work);
        }
        return finish(work, -EINVAL);
}
