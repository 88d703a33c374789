/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#include "cleanup.h"
#include "fds.h"
#include "packet.h"

struct pair {
        int a, b;
};

static void pair_done(struct pair *pair) {
        shmb_close(pair->a);
        shmb_close(pair->b);
}

static struct pair pair_new(void) {
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
        return (struct pair){ fds[0], fds[1] };
}

#define PAIR SHMB_CLEANUP(pair_done) struct pair

static int receive(int socket, char *packet, size_t room, size_t *size, int *fd) {
        return shmb_packet_receive(socket, packet, room, MSG_DONTWAIT, size, fd);
}

static void test_bytes(void **state) {
        PAIR pair = pair_new();
        char packet[16];
        size_t size = 0;
        int fd = 99;

        (void)state;
        assert_int_equal(shmb_packet_send(pair.a, "hello", 5, -1, 0), 0);
        assert_int_equal(shmb_packet_send(pair.a, "you", 3, -1, 0), 0);
        assert_int_equal(receive(pair.b, packet, sizeof(packet), &size, &fd), SHMB_PACKET_OK);
        assert_int_equal(size, 5);
        assert_memory_equal(packet, "hello", 5);
        assert_int_equal(fd, -1);
        assert_int_equal(receive(pair.b, packet, sizeof(packet), &size, &fd), SHMB_PACKET_OK);
        assert_int_equal(size, 3);
}

static void test_peek(void **state) {
        PAIR pair = pair_new();
        char packet[16];
        size_t size = 0;
        int fd = -1;

        (void)state;
        assert_int_equal(shmb_packet_peek(pair.b, MSG_DONTWAIT), -EAGAIN);
        assert_int_equal(shmb_packet_send(pair.a, "hello", 5, -1, 0), 0);
        assert_int_equal(shmb_packet_send(pair.a, "you", 3, pair.a, 0), 0);
        /* Looking takes nothing, and brings no descriptor into the process. */
        for (int i = 0; i < 2; i++)
                assert_int_equal(shmb_packet_peek(pair.b, MSG_DONTWAIT), SHMB_PACKET_OK);
        assert_int_equal(receive(pair.b, packet, sizeof(packet), &size, &fd), SHMB_PACKET_OK);
        assert_int_equal(size, 5);
        int before = count_fds();
        for (int i = 0; i < 2; i++)
                assert_int_equal(shmb_packet_peek(pair.b, MSG_DONTWAIT), SHMB_PACKET_LOST_FDS);
        assert_int_equal(count_fds(), before);
        assert_int_equal(receive(pair.b, packet, sizeof(packet), &size, &fd), SHMB_PACKET_OK);
        shmb_closep(&fd);
        shmb_closep(&pair.a);
        assert_int_equal(shmb_packet_peek(pair.b, MSG_DONTWAIT), SHMB_PACKET_END);
}

static void test_descriptor(void **state) {
        PAIR pair = pair_new();
        SHMB_CLOSE int sent = open("/dev/null", O_RDONLY | O_CLOEXEC);
        SHMB_CLOSE int received = -1;
        struct stat a, b;
        char packet[16];
        size_t size = 0;

        (void)state;
        assert_int_equal(shmb_packet_send(pair.a, "fd", 2, sent, 0), 0);
        assert_int_equal(receive(pair.b, packet, sizeof(packet), &size, &received),
                         SHMB_PACKET_OK);
        assert_int_equal(size, 2);
        assert_int_not_equal(received, sent);
        assert_int_equal(fcntl(received, F_GETFD), FD_CLOEXEC);
        assert_int_equal(fstat(sent, &a), 0);
        assert_int_equal(fstat(received, &b), 0);
        assert_int_equal(a.st_rdev, b.st_rdev);
}

static void test_nothing_there(void **state) {
        PAIR pair = pair_new();
        char packet[16];
        size_t size = 77;
        int fd = 99;

        (void)state;
        assert_int_equal(receive(pair.b, packet, sizeof(packet), &size, &fd), -EAGAIN);
        assert_int_equal(size, 77);
        assert_int_equal(fd, 99);
}

static void test_end(void **state) {
        PAIR pair = pair_new();
        char packet[16];
        size_t size = 77;
        int fd = 99;

        (void)state;
        assert_int_equal(shmb_packet_send(pair.a, "last", 4, -1, 0), 0);
        pair.a = shmb_close(pair.a);
        assert_int_equal(receive(pair.b, packet, sizeof(packet), &size, &fd), SHMB_PACKET_OK);
        assert_int_equal(receive(pair.b, packet, sizeof(packet), &size, &fd), SHMB_PACKET_END);
        /* And no signal. */
        assert_int_equal(shmb_packet_send(pair.b, "x", 1, -1, 0), -EPIPE);
        pair.b = shmb_close(pair.b);
        assert_int_equal(receive(pair.b, packet, sizeof(packet), &size, &fd), -EBADF);
}

