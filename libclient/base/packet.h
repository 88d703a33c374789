/* SPDX-License-Identifier: Apache-2.0 */
/* One packet, with at most one descriptor, over a SOCK_SEQPACKET socket: all cmsg code. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Sends. `fd` is borrowed; -1 for none. `flags` as for sendmsg(2); MSG_NOSIGNAL is added.
 * Returns 0, or -errno (-EAGAIN: the peer's queue is full; -ETOOMANYREFS: descriptors in
 * flight).
 */
int shmb_packet_send(int socket, const void *packet, size_t size, int fd, int flags);

enum shmb_packet_outcome {
        SHMB_PACKET_OK = 0,
        SHMB_PACKET_END = 1,       /* the peer closed */
        SHMB_PACKET_TRUNCATED = 2, /* longer than the room given */
        SHMB_PACKET_LOST_FDS = 3,  /* there was no room for them; to a peek: some are there */
        SHMB_PACKET_MANY_FDS = 4,  /* more than one came; all were closed */
};

/*
 * Looks at the next packet without taking it, nor what it carries. `flags` as for recvmsg(2);
 * MSG_PEEK is added. Returns SHMB_PACKET_OK, or SHMB_PACKET_LOST_FDS if descriptors are
 * attached, or SHMB_PACKET_END, or -errno (-EAGAIN: nothing there).
 */
int shmb_packet_peek(int socket, int flags);

/*
 * Receives one packet into `packet` of `room` bytes. `flags` as for recvmsg(2);
 * MSG_CMSG_CLOEXEC is added. Returns an outcome, or -errno (-EAGAIN: nothing there).
 * *ret_size and *ret_fd are written only on SHMB_PACKET_OK; the caller owns the descriptor,
 * -1 if none came. On every other outcome whatever came was closed. On SHMB_PACKET_LOST_FDS
 * *ret_size is written, too: the packet's bytes did come, and may name what to give back.
 */
int shmb_packet_receive(int socket, void *packet, size_t room, int flags, size_t *ret_size,
                        int *ret_fd);
