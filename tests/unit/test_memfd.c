/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel does with real memory objects: the broker's promises stand on it. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cleanup.h"
#include "fds.h"
#include "memfd.h"

#define SIZE ((size_t)1 << 20)

static int object_new(void) {
        int fd = shmb_memfd_new("test", SIZE, false);

        assert_true(fd >= 0);
        return fd;
}

static uint8_t *map(int fd, int protection) {
        void *data = mmap(NULL, SIZE, protection, MAP_SHARED, fd, 0);

        assert_ptr_not_equal(data, MAP_FAILED);
        return data;
}

static void test_new(void **state) {
        SHMB_CLOSE int fd = object_new();
        struct stat st;

        (void)state;
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_size, SIZE);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        int seals = fcntl(fd, F_GET_SEALS);
        assert_int_equal(seals & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
                         F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
        /* Those would end reuse. */
        assert_int_equal(seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE), 0);
        assert_true(shmb_memfd_allocated(fd) == 0);
}

static void test_seals_hold(void **state) {
        SHMB_CLOSE int fd = object_new();

        (void)state;
        assert_true(ftruncate(fd, 0) < 0 && errno == EPERM);
        assert_true(ftruncate(fd, 2 * SIZE) < 0 && errno == EPERM);
        assert_true(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0 && errno == EPERM);
        assert_int_equal(shmb_memfd_populate(fd, SIZE, SIZE), -EPERM);
}

static void test_reopen_has_its_own_mode(void **state) {
        SHMB_CLOSE int fd = object_new();
        SHMB_CLOSE int reader = shmb_memfd_reopen(fd, false);
        SHMB_CLOSE int writer = shmb_memfd_reopen(fd, true);

        (void)state;
        assert_int_equal(fcntl(reader, F_GETFD), FD_CLOEXEC);
        assert_int_equal(fcntl(reader, F_GETFL) & O_ACCMODE, O_RDONLY);
        assert_int_equal(fcntl(writer, F_GETFL) & O_ACCMODE, O_RDWR);
        assert_int_equal(pwrite(writer, "x", 1, 0), 1);
        assert_true(pwrite(reader, "y", 1, 0) < 0 && errno == EBADF);
        assert_ptr_equal(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, reader, 0),
                         MAP_FAILED);
        uint8_t *data = map(reader, PROT_READ);
        assert_int_equal(data[0], 'x');
        assert_true(mprotect(data, SIZE, PROT_READ | PROT_WRITE) < 0 && errno == EACCES);
        munmap(data, SIZE);
}

static void test_populate_and_punch(void **state) {
        SHMB_CLOSE int fd = object_new();

        (void)state;
        assert_int_equal(shmb_memfd_populate(fd, 0, SIZE / 2), 0);
        assert_true(shmb_memfd_allocated(fd) == SIZE / 2);
        assert_int_equal(shmb_memfd_populate(fd, 0, SIZE), 0);
        assert_true(shmb_memfd_allocated(fd) == SIZE);
        assert_int_equal(shmb_memfd_punch(fd, SIZE / 4, SIZE / 4), 0);
        assert_true(shmb_memfd_allocated(fd) == SIZE / 4 * 3);
        assert_int_equal(shmb_memfd_punch(fd, 0, SIZE), 0);
        assert_true(shmb_memfd_allocated(fd) == 0);
}

/* A scrub under somebody's mapping: zeros, no signal, and nothing of what was there. */
static void test_punch_under_a_mapping(void **state) {
        SHMB_CLOSE int fd = object_new();
        uint8_t *data = map(fd, PROT_READ | PROT_WRITE);

        (void)state;
        memset(data, 0xab, SIZE);
        assert_int_equal(shmb_memfd_punch(fd, 0, SIZE), 0);
        assert_int_equal(shmb_memfd_populate(fd, 0, SIZE), 0);
        for (size_t i = 0; i < SIZE; i++)
                assert_int_equal(data[i], 0);
        munmap(data, SIZE);
}

static void test_alone_is_exclusive(void **state) {
        SHMB_CLOSE int fd = object_new();
        SHMB_CLOSE int duplicate = dup(fd);

        (void)state;
        assert_true(duplicate >= 0);
        assert_int_equal(shmb_memfd_is_exclusive(fd), 1);
        /* The probe leaves nothing behind that the next one would trip over. */
        assert_int_equal(shmb_memfd_is_exclusive(fd), 1);
}

static void test_an_open_file_is_seen(void **state) {
        SHMB_CLOSE int fd = object_new();

        (void)state;
        for (int writable = 0; writable <= 1; writable++) {
                SHMB_CLOSE int other = shmb_memfd_reopen(fd, writable);
                SHMB_CLOSE int duplicate = dup(other);
                assert_int_equal(shmb_memfd_is_exclusive(fd), 0);
                other = shmb_close(other);
                assert_int_equal(shmb_memfd_is_exclusive(fd), 0);
                duplicate = shmb_close(duplicate);
                assert_int_equal(shmb_memfd_is_exclusive(fd), 1);
        }
}

static void test_a_mapping_is_seen(void **state) {
        SHMB_CLOSE int fd = object_new();

        (void)state;
        for (int writable = 0; writable <= 1; writable++) {
                int other = shmb_memfd_reopen(fd, writable);
                uint8_t *data = map(other, writable ? PROT_READ | PROT_WRITE : PROT_READ);
                other = shmb_close(other);
                assert_int_equal(shmb_memfd_is_exclusive(fd), 0);
                munmap(data, SIZE);
                assert_int_equal(shmb_memfd_is_exclusive(fd), 1);
        }
}

/* A lease that a holder took itself neither stalls the probe nor hides the holder. */
static void test_a_leased_file_is_seen(void **state) {
        SHMB_CLOSE int fd = object_new();
        SHMB_CLOSE int other = shmb_memfd_reopen(fd, true);

        (void)state;
        assert_int_equal(fcntl(other, F_SETLEASE, F_WRLCK), 0);
        assert_int_equal(fcntl(other, F_SETSIG, SIGURG), 0); /* ignored, unlike SIGIO */
        assert_int_equal(shmb_memfd_is_exclusive(fd), 0);
        other = shmb_close(other);
        assert_int_equal(shmb_memfd_is_exclusive(fd), 1);
}

static void test_bad_descriptors(void **state) {
        (void)state;
        assert_int_equal(shmb_memfd_reopen(-1, false), -ENOENT);
        assert_int_equal(shmb_memfd_populate(-1, 0, 1), -EBADF);
        assert_int_equal(shmb_memfd_punch(-1, 0, 1), -EBADF);
        assert_true(shmb_memfd_is_exclusive(-1) < 0);
        assert_true(shmb_memfd_allocated(-1) == -EBADF);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                fd_test(test_new),
                fd_test(test_seals_hold),
                fd_test(test_reopen_has_its_own_mode),
                fd_test(test_populate_and_punch),
                fd_test(test_punch_under_a_mapping),
                fd_test(test_alone_is_exclusive),
                fd_test(test_an_open_file_is_seen),
                fd_test(test_a_mapping_is_seen),
                fd_test(test_a_leased_file_is_seen),
                fd_test(test_bad_descriptors),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
