/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words of the lease page: what both sides may do to them.
 *
 * Each word is written by one side at a time, save for the one contested transition out of
 * IDLE, which is a compare-and-swap with an outcome safe for both:
 *   broker  any -> HELD       before the GRANT that names the slot is sent
 *   client  HELD -> IDLE      the buffer goes into the client's cache
 *   client  IDLE -> HELD      and out of it                         (swap)
 *   broker  IDLE -> TAKEN     the broker wants the memory           (swap)
 *   client  HELD -> SHARED    before the RELEASE|KEEP that tells of it is sent
 *   broker  SHARED -> IDLE    the last importer let go              (swap)
 *   broker  SHARED -> TAKEN   its mapping must be seen gone         (store)
 *   client  any -> NONE       before the RELEASE that ends the lease is sent
 *
 * Ordering: the swaps and stores into IDLE release, and the swaps out of it acquire, so that
 * whoever takes a buffer out of IDLE sees everything its former holder did to the buffer and
 * to its own books before it put it there.
 *
 * A buffer must not lie IDLE unseen while somebody waits for memory. The client, after it
 * stored IDLE, looks at word 0; the broker, after it wrote WANTED there, looks at the words.
 * With all four sequentially consistent one of the two sees the other's store (Dekker); a
 * client that sees WANTED ends the lease: NONE, and RELEASE.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "shmbroker-proto.h"

typedef _Atomic(uint64_t) shmb_word;

_Static_assert(sizeof(shmb_word) == 8, "a word of the lease page is eight bytes");

static inline enum shmb_word_state shmb_word_state_of(uint64_t value) {
        return (enum shmb_word_state)(value & SHMB_WORD_STATE_MASK);
}

static inline uint64_t shmb_word_make(uint32_t uses, enum shmb_word_state state) {
        return (uint64_t)uses << SHMB_WORD_USE_SHIFT | (uint64_t)state;
}

static inline uint32_t shmb_word_uses(uint64_t value) {
        return (uint32_t)(value >> SHMB_WORD_USE_SHIFT);
}

static inline uint64_t shmb_word_load(shmb_word *word) {
        return atomic_load_explicit(word, memory_order_seq_cst);
}

/* The client's HELD -> IDLE; true if the broker wants the buffer instead. */
static inline bool shmb_word_store_idle(shmb_word *words, uint32_t slot, uint32_t uses) {
        atomic_store_explicit(&words[slot], shmb_word_make(uses, SHMB_WORD_IDLE),
                              memory_order_seq_cst);
        return atomic_load_explicit(&words[0], memory_order_seq_cst) & SHMB_WORD_ZERO_WANTED;
}

/* A transition only this side can make now. */
static inline void shmb_word_store(shmb_word *word, uint32_t uses, enum shmb_word_state state) {
        atomic_store_explicit(word, shmb_word_make(uses, state), memory_order_release);
}

/* A contested transition; false if the word is no longer in `from`. */
static inline bool shmb_word_swap(shmb_word *word, enum shmb_word_state from, uint32_t add_uses,
                                  enum shmb_word_state to) {
        uint64_t old = atomic_load_explicit(word, memory_order_relaxed);

        /* One try only: a failure means the other side moved, and that is the answer. */
        return shmb_word_state_of(old) == from &&
               atomic_compare_exchange_strong_explicit(
                       word, &old, shmb_word_make(shmb_word_uses(old) + add_uses, to),
                       memory_order_acq_rel, memory_order_relaxed);
}
