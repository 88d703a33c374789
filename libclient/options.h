/* SPDX-License-Identifier: Apache-2.0 */
/* Option structs that grow with time: each starts with the size its user knew. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* No struct of options has been so large; who says so forgot to initialise it. */
enum { OPTIONS_SIZE_MAX = 4096 };

/*
 * Copies `given` (NULL: all defaults) over the defaults in `options`, of `size` bytes. False
 * if its size makes no sense, or if it sets what this library does not know.
 */
static inline bool options_read(void *options, size_t size, const void *given) {
        size_t given_size;

        if (!given)
                return true;
        memcpy(&given_size, given, sizeof(given_size));
        if (given_size < sizeof(given_size) || given_size > OPTIONS_SIZE_MAX)
                return false;
        for (size_t i = size; i < given_size; i++)
                if (((const unsigned char *)given)[i] != 0)
                        return false;
        memcpy(options, given, given_size < size ? given_size : size);
        return true;
}
