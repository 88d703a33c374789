/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "call.h"
#include "options.h"

/*
 * Shows the broker each second: on a terminal in place, until q or ^C; else, and with --count,
 * one below the other. Returns 0, or -errno with the reason in `error`.
 */
int top_run(const struct options *options, struct call *call, struct call_error *error);
