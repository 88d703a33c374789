/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens and descriptors. */
#include "scenarios.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static int share(void) {
        CLIENT client = NULL;
        BUFFER writer = NULL;
        BUFFER reader = NULL;
        BUFFER again = NULL;
        struct shmc_token token;

        OK(NULL, connected(&client));
        OK(client, filled(client, NULL, MIB, 5, &writer));
        OK(client, shmc_buffer_resize(writer, MIB - 10));
        OK(client, exported(writer, 0, &token));
        OK(client, shmc_import(client, &token, NULL, &reader));
        CHECK(!shmc_buffer_is_writable(reader));
        CHECK(shmc_buffer_size(reader) == MIB - 10);
        CHECK(shmc_buffer_data(reader) != shmc_buffer_data(writer));
        OK(client, has_only(reader, 5));
        EXPECT(client, shmc_buffer_resize(reader, 1), -EROFS);
        EXPECT(client, exported(reader, 0, &token), -EROFS);
        /* A second import of the same object needs no second mapping. */
        OK(client, shmc_import(client, &token, NULL, &again));
        CHECK(again != reader && shmc_buffer_data(again) == shmc_buffer_data(reader));
        reader = shmc_buffer_unref(reader);
        OK(client, has_only(again, 5));
        CHECK(stats_of(client).cold_imports == 1 && stats_of(client).warm_imports == 1);
        OK(client, shmc_sync(client));
        return 0;
}

/* Tokens of one buffer with different lengths. */
static int lengths(void) {
        CLIENT client = NULL;
        BUFFER writer = NULL;
        BUFFER shorter = NULL;
        BUFFER longer = NULL;
        struct shmc_token first, second;

        OK(NULL, connected(&client));
        OK(client, filled(client, NULL, 64 * KIB, 5, &writer));
        OK(client, exported(writer, 0, &first));
        OK(client, shmc_buffer_resize(writer, 100));
        OK(client, exported(writer, 0, &second));
        OK(client, shmc_import(client, &first, NULL, &longer));
        OK(client, shmc_import(client, &second, NULL, &shorter));
        CHECK(shmc_buffer_size(longer) == 64 * KIB && shmc_buffer_size(shorter) == 100);
        return 0;
}

/* Both ends stay warm: the exporter finds its buffer again, the importer its mapping. */
static int warm(void) {
        CLIENT client = NULL;
        CLIENT other = NULL;
        shmc_buffer *writer = NULL, *reader = NULL;
        struct shmc_token token;
        void *written = NULL, *read = NULL;

        OK(NULL, connected(&client));
        OK(NULL, connected(&other));
        for (int i = 0; i < 100; i++) {
                OK(client, filled(client, NULL, 128 * KIB, i, &writer));
                CHECK(!written || shmc_buffer_data(writer) == written);
                written = shmc_buffer_data(writer);
                OK(client, exported(writer, SHMC_EXPORT_ONCE, &token));
                shmc_buffer_unref(writer);
                OK(other, shmc_import(other, &token, NULL, &reader));
                CHECK(!read || shmc_buffer_data(reader) == read);
                read = shmc_buffer_data(reader);
                OK(other, has_only(reader, i));
                shmc_buffer_unref(reader);
                OK(other, shmc_sync(other));
        }
        CHECK(stats_of(client).cache_hits == 99 && stats_of(other).warm_imports == 99);
        OK(client, shmc_sync(client));
        return 0;
}

/* A buffer that is still read is not handed out again. */
static int still_read(void) {
        CLIENT client = NULL;
        CLIENT other = NULL;
        BUFFER reader = NULL;
        shmc_buffer *writer = NULL;
        struct shmc_token token;

        OK(NULL, connected(&client));
        OK(NULL, connected(&other));
        OK(client, filled(client, NULL, 128 * KIB, 77, &writer));
        OK(client, exported(writer, 0, &token));
        writer = shmc_buffer_unref(writer);
        OK(other, shmc_import(other, &token, NULL, &reader));
        for (int i = 0; i < 20; i++) {
                OK(client, filled(client, NULL, 128 * KIB, i, &writer));
                writer = shmc_buffer_unref(writer);
        }
        return has_only(reader, 77);
}

static int once(void) {
        CLIENT client = NULL;
        BUFFER writer = NULL;
        BUFFER reader = NULL;
        BUFFER second = NULL;
        struct shmc_token token;
        char text[512];

        OK(NULL, connected(&client));
        OK(client, filled(client, NULL, 100, 5, &writer));
        OK(client, exported(writer, SHMC_EXPORT_ONCE | SHMC_EXPORT_SAME_UID, &token));
        OK(client, shmc_import(client, &token, NULL, &reader));
        EXPECT(client, shmc_import(client, &token, NULL, &second), -ESTALE);
        shmc_last_error(client, text, sizeof(text));
        CHECK(strstr(text, "token-used"));
        return has_only(reader, 5);
}

