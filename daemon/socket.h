/* SPDX-License-Identifier: Apache-2.0 */
/* Listening sockets and who is at the other end. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/*
 * Listens at `address`: an absolute path, or an abstract name behind '@'. `type` is
 * SOCK_SEQPACKET or SOCK_STREAM. A socket file that nobody listens at any more is replaced;
 * one that somebody does listen at is -EADDRINUSE. The directory is made if only it is
 * missing. Returns a descriptor the caller owns, or -errno with a sentence in `error`.
 */
int socket_listen(const char *address, int type, mode_t mode, gid_t gid, char *error,
                  size_t error_size);

/* Removes the file of a socket this process made; nothing for an abstract name. */
void socket_unlink(const char *address);

/*
 * Whoever connects to this listening socket can attach no descriptor to what it sends: a
 * reader that does not ask for them would have to close them. Before Linux 6.16 it has no
 * effect.
 */
void socket_refuse_descriptors(int fd);

struct socket_peer {
        pid_t pid;
        uid_t uid;
        gid_t *gids; /* primary and supplementary; owned by whoever asked, free() */
        size_t n_gids;
};

/*
 * The process that connected, as a pidfd the caller owns. -ESRCH if it is gone, -EOPNOTSUPP
 * if the kernel does not say, else -errno. `pid` is for kernels before Linux 6.5.
 */
int socket_peer_process(int fd, pid_t pid);

/*
 * As they were when the peer connected (unix(7), SO_PEERCRED, SO_PEERGROUPS). 0 or -errno;
 * -EREMOTE for one whose user this process's user namespace does not have.
 */
int socket_identify(int fd, struct socket_peer *ret_peer);
