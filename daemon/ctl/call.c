/* SPDX-License-Identifier: Apache-2.0 */
#include "call.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>

#include "call-error.h"
#include "cleanup.h"

struct call {
        int fd;
        char *path;
        char *data; /* what came and was not read yet */
        size_t size, room;
        struct timespec deadline;
};

static void call_freep(struct call **call) {
        call_free(*call);
}

static void json_putp(struct json_object **object) {
        json_object_put(*object);
}

struct call *call_free(struct call *call) {
        if (!call)
                return NULL;
        shmb_close(call->fd);
        free(call->path);
        free(call->data);
        free(call);
        return NULL;
}

/* 0, or -ENAMETOOLONG, -EINVAL. */
static int address_of(const char *path, struct sockaddr_un *ret_address, socklen_t *ret_size) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        size_t length = strlen(path);
        bool abstract = path[0] == '@';

        if (length == 0 || (abstract && length == 1))
                return -EINVAL;
        if (length >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        memcpy(address.sun_path, path, length);
        if (abstract)
                address.sun_path[0] = '\0';
        *ret_address = address;
        /* An abstract name has a length, a path ends with its NUL. */
        *ret_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + !abstract);
        return 0;
}

/* A descriptor, or -errno. */
static int connect_to(const char *path) {
        SHMB_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        /* For connect(2), which waits while the broker's backlog is full. */
        struct timeval limit = { .tv_sec = CALL_TIMEOUT_S };
        struct sockaddr_un address;
        socklen_t size;
        int r = address_of(path, &address, &size);

        if (r < 0)
                return r;
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
                return -errno;
        if (connect(fd, (const struct sockaddr *)&address, size) < 0)
                return errno == EAGAIN ? -ETIMEDOUT : -errno;
        if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
                return -errno;
        return shmb_steal_fd(&fd);
}

int call_new(struct call **ret_call, const char *path, struct call_error *error) {
        SHMB_CLEANUP(call_freep) struct call *call = calloc(1, sizeof(*call));

        if (!call)
                return call_error_system(error, path, -ENOMEM);
        call->path = strdup(path);
        call->fd = call->path ? connect_to(path) : -ENOMEM;
        if (call->fd < 0)
                return call_error_connect(error, path, call->fd);
        *ret_call = shmb_steal_ptr(call);
        return 0;
}

/* Waits until the socket can be read or written: 0, or -ETIMEDOUT, -errno. */
static int wait_for(const struct call *call, short what) {
        struct pollfd poll_fd = { .fd = call->fd, .events = what };

        for (;;) {
                struct timespec now;
                clock_gettime(CLOCK_MONOTONIC, &now);
                int64_t left = (call->deadline.tv_sec - now.tv_sec) * 1000 +
                               (call->deadline.tv_nsec - now.tv_nsec) / 1000000;
                if (left <= 0)
                        return -ETIMEDOUT;
                int r = poll(&poll_fd, 1, (int)left);
                if (r > 0)
                        return 0;
                if (r < 0 && errno != EINTR)
                        return -errno;
        }
}

/* 0 or -errno; -EPIPE may still have left a reply to be read. */
static int send_all(const struct call *call, const char *text, size_t size) {
        while (size > 0) {
                ssize_t n = send(call->fd, text, size, MSG_NOSIGNAL);
                if (n >= 0) {
                        text += n;
                        size -= (size_t)n;
                } else if (errno == EAGAIN) {
                        int r = wait_for(call, POLLOUT);
                        if (r < 0)
                                return r;
                } else if (errno != EINTR) {
                        return -errno;
                }
        }
        return 0;
}

static int grow(struct call *call) {
        size_t room = call->room ? 2 * call->room : (size_t)64 << 10;

        if (room > CALL_REPLY_MAX)
                return -EMSGSIZE;
        char *data = realloc(call->data, room);
        if (!data)
                return -ENOMEM;
        call->data = data;
        call->room = room;
        return 0;
}

/* Reads more: 0, or -errno; -ENODATA at the end. */
static int read_more(struct call *call) {
        if (call->size == call->room) {
                int r = grow(call);
                if (r < 0)
                        return r;
        }
        for (;;) {
                ssize_t n = recv(call->fd, call->data + call->size, call->room - call->size, 0);
                if (n > 0) {
                        call->size += (size_t)n;
                        return 0;
                }
                if (n == 0)
                        return -ENODATA;
                if (errno == EAGAIN) {
                        int r = wait_for(call, POLLIN);
                        if (r < 0)
                                return r;
                } else if (errno != EINTR) {
                        return -errno;
                }
        }
}

