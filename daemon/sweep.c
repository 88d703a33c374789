/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utlist.h>

#include "cleanup.h"
#include "log.h"
#include "peer.h"

struct undecided {
        struct peer *peer;
        uint32_t serial;
        uint8_t token[SHMB_TOKEN_SIZE];
        struct undecided *prev, *next;
};

enum { READY_AT_ONCE = 64 };

/* Reads what lies in the socket now, and no more: others send meanwhile. */
static void read_what_is_there(struct peer *peer) {
        int bytes = 0;

        /* For SOCK_SEQPACKET the sum over all packets (unix(7), SIOCINQ). */
        if (ioctl(peer->fd, SIOCINQ, &bytes) < 0 || bytes <= 0)
                return;
        peer_read(peer, (size_t)bytes);
}

/*
 * Level-triggered, and a peer just read goes to the end of epoll's list: after as many
 * rounds as there can be full answers, every peer that was readable has been seen.
 */
static void read_everyone(struct broker *broker) {
        struct epoll_event ready[READY_AT_ONCE];
        uint32_t rounds = broker->n_peers / READY_AT_ONCE + 1;

        while (rounds-- > 0) {
                int n = epoll_wait(broker->sweep_epoll, ready, READY_AT_ONCE, 0);
                for (int i = 0; i < n; i++)
                        read_what_is_there(ready[i].data.ptr);
                if (n < READY_AT_ONCE)
                        break;
        }
}

static void on_sweep(evutil_socket_t fd, short what, void *userdata) {
        struct broker *broker = userdata;
        struct undecided *list = broker->undecided, *import, *next;

        (void)fd;
        (void)what;
        broker_enter(broker);
        /* What is postponed from here on waits for the next sweep. */
        broker->undecided = NULL;
        read_everyone(broker);
        DL_FOREACH_SAFE(list, import, next) {
                import->peer->undecided--;
                if (!import->peer->doomed)
                        request_decide_import(import->peer, import->serial, import->token);
                free(import);
        }
        broker_leave(broker);
}

int sweep_init(struct broker *broker) {
        broker->sweep = event_new(broker->base, -1, 0, on_sweep, broker);
        if (!broker->sweep)
                return -ENOMEM;
        broker->sweep_epoll = epoll_create1(EPOLL_CLOEXEC);
        return broker->sweep_epoll < 0 ? -errno : 0;
}

void sweep_deinit(struct broker *broker) {
        struct undecided *import, *next;

        DL_FOREACH_SAFE(broker->undecided, import, next)
                free(import);
        broker->undecided = NULL;
        if (broker->sweep)
                event_free(broker->sweep);
        broker->sweep = NULL;
        broker->sweep_epoll = shmb_close(broker->sweep_epoll);
}

int sweep_watch(struct broker *broker, struct peer *peer, int fd) {
        struct epoll_event event = { .events = EPOLLIN, .data = { .ptr = peer } };

        return epoll_ctl(broker->sweep_epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void sweep_unwatch(struct broker *broker, struct peer *peer, int fd) {
        struct undecided *import, *next;

        epoll_ctl(broker->sweep_epoll, EPOLL_CTL_DEL, fd, NULL);
        if (peer->undecided > 0)
                DL_FOREACH_SAFE(broker->undecided, import, next)
                        if (import->peer == peer) {
                                DL_DELETE(broker->undecided, import);
                                free(import);
                        }
}

enum shmb_status sweep_postpone_import(struct broker *broker, struct peer *peer,
                                       uint32_t serial, const uint8_t *token) {
        struct undecided *import = calloc(1, sizeof(*import));

        if (!import)
                return SHMB_STATUS_NO_MEMORY;
        import->peer = peer;
        import->serial = serial;
        memcpy(import->token, token, sizeof(import->token));
        DL_APPEND(broker->undecided, import);
        peer->undecided++;
        event_active(broker->sweep, EV_TIMEOUT, 0);
        return SHMB_STATUS_OK;
}
