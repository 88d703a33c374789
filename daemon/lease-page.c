/* SPDX-License-Identifier: Apache-2.0 */
#include "lease-page.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cleanup.h"
#include "memfd.h"

size_t lease_page_size(uint32_t slots) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);

        return (((size_t)slots + 1) * sizeof(shmb_word) + page - 1) / page * page;
}

int lease_page_new(uint32_t slots, shmb_word **ret_words, size_t *ret_size, int *ret_fd) {
        size_t size = lease_page_size(slots);
        SHMB_CLOSE int fd = shmb_memfd_new("shmbroker-leases", size, false);

        if (fd < 0)
                return fd;
        /* All of it now: neither side shall die of a page that could not be had later. */
        int r = shmb_memfd_populate(fd, 0, size);
        if (r < 0)
                return r;
        void *words = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (words == MAP_FAILED)
                return -errno;
        *ret_words = words;
        *ret_size = size;
        *ret_fd = shmb_steal_fd(&fd);
        return 0;
}

void lease_page_free(shmb_word *words, size_t size) {
        if (!words)
                return;
        (void)madvise(words, size, MADV_REMOVE);
        munmap(words, size);
}
