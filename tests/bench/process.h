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
 * Two different CPUs this process may use; false if there is only one. Pinning is undone by
 * unpin, so that benches that follow are scheduled as programs are.
 */
bool pin_choose(size_t *ret_first, size_t *ret_second);
void pin_to(size_t cpu);
void unpin(void);
