/* SPDX-License-Identifier: Apache-2.0 */
/* The listening side of the control socket, and what its connections share. */
#include "control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <utlist.h>

#include "cleanup.h"
#include "control-internal.h"
#include "log.h"

#define ACCEPTS_PER_TURN 16
#define BACK_OFF_SECONDS 1

uint64_t control_now(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

bool control_is_privileged(uid_t uid) {
        return uid == 0 || uid == geteuid();
}

/*
 * How many connections that user may have. A quarter is for whoever may change things, so that
 * an administrator gets in when others hold all they can, and no other user has more than half.
 */
static uint32_t connections_limit(const struct control *control, uid_t uid,
                                  uint32_t *ret_used) {
        uint32_t max = control->config->control_connections_max;
        uint32_t of_uid = control_connections_of(control, uid);

        *ret_used = control->n_connections;
        if (control_is_privileged(uid))
                return max;
        if (of_uid >= max - max / 2) {
                *ret_used = of_uid;
                return max - max / 2;
        }
        return max - max / 4;
}

static void turn_away(int fd, struct control_peer peer, uint32_t limit) {
        struct json_object *reply = control_error_reply("io.shmbroker.TooManyConnections",
                                                        "limit", limit);
        size_t size = 0;
        const char *text = reply ? json_object_to_json_string_length(
                                           reply, JSON_C_TO_STRING_PLAIN, &size)
                                 : NULL;

        if (text)
                (void)send(fd, text, size + 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        json_object_put(reply);
        log_limited(LOG_LEVEL_WARNING,
                    LOG_FIELDS(LOG_NUMBER("pid", peer.pid), LOG_NUMBER("uid", peer.uid),
                               LOG_TEXT("reason", "ControlConnectionsMax= is reached"),
                               LOG_NUMBER("limit", limit)),
                    "control connection turned away");
}

static void welcome(struct control *control, int connection) {
        SHMB_CLOSE int fd = connection;
        struct ucred credentials = { 0 };
        socklen_t size = sizeof(credentials);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0) {
                log_limited(LOG_LEVEL_WARNING, LOG_NO_FIELDS,
                            "cannot identify who connects to the control socket: %s",
                            strerror(errno));
                return;
        }
        struct control_peer peer = { .pid = credentials.pid, .uid = credentials.uid };
        uint32_t used = 0, limit = connections_limit(control, peer.uid, &used);
        if (used >= limit)
                turn_away(fd, peer, limit);
        else if (control_connection_new(control, shmb_steal_fd(&fd), peer) < 0)
                log_limited(LOG_LEVEL_WARNING, LOG_NO_FIELDS,
                            "no memory for a control connection");
}

static void back_off(struct control *control, int error) {
        struct timeval delay = { .tv_sec = BACK_OFF_SECONDS };

        log_limited(LOG_LEVEL_WARNING, LOG_NO_FIELDS,
                    "cannot accept control connections: %s; trying again in %d s",
                    strerror(error), BACK_OFF_SECONDS);
        event_del(control->readable);
        (void)evtimer_add(control->resume, &delay);
}

static void on_readable(evutil_socket_t fd, short what, void *userdata) {
        struct control *control = userdata;

        (void)what;
        for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
                int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
                if (connection >= 0) {
                        welcome(control, connection);
                        continue;
                }
                if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                        back_off(control, errno);
                /* Else there is none left, or one that gave up while it waited. */
                break;
        }
}

static void on_resume(evutil_socket_t fd, short what, void *userdata) {
        struct control *control = userdata;

        (void)fd;
        (void)what;
        (void)event_add(control->readable, NULL);
}

static void on_paced(evutil_socket_t fd, short what, void *userdata) {
        (void)fd;
        (void)what;
        control_serve_all(userdata);
}

int control_new(struct control **ret_control, struct event_base *base, int listen_fd,
                struct ledger *ledger, const struct config *config,
                const struct control_ops *ops, void *userdata) {
        struct control *control = calloc(1, sizeof(*control));

        if (!control)
                return -ENOMEM;
        control->base = base;
        control->ledger = ledger;
        control->config = config;
        control->ops = ops;
        control->userdata = userdata;
        control->listen_fd = -1;
        control->started = control_now();
        control->pace = (struct pace){ control->started, PACE_BURST_NS };
        control->readable = event_new(base, listen_fd, EV_READ | EV_PERSIST, on_readable,
                                      control);
        control->resume = evtimer_new(base, on_resume, control);
        control->paced = evtimer_new(base, on_paced, control);
        if (!control->readable || !control->resume || !control->paced ||
            evutil_make_socket_nonblocking(listen_fd) < 0 ||
            evutil_make_socket_closeonexec(listen_fd) < 0 ||
            event_add(control->readable, NULL) < 0) {
                control_free(control);
                return -ENOMEM;
        }
        control->listen_fd = listen_fd;
        *ret_control = control;
        return 0;
}

struct control *control_free(struct control *control) {
        if (!control)
                return NULL;
        while (control->connections)
                control_connection_free(control->connections);
        if (control->readable)
                event_free(control->readable);
        if (control->resume)
                event_free(control->resume);
        if (control->paced)
                event_free(control->paced);
        shmb_close(control->listen_fd);
        free(control);
        return NULL;
}