/* The next message, without its NUL, as JSON. */
static int receive(struct call *call, struct json_object **ret_message) {
        size_t scanned = 0;
        char *end = NULL;

        while (!end) {
                if (call->size > scanned)
                        end = memchr(call->data + scanned, 0, call->size - scanned);
                scanned = call->size;
                int r = end ? 0 : read_more(call);
                if (r < 0)
                        return r;
        }
        struct json_object *message = json_tokener_parse(call->data);
        call->size -= (size_t)(end - call->data) + 1;
        memmove(call->data, end + 1, call->size);
        if (!json_object_is_type(message, json_type_object)) {
                json_object_put(message);
                return -EBADMSG;
        }
        *ret_message = message;
        return 0;
}

/* The text of a call; owned by *ret_message. */
static const char *compose(const char *method, struct json_object *parameters,
                           struct json_object **ret_message) {
        struct json_object *message = json_object_new_object();

        *ret_message = message;
        json_object_object_add(message, "method", json_object_new_string(method));
        json_object_object_add(message, "parameters",
                               parameters ? parameters : json_object_new_object());
        return json_object_to_json_string_ext(message, JSON_C_TO_STRING_PLAIN);
}

int call_method(struct call *call, const char *method, struct json_object *parameters,
                struct json_object **ret_reply, struct call_error *error) {
        SHMB_CLEANUP(json_putp) struct json_object *message = NULL;
        SHMB_CLEANUP(json_putp) struct json_object *reply = NULL;
        const char *text = compose(method, parameters, &message);
        struct json_object *name = NULL, *values = NULL;

        if (!text)
                return call_error_system(error, call->path, -ENOMEM);
        clock_gettime(CLOCK_MONOTONIC, &call->deadline);
        call->deadline.tv_sec += CALL_TIMEOUT_S;
        int r = send_all(call, text, strlen(text) + 1);
        if (r == 0 || r == -EPIPE || r == -ECONNRESET) {
                int sent = r;
                r = receive(call, &reply);
                if (r == -ENODATA && sent < 0)
                        r = sent;
        }
        if (r < 0)
                return call_error_system(error, call->path, r);
        json_object_object_get_ex(reply, "parameters", &values);
        if (json_object_object_get_ex(reply, "error", &name))
                return call_error_reply(error, call->path, json_object_get_string(name),
                                        values);
        *ret_reply = values ? json_object_get(values) : json_object_new_object();
        return *ret_reply ? 0 : call_error_system(error, call->path, -ENOMEM);
}

/* Moves the entries of `from` to the end of `to`: 0 or -ENOMEM. */
static int append_all(struct json_object *to, struct json_object *from) {
        for (size_t i = 0; i < json_object_array_length(from); i++)
                if (json_object_array_add(
                            to, json_object_get(json_object_array_get_idx(from, i))) < 0)
                        return -ENOMEM;
        return 0;
}

int call_list(struct call *call, const char *method, const char *key,
              struct json_object *parameters, struct json_object **ret_reply,
              struct call_error *error) {
        SHMB_CLEANUP(json_putp)
        struct json_object *asked = parameters ? parameters : json_object_new_object();
        SHMB_CLEANUP(json_putp) struct json_object *all = NULL;
        struct json_object *list = NULL, *more = NULL, *next = NULL;

        do {
                SHMB_CLEANUP(json_putp) struct json_object *page = NULL;
                int r = call_method(call, method, json_object_get(asked), &page, error);
                if (r < 0)
                        return r;
                if (!json_object_object_get_ex(page, key, &more) ||
                    !json_object_is_type(more, json_type_array))
                        return call_error_system(error, call->path, -EBADMSG);
                next = json_object_get(json_object_object_get(page, "next"));
                json_object_object_del(page, "next");
                if (!all) {
                        all = shmb_steal_ptr(page);
                        list = more;
                } else if (append_all(list, more) < 0) {
                        json_object_put(next);
                        return call_error_system(error, call->path, -ENOMEM);
                }
                if (next && json_object_object_add(asked, "after", next) < 0) {
                        json_object_put(next);
                        return call_error_system(error, call->path, -ENOMEM);
                }
        } while (next);
        *ret_reply = shmb_steal_ptr(all);
        return 0;
}
