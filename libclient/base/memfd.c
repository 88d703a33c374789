/* SPDX-License-Identifier: Apache-2.0 */
#include "memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"

/* Linux 6.3; Debian 12's headers lack it. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21U << 26)
#endif

static int create(const char *name, bool huge) {
        unsigned flags = MFD_CLOEXEC | (huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0);
        int fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);

        /* A kernel before 6.3 does not know the flag; there sealing is asked for plainly. */
        if (fd < 0 && errno == EINVAL)
                fd = memfd_create(name, flags | MFD_ALLOW_SEALING);
        return fd < 0 ? -errno : fd;
}

int shmb_memfd_new(const char *name, size_t size, bool huge) {
        SHMB_CLOSE int fd = create(name, huge);

        if (fd < 0)
                return fd;
        if (ftruncate(fd, (off_t)size) < 0 ||
            fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0 ||
            fchmod(fd, 0600) < 0)
                return -errno;
        return shmb_steal_fd(&fd);
}

static int reopen(int directory, const char *path, bool writable) {
        int flags = (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK;
        int fd = openat(directory, path, flags);

        return fd < 0 ? -errno : fd;
}

int shmb_memfd_reopen(int fd, bool writable) {
        char path[sizeof("/proc/self/fd/") + 11];

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        return reopen(AT_FDCWD, path, writable);
}

int shmb_memfd_reopen_in(int directory, int fd, bool writable) {
        char name[12];

        snprintf(name, sizeof(name), "%d", fd);
        return reopen(directory, name, writable);
}

int shmb_memfd_populate(int fd, size_t offset, size_t size) {
        int r;

        /* Stopping and freezing a process can interrupt it, too. */
        do
                r = fallocate(fd, 0, (off_t)offset, (off_t)size);
        while (r < 0 && errno == EINTR);
        return r < 0 ? -errno : 0;
}

int shmb_memfd_punch(int fd, size_t offset, size_t size) {
        int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

        return fallocate(fd, mode, (off_t)offset, (off_t)size) < 0 ? -errno : 0;
}

int shmb_memfd_is_exclusive(int fd) {
        SHMB_CLOSE int probe = shmb_memfd_reopen(fd, true);

        if (probe == -EWOULDBLOCK) /* somebody holds a lease of their own: seen */
                return 0;
        if (probe < 0)
                return probe;
        if (fcntl(probe, F_SETLEASE, F_WRLCK) == 0)
                return 1; /* closing the probe gives the lease up */
        return errno == EAGAIN || errno == EBUSY ? 0 : -errno;
}

int64_t shmb_memfd_allocated(int fd) {
        struct stat st;

        return fstat(fd, &st) < 0 ? -errno : (int64_t)st.st_blocks * 512;
}
