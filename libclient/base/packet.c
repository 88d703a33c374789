/* SPDX-License-Identifier: Apache-2.0 */
#include "packet.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "cleanup.h"

/*
 * Room for more descriptors than are ever expected, so that a peer that sends too many is
 * seen to do so (unix(7): what does not fit is dropped, with MSG_CTRUNC).
 */
enum { FDS_SEEN = 4 };

int shmb_packet_send(int socket, const void *packet, size_t size, int fd, int flags) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control = { 0 };
        struct iovec iov = { .iov_base = (void *)packet, .iov_len = size };
        struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

        if (fd >= 0) {
                message.msg_control = control.bytes;
                message.msg_controllen = sizeof(control.bytes);
                struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message);
                cmsg->cmsg_level = SOL_SOCKET;
                cmsg->cmsg_type = SCM_RIGHTS;
                cmsg->cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
        }

        ssize_t sent;
        do
                sent = sendmsg(socket, &message, flags | MSG_NOSIGNAL);
        while (sent < 0 && errno == EINTR);
        return sent < 0 ? -errno : 0;
}

int shmb_packet_peek(int socket, int flags) {
        struct msghdr message = { 0 };
        ssize_t size;

        do
                size = recvmsg(socket, &message, flags | MSG_PEEK | MSG_TRUNC);
        while (size < 0 && errno == EINTR);
        if (size < 0)
                return -errno;
        /* With no room at all for control data, none of it is made for us. */
        if (message.msg_flags & MSG_CTRUNC)
                return SHMB_PACKET_LOST_FDS;
        return size == 0 ? SHMB_PACKET_END : SHMB_PACKET_OK;
}

/* Takes the first descriptor out of the control data and closes the others; counts all. */
static size_t take_fds(struct msghdr *message, int *ret_fd) {
        size_t count = 0;

        for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(message); cmsg;
             cmsg = CMSG_NXTHDR(message, cmsg)) {
                if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
                        continue;
                size_t fds = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < fds; i++, count++) {
                        int fd;
                        memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(int));
                        if (count == 0)
                                *ret_fd = fd;
                        else
                                shmb_close(fd);
                }
        }
        return count;
}

int shmb_packet_receive(int socket, void *packet, size_t room, int flags, size_t *ret_size,
                        int *ret_fd) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(FDS_SEEN * sizeof(int))];
        } control;
        struct iovec iov = { .iov_base = packet, .iov_len = room };
        struct msghdr message = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = control.bytes,
                .msg_controllen = sizeof(control.bytes),
        };
        SHMB_CLOSE int fd = -1;

        ssize_t size;
        do
                size = recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
        while (size < 0 && errno == EINTR);
        if (size < 0)
                return -errno;

        size_t fds = take_fds(&message, &fd);
        if (message.msg_flags & MSG_TRUNC)
                return SHMB_PACKET_TRUNCATED;
        if (fds > 1)
                return SHMB_PACKET_MANY_FDS;
        if (message.msg_flags & MSG_CTRUNC) {
                *ret_size = (size_t)size;
                return SHMB_PACKET_LOST_FDS;
        }
        /* An empty packet also reads as 0; no message of the protocol is empty. */
        if (size == 0)
                return SHMB_PACKET_END;
        *ret_size = (size_t)size;
        *ret_fd = shmb_steal_fd(&fd);
        return SHMB_PACKET_OK;
}
