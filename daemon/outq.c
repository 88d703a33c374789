/* SPDX-License-Identifier: Apache-2.0 */
#include "outq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "packet.h"

struct outq_packet {
        struct outq_packet *next;
        int fd;
        size_t size;
        uint8_t bytes[];
};

int outq_put(struct outq *queue, const void *packet, size_t size, int fd) {
        struct outq_packet *new = malloc(sizeof(*new) + size);

        if (!new) {
                shmb_close(fd);
                return -ENOMEM;
        }
        new->next = NULL;
        new->fd = fd;
        new->size = size;
        memcpy(new->bytes, packet, size);
        if (queue->last)
                queue->last->next = new;
        else
                queue->first = new;
        queue->last = new;
        queue->count++;
        queue->n_fds += fd >= 0;
        return 0;
}

static void drop_first(struct outq *queue) {
        struct outq_packet *first = queue->first;

        queue->first = first->next;
        if (!queue->first)
                queue->last = NULL;
        queue->count--;
        queue->n_fds -= first->fd >= 0;
        shmb_close(first->fd);
        free(first);
}

int outq_flush(struct outq *queue, int socket) {
        while (queue->first) {
                struct outq_packet *first = queue->first;
                int r = shmb_packet_send(socket, first->bytes, first->size, first->fd,
                                         MSG_DONTWAIT);
                if (r < 0)
                        return r;
                drop_first(queue);
        }
        return 0;
}

void outq_deinit(struct outq *queue) {
        while (queue->first)
                drop_first(queue);
}
