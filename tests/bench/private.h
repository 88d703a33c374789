/* SPDX-License-Identifier: Apache-2.0 */
/* A bench that needs a broker and has none gets a private one. */
#pragma once

#include "bench.h"

/* True if the environment names a broker to use. */
bool broker_is_given(void);

/*
 * Runs this program anew, for that one bench and with the same options, under
 * `shmbrokerd --run`. 0, or -errno with the reason on stderr.
 */
int broker_run(const struct bench *bench, const struct options *options);

/*
 * Has the broker give every free and cached buffer back to the kernel, over the control
 * socket that $SHMBROKER_CONTROL names. 0 or -errno.
 */
int broker_trim(void);
