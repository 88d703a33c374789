/* SPDX-License-Identifier: Apache-2.0 */
/* A broker that breaks its promises: an error with a name, and nothing crashes or leaks. */
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "fake_broker.h"
#include "memfd.h"
#include "packet.h"

#define WRITER (SHMB_GRANT_WRITABLE | SHMB_GRANT_HAS_FD)
#define KEPT_WRITER (WRITER | SHMB_GRANT_MAY_KEEP)

/* ---- the handshake --------------------------------------------------------------------- */

/* The same descriptor twice in one packet. */
static int send_two_fds(struct fake *fake, const uint8_t *packet, size_t size) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(2 * sizeof(int))];
        } control = { 0 };
        struct iovec iov = { .iov_base = (void *)packet, .iov_len = size };
        struct msghdr message = { .msg_iov = &iov,
                                  .msg_iovlen = 1,
                                  .msg_control = control.bytes,
                                  .msg_controllen = sizeof(control.bytes) };
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message);
        int fds[] = { fake->page_fd, fake->page_fd };

        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(fds));
        memcpy(CMSG_DATA(cmsg), fds, sizeof(fds));
        CHECK(sendmsg(fake->peer, &message, MSG_NOSIGNAL) == (ssize_t)size);
        return 0;
}

static const struct bad_welcome {
        int error;
        struct shmb_welcome welcome;
        bool no_fd, two_fds, cut, too_long, wrong_serial, memory_for_page;
        uint32_t goodbye, refusal; /* statuses, sent in its place */
        bool silent_end, other_opcode;
} bad_welcomes[] = {
        { .error = -EPROTO, .welcome = { 1, 0, 8, 8 }, .no_fd = true },
        { .error = -EPROTO, .welcome = { 1, 0, 8, 8 }, .two_fds = true },
        { .error = -EPROTO, .welcome = { 1, 0, 8, 8 }, .cut = true },
        { .error = -EPROTO, .welcome = { 1, 0, 8, 8 }, .too_long = true },
        { .error = -EPROTO, .welcome = { 1, 0, 8, 8 }, .wrong_serial = true },
        { .error = -EPROTO, .welcome = { 1, 0, 0, 8 } },
        { .error = -EPROTO, .welcome = { 1, 0, 512, 8 } }, /* more than the page has */
        { .error = -EPROTO, .welcome = { 1, 0, UINT32_MAX, 8 } },
        { .error = -EPROTONOSUPPORT, .welcome = { 9, 0, 8, 8 } },
        { .error = -EUSERS, .goodbye = SHMB_STATUS_TOO_MANY_CLIENTS },
        { .error = -EPROTONOSUPPORT, .goodbye = SHMB_STATUS_VERSION },
        { .error = -EUSERS, .refusal = SHMB_STATUS_TOO_MANY_CLIENTS },
        { .error = -EPROTO, .goodbye = 9999 },
        { .error = -ECONNRESET, .silent_end = true },
        { .error = -EPROTO, .other_opcode = true },
};

static int welcome_badly(struct fake *fake) {
        const struct bad_welcome *bad = &bad_welcomes[fake->variant];
        struct shmb_goodbye goodbye = { .status = bad->goodbye, .text = "no" };
        struct shmb_error refusal = { .status = bad->refusal };
        uint8_t packet[SHMB_PACKET_MAX + 100] = { 0 };
        size_t size;

        CHECK(fake_expect(fake, SHMB_HELLO, packet, &size) == 0);
        if (bad->silent_end)
                return 0;
        size = shmb_encode_welcome(packet, fake->serial + bad->wrong_serial, &bad->welcome);
        if (bad->goodbye)
                size = shmb_encode_goodbye(packet, &goodbye);
        if (bad->refusal)
                size = shmb_encode_error(packet, fake->serial, &refusal);
        if (bad->other_opcode)
                size = shmb_encode_empty(packet, SHMB_DONE, fake->serial);
        size = bad->cut ? size - 1 : bad->too_long ? sizeof(packet) : size;
        if (bad->two_fds)
                return send_two_fds(fake, packet, size);
        return fake_send(fake, packet, size, bad->no_fd ? -1 : fake->page_fd);
}