static int expired(void) {
        struct shmc_export_options options = SHMC_EXPORT_OPTIONS_INIT;
        CLIENT client = NULL;
        BUFFER writer = NULL;
        struct shmc_token token;
        int r;

        options.ttl_ns = 1;
        OK(NULL, connected(&client));
        OK(client, filled(client, NULL, 100, 5, &writer));
        OK(client, shmc_buffer_export(writer, &options, &token));
        do {
                shmc_buffer *reader = NULL;
                r = shmc_import(client, &token, NULL, &reader);
                shmc_buffer_unref(reader);
        } while (r == 0);
        EXPECT(client, r, -ESTALE);
        options.ttl_ns = UINT64_MAX;
        EXPECT(client, shmc_buffer_export(writer, &options, &token), -EINVAL);
        options.ttl_ns = 0;
        options.reserved = 1;
        EXPECT(client, shmc_buffer_export(writer, &options, &token), -EINVAL);
        OK(client, shmc_sync(client));
        return 0;
}

static int revoked(void) {
        CLIENT client = NULL;
        BUFFER writer = NULL;
        BUFFER reader = NULL;
        BUFFER late = NULL;
        struct shmc_token token;

        OK(NULL, connected(&client));
        OK(client, filled(client, NULL, 100, 5, &writer));
        OK(client, exported(writer, 0, &token));
        OK(client, shmc_import(client, &token, NULL, &reader));
        OK(client, shmc_revoke(client, &token));
        EXPECT(client, shmc_import(client, &token, NULL, &late), -ESTALE);
        OK(client, has_only(reader, 5));
        memset(token.bytes, 0, sizeof(token.bytes));
        EXPECT(client, shmc_import(client, &token, NULL, &late), -ENOENT);
        OK(client, shmc_sync(client));
        return 0;
}

static int token_text(void) {
        struct shmc_token token, parsed;
        char text[SHMC_TOKEN_STRING_SIZE];

        for (int i = 0; i < 16; i++)
                token.bytes[i] = (uint8_t)(i * 17);
        shmc_token_to_string(&token, text);
        CHECK(strcmp(text, "00112233445566778899aabbccddeeff") == 0);
        OK(NULL, shmc_token_from_string(text, &parsed));
        CHECK(memcmp(&token, &parsed, sizeof(token)) == 0);
        EXPECT(NULL, shmc_token_from_string("0011", &parsed), -EINVAL);
        return 0;
}

static int transfer(void) {
        CLIENT client = NULL;
        CLIENT other = NULL;
        BUFFER received = NULL;
        BUFFER again = NULL;
        shmc_buffer *buffer = NULL;
        struct shmc_token token;

        OK(NULL, connected(&client));
        OK(NULL, connected(&other));
        OK(client, filled(client, NULL, MIB, 5, &buffer));
        shmc_buffer_ref(buffer);
        EXPECT(client, exported(buffer, SHMC_EXPORT_TRANSFER, &token), -EBUSY);
        shmc_buffer_unref(buffer);
        OK(client, exported(buffer, SHMC_EXPORT_TRANSFER, &token));
        CHECK(stats_of(client).held_buffers == 0);
        OK(other, shmc_import(other, &token, NULL, &received));
        CHECK(shmc_buffer_is_writable(received));
        OK(other, has_only(received, 5));
        memset(shmc_buffer_data(received), 6, MIB);
        EXPECT(client, shmc_import(client, &token, NULL, &again), -ESTALE);
        OK(client, shmc_sync(client));
        OK(other, shmc_sync(other));
        return 0;
}

static int transfer_while_read(void) {
        CLIENT client = NULL;
        CLIENT other = NULL;
        BUFFER buffer = NULL;
        BUFFER reader = NULL;
        struct shmc_token token;

        OK(NULL, connected(&client));
        OK(NULL, connected(&other));
        OK(client, filled(client, NULL, MIB, 5, &buffer));
        OK(client, exported(buffer, SHMC_EXPORT_ONCE, &token));
        OK(other, shmc_import(other, &token, NULL, &reader));
        EXPECT(client, exported(buffer, SHMC_EXPORT_TRANSFER, &token), -EBUSY);
        /* Refused, the buffer is still ours, in full. */
        OK(client, has_only(buffer, 5));
        memset(shmc_buffer_data(buffer), 6, MIB);
        OK(other, has_only(reader, 6));
        reader = shmc_buffer_unref(reader);
        OK(other, shmc_sync(other));
        shmc_buffer *handed = shmb_steal_ptr(buffer);
        OK(client, exported(handed, SHMC_EXPORT_TRANSFER, &token));
        OK(other, shmc_import(other, &token, NULL, &reader));
        OK(other, has_only(reader, 6));
        OK(client, shmc_sync(client));
        return 0;
}

