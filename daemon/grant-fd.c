/* SPDX-License-Identifier: Apache-2.0 */
#include "grant-fd.h"

#include <errno.h>

#include "cleanup.h"
#include "memfd.h"

/* Whoever needs a descriptor now goes before those who may need one later. */
static int reopen(struct broker *broker, struct object *object, bool writable) {
        int fd = shmb_memfd_reopen_in(broker->own_fds, object->fd, writable);

        if ((fd != -EMFILE && fd != -ENFILE) || broker->n_spare_fds == 0)
                return fd;
        for (struct object *o = broker->ledger->objects; o; o = o->hh.next)
                grant_fd_drop(broker, o);
        return shmb_memfd_reopen_in(broker->own_fds, object->fd, writable);
}

enum shmb_status grant_fd_take(struct broker *broker, struct object *object, bool writable,
                               int *ret_fd) {
        int fd;

        if (writable && object->spare_fd >= 0) {
                broker->n_spare_fds--;
                fd = shmb_steal_fd(&object->spare_fd);
        } else {
                fd = reopen(broker, object, writable);
        }
        if (fd < 0)
                return fd == -ENOMEM ? SHMB_STATUS_NO_MEMORY : SHMB_STATUS_NO_DESCRIPTORS;
        *ret_fd = fd;
        return SHMB_STATUS_OK;
}

void grant_fd_prepare(struct broker *broker, struct object *object) {
        if (object->spare_fd >= 0 || broker->n_spare_fds >= GRANT_FD_SPARES_MAX)
                return;
        int fd = shmb_memfd_reopen_in(broker->own_fds, object->fd, true);
        if (fd < 0)
                return; /* there is always the slow way */
        object->spare_fd = fd;
        broker->n_spare_fds++;
}

void grant_fd_drop(struct broker *broker, struct object *object) {
        if (object->spare_fd < 0)
                return;
        object->spare_fd = shmb_close(object->spare_fd);
        broker->n_spare_fds--;
}
