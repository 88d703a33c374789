/* SPDX-License-Identifier: Apache-2.0 */
/* Accepts connections on the data socket, within the limits. */
#pragma once

#include "broker.h"

/* `fd` is consumed, also on failure. 0 or -errno. */
int listener_new(struct listener **ret_listener, struct broker *broker, int fd);
struct listener *listener_free(struct listener *listener);

/* A connection of that uid has gone. */
void listener_left(struct broker *broker, uid_t uid);
