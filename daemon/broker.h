/* SPDX-License-Identifier: Apache-2.0 */
/* The broker: the ledger, and everything that does in the world what the ledger decides. */
#pragma once

#include <event2/event.h>

#include "config.h"
#include "control.h"
#include "ledger/ledger.h"

struct closer;
struct listener;
struct peer;
struct uid_connections;
struct workers;

struct broker {
        const struct config *config;
        struct event_base *base;
        struct ledger *ledger;
        struct workers *workers;
        struct closer *closer;
        struct listener *listener;
        struct control *control;
        struct control_counts counts; /* all but the connections */
        struct event *timer;          /* for the ledger's next deadline */
        uint64_t timer_at;
        struct peer *peers;
        uint32_t n_peers;
        uint64_t page_bytes;          /* of their lease pages */
        struct uid_connections *uids; /* connections by uid */
        struct peer *doomed;          /* to be disconnected once nobody is using them */
        struct event *reaper;
        struct undecided *undecided; /* imports of tokens not known yet */
        struct undecided *deciding;  /* those of them that the present sweep will decide */
        uint32_t n_swept;            /* peers it waits for */
        struct event *sweep;
        int own_fds;          /* /proc/self/fd, to reopen objects through */
        uint32_t n_spare_fds; /* of objects, opened ahead */
        int sweep_epoll;      /* every peer's socket, to ask which are readable */
};

struct broker_sockets {
        int data, control; /* listening; consumed, also on failure */
};

/* 0 or -errno, with the reason logged. `config` and `base` are borrowed for its life. */
int broker_new(struct broker **ret_broker, const struct config *config, struct event_base *base,
               struct broker_sockets sockets);

/* Disconnects everyone. Accepts NULL and half-built ones, returns NULL. */
struct broker *broker_free(struct broker *broker);

/* CLOCK_MONOTONIC, in ns. */
uint64_t broker_clock(void);

/* To be called first in each event: the ledger's clock. */
void broker_enter(struct broker *broker);

/* To be called last in each event: the timer for what is now due next. */
void broker_leave(struct broker *broker);

/* ---- sweep.c ---- */

/*
 * An import of an unknown token is decided only after all that lies in any peer's socket now
 * was read: whoever sent the token sent its EXPORT before, and that may be among it. Each
 * peer is read in its turn, as ever: nobody makes a sweep take the loop for itself.
 */
int sweep_init(struct broker *broker);
void sweep_deinit(struct broker *broker);
int sweep_watch(struct broker *broker, struct peer *peer, int fd);
void sweep_unwatch(struct broker *broker, struct peer *peer, int fd);

/* What the sweep waited for of this peer has been read, or never will be. */
void sweep_caught_up(struct peer *peer);

/* SHMB_STATUS_OK: it will be answered. */
enum shmb_status sweep_postpone_import(struct broker *broker, struct peer *peer,
                                       uint32_t serial, const uint8_t *token);
