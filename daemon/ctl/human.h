/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers as people read them. */
#pragma once

#include <stdint.h>

#define HUMAN_SIZE 24

/* "0", "512", "4.0K", "20.0M": binary units, at most six characters. */
void human_bytes(char text[HUMAN_SIZE], uint64_t bytes);

/* "0", "850us", "3.2s", "4m10s", "3h05m", "2d04h". */
void human_time(char text[HUMAN_SIZE], uint64_t ns);

/* "12.5%"; "-" of nothing. */
void human_share(char text[HUMAN_SIZE], uint64_t part, uint64_t whole);
