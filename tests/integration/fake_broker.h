/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A broker that breaks its promises, which the real one cannot be asked to do: a thread that
 * follows a script.
 */
#pragma once

#include <pthread.h>

#include "lease-word.h"
#include "scenarios.h"
#include "wire.h"

enum { FAKE_SLOTS = 8, FAKE_POOL = 3 };
#define FAKE_CAPACITY (64 * KIB)

struct fake {
        char address[64];
        int listener, peer;
        int page_fd, memory_fd; /* the lease page; 64 KiB of memory to grant */
        shmb_word *words;
        int (*script)(struct fake *fake); /* 0, or -1 with the reason on stderr */
        int variant;                      /* which of its ways the script takes */
        uint32_t serial;                  /* of the last request */
        int result;
        pthread_t thread;
        bool running;
};

/* Begins to listen; follows the script with the first to connect. */
int fake_start(struct fake *fake, int (*script)(struct fake *fake), int variant);

/* Waits for the script's end; its result. */
int fake_finish(struct fake *fake);
void fake_done(struct fake *fake);

/* A client of it, with a timeout of two seconds, and a cache. */
int fake_connect(const struct fake *fake, shmc_client **ret_client);

#define FAKE SHMB_CLEANUP(fake_done) struct fake

/* ---- for scripts ----------------------------------------------------------------------- */

/* Receives the next packet, which must be of that opcode; its payload follows the header. */
int fake_expect(struct fake *fake, uint16_t opcode, uint8_t packet[SHMB_PACKET_MAX],
                size_t *ret_size);
int fake_send(struct fake *fake, const uint8_t *packet, size_t size, int fd);

int fake_welcome(struct fake *fake);
/* An ordinary GRANT of the memory, to be bent by the caller. */
struct shmb_grant fake_grant(uint32_t slot, uint32_t flags);
/* Sends it as the answer to the last request, with the memory if its flags say so. */
int fake_send_grant(struct fake *fake, const struct shmb_grant *grant);
int fake_send_done(struct fake *fake);
/* The next packet must be a RELEASE of that lease alone, with those flags. */
int fake_expect_release(struct fake *fake, struct shmb_lease_ref lease, uint32_t flags);
/* Waits for the client to hang up, whatever it still says. */
int fake_expect_end(struct fake *fake);
