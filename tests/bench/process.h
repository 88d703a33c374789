/* SPDX-License-Identifier: Apache-2.0 */
/* A second process of a bench, and where processes run. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct helper {
        pid_t pid;
        int fd; /* a SEQPACKET socket to it */
};
#define HELPER_NONE                                                                            \
        { -1, -1 }

/* Runs in the second process; its result, 0 or -errno, becomes the exit status. */
typedef int (*helper_fn)(int fd, void *arg);

/*
 * Forks. The helper dies with this process whatever happens. Start helpers before anything
 * that must not be shared with them, such as a connection.
 */
int helper_start(struct helper *ret_helper, helper_fn function, void *arg);

/* Closes the socket, which a helper takes as the end, and waits: 0, or -ECHILD if it failed. */
int helper_end(struct helper *helper);

/* For cleanup: as helper_end, by force. */
void helper_kill(struct helper *helper);

/* One whole message each way: 0, or -errno; -EPIPE when the other side is gone. */
int helper_send(int fd, const void *message, size_t size);
int helper_receive(int fd, void *message, size_t size);

/*
 * Keeps this process (this thread of it) and that one on two different processors: whether
 * the scheduler lets two that take turns share a processor or wakes an idle one for each turn
 * differs from run to run and decides a round trip more than anything else does. False if
 * that cannot be had. Until unpin, which a signal handler may call.
 */
bool pin_apart(pid_t other);
void unpin(void);
