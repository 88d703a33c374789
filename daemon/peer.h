/* SPDX-License-Identifier: Apache-2.0 */
/* One connection on the data socket. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <event2/event_struct.h>

#include "broker.h"
#include "outq.h"
#include "socket.h"

struct peer {
        struct broker *broker;
        struct client *client; /* NULL before HELLO */
        struct socket_peer who;
        shmb_word *words; /* its lease page */
        size_t words_size;
        struct event readable;
        struct outq out;
        struct event writable, retry;  /* one is pending while `out` is not empty */
        struct shmb_reclaim *reclaims; /* not sent yet; usually NULL */
        struct peer *prev, *next;      /* of the broker */
        struct peer *next_doomed;
        const char *reason; /* why it is doomed; static */
        enum shmb_status status;
        uint32_t undecided; /* imports being postponed */
        size_t owed;        /* bytes to be read of what lay in the socket when that mattered: */
        bool swept;         /* a sweep waits for them */
        bool exited;        /* or its process is gone, and they are the last */
        struct event process_exited;
        int fd, process; /* the socket; the process, -1 if it is not watched */
        bool doomed, greeted;
        bool deaf; /* it does not receive any more */
};

/* `fd` and `who->gids` are consumed, also on failure. 0 or -errno. */
int peer_new(struct broker *broker, int fd, struct socket_peer *who);

/* At once; nobody may be using it. Accepts NULL, returns NULL. */
struct peer *peer_free(struct peer *peer);

/*
 * Disconnects it soon, with GOODBYE{status, text} unless status is OK. `reason` is static
 * and goes to the log. The first call counts.
 */
void peer_doom(struct peer *peer, enum shmb_status status, const char *reason);

/* Frees the doomed. */
void peers_reap(struct broker *broker);

/*
 * From now on it counts when all that lies in the socket at present has been read. False if
 * nothing does.
 */
bool peer_owe(struct peer *peer);

/*
 * Ends the connection with the process that made it, whoever else has the socket by then. 0,
 * also where the kernel cannot say, or -errno.
 */
int peer_watch_process(struct peer *peer);

/* ---- peer-send.c ---- */

void peer_send_init(struct peer *peer);
void peer_send_deinit(struct peer *peer);

/* Sends, or queues; `fd` is consumed. A peer whose queue is full is doomed. */
void peer_send(struct peer *peer, const void *packet, size_t size, int fd);

/* Sends RECLAIM for that lease, soon, and with as many others as there are until then. */
void peer_reclaim(struct peer *peer, struct shmb_lease_ref lease);

/* ---- request.c ---- */

/* Handles one packet; a breach of the protocol dooms the peer. */
void request_handle(struct peer *peer, const void *packet, size_t size);

/* Answers a request that was not served. */
void request_refuse(struct peer *peer, uint32_t serial, const struct refusal *refusal);

/* The answer to a postponed import. */
void request_decide_import(struct peer *peer, uint32_t serial, const uint8_t *token);

/* The ledger's operations, for a userdata of struct broker. */
extern const struct ledger_ops request_ledger_ops;
