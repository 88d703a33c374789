/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection to the control socket: messages in, replies out, one at a time.
 *
 * The next call is looked at only when the reply before it is with the kernel, so that nobody
 * makes the broker hold more than one message and one reply for it. Whoever leaves a reply
 * lying is disconnected.
 */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdlib.h>
#include <time.h>
#include <utlist.h>

#include "cleanup.h"
#include "control-internal.h"
#include "log.h"

#define STALL_SECONDS 10 /* a peer that reads nothing of its reply for so long */
#define OUTPUT_MAX ((size_t)4 << 20)
#define CALL_NS 20000u /* what a call costs beside its answer: reading, writing, waking */

struct control_connection {
        struct control *control;
        struct control_peer peer;
        struct bufferevent *stream;
        size_t scanned; /* bytes of the input known to have no NUL */
        bool ended;     /* the peer will send no more */
        bool closing;   /* to be closed once the output is gone */
        struct control_connection *prev, *next;
};

void control_connection_free(struct control_connection *connection) {
        struct control *control = connection->control;

        DL_DELETE(control->connections, connection);
        control->n_connections--;
        bufferevent_free(connection->stream);
        free(connection);
}

uint32_t control_connections_of(const struct control *control, uid_t uid) {
        struct control_connection *connection;
        uint32_t count = 0;

        DL_FOREACH(control->connections, connection)
                if (connection->peer.uid == uid)
                        count++;
        return count;
}

static void log_end(const struct control_connection *connection, const char *reason) {
        log_limited(LOG_LEVEL_WARNING,
                    LOG_FIELDS(LOG_NUMBER("pid", connection->peer.pid),
                               LOG_NUMBER("uid", connection->peer.uid),
                               LOG_TEXT("reason", reason)),
                    "control connection ended");
}

/* Queues a reply, which is consumed; why the connection has to end at once, or NULL. */
static const char *send_reply(struct control_connection *connection,
                              struct json_object *reply) {
        struct evbuffer *output = bufferevent_get_output(connection->stream);
        size_t size = 0;
        const char *text = json_object_to_json_string_length(
                reply, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &size);
        const char *wrong = NULL;

        if (!text || size >= OUTPUT_MAX)
                wrong = text ? "its reply is too large" : "no memory for its reply";
        else if (evbuffer_add(output, text, size + 1) < 0)
                wrong = "no memory for its reply";
        json_object_put(reply);
        return wrong;
}

enum message {
        MESSAGE_NONE, /* not all of it is there yet */
        MESSAGE_HERE,
        MESSAGE_TOO_LARGE,
};

/* Looks for the NUL that ends a message. */
static enum message find_message(struct control_connection *connection, size_t *ret_size) {
        struct evbuffer *input = bufferevent_get_input(connection->stream);
        size_t there = evbuffer_get_length(input);
        struct evbuffer_ptr from, found;

        if (connection->scanned >= there)
                return there > VARLINK_MESSAGE_MAX ? MESSAGE_TOO_LARGE : MESSAGE_NONE;
        evbuffer_ptr_set(input, &from, connection->scanned, EVBUFFER_PTR_SET);
        found = evbuffer_search(input, "", 1, &from);
        if (found.pos >= 0 && (size_t)found.pos <= VARLINK_MESSAGE_MAX) {
                *ret_size = (size_t)found.pos;
                return MESSAGE_HERE;
        }
        connection->scanned = there;
        return there > VARLINK_MESSAGE_MAX ? MESSAGE_TOO_LARGE : MESSAGE_NONE;
}

