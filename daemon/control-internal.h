/* SPDX-License-Identifier: Apache-2.0 */
/* What the control's own files share. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "control-json.h"
#include "control-pace.h"
#include "control.h"
#include "varlink.h"

struct control {
        struct event_base *base;
        struct ledger *ledger;
        const struct config *config;
        const struct control_ops *ops;
        void *userdata;
        int listen_fd;
        struct event *readable, *resume; /* of listen_fd; after the machine ran short */
        struct event *paced;             /* calls wait until the loop's share is there again */
        struct pace pace;
        struct control_connection *connections; /* the longest not served first */
        uint32_t n_connections;
        uint64_t started;
};

uint64_t control_now(void); /* CLOCK_MONOTONIC, ns */

/* May this user change things? */
bool control_is_privileged(uid_t uid);

/* ---- control-connection.c ---- */

struct control_peer {
        pid_t pid;
        uid_t uid;
};

/* `fd` is consumed, also on failure. 0 or -ENOMEM. */
int control_connection_new(struct control *control, int fd, struct control_peer peer);
void control_connection_free(struct control_connection *connection);

uint32_t control_connections_of(const struct control *control, uid_t uid);

/* Serves those that wait for their turn, as far as the loop's share goes. */
void control_serve_all(struct control *control);

/* ---- control-call.c ---- */

/* Room for what any method takes; absent ones keep the preset. */
struct control_parameters {
        int64_t after, limit, client;
        const char *pool, *interface;
        bool verify;
};

struct control_request {
        struct control *control;
        struct control_peer peer;
        uint64_t now;
        const char *method; /* with its interface */
        struct control_parameters parameters;
        struct builder build;
        struct json_object *reply; /* the reply's parameters, to be filled */
};

/*
 * Answers one message. Returns NULL with the reply's text in *ret_reply (owned by the caller;
 * NULL: none is wanted), or why the connection has to end, static.
 */
const char *control_answer(struct control *control, struct control_peer peer,
                           const char *message, size_t size, struct json_object **ret_reply);

/* A reply that is an error with one number; NULL: out of memory. */
struct json_object *control_error_reply(const char *error, const char *key, uint64_t value);

/*
 * The methods. Each fills request->reply and returns NULL, or the name of an error with its
 * fields in request->reply.
 */
const char *control_get_info(struct control_request *request);
const char *control_get_interface_description(struct control_request *request);
const char *control_status(struct control_request *request);
const char *control_pools(struct control_request *request);
const char *control_clients(struct control_request *request);
const char *control_buffers(struct control_request *request);
const char *control_tokens(struct control_request *request);
const char *control_quarantine(struct control_request *request);
const char *control_trim(struct control_request *request);
const char *control_disconnect(struct control_request *request);

const char *control_no_such_client(struct control_request *request);

/* ---- control-page.c ---- */

#define CONTROL_PAGE_MAX 1000
#define CONTROL_LIST_MAX 1000 /* entries of a list inside an entry */

/*
 * A part of a list. It ends when it has `rows` entries, or has cost `work`: one for each value
 * put into the reply, and one for each thing of the ledger that was looked at.
 */
struct control_page {
        uint32_t rows, work;
        uint64_t last; /* number of the last looked at */
};

struct control_page control_page_of(const struct control_request *request);

/* May the entry of that number be looked at? Else `next` is put, and the page is over. */
bool control_page_goes_on(struct control_page *page, struct control_request *request,
                          uint64_t number);
void control_page_spend(struct control_page *page, uint32_t work);

/* ---- control-memory.c ---- */

struct control_amount {
        uint64_t bytes;
        uint32_t buffers;
};

/* OBJECT_LEASED is split in two. */
struct control_memory {
        struct control_amount states[OBJECT_STATES]; /* OBJECT_LEASED: held */
        struct control_amount cached;
};

/* "held", "cached", "free", ... */
const char *control_object_state(const struct object *object);

/* Walks the pool's leased objects. */
void control_memory_add(struct control_memory *memory, const struct pool *pool);

void control_put_amount(struct control_request *request, struct json_object *parent,
                        const char *key, struct control_amount amount);
void control_put_memory(struct control_request *request, struct json_object *parent,
                        const struct control_memory *memory);
void control_put_counters(struct control_request *request, struct json_object *parent,
                          const struct pool *pools, size_t n_pools);

/* Since then; what seems to lie ahead was just now. */
void control_put_age(struct control_request *request, struct json_object *parent,
                     const char *key, uint64_t since);

/* The domain's uid, if there is one. */
void control_put_domain(struct control_request *request, struct json_object *parent,
                        const struct object *object);
void control_put_marks(struct control_request *request, struct json_object *parent,
                       const struct object *object);

/* What the kernel has allocated to it; nothing while a worker may be changing its descriptor. */
void control_put_allocated(struct control_request *request, struct json_object *parent,
                           const struct object *object);

/* `used` is put if it is not CONTROL_NO_USE. */
#define CONTROL_NO_USE UINT64_MAX
void control_put_limit(struct control_request *request, struct json_object *limits,
                       const char *name, uint64_t limit, uint64_t used);
