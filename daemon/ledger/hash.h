/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uthash with a keyed hash, because clients choose their tokens, and with allocation
 * failures that are outcomes: after HASH_ADD an element that did not get in has hh.tbl NULL.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* To be set once, at the start, to random words. */
void hash_set_key(const uint64_t key[2]);

unsigned hash_bytes(const void *bytes, size_t size);

#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(element) ((void)(element))
#define HASH_FUNCTION(bytes, size, result) ((result) = hash_bytes((bytes), (size)))

#include <uthash.h>