static int hostile_welcome(void) {
        for (size_t i = 0; i < sizeof(bad_welcomes) / sizeof(bad_welcomes[0]); i++) {
                FAKE fake;
                shmc_client *client = NULL;

                OK(NULL, fake_start(&fake, welcome_badly, (int)i));
                int r = fake_connect(&fake, &client);
                if (r != bad_welcomes[i].error)
                        fprintf(stderr, "welcome %zu\n", i);
                EXPECT(NULL, r, bad_welcomes[i].error);
                OK(NULL, fake_finish(&fake));
                CHECK(!client);
        }
        return 0;
}

/* ---- answers --------------------------------------------------------------------------- */

enum answer {
        SLOT_ZERO,
        SLOT_BEYOND,
        NO_CAPACITY,
        ENDLESS_CAPACITY,
        TOO_SMALL,
        NOT_WRITABLE,
        OTHER_SERIAL,
        DONE_FOR_GRANT,
        DESCRIPTOR_FOR_GRANT,
        SECOND_WELCOME,
        UNKNOWN_OPCODE,
        HALF_A_HEADER,
        TRAILING_BYTE,
        OVERSIZE,
        TWO_DESCRIPTORS,
        EMPTY_RECLAIM,
        MALFORMED_ERROR,
        MALFORMED_GOODBYE,
        ANSWERS,
};

static void bend(struct shmb_grant *grant, enum answer answer) {
        if (answer == SLOT_ZERO)
                grant->lease.slot = 0;
        if (answer == SLOT_BEYOND)
                grant->lease.slot = FAKE_SLOTS + 1;
        if (answer == NO_CAPACITY)
                grant->capacity = 0;
        if (answer == ENDLESS_CAPACITY)
                grant->capacity = UINT64_MAX;
        if (answer == TOO_SMALL)
                grant->capacity = 99;
        if (answer == NOT_WRITABLE)
                grant->flags &= ~SHMB_GRANT_WRITABLE;
}

static int answer_badly(struct fake *fake) {
        struct shmb_grant grant = fake_grant(1, WRITER);
        uint8_t packet[SHMB_PACKET_MAX + 100] = { 0 };
        size_t size;

        CHECK(fake_welcome(fake) == 0);
        CHECK(fake_expect(fake, SHMB_ALLOC, packet, &size) == 0);
        bend(&grant, (enum answer)fake->variant);
        size = shmb_encode_grant(packet, fake->serial + (fake->variant == OTHER_SERIAL),
                                 &grant);
        if (fake->variant == DONE_FOR_GRANT)
                size = shmb_encode_empty(packet, SHMB_DONE, fake->serial);
        if (fake->variant == DESCRIPTOR_FOR_GRANT)
                size = shmb_encode_empty(packet, SHMB_DESCRIPTOR, fake->serial);
        if (fake->variant == SECOND_WELCOME)
                size = shmb_encode_welcome(packet, fake->serial,
                                           &(struct shmb_welcome){ .version = 1 });
        if (fake->variant == UNKNOWN_OPCODE)
                size = shmb_encode_empty(packet, 0x7777, fake->serial);
        if (fake->variant == HALF_A_HEADER)
                size = 4;
        if (fake->variant == TRAILING_BYTE)
                size++;
        if (fake->variant == OVERSIZE)
                size = sizeof(packet);
        if (fake->variant == EMPTY_RECLAIM)
                size = shmb_encode_reclaim(packet, &(struct shmb_reclaim){ 0 });
        if (fake->variant == MALFORMED_ERROR)
                size = shmb_encode_empty(packet, SHMB_ERROR, fake->serial);
        if (fake->variant == MALFORMED_GOODBYE)
                size = shmb_encode_empty(packet, SHMB_GOODBYE, 0);
        if (fake->variant == TWO_DESCRIPTORS)
                CHECK(send_two_fds(fake, packet, size) == 0);
        else
                CHECK(fake_send(fake, packet, size, fake->memory_fd) == 0);
        return fake_expect_end(fake);
}

