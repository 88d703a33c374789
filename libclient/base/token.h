/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens and names as text. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shmbroker-proto.h"

/* 1 to SHMB_NAME_MAX bytes of [A-Za-z0-9._:@-]. */
bool shmb_name_is_valid(const char *name);

/* Writes 32 lower-case hexadecimal digits and a NUL. */
void shmb_token_format(const uint8_t token[SHMB_TOKEN_SIZE],
                       char text[2 * SHMB_TOKEN_SIZE + 1]);

/* False, with `token` untouched, unless `text` is exactly 32 hexadecimal digits. */
bool shmb_token_parse(const char *text, uint8_t token[SHMB_TOKEN_SIZE]);
