/* SPDX-License-Identifier: Apache-2.0 */
#include "listener.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "closer.h"
#include "log.h"
#include "packet.h"
#include "peer.h"

#define ACCEPTS_PER_TURN 64
#define BACK_OFF_SECONDS 1

struct listener {
        struct broker *broker;
        int fd;
        struct event *readable;
        struct event *resume; /* after the machine ran short */
};

struct uid_connections {
        uid_t uid;
        uint32_t count;
        UT_hash_handle hh;
};

static struct uid_connections *find_uid(struct broker *broker, uid_t uid) {
        struct uid_connections *entry;

        HASH_FIND(hh, broker->uids, &uid, sizeof(uid), entry);
        return entry;
}

static int count_in(struct broker *broker, uid_t uid) {
        struct uid_connections *entry = find_uid(broker, uid);

        if (!entry) {
                entry = calloc(1, sizeof(*entry));
                if (!entry)
                        return -ENOMEM;
                entry->uid = uid;
                HASH_ADD(hh, broker->uids, uid, sizeof(entry->uid), entry);
                if (!entry->hh.tbl) {
                        free(entry);
                        return -ENOMEM;
                }
        }
        entry->count++;
        return 0;
}

void listener_left(struct broker *broker, uid_t uid) {
        struct uid_connections *entry = find_uid(broker, uid);

        if (entry && --entry->count == 0) {
                HASH_DELETE(hh, broker->uids, entry);
                free(entry);
        }
}

/* NULL, or which limit keeps it out. */
static const char *over_limit(struct broker *broker, uid_t uid) {
        const struct uid_connections *entry = find_uid(broker, uid);

        if (broker->n_peers >= broker->config->connections_max)
                return "ConnectionsMax= is reached";
        if (entry && entry->count >= broker->config->connections_per_uid_max)
                return "UidConnectionsMax= is reached";
        return NULL;
}

/* Consumes `fd`. */
static void turn_away(struct broker *broker, int fd, const struct socket_peer *who,
                      const char *limit) {
        struct shmb_goodbye goodbye = { .status = SHMB_STATUS_TOO_MANY_CLIENTS };
        uint8_t packet[SHMB_PACKET_MAX];

        memcpy(goodbye.text, limit, strlen(limit) + 1);
        size_t size = shmb_encode_goodbye(packet, &goodbye);
        (void)shmb_packet_send(fd, packet, size, -1, MSG_DONTWAIT);
        closer_close(broker->closer, fd);
        broker->counts.refused++;
        log_limited(LOG_LEVEL_WARNING,
                    LOG_FIELDS(LOG_NUMBER("pid", who->pid), LOG_NUMBER("uid", who->uid),
                               LOG_TEXT("reason", limit)),
                    "client turned away");
}

static void welcome(struct broker *broker, int fd) {
        struct socket_peer who = { 0 };
        int r = socket_identify(fd, &who);

        broker->counts.accepted++;
        if (r < 0) {
                log_limited(LOG_LEVEL_WARNING, LOG_NO_FIELDS, "cannot identify a client: %s",
                            r == -EREMOTE ? "the broker's user namespace lacks its user"
                                          : strerror(-r));
                closer_close(broker->closer, fd);
                return;
        }
        const char *limit = over_limit(broker, who.uid);
        if (limit) {
                turn_away(broker, fd, &who, limit);
                free(who.gids);
                return;
        }
        r = count_in(broker, who.uid);
        if (r == 0) {
                r = peer_new(broker, fd, &who);
        } else {
                closer_close(broker->closer, fd);
                free(who.gids);
        }
        if (r < 0)
                log_limited(LOG_LEVEL_WARNING, LOG_NO_FIELDS, "cannot serve a client: %s",
                            strerror(-r));
}

static void back_off(struct listener *listener, int error) {
        struct timeval delay = { .tv_sec = BACK_OFF_SECONDS };

        log_limited(LOG_LEVEL_WARNING, LOG_NO_FIELDS,
                    "cannot accept connections: %s; trying again in %d s", strerror(error),
                    BACK_OFF_SECONDS);
        event_del(listener->readable);
        (void)evtimer_add(listener->resume, &delay);
}

static void on_resume(evutil_socket_t fd, short what, void *userdata) {
        struct listener *listener = userdata;

        (void)fd;
        (void)what;
        (void)event_add(listener->readable, NULL);
}

static void on_readable(evutil_socket_t fd, short what, void *userdata) {
        struct listener *listener = userdata;

        (void)what;
        broker_enter(listener->broker);
        for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
                int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
                if (connection >= 0) {
                        welcome(listener->broker, connection);
                        continue;
                }
                if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                        back_off(listener, errno);
                /* Else there is none left, or one that gave up while it waited. */
                break;
        }
        broker_leave(listener->broker);
}

int listener_new(struct listener **ret_listener, struct broker *broker, int fd) {
        struct listener *listener = calloc(1, sizeof(*listener));

        if (!listener) {
                shmb_close(fd);
                return -ENOMEM;
        }
        listener->broker = broker;
        listener->fd = fd;
        listener->readable = event_new(broker->base, fd, EV_READ | EV_PERSIST, on_readable,
                                       listener);
        listener->resume = evtimer_new(broker->base, on_resume, listener);
        if (!listener->readable || !listener->resume ||
            event_add(listener->readable, NULL) < 0) {
                listener_free(listener);
                return -ENOMEM;
        }
        *ret_listener = listener;
        return 0;
}

struct listener *listener_free(struct listener *listener) {
        if (!listener)
                return NULL;
        if (listener->readable)
                event_free(listener->readable);
        if (listener->resume)
                event_free(listener->resume);
        shmb_close(listener->fd);
        free(listener);
        return NULL;
}