static int hostile_answers(void) {
        for (int i = 0; i < ANSWERS; i++) {
                FAKE fake;
                CLIENT client = NULL;
                BUFFER buffer = NULL;
                char text[512];

                OK(NULL, fake_start(&fake, answer_badly, i));
                OK(NULL, fake_connect(&fake, &client));
                int r = shmc_alloc(client, 100, NULL, &buffer);
                if (r != -EPROTO)
                        fprintf(stderr, "answer %d\n", i);
                EXPECT(client, r, -EPROTO);
                shmc_last_error(client, text, sizeof(text));
                CHECK(strstr(text, "alloc of 100 bytes") && strstr(text, "broke the protocol"));
                /* And no second chance. */
                EXPECT(client, shmc_sync(client), -EPROTO);
                CHECK(stats_of(client).held_buffers == 0);
                OK(NULL, fake_finish(&fake));
        }
        return 0;
}

/* What can be given back is: the connection goes on. */
static int grant_unusably(struct fake *fake) {
        struct shmb_grant small = fake_grant(1, WRITER), bare = fake_grant(2, 0);
        uint8_t packet[SHMB_PACKET_MAX];
        size_t size;

        CHECK(fake_welcome(fake) == 0);
        CHECK(fake_expect(fake, SHMB_ALLOC, packet, &size) == 0);
        small.capacity = 2 * FAKE_CAPACITY; /* the descriptor has half of it */
        CHECK(fake_send_grant(fake, &small) == 0);
        CHECK(fake_expect_release(fake, small.lease, 0) == 0);
        CHECK(shmb_word_state_of(shmb_word_load(&fake->words[1])) == SHMB_WORD_NONE);
        CHECK(fake_expect(fake, SHMB_IMPORT, packet, &size) == 0);
        CHECK(fake_send_grant(fake, &bare) == 0); /* on a mapping that is not there */
        CHECK(fake_expect_release(fake, bare.lease, 0) == 0);
        CHECK(fake_expect(fake, SHMB_SYNC, packet, &size) == 0);
        CHECK(fake_send_done(fake) == 0);
        return fake_expect_end(fake);
}

static int unusable_grants(void) {
        FAKE fake;
        CLIENT client = NULL;
        BUFFER buffer = NULL;
        struct shmc_token token = { { 1 } };

        OK(NULL, fake_start(&fake, grant_unusably, 0));
        OK(NULL, fake_connect(&fake, &client));
        EXPECT(client, shmc_alloc(client, 100, NULL, &buffer), -EPROTO);
        EXPECT(client, shmc_import(client, &token, NULL, &buffer), -EPROTO);
        OK(client, shmc_sync(client));
        client = shmc_close(client);
        return fake_finish(&fake);
}

/* ---- too late -------------------------------------------------------------------------- */

static int grant_too_late(struct fake *fake) {
        struct shmb_grant grant = fake_grant(1, fake->variant ? KEPT_WRITER : WRITER);
        struct shmb_cancel cancel;
        uint8_t packet[SHMB_PACKET_MAX];
        size_t size;

        CHECK(fake_welcome(fake) == 0);
        CHECK(fake_expect(fake, SHMB_ALLOC, packet, &size) == 0);
        uint32_t serial = fake->serial;
        CHECK(fake_expect(fake, SHMB_CANCEL, packet, &size) == 0);
        CHECK(shmb_decode_cancel(packet + SHMB_HEADER_SIZE, size, &cancel) == SHMB_STATUS_OK);
        CHECK(cancel.serial == serial);
        fake->serial = serial;
        CHECK(fake_send_grant(fake, &grant) == 0);
        if (!fake->variant) {
                CHECK(fake_expect_release(fake, grant.lease, 0) == 0);
                CHECK(shmb_word_state_of(shmb_word_load(&fake->words[1])) == SHMB_WORD_NONE);
        }
        CHECK(fake_expect(fake, SHMB_SYNC, packet, &size) == 0);
        if (fake->variant) /* kept, which gives it back just as well */
                CHECK(shmb_word_state_of(shmb_word_load(&fake->words[1])) == SHMB_WORD_IDLE);
        CHECK(fake_send_done(fake) == 0);
        return fake_expect_end(fake);
}

