/* SPDX-License-Identifier: Apache-2.0 */
#include "hash.h"

#include <string.h>

static uint64_t hash_key[2] = { 0x9e3779b97f4a7c15u, 0xc2b2ae3d27d4eb4fu };

void hash_set_key(const uint64_t key[2]) {
        hash_key[0] = key[0] | 1;
        hash_key[1] = key[1] | 1;
}

/*
 * Folds the two halves of a full product: every bit of the key reaches every bit of the
 * result, so collisions cannot be prepared without knowing it.
 */
static uint64_t fold(uint64_t a, uint64_t b) {
        __uint128_t product = (__uint128_t)a * b;

        return (uint64_t)product ^ (uint64_t)(product >> 64);
}

unsigned hash_bytes(const void *bytes, size_t size) {
        const unsigned char *at = bytes;
        uint64_t state = hash_key[0] ^ size;

        while (size > 0) {
                uint64_t word = 0;
                size_t part = size < sizeof(word) ? size : sizeof(word);
                memcpy(&word, at, part);
                state = fold(state ^ word, hash_key[1]) + hash_key[0];
                at += part;
                size -= part;
        }
        return (unsigned)(state ^ (state >> 32));
}