static void test_too_long(void **state) {
        PAIR pair = pair_new();
        SHMB_CLOSE int sent = open("/dev/null", O_RDONLY | O_CLOEXEC);
        char packet[4];
        size_t size = 77;
        int fd = 99;

        (void)state;
        assert_int_equal(shmb_packet_send(pair.a, "12345", 5, sent, 0), 0);
        assert_int_equal(receive(pair.b, packet, sizeof(packet), &size, &fd),
                         SHMB_PACKET_TRUNCATED);
        assert_int_equal(fd, 99);
        /* The rest of it is gone, the next is whole. */
        assert_int_equal(shmb_packet_send(pair.a, "abcd", 4, -1, 0), 0);
        assert_int_equal(receive(pair.b, packet, sizeof(packet), &size, &fd), SHMB_PACKET_OK);
        assert_int_equal(size, 4);
        assert_memory_equal(packet, "abcd", 4);
}

/* As a hostile peer would: `count` descriptors with one packet. */
static void send_fds(int socket, size_t count) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(16 * sizeof(int))];
        } control = { 0 };
        char bytes[] = { 1, 2, 3, 4 };
        struct iovec iov = { .iov_base = bytes, .iov_len = sizeof(bytes) };
        struct msghdr message = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = control.bytes,
                .msg_controllen = CMSG_SPACE(count * sizeof(int)),
        };
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message);
        int fds[16];

        for (size_t i = 0; i < count; i++)
                fds[i] = STDERR_FILENO;
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(cmsg), fds, count * sizeof(int));
        assert_int_equal(sendmsg(socket, &message, 0), 4);
}

static void test_many_descriptors(void **state) {
        static const size_t counts[] = { 2, 3, 4, 5, 16 };

        (void)state;
        for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
                PAIR pair = pair_new();
                char packet[16];
                size_t size = 77;
                int fd = 99, before = count_fds();

                send_fds(pair.a, counts[i]);
                assert_int_equal(receive(pair.b, packet, sizeof(packet), &size, &fd),
                                 SHMB_PACKET_MANY_FDS);
                assert_int_equal(fd, 99);
                assert_int_equal(count_fds(), before);
        }
}

/* No descriptor free in this process: the bytes still come, and say how many they are. */
static void test_lost_descriptor(void **state) {
        PAIR pair = pair_new();
        struct rlimit limit, none;
        char packet[16];
        size_t size = 77;
        int fd = 99;

        (void)state;
        assert_int_equal(shmb_packet_send(pair.a, "lease 7", 7, STDERR_FILENO, 0), 0);
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
        none = limit;
        none.rlim_cur = 0;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
        int outcome = receive(pair.b, packet, sizeof(packet), &size, &fd);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        assert_int_equal(outcome, SHMB_PACKET_LOST_FDS);
        assert_int_equal(fd, 99);
        assert_int_equal(size, 7);
        assert_memory_equal(packet, "lease 7", 7);
}

static void test_full_socket(void **state) {
        PAIR pair = pair_new();
        char packet[1024] = { 0 };
        size_t size;
        int fd, sent = 0, r;

        (void)state;
        while ((r = shmb_packet_send(pair.a, packet, sizeof(packet), -1, MSG_DONTWAIT)) == 0)
                sent++;
        assert_int_equal(r, -EAGAIN);
        assert_true(sent > 0);
        while (sent-- > 0)
                assert_int_equal(receive(pair.b, packet, sizeof(packet), &size, &fd),
                                 SHMB_PACKET_OK);
        assert_int_equal(receive(pair.b, packet, sizeof(packet), &size, &fd), -EAGAIN);
}

/* Descriptors nobody receives are closed with the socket. */
static void test_unread_descriptors(void **state) {
        PAIR pair = pair_new();

        (void)state;
        for (int i = 0; i < 10; i++)
                assert_int_equal(shmb_packet_send(pair.a, "x", 1, STDERR_FILENO, 0), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                fd_test(test_bytes),
                fd_test(test_peek),
                fd_test(test_descriptor),
                fd_test(test_nothing_there),
                fd_test(test_end),
                fd_test(test_too_long),
                fd_test(test_many_descriptors),
                fd_test(test_lost_descriptor),
                fd_test(test_full_socket),
                fd_test(test_unread_descriptors),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
