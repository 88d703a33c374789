/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that work on memory, so that the event loop never does. They take turns: one step
 * of the first in line, which then goes to the end of it, so that 1 GiB does not delay 4 KiB.
 * Each user has a line, and the lines take turns too, so that nobody's thousand buffers delay
 * another's one.
 */
#pragma once

#include <event2/event.h>

#include "ledger/ledger.h"

struct workers;

/* Called in the loop's thread for each finished work. */
typedef void (*worker_done_fn)(void *userdata, struct work *work);

/* 0 or -errno. */
int workers_new(struct workers **ret_workers, struct event_base *base, unsigned threads,
                worker_done_fn done, void *userdata);

/* Hands over; *work belongs to the threads until it comes back through `done`. */
void workers_submit(struct workers *workers, struct work *work);

/*
 * Ends the threads after their present step. What is then unfinished is lost, with the
 * descriptors in it: the caller closes those. Accepts NULL, returns NULL.
 */
struct workers *workers_free(struct workers *workers);
