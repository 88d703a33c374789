/* SPDX-License-Identifier: Apache-2.0 */
/* A queue of things that fall due: a binary heap of nodes embedded in their owners. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEADLINE_NEVER UINT64_MAX

struct deadline {
        uint64_t when; /* CLOCK_MONOTONIC, ns */
        size_t place;  /* 1-based index in the heap; 0: not queued */
        int kind;      /* the owner's tag */
};

struct deadline_queue {
        struct deadline **heap; /* heap[0] unused */
        size_t count, room;
};

/* Queues or moves; DEADLINE_NEVER takes it out. 0 or -ENOMEM (then it is not queued). */
int deadline_set(struct deadline_queue *queue, struct deadline *node, uint64_t when);

/* Takes it out; harmless if it is not queued. */
void deadline_clear(struct deadline_queue *queue, struct deadline *node);

/* The earliest, or NULL. */
struct deadline *deadline_first(const struct deadline_queue *queue);

void deadline_queue_deinit(struct deadline_queue *queue);