static int late_grant(void) {
        struct shmc_connect_options connect = SHMC_CONNECT_OPTIONS_INIT;
        struct shmc_alloc_options options = SHMC_ALLOC_OPTIONS_INIT;

        connect.timeout_ns = SECOND_NS / 4;
        options.timeout_ns = 1;
        for (int i = 0; i < 2; i++) {
                FAKE fake;
                CLIENT client = NULL;
                BUFFER buffer = NULL;

                OK(NULL, fake_start(&fake, grant_too_late, i));
                OK(NULL, shmc_connect(&client, fake.address, &connect));
                EXPECT(client, shmc_alloc(client, 100, &options, &buffer), -ETIMEDOUT);
                struct pollfd fd = { .fd = shmc_get_fd(client), .events = POLLIN };
                CHECK(poll(&fd, 1, 10000) == 1);
                EXPECT(client, shmc_dispatch(client), 1);
                OK(client, shmc_sync(client));
                CHECK(stats_of(client).held_buffers == 0);
                CHECK(stats_of(client).cached_buffers == (unsigned)i);
                client = shmc_close(client);
                OK(NULL, fake_finish(&fake));
        }
        return 0;
}

/* ---- readers that come and go ---------------------------------------------------------- */

/*
 * The last buffer of a mapping that may not be kept goes while another import is under way:
 * the answer may count on the mapping, so that it has to stay until then.
 */
static int grant_on_the_mapping(struct fake *fake) {
        struct shmb_grant grant = fake_grant(1, SHMB_GRANT_HAS_FD);
        struct shmb_error refusal = { .status = SHMB_STATUS_TOKEN_UNKNOWN };
        uint8_t packet[SHMB_PACKET_MAX];
        size_t size;

        CHECK(fake_welcome(fake) == 0);
        CHECK(fake_expect(fake, SHMB_IMPORT, packet, &size) == 0);
        CHECK(fake_send_grant(fake, &grant) == 0);
        CHECK(fake_expect(fake, SHMB_IMPORT, packet, &size) == 0);
        uint32_t serial = fake->serial;
        /* The release must not come before the answer: the SYNC is the next. */
        CHECK(fake_expect(fake, SHMB_SYNC, packet, &size) == 0);
        CHECK(fake_send_done(fake) == 0);
        fake->serial = serial;
        if (fake->variant == 0) {
                grant.flags = 0;
                CHECK(fake_send_grant(fake, &grant) == 0);
                CHECK(fake_expect_release(fake, grant.lease, 0) == 0); /* the one owed */
        } else {
                size = shmb_encode_error(packet, serial, &refusal);
                CHECK(fake_send(fake, packet, size, -1) == 0);
        }
        CHECK(fake_expect_release(fake, grant.lease, 0) == 0);
        return fake_expect_end(fake);
}

struct import {
        bool done;
        int error;
        shmc_buffer *buffer;
};

static void imported(shmc_client *client, int error, shmc_buffer *buffer, void *userdata) {
        struct import *import = userdata;

        (void)client;
        *import = (struct import){ true, error, buffer };
}

static int needed_mapping(void) {
        struct shmc_token token = { { 1 } };

        for (int i = 0; i < 2; i++) {
                FAKE fake;
                CLIENT client = NULL;
                BUFFER buffer = NULL;
                struct import import = { 0 };
                shmc_request *request = NULL;

                OK(NULL, fake_start(&fake, grant_on_the_mapping, i));
                OK(NULL, fake_connect(&fake, &client));
                OK(client, shmc_import(client, &token, NULL, &buffer));
                void *data = shmc_buffer_data(buffer);
                OK(client, shmc_import_start(client, &token, imported, &import, &request));
                buffer = shmc_buffer_unref(buffer);
                OK(client, shmc_sync(client));
                OK(client, dispatch_until(client, &import.done));
                EXPECT(client, import.error, i == 0 ? 0 : -ENOENT);
                if (i == 0) {
                        CHECK(shmc_buffer_data(import.buffer) == data);
                        OK(client, has_only(import.buffer, 0));
                        shmc_buffer_unref(import.buffer);
                }
                CHECK(stats_of(client).held_buffers == 0);
                client = shmc_close(client);
                OK(NULL, fake_finish(&fake));
        }
        return 0;
}

/* ---- reclaims -------------------------------------------------------------------------- */

