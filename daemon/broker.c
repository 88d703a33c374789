/* SPDX-License-Identifier: Apache-2.0 */
#include "broker.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "closer.h"
#include "control.h"
#include "grant-fd.h"
#include "listener.h"
#include "log.h"
#include "peer.h"
#include "worker.h"

uint64_t broker_clock(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void broker_enter(struct broker *broker) {
        broker->ledger->now = broker_clock();
}

void broker_leave(struct broker *broker) {
        uint64_t next = ledger_next_deadline(broker->ledger);

        if (next == broker->timer_at)
                return;
        broker->timer_at = next;
        if (next == DEADLINE_NEVER) {
                evtimer_del(broker->timer);
                return;
        }
        uint64_t left = next > broker->ledger->now ? next - broker->ledger->now : 0;
        struct timeval tv = {
                .tv_sec = (time_t)(left / 1000000000u),
                /* Rounded up: an early call would find nothing due. */
                .tv_usec = (suseconds_t)(left % 1000000000u / 1000u + 1),
        };
        if (tv.tv_usec >= 1000000) {
                tv.tv_sec++;
                tv.tv_usec -= 1000000;
        }
        (void)evtimer_add(broker->timer, &tv);
}

static void on_timer(evutil_socket_t fd, short what, void *userdata) {
        struct broker *broker = userdata;

        (void)fd;
        (void)what;
        broker->timer_at = DEADLINE_NEVER;
        ledger_advance(broker->ledger, broker_clock());
        log_flush_suppressed();
        broker_leave(broker);
}

static void on_reap(evutil_socket_t fd, short what, void *userdata) {
        struct broker *broker = userdata;

        (void)fd;
        (void)what;
        broker_enter(broker);
        peers_reap(broker);
        broker_leave(broker);
}

static void on_work_done(void *userdata, struct work *work) {
        struct broker *broker = userdata;
        struct object *object = (struct object *)(void *)((char *)work -
                                                          offsetof(struct object, work));

        broker_enter(broker);
        object->fd = work->fd;
        object->huge = work->huge;
        object->numa = work->numa;
        if (work->result < 0)
                log_limited(LOG_LEVEL_WARNING,
                            LOG_FIELDS(LOG_TEXT("pool", object->pool->config->name),
                                       LOG_NUMBER("bytes", work->size),
                                       LOG_TEXT("reason", strerror(-work->result))),
                            "memory object could not be %s",
                            work->kind == WORK_MAKE ? "made" : "recycled");
        ledger_work_done(broker->ledger, object, work->kind, work->result);
        broker_leave(broker);
}

static uint64_t on_trim(void *userdata) {
        struct broker *broker = userdata;

        broker_enter(broker);
        uint64_t bytes = ledger_trim(broker->ledger);
        broker_leave(broker);
        return bytes;
}

static int on_disconnect(void *userdata, uint64_t client_id) {
        struct broker *broker = userdata;
        struct client *client;

        HASH_FIND(hh, broker->ledger->clients, &client_id, sizeof(client_id), client);
        if (!client)
                return -ENOENT;
        peer_doom(client->peer, SHMB_STATUS_DISCONNECTED, "by an administrator");
        return 0;
}

static void on_counts(void *userdata, struct control_counts *ret_counts) {
        const struct broker *broker = userdata;

        *ret_counts = broker->counts;
        /* One that is still being closed is there, as far as the kernel goes. */
        ret_counts->connections = broker->n_peers + closer_pending(broker->closer);
}

static int start(struct broker *broker, struct broker_sockets *sockets) {
        static const struct control_ops control_ops = {
                .trim = on_trim,
                .disconnect = on_disconnect,
                .counts = on_counts,
        };
        int r;

        broker->timer = evtimer_new(broker->base, on_timer, broker);
        broker->reaper = event_new(broker->base, -1, 0, on_reap, broker);
        if (!broker->timer || !broker->reaper)
                return -ENOMEM;
        broker->own_fds = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (broker->own_fds < 0)
                return -errno;
        r = sweep_init(broker);
        if (r < 0)
                return r;
        r = closer_new(&broker->closer);
        if (r < 0)
                return r;
        r = workers_new(&broker->workers, broker->base, broker->config->workers, on_work_done,
                        broker);
        if (r < 0)
                return r;
        r = ledger_new(&broker->ledger, broker->config, &request_ledger_ops, broker,
                       broker_clock());
        if (r < 0)
                return r;
        r = control_new(&broker->control, broker->base, sockets->control, broker->ledger,
                        broker->config, &control_ops, broker);
        if (r < 0)
                return r;
        sockets->control = -1;
        return listener_new(&broker->listener, broker, shmb_steal_fd(&sockets->data));
}

int broker_new(struct broker **ret_broker, const struct config *config, struct event_base *base,
               struct broker_sockets sockets) {
        struct broker *broker = calloc(1, sizeof(*broker));
        int r = -ENOMEM;

        if (broker) {
                broker->config = config;
                broker->base = base;
                broker->sweep_epoll = broker->own_fds = -1;
                broker->timer_at = DEADLINE_NEVER;
                r = start(broker, &sockets);
        }
        shmb_close(sockets.data);
        shmb_close(sockets.control);
        if (r < 0) {
                log_error("cannot start: %s", strerror(-r));
                broker_free(broker);
                return r;
        }
        broker_leave(broker);
        *ret_broker = broker;
        return 0;
}

static void close_objects(struct broker *broker) {
        struct object *object;

        for (object = broker->ledger->objects; object; object = object->hh.next) {
                grant_fd_drop(broker, object);
                if (object->state == OBJECT_MAKING || object->state == OBJECT_RETIRING)
                        object->fd = object->work.fd;
                object->fd = shmb_close(object->fd);
        }
}

struct broker *broker_free(struct broker *broker) {
        if (!broker)
                return NULL;
        broker->listener = listener_free(broker->listener);
        broker->control = control_free(broker->control);
        for (struct peer *peer = broker->peers; peer; peer = peer->next)
                peer_doom(peer, SHMB_STATUS_SHUTDOWN, "the broker is shutting down");
        peers_reap(broker);
        broker->closer = closer_free(broker->closer);
        broker->workers = workers_free(broker->workers);
        if (broker->ledger)
                close_objects(broker);
        broker->ledger = ledger_free(broker->ledger);
        sweep_deinit(broker);
        shmb_close(broker->own_fds);
        if (broker->timer)
                event_free(broker->timer);
        if (broker->reaper)
                event_free(broker->reaper);
        free(broker);
        return NULL;
}
