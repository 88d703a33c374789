/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: Varlink over a stream socket, which answers what the pools hold and
 * lets an administrator trim and disconnect. docs/control.md is for those who program it;
 * the interface itself is io.shmbroker.varlink.
 *
 * It lives on the owner's event loop and reads the ledger there. A peer costs the broker a
 * bounded share: of connections, of memory (one message in, one reply out) and of the loop's
 * time; one that does not read its reply is disconnected.
 */
#pragma once

#include <event2/event.h>
#include <stdint.h>

#include "config.h"
#include "ledger.h"

struct control;

/* What the ledger does not know. */
struct control_counts {
        uint32_t connections; /* data connections, with those that said no HELLO yet */
        uint64_t accepted;    /* data connections since the start */
        uint64_t refused;     /* of them, closed at once for a limit */
        uint64_t breaches;    /* disconnected for a protocol error, since the start */
};

/* What the owner answers. None of these may call back into the control. */
struct control_ops {
        /* Gives back to the kernel what nobody uses; returns how many bytes. */
        uint64_t (*trim)(void *userdata);
        /* Disconnects a client by its number in the ledger: 0, or -ENOENT. */
        int (*disconnect)(void *userdata, uint64_t client_id);
        /* May be NULL: then a connection is a client, and the counters are 0. */
        void (*counts)(void *userdata, struct control_counts *ret_counts);
};

/*
 * Listens. `listen_fd` is a listening AF_UNIX SOCK_STREAM socket: on success it is the
 * control's and is made non-blocking and close-on-exec, on failure it stays the caller's.
 * Everything else is borrowed for the control's life. The process must ignore SIGPIPE.
 * Returns 0 or -ENOMEM.
 */
int control_new(struct control **ret_control, struct event_base *base, int listen_fd,
                struct ledger *ledger, const struct config *config,
                const struct control_ops *ops, void *userdata);

/*
 * Disconnects everyone and closes the listening socket. Accepts NULL, returns NULL. Comes
 * before ledger_free.
 */
struct control *control_free(struct control *control);
