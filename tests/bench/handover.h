/* SPDX-License-Identifier: Apache-2.0 */
/* The ways to hand a payload from one process to another that `handover` compares. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What reading a payload yields; both sides must agree. */
struct digest {
        uint64_t sum, parity;
};

/*
 * Writes `size` bytes (a multiple of 8): those of `source`, changed by `seed` so that no
 * payload is taken for the one before it.
 */
struct digest payload_write(void *payload, const void *source, size_t size, uint64_t seed);

/* Reads every byte. */
struct digest payload_read(const void *payload, size_t size);

struct handover {
        int fd;             /* SEQPACKET to the other process, for what is small */
        const void *source; /* what payloads are made of */
        size_t size;
        bool producer;
        void *shared; /* of setup, in both processes */
        void *own;    /* of open, in this one */
};

/* All return 0 or -errno. */
struct way {
        const char *name, *what;
        int (*setup)(struct handover *h); /* before the fork; or NULL */
        int (*open)(struct handover *h);  /* in each process */
        /* Gets memory, writes the payload to it and hands it over. */
        int (*give)(struct handover *h, uint64_t seed, struct digest *ret_written);
        /* Waits for a payload, reads it, and lets go of it. -EPIPE: there will be no more. */
        int (*take)(struct handover *h, struct digest *ret_read);
        void (*close)(struct handover *h);    /* after open, even one that failed */
        void (*teardown)(struct handover *h); /* in the producer, last; or NULL */
};

extern const struct way way_floor, way_token, way_posix, way_socket;
