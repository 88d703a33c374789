/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The descriptors that travel with grants. Each grant gets an open file of its own; the one
 * for the next writer of a buffer in steady use is opened ahead, while its present holder is
 * busy with it, so that the path lookup is not part of anybody's round trip.
 */
#pragma once

#include "broker.h"

/* Descriptors held ahead of need, at most. */
#define GRANT_FD_SPARES_MAX 64u

/* A descriptor of the object for one grant; the caller owns it. */
enum shmb_status grant_fd_take(struct broker *broker, struct object *object, bool writable,
                               int *ret_fd);

/* Opens the next writer's, if there is room. */
void grant_fd_prepare(struct broker *broker, struct object *object);

/* Closes what was opened ahead: before a proof, which it would spoil, and before the end. */
void grant_fd_drop(struct broker *broker, struct object *object);