static uint64_t thread_time(void) {
        struct timespec used;

        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
        return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

/* Why the connection has to end at once, or NULL. */
static const char *handle(struct control_connection *connection, size_t size) {
        struct evbuffer *input = bufferevent_get_input(connection->stream);
        struct json_object *reply = NULL;
        uint64_t begin = thread_time();
        const char *text = (const char *)evbuffer_pullup(input, (ev_ssize_t)size + 1);
        const char *wrong = text ? control_answer(connection->control, connection->peer, text,
                                                  size, &reply)
                                 : "no memory for its message";

        evbuffer_drain(input, size + 1);
        connection->scanned = 0;
        if (!wrong && reply)
                wrong = send_reply(connection, reply);
        pace_spend(&connection->control->pace, CALL_NS + thread_time() - begin);
        return wrong;
}

/* Says what was wrong with a call too large to be read, and goes. */
static const char *refuse_large(struct control_connection *connection) {
        struct json_object *reply = control_error_reply("io.shmbroker.MessageTooLarge", "limit",
                                                        VARLINK_MESSAGE_MAX);

        log_end(connection, "its message is too large");
        connection->closing = true;
        bufferevent_disable(connection->stream, EV_READ);
        return reply ? send_reply(connection, reply) : "no memory for its reply";
}

static bool may_work(struct control *control) {
        if (pace_allows(&control->pace, control_now()))
                return true;
        uint64_t wait = pace_wait_ns(&control->pace) / 1000u + 1;
        struct timeval delay = { .tv_sec = (time_t)(wait / 1000000u),
                                 .tv_usec = (suseconds_t)(wait % 1000000u) };
        if (!evtimer_pending(control->paced, NULL))
                (void)evtimer_add(control->paced, &delay);
        return false;
}

/* Handles the next message, if it is its turn. May free the connection. */
static void serve(struct control_connection *connection) {
        struct control *control = connection->control;
        struct evbuffer *output = bufferevent_get_output(connection->stream);
        const char *wrong = NULL;
        size_t size = 0;

        while (!wrong && !connection->closing && evbuffer_get_length(output) == 0) {
                enum message message = find_message(connection, &size);
                if (message == MESSAGE_NONE) {
                        connection->closing = connection->ended;
                        break;
                }
                if (message == MESSAGE_TOO_LARGE) {
                        wrong = refuse_large(connection);
                        break;
                }
                if (!may_work(control))
                        return;
                /* Whoever was served goes to the end of the line. */
                DL_DELETE(control->connections, connection);
                DL_APPEND(control->connections, connection);
                wrong = handle(connection, size);
        }
        if (wrong)
                log_end(connection, wrong);
        if (wrong || (connection->closing && evbuffer_get_length(output) == 0))
                control_connection_free(connection);
}

void control_serve_all(struct control *control) {
        struct control_connection *connection, *next;
        uint32_t left = control->n_connections;

        /* serve() puts the one it serves last, and may free it; never another. */
        for (connection = control->connections; connection && left > 0;
             connection = next, left--) {
                next = connection->next;
                serve(connection);
        }
}

static void on_data(struct bufferevent *stream, void *userdata) {
        (void)stream;
        serve(userdata);
}

static void on_event(struct bufferevent *stream, short what, void *userdata) {
        struct control_connection *connection = userdata;

        (void)stream;
        if (what & BEV_EVENT_TIMEOUT) {
                log_end(connection, "it does not read its reply");
                control_connection_free(connection);
        } else if ((what & BEV_EVENT_EOF) && (what & BEV_EVENT_READING)) {
                /* It may have shut down its sending side only, and still read. */
                connection->ended = true;
                serve(connection);
        } else {
                control_connection_free(connection);
        }
}

int control_connection_new(struct control *control, int fd, struct control_peer peer) {
        struct control_connection *connection = calloc(1, sizeof(*connection));
        struct timeval stall = { .tv_sec = STALL_SECONDS };

        if (connection)
                connection->stream = bufferevent_socket_new(control->base, fd,
                                                            BEV_OPT_CLOSE_ON_FREE);
        if (!connection || !connection->stream) {
                free(connection);
                shmb_close(fd);
                return -ENOMEM;
        }
        connection->control = control;
        connection->peer = peer;
        DL_APPEND(control->connections, connection);
        control->n_connections++;
        bufferevent_setcb(connection->stream, on_data, on_data, on_event, connection);
        bufferevent_setwatermark(connection->stream, EV_READ, 0, VARLINK_MESSAGE_MAX + 1);
        /* Only while there is something to write; a peer with nothing to say may stay. */
        if (bufferevent_set_timeouts(connection->stream, NULL, &stall) < 0 ||
            bufferevent_enable(connection->stream, EV_READ | EV_WRITE) < 0) {
                control_connection_free(connection);
                return -ENOMEM;
        }
        return 0;
}
