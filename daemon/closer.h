/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Closes sockets with what clients left unread in them.
 *
 * A packet can carry any descriptor, and whoever drops the last reference to a file waits for
 * what its end takes: a TCP socket that lingers, a file system that answers to its owner. A
 * client could so hold up the event loop for hours. Therefore the loop never takes a
 * descriptor out of a socket, and a socket that may still have one in it is closed by a
 * thread of its own, which is made for it and prodded on.
 */
#pragma once

#include <stdint.h>

struct closer;

/* 0 or -errno. */
int closer_new(struct closer **ret_closer);

/* Ends both directions at once and consumes `fd`, a connected or listening socket. */
void closer_close(struct closer *closer, int fd);

/* How many sockets are on their way, but not closed yet. */
uint32_t closer_pending(struct closer *closer);

/* Waits for what is under way, but not for ever. Accepts NULL, returns NULL. */
struct closer *closer_free(struct closer *closer);
