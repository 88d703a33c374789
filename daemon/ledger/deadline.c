/* SPDX-License-Identifier: Apache-2.0 */
#include "deadline.h"

#include <errno.h>
#include <stdlib.h>

static void put(struct deadline_queue *queue, size_t place, struct deadline *node) {
        queue->heap[place] = node;
        node->place = place;
}

static void sift_up(struct deadline_queue *queue, struct deadline *node) {
        size_t place = node->place;

        while (place > 1 && queue->heap[place / 2]->when > node->when) {
                put(queue, place, queue->heap[place / 2]);
                place /= 2;
        }
        put(queue, place, node);
}

static void sift_down(struct deadline_queue *queue, struct deadline *node) {
        size_t place = node->place;

        for (size_t child; (child = 2 * place) <= queue->count; place = child) {
                if (child < queue->count &&
                    queue->heap[child + 1]->when < queue->heap[child]->when)
                        child++;
                if (queue->heap[child]->when >= node->when)
                        break;
                put(queue, place, queue->heap[child]);
        }
        put(queue, place, node);
}

static int grow(struct deadline_queue *queue) {
        size_t room = queue->room ? 2 * queue->room : 64;
        struct deadline **heap = reallocarray(queue->heap, room, sizeof(*heap));

        if (!heap)
                return -ENOMEM;
        queue->heap = heap;
        queue->room = room;
        return 0;
}

int deadline_set(struct deadline_queue *queue, struct deadline *node, uint64_t when) {
        if (when == DEADLINE_NEVER) {
                deadline_clear(queue, node);
                return 0;
        }
        node->when = when;
        if (node->place == 0) {
                if (queue->count + 1 >= queue->room) {
                        int r = grow(queue);
                        if (r < 0)
                                return r;
                }
                put(queue, ++queue->count, node);
        }
        sift_up(queue, node);
        sift_down(queue, node);
        return 0;
}

void deadline_clear(struct deadline_queue *queue, struct deadline *node) {
        if (node->place == 0)
                return;
        struct deadline *last = queue->heap[queue->count--];
        if (last != node) {
                put(queue, node->place, last);
                sift_up(queue, last);
                sift_down(queue, last);
        }
        node->place = 0;
}

struct deadline *deadline_first(const struct deadline_queue *queue) {
        return queue->count > 0 ? queue->heap[1] : NULL;
}

void deadline_queue_deinit(struct deadline_queue *queue) {
        free(queue->heap);
        *queue = (struct deadline_queue){ 0 };
}
