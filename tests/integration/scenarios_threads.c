/* SPDX-License-Identifier: Apache-2.0 */
/* Threads of one client in each other's way, by a broker that times its answers. */
#include <semaphore.h>
#include <time.h>

#include "fake_broker.h"

#define WRITER (SHMB_GRANT_WRITABLE | SHMB_GRANT_HAS_FD)

struct turns {
        sem_t asked; /* the broker has the next request; its thread waits, or reads */
        sem_t called;
        sem_t synced;
        unsigned too_late; /* callbacks that saw no sync done while they ran */
};

/* Of the scenario that runs. */
static struct turns turns;

static void turns_init(void) {
        turns = (struct turns){ 0 };
        sem_init(&turns.asked, 0, 0);
        sem_init(&turns.called, 0, 0);
        sem_init(&turns.synced, 0, 0);
}

static int await(sem_t *semaphore, time_t seconds) {
        struct timespec until;

        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += seconds;
        return sem_timedwait(semaphore, &until);
}

/* The next request must be of that opcode; says when it is there. */
static int take_request(struct fake *fake, uint16_t opcode, uint32_t *ret_serial) {
        uint8_t packet[SHMB_PACKET_MAX];
        size_t size;

        CHECK(fake_expect(fake, opcode, packet, &size) == 0);
        *ret_serial = fake->serial;
        sem_post(&turns.asked);
        return 0;
}

static int answer_alloc(struct fake *fake, uint32_t serial, struct shmb_grant grant) {
        fake->serial = serial;
        return fake_send_grant(fake, &grant);
}

static void *alloc_in_thread(void *userdata) {
        shmc_buffer *buffer = NULL;
        int r = shmc_alloc(userdata, 100, NULL, &buffer);

        if (r < 0)
                unexpected(userdata, __func__, __LINE__, "shmc_alloc", r, 0);
        return buffer;
}

/* ---- one slot, twice ------------------------------------------------------------------- */

/* DONE for a transfer, and the slot it left free in the answer to another thread's ALLOC. */
static int grant_the_slot_again(struct fake *fake) {
        struct shmb_grant grant = fake_grant(1, WRITER);
        uint32_t first, second, transfer;

        CHECK(fake_welcome(fake) == 0);
        CHECK(take_request(fake, SHMB_ALLOC, &first) == 0);
        CHECK(answer_alloc(fake, first, grant) == 0);
        CHECK(take_request(fake, SHMB_ALLOC, &second) == 0);
        CHECK(take_request(fake, SHMB_EXPORT, &transfer) == 0);
        CHECK(fake_send_done(fake) == 0);
        grant.lease.generation++;
        CHECK(answer_alloc(fake, second, grant) == 0);
        CHECK(fake_expect_release(fake, grant.lease, 0) == 0);
        return fake_expect_end(fake);
}

static int transfer_and_grant(void) {
        FAKE fake;
        CLIENT client = NULL;
        shmc_buffer *given = NULL;
        struct shmc_token token;
        pthread_t thread;
        void *granted = NULL;

        turns_init();
        OK(NULL, fake_start(&fake, grant_the_slot_again, 0));
        OK(NULL, fake_connect(&fake, &client));
        OK(client, shmc_alloc(client, 100, NULL, &given));
        CHECK(await(&turns.asked, 10) == 0);
        CHECK(pthread_create(&thread, NULL, alloc_in_thread, client) == 0);
        int r = await(&turns.asked, 10);
        if (r == 0) /* while the other thread reads for both */
                r = exported(given, SHMC_EXPORT_TRANSFER, &token);
        pthread_join(thread, &granted);
        OK(client, r);
        CHECK(granted);
        memset(shmc_buffer_data(granted), 1, 100);
        shmc_buffer_unref(granted);
        CHECK(stats_of(client).held_buffers == 0);
        client = shmc_close(client);
        return fake_finish(&fake);
}

/* ---- who reads while callbacks run ----------------------------------------------------- */

enum { CALLBACKS = 2 };

/* Two threads each come upon a callback, and only then the third gets its answer. */
static int answer_in_turn(struct fake *fake) {
        uint32_t serials[2 * CALLBACKS], sync;
        uint32_t slot = 1;

        CHECK(fake_welcome(fake) == 0);
        for (int i = 0; i < 2 * CALLBACKS; i++)
                CHECK(take_request(fake, SHMB_ALLOC, &serials[i]) == 0);
        CHECK(take_request(fake, SHMB_SYNC, &sync) == 0);
        for (int i = 0; i < 2 * CALLBACKS; i++, slot++) {
                if (i == CALLBACKS) {
                        fake->serial = sync;
                        CHECK(fake_send_done(fake) == 0);
                }
                CHECK(answer_alloc(fake, serials[i], fake_grant(slot, WRITER)) == 0);
                CHECK(i >= CALLBACKS || await(&turns.called, 10) == 0);
        }
        return fake_expect_end(fake);
}

static void stay_until_synced(shmc_client *client, int error, shmc_buffer *buffer,
                              void *userdata) {
        (void)client;
        (void)error;
        (void)userdata;
        shmc_buffer_unref(buffer);
        sem_post(&turns.called);
        /* Less than the timeout of the calls that wait. */
        if (await(&turns.synced, 1) < 0)
                turns.too_late++;
}

static void *sync_in_thread(void *userdata) {
        int r = shmc_sync(userdata);

        if (r < 0)
                unexpected(userdata, __func__, __LINE__, "shmc_sync", r, 0);
        for (int i = 0; i < CALLBACKS; i++)
                sem_post(&turns.synced);
        return r < 0 ? NULL : userdata;
}

static void *allocate_and_free(void *userdata) {
        shmc_buffer *buffer = alloc_in_thread(userdata);

        shmc_buffer_unref(buffer);
        return buffer ? userdata : NULL;
}

static int slow_callbacks(void) {
        FAKE fake;
        CLIENT client = NULL;
        shmc_request *request = NULL;
        shmc_buffer *none = NULL;
        pthread_t threads[CALLBACKS + 1];
        int failures = 0;

        turns_init();
        OK(NULL, fake_start(&fake, answer_in_turn, 0));
        OK(NULL, fake_connect(&fake, &client));
        for (int i = 0; i < CALLBACKS; i++) {
                OK(client, shmc_alloc_start(client, 100, NULL, stay_until_synced, NULL,
                                            &request, &none));
                CHECK(await(&turns.asked, 10) == 0);
        }
        for (int i = 0; i <= CALLBACKS; i++) {
                CHECK(pthread_create(&threads[i], NULL,
                                     i < CALLBACKS ? allocate_and_free : sync_in_thread,
                                     client) == 0);
                failures += await(&turns.asked, 10) != 0;
        }
        for (int i = 0; i <= CALLBACKS; i++) {
                void *result = NULL;
                pthread_join(threads[i], &result);
                failures += !result;
        }
        CHECK(failures == 0);
        CHECK(turns.too_late == 0);
        client = shmc_close(client);
        return fake_finish(&fake);
}

const struct scenario thread_scenarios[] = {
        { "transfer-and-grant", transfer_and_grant },
        { "slow-callbacks", slow_callbacks },
        { NULL, NULL },
};