static int descriptor(void) {
        CLIENT client = NULL;
        BUFFER writer = NULL;
        BUFFER reader = NULL;
        SHMB_CLOSE int read_write = -1;
        SHMB_CLOSE int read_only = -1;
        int refused = -1;
        struct shmc_token token;

        OK(NULL, connected(&client));
        OK(client, filled(client, NULL, MIB, 5, &writer));
        OK(client, exported(writer, 0, &token));
        OK(client, shmc_import(client, &token, NULL, &reader));
        OK(client, shmc_buffer_fd(writer, 0, &read_write));
        OK(client, shmc_buffer_fd(writer, SHMC_FD_READONLY, &read_only));
        CHECK(fcntl(read_write, F_GETFD) == FD_CLOEXEC);
        CHECK(pwrite(read_write, "xyz", 3, 100) == 3);
        CHECK(memcmp((char *)shmc_buffer_data(reader) + 100, "xyz", 3) == 0);
        CHECK(pwrite(read_only, "xyz", 3, 100) < 0 && errno == EBADF);
        EXPECT(client, shmc_buffer_fd(reader, 0, &refused), -EROFS);
        EXPECT(client, shmc_buffer_fd(writer, 0x10, &refused), -EINVAL);
        CHECK(refused == -1);
        /* Its memory is nobody's to reuse while the descriptor lives: not kept. */
        writer = shmc_buffer_unref(writer);
        reader = shmc_buffer_unref(reader);
        CHECK(stats_of(client).cached_buffers <= 1);
        OK(client, shmc_sync(client));
        char back[3];
        CHECK(pread(read_only, back, 3, 100) == 3 && memcmp(back, "xyz", 3) == 0);
        return 0;
}

static int sync_fault(void) {
        CLIENT client = NULL;
        CLIENT other = NULL;
        BUFFER writer = NULL;
        struct shmc_token token;
        char text[512];

        OK(NULL, connected(&client));
        OK(NULL, connected(&other));
        OK(client, filled(client, NULL, 100, 5, &writer));
        OK(client, exported(writer, SHMC_EXPORT_CONFIRM, &token));
        OK(other, shmc_sync(other));
        OK(other, shmc_revoke(other, &token)); /* not its own: that shows later */
        EXPECT(other, shmc_sync(other), -ENOENT);
        shmc_last_error(other, text, sizeof(text));
        CHECK(strstr(text, "revoke") && strstr(text, "token-unknown"));
        OK(other, shmc_sync(other));
        OK(client, shmc_sync(client));
        return 0;
}

/* A reader's mapping that leaves while its object is imported anew, again and again. */
static int evicted_reader(void) {
        struct shmc_connect_options options = SHMC_CONNECT_OPTIONS_INIT;
        CLIENT client = NULL;
        CLIENT other = NULL;
        shmc_buffer *buffers[3];
        struct shmc_token tokens[3];

        options.cache_bytes = 2 * MIB;
        OK(NULL, connected(&client));
        OK(NULL, shmc_connect(&other, NULL, &options));
        for (int i = 0; i < 3; i++) {
                OK(client, filled(client, NULL, MIB, i, &buffers[i]));
                OK(client, exported(buffers[i], 0, &tokens[i]));
        }
        for (int round = 0; round < 50; round++) {
                BUFFER reader = NULL;
                OK(other, shmc_import(other, &tokens[round % 3], NULL, &reader));
                OK(other, has_only(reader, round % 3));
        }
        CHECK(stats_of(other).cached_buffers == 2);
        OK(other, shmc_sync(other));
        for (int i = 0; i < 3; i++)
                shmc_buffer_unref(buffers[i]);
        return 0;
}

const struct scenario sharing_scenarios[] = {
        { "share", share },
        { "lengths", lengths },
        { "warm", warm },
        { "still-read", still_read },
        { "once", once },
        { "expired", expired },
        { "revoked", revoked },
        { "token-text", token_text },
        { "transfer", transfer },
        { "transfer-while-read", transfer_while_read },
        { "descriptor", descriptor },
        { "sync-fault", sync_fault },
        { "evicted-reader", evicted_reader },
        { NULL, NULL },
};
