/* SPDX-License-Identifier: Apache-2.0 */
/* What systemd gives and wants to know. Without systemd all of it does nothing. */
#pragma once

#include <stddef.h>

#define SDGLUE_NAME_BROKER "broker"   /* FileDescriptorName= of the data socket */
#define SDGLUE_NAME_CONTROL "control" /* of the control socket */

/* Listening sockets, close-on-exec and not blocking; the caller owns them; -1: not passed. */
struct sdglue_sockets {
        int broker;  /* AF_UNIX SOCK_SEQPACKET */
        int control; /* AF_UNIX SOCK_STREAM */
};

/*
 * Takes the sockets systemd passed, and takes their variables out of the environment.
 * Returns 0, also when none were passed; or -errno with a sentence in `error` that names the
 * socket that is of the wrong type, not listening, unknown or there twice. Then every
 * descriptor passed is closed.
 */
int sdglue_listen_fds(struct sdglue_sockets *ret_sockets, char *error, size_t error_size);

/* READY=1 and the status line. */
void sdglue_ready(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The status line that systemctl shows. */
void sdglue_status(const char *format, ...) __attribute__((format(printf, 1, 2)));

void sdglue_stopping(void);
