/* SPDX-License-Identifier: Apache-2.0 */
/* What is done to memory objects, in steps short enough that no other work waits long. */
#pragma once

#include <stdbool.h>

#include "ledger/ledger.h"

/*
 * Does the next step of the work; true when it is finished and work->result stands. Touches
 * nothing but *work. Each step handles at most MEMORY_STEP bytes.
 */
bool memory_step(struct work *work);

#define MEMORY_STEP ((uint64_t)2 << 20)
