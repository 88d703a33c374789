/* SPDX-License-Identifier: Apache-2.0 */
/* Packets that a peer's socket had no room for, in order, each with its descriptor. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct outq_packet;

/* Zero-initialised. */
struct outq {
        struct outq_packet *first, *last;
        uint32_t count, n_fds;
};

/* Copies the packet and consumes `fd` (-1: none), also on failure. 0 or -ENOMEM. */
int outq_put(struct outq *queue, const void *packet, size_t size, int fd);

/*
 * Sends what the socket takes. Returns 0 when the queue is empty, or -errno: -EAGAIN (try
 * when writable), -ETOOMANYREFS (try later), or what ends the connection.
 */
int outq_flush(struct outq *queue, int socket);

void outq_deinit(struct outq *queue);
