/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <utlist.h>

#include "cleanup.h"
#include "peer.h"

struct undecided {
        struct peer *peer;
        uint32_t serial;
        uint8_t token[SHMB_TOKEN_SIZE];
        struct undecided *prev, *next;
};

enum { READY_AT_ONCE = 64 };

/*
 * Notes what lies in every socket. Level-triggered, and a peer just reported goes to the end
 * of epoll's list: after as many rounds as there can be full answers, all have been seen.
 */
static void mark_everyone(struct broker *broker) {
        struct epoll_event ready[READY_AT_ONCE];
        uint32_t rounds = broker->n_peers / READY_AT_ONCE + 1;

        while (rounds-- > 0) {
                int n = epoll_wait(broker->sweep_epoll, ready, READY_AT_ONCE, 0);
                for (int i = 0; i < n; i++) {
                        struct peer *peer = ready[i].data.ptr;
                        if (peer->swept || !peer_owe(peer))
                                continue;
                        peer->swept = true;
                        broker->n_swept++;
                }
                if (n < READY_AT_ONCE)
                        break;
        }
}

static void decide(struct broker *broker) {
        while (broker->deciding) {
                struct undecided *import = broker->deciding;

                DL_DELETE(broker->deciding, import);
                import->peer->undecided--;
                if (!import->peer->doomed)
                        request_decide_import(import->peer, import->serial, import->token);
                free(import);
        }
}

static void on_sweep(evutil_socket_t fd, short what, void *userdata) {
        struct broker *broker = userdata;

        (void)fd;
        (void)what;
        broker_enter(broker);
        if (broker->n_swept == 0)
                decide(broker);
        if (!broker->deciding && broker->undecided) {
                /* What is postponed from here on waits for the next sweep. */
                broker->deciding = broker->undecided;
                broker->undecided = NULL;
                mark_everyone(broker);
                if (broker->n_swept == 0)
                        decide(broker);
        }
        broker_leave(broker);
}

void sweep_caught_up(struct peer *peer) {
        struct broker *broker = peer->broker;

        peer->swept = false;
        /* Not at once: this may be the middle of anything. */
        if (--broker->n_swept == 0)
                event_active(broker->sweep, EV_TIMEOUT, 0);
}

int sweep_init(struct broker *broker) {
        broker->sweep = event_new(broker->base, -1, 0, on_sweep, broker);
        if (!broker->sweep)
                return -ENOMEM;
        broker->sweep_epoll = epoll_create1(EPOLL_CLOEXEC);
        return broker->sweep_epoll < 0 ? -errno : 0;
}

/* Those of the peer, or all. */
static void drop(struct undecided **list, const struct peer *peer) {
        struct undecided *import, *next;

        DL_FOREACH_SAFE(*list, import, next)
                if (!peer || import->peer == peer) {
                        DL_DELETE(*list, import);
                        free(import);
                }
}

void sweep_deinit(struct broker *broker) {
        drop(&broker->undecided, NULL);
        drop(&broker->deciding, NULL);
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
        epoll_ctl(broker->sweep_epoll, EPOLL_CTL_DEL, fd, NULL);
        if (peer->swept)
                sweep_caught_up(peer);
        if (peer->undecided > 0) {
                drop(&broker->undecided, peer);
                drop(&broker->deciding, peer);
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
        /* Else the end of the present sweep begins the next. */
        if (!broker->deciding)
                event_active(broker->sweep, EV_TIMEOUT, 0);
        return SHMB_STATUS_OK;
}