static int send_reclaim(struct fake *fake, uint16_t count,
                        const struct shmb_lease_ref *leases) {
        static struct shmb_reclaim reclaim;
        uint8_t packet[SHMB_PACKET_MAX];

        reclaim.count = count;
        memcpy(reclaim.leases, leases, count * sizeof(*leases));
        return fake_send(fake, packet, shmb_encode_reclaim(packet, &reclaim), -1);
}

static int reclaim_anything(struct fake *fake) {
        struct shmb_grant held = fake_grant(1, KEPT_WRITER),
                          cached = fake_grant(2, KEPT_WRITER);
        const struct shmb_lease_ref leases[] = {
                held.lease,
                { 2, 1 },
                { 0, 0 },
                { FAKE_SLOTS, 5 },
                { FAKE_SLOTS + 1, 5 },
                { UINT32_MAX, UINT32_MAX },
                cached.lease,
        };
        uint8_t packet[SHMB_PACKET_MAX];
        size_t size;

        CHECK(fake_welcome(fake) == 0);
        CHECK(fake_expect(fake, SHMB_ALLOC, packet, &size) == 0);
        CHECK(fake_send_grant(fake, &held) == 0);
        CHECK(fake_expect(fake, SHMB_ALLOC, packet, &size) == 0);
        CHECK(fake_send_grant(fake, &cached) == 0);
        CHECK(fake_expect(fake, SHMB_SYNC, packet, &size) == 0);
        CHECK(shmb_word_swap(&fake->words[2], SHMB_WORD_IDLE, 0, SHMB_WORD_TAKEN));
        CHECK(send_reclaim(fake, 7, leases) == 0);
        CHECK(fake_send_done(fake) == 0);
        /* Only what lay unused is given up. */
        CHECK(fake_expect_release(fake, cached.lease, 0) == 0);
        CHECK(fake_expect(fake, SHMB_SYNC, packet, &size) == 0);
        CHECK(fake_send_done(fake) == 0);
        return fake_expect_end(fake);
}

static int reclaims(void) {
        FAKE fake;
        CLIENT client = NULL;
        BUFFER held = NULL;
        shmc_buffer *cached = NULL;

        OK(NULL, fake_start(&fake, reclaim_anything, 0));
        OK(NULL, fake_connect(&fake, &client));
        OK(client, shmc_alloc(client, 100, NULL, &held));
        OK(client, shmc_alloc(client, 100, NULL, &cached));
        shmc_buffer_unref(cached);
        OK(client, shmc_sync(client));
        memset(shmc_buffer_data(held), 1, 100);
        CHECK(stats_of(client).taken == 1 && stats_of(client).cached_buffers == 0);
        OK(client, shmc_sync(client));
        OK(client, has_only(held, 1));
        client = shmc_close(client);
        return fake_finish(&fake);
}

/* ---- the end --------------------------------------------------------------------------- */

/* The reason is heard even if the broker left requests unread, which the kernel tells first. */
static int leave_with_a_word(struct fake *fake) {
        struct shmb_goodbye goodbye = { SHMB_STATUS_DISCONNECTED, "because of the noise" };
        struct pollfd fd;
        uint8_t packet[SHMB_PACKET_MAX];

        CHECK(fake_welcome(fake) == 0);
        fd = (struct pollfd){ .fd = fake->peer, .events = POLLIN };
        CHECK(poll(&fd, 1, 10000) == 1);
        return fake_send(fake, packet, shmb_encode_goodbye(packet, &goodbye), -1);
}

static int last_words(void) {
        FAKE fake;
        CLIENT client = NULL;
        BUFFER buffer = NULL;
        char text[512];

        OK(NULL, fake_start(&fake, leave_with_a_word, 0));
        OK(NULL, fake_connect(&fake, &client));
        EXPECT(client, shmc_alloc(client, 100, NULL, &buffer), -ECONNRESET);
        shmc_last_error(client, text, sizeof(text));
        CHECK(strstr(text, "disconnected") && strstr(text, "because of the noise"));
        return fake_finish(&fake);
}

/* An EXPORT or REVOKE that the broker did not live to take is no success. */
static int leave_silently(struct fake *fake) {
        struct shmb_grant grant = fake_grant(1, WRITER);
        uint8_t packet[SHMB_PACKET_MAX];
        size_t size;

        CHECK(fake_welcome(fake) == 0);
        CHECK(fake_expect(fake, SHMB_ALLOC, packet, &size) == 0);
        return fake_send_grant(fake, &grant);
}

static int one_way_to_nobody(void) {
        for (int i = 0; i < 2; i++) {
                FAKE fake;
                CLIENT client = NULL;
                BUFFER buffer = NULL;
                struct shmc_token token = { { 1 } };

                OK(NULL, fake_start(&fake, leave_silently, 0));
                OK(NULL, fake_connect(&fake, &client));
                OK(client, shmc_alloc(client, 100, NULL, &buffer));
                OK(NULL, fake_finish(&fake));
                EXPECT(client,
                       i == 0 ? shmc_buffer_export(buffer, NULL, &token)
                              : shmc_revoke(client, &token),
                       -ECONNRESET);
        }
        return 0;
}

/* ---- noise ----------------------------------------------------------------------------- */

enum { NOISE_ROUNDS = 300, NOISE_PACKETS = 40 };

static uint32_t noise(uint32_t *seed) {
        *seed = *seed * 1664525u + 1013904223u;
        return *seed >> 8;
}

/* A message as it should be, more or less. */
static size_t noisy_packet(struct fake *fake, uint8_t *packet, uint32_t *seed) {
        static const uint16_t opcodes[] = { SHMB_GRANT,   SHMB_GRANT,      SHMB_GRANT,
                                            SHMB_ERROR,   SHMB_DONE,       SHMB_FAULT,
                                            SHMB_RECLAIM, SHMB_DESCRIPTOR, SHMB_GOODBYE };
        struct shmb_grant grant = fake_grant(1 + noise(seed) % FAKE_SLOTS, noise(seed) % 256);
        size_t size = shmb_encode_grant(packet, fake->serial, &grant);
        unsigned flips = noise(seed) % 4;

        uint16_t opcode = opcodes[noise(seed) % (sizeof(opcodes) / sizeof(opcodes[0]))];
        packet[0] = (uint8_t)opcode;
        packet[1] = (uint8_t)(opcode >> 8);
        while (flips-- > 0)
                packet[noise(seed) % size] ^= (uint8_t)(1u << noise(seed) % 8);
        return noise(seed) % 4 ? size : 1 + noise(seed) % size;
}

static int make_noise(struct fake *fake) {
        uint32_t seed = (uint32_t)fake->variant;
        uint8_t packet[SHMB_PACKET_MAX];
        size_t size;

        CHECK(fake_welcome(fake) == 0);
        CHECK(fake_expect(fake, SHMB_ALLOC, packet, &size) == 0);
        for (int i = 0; i < NOISE_PACKETS; i++) {
                size = noisy_packet(fake, packet, &seed);
                CHECK(fake_send(fake, packet, size, noise(&seed) % 2 ? fake->memory_fd : -1) ==
                      0);
        }
        return 0;
}

static int hostile_noise(void) {
        for (int i = 0; i < NOISE_ROUNDS; i++) {
                FAKE fake;
                CLIENT client = NULL;
                BUFFER buffer = NULL;
                shmc_buffer *second = NULL;

                OK(NULL, fake_start(&fake, make_noise, i));
                OK(NULL, fake_connect(&fake, &client));
                if (shmc_alloc(client, 100, NULL, &buffer) == 0)
                        memset(shmc_buffer_data(buffer), 1, 100);
                OK(NULL, fake_finish(&fake));
                while (shmc_dispatch(client) > 0)
                        ;
                CHECK(shmc_sync(client) < 0);
                if (shmc_alloc(client, 100, NULL, &second) == 0)
                        shmc_buffer_unref(second);
        }
        return 0;
}

const struct scenario hostile_scenarios[] = {
        { "hostile-welcome", hostile_welcome }, { "hostile-answers", hostile_answers },
        { "unusable-grants", unusable_grants }, { "late-grant", late_grant },
        { "needed-mapping", needed_mapping },   { "reclaims", reclaims },
        { "last-words", last_words },           { "one-way-to-nobody", one_way_to_nobody },
        { "hostile-noise", hostile_noise },     { NULL, NULL },
};
