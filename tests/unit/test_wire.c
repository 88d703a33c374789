/* SPDX-License-Identifier: Apache-2.0 */
/* Every message: there and back, cut short at every byte, with a byte too many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire.h"

#define SERIAL 0x01020304u
#define NAME_63 "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789."

struct message {
        const char *name;
        uint16_t opcode, flags;
        uint32_t serial;
        size_t size; /* header and payload, as docs/protocol.md draws them */
        size_t (*encode)(uint8_t *packet);
        enum shmb_status (*decode)(const void *payload, size_t size);
        const void *in;
        void *out;
        size_t struct_size;
};

/* A message's two copies, both zero where nothing was set, and its functions by one type. */
#define MESSAGE(kind, call, ...)                                                               \
        static const struct shmb_##kind kind##_in = __VA_ARGS__;                               \
        static struct shmb_##kind kind##_out;                                                  \
        static size_t encode_##kind(uint8_t *packet) {                                         \
                return call;                                                                   \
        }                                                                                      \
        static enum shmb_status decode_##kind(const void *payload, size_t size) {              \
                return shmb_decode_##kind(payload, size, &kind##_out);                         \
        }

#define TOKEN                                                                                  \
        { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255 }

MESSAGE(hello, shmb_encode_hello(packet, SERIAL, &hello_in),
        { SHMB_MAGIC, 1, 1, 511, 0, NAME_63 })
MESSAGE(welcome, shmb_encode_welcome(packet, SERIAL, &welcome_in),
        { 1, 0, 511, 64, 1024, (uint64_t)1 << 40, 86400000, UINT64_MAX })
MESSAGE(alloc, shmb_encode_alloc(packet, SERIAL, &alloc_in),
        { UINT64_MAX, SHMB_TIMEOUT_FOREVER, 0, "default" })
MESSAGE(cancel, shmb_encode_cancel(packet, SERIAL, &cancel_in), { 0xfffffffe })
MESSAGE(release, shmb_encode_release(packet, SERIAL, SHMB_HEADER_CONFIRM, &release_in),
        { 2, { { { 1, 2 }, SHMB_RELEASE_KEEP }, { { 0xffffffff, 0xfffffffe }, 0 } } })
MESSAGE(export, shmb_encode_export(packet, SERIAL, 0, &export_in),
        { { 3, 4 },
          TOKEN,
          SHMB_EXPORT_ONCE | SHMB_EXPORT_TRANSFER | SHMB_EXPORT_SAME_DOMAIN,
          60000,
          (uint64_t)1 << 33 })
MESSAGE(import, shmb_encode_import(packet, SERIAL, &import_in), { TOKEN, 0 })
MESSAGE(fd, shmb_encode_fd(packet, SERIAL, &fd_in), { { 5, 6 }, SHMB_FD_READONLY })
MESSAGE(revoke, shmb_encode_revoke(packet, SERIAL, SHMB_HEADER_CONFIRM, &revoke_in), { TOKEN })
MESSAGE(grant, shmb_encode_grant(packet, SERIAL, &grant_in),
        { { 7, 8 }, 9, 4096, 4000, 3000, 2, SHMB_GRANT_WRITABLE | SHMB_GRANT_NUMA_MISS })
MESSAGE(error, shmb_encode_error(packet, SERIAL, &error_in),
        { SHMB_STATUS_POOL_BYTES, 1000, 999, "pool full" })
MESSAGE(reclaim, shmb_encode_reclaim(packet, &reclaim_in), { 2, { { 1, 2 }, { 3, 4 } } })
MESSAGE(fault, shmb_encode_fault(packet, SERIAL, &fault_in),
        { SHMB_EXPORT, SHMB_STATUS_TOKEN_LIMIT, "too many" })
MESSAGE(goodbye, shmb_encode_goodbye(packet, &goodbye_in), { SHMB_STATUS_SHUTDOWN, "bye" })

static size_t encode_sync(uint8_t *packet) {
        return shmb_encode_empty(packet, SHMB_SYNC, SERIAL);
}

#define ROW(kind, opcode, flags, serial, size)                                                 \
        {                                                                                      \
#kind, opcode, flags, serial, size, encode_##kind, decode_##kind, &kind##_in,  \
                        &kind##_out, sizeof(kind##_in)                                         \
        }

static const struct message messages[] = {
        ROW(hello, SHMB_HELLO, 0, SERIAL, 8 + 16 + 2 + 63),
        ROW(welcome, SHMB_WELCOME, 0, SERIAL, 8 + 40),
        ROW(alloc, SHMB_ALLOC, 0, SERIAL, 8 + 20 + 2 + 7),
        ROW(cancel, SHMB_CANCEL, 0, SERIAL, 8 + 4),
        ROW(release, SHMB_RELEASE, SHMB_HEADER_CONFIRM, SERIAL, 8 + 4 + 2 * 12),
        ROW(export, SHMB_EXPORT, 0, SERIAL, 8 + 44),
        ROW(import, SHMB_IMPORT, 0, SERIAL, 8 + 20),
        ROW(fd, SHMB_FD, 0, SERIAL, 8 + 12),
        ROW(revoke, SHMB_REVOKE, SHMB_HEADER_CONFIRM, SERIAL, 8 + 16),
        ROW(grant, SHMB_GRANT, 0, SERIAL, 8 + 48),
        ROW(error, SHMB_ERROR, 0, SERIAL, 8 + 20 + 2 + 9),
        ROW(reclaim, SHMB_RECLAIM, 0, 0, 8 + 4 + 2 * 8),
        ROW(fault, SHMB_FAULT, 0, SERIAL, 8 + 8 + 2 + 8),
        ROW(goodbye, SHMB_GOODBYE, 0, 0, 8 + 4 + 2 + 3),
        { "sync", SHMB_SYNC, 0, SERIAL, 8, encode_sync, shmb_decode_empty, NULL, NULL, 0 },
};

#define FOREACH_MESSAGE(m)                                                                     \
        for (size_t m = 0; (m) < sizeof(messages) / sizeof(messages[0]); (m)++)

/* Encodes and takes the header off. */
static const uint8_t *payload_of(const struct message *m, uint8_t *packet, size_t *ret_size) {
        struct shmb_header header;
        const uint8_t *payload;
        size_t size = m->encode(packet);

        assert_int_equal(size, m->size);
        assert_int_equal(shmb_decode_header(packet, size, &header, &payload, ret_size),
                         SHMB_STATUS_OK);
        assert_int_equal(header.opcode, m->opcode);
        assert_int_equal(header.flags, m->flags);
        assert_int_equal(header.serial, m->serial);
        assert_int_equal(*ret_size, size - SHMB_HEADER_SIZE);
        return payload;
}

static void test_there_and_back(void **state) {
        (void)state;
        FOREACH_MESSAGE(i) {
                const struct message *m = &messages[i];
                uint8_t packet[SHMB_PACKET_MAX];
                size_t size;
                const uint8_t *payload = payload_of(m, packet, &size);

                assert_int_equal(m->decode(payload, size), SHMB_STATUS_OK);
                if (m->in)
                        assert_memory_equal(m->out, m->in, m->struct_size);
        }
}

static void test_cut_short_anywhere(void **state) {
        (void)state;
        FOREACH_MESSAGE(i) {
                const struct message *m = &messages[i];
                uint8_t packet[SHMB_PACKET_MAX];
                size_t size;
                const uint8_t *payload = payload_of(m, packet, &size);

                for (size_t cut = 0; cut < size; cut++)
                        assert_int_equal(m->decode(payload, cut), SHMB_STATUS_MALFORMED);
        }
}

static void test_a_byte_too_many(void **state) {
        (void)state;
        FOREACH_MESSAGE(i) {
                const struct message *m = &messages[i];
                uint8_t packet[SHMB_PACKET_MAX] = { 0 };
                size_t size;
                const uint8_t *payload = payload_of(m, packet, &size);

                assert_int_equal(m->decode(payload, size + 1), SHMB_STATUS_MALFORMED);
        }
}

static void test_headers(void **state) {
        uint8_t packet[SHMB_HEADER_SIZE] = { 0 };
        struct shmb_header header;
        const uint8_t *payload;
        size_t size;

        (void)state;
        for (size_t cut = 0; cut < sizeof(packet); cut++)
                assert_int_equal(shmb_decode_header(packet, cut, &header, &payload, &size),
                                 SHMB_STATUS_MALFORMED);
        assert_int_equal(shmb_decode_header(packet, sizeof(packet), &header, &payload, &size),
                         SHMB_STATUS_OK);
        assert_int_equal(size, 0);
}

/* The status of a message with some bits of one byte of its payload set. */
static enum shmb_status with_bits(const char *name, size_t offset, uint8_t bits) {
        FOREACH_MESSAGE(i) {
                const struct message *m = &messages[i];
                uint8_t packet[SHMB_PACKET_MAX];
                size_t size;

                if (strcmp(m->name, name) != 0)
                        continue;
                payload_of(m, packet, &size);
                assert_true(offset < size);
                packet[SHMB_HEADER_SIZE + offset] |= bits;
                return m->decode(packet + SHMB_HEADER_SIZE, size);
        }
        fail_msg("no message %s", name);
        return SHMB_STATUS_OK;
}

static void test_reserved_bits(void **state) {
        static const struct {
                const char *name;
                size_t offset, size;
                uint32_t known; /* bits of it that mean something */
        } fields[] = {
                { "hello", 12, 4, 0 },
                { "alloc", 16, 4, 0 },
                { "release", 2, 2, 0 },
                { "release", 12, 4, SHMB_RELEASE_KEEP },
                { "release", 24, 4, SHMB_RELEASE_KEEP },
                { "export", 24, 4, 0x7 },
                { "import", 16, 4, 0 },
                { "fd", 8, 4, SHMB_FD_READONLY },
                { "reclaim", 2, 2, 0 },
                { "fault", 2, 2, 0 },
        };

        (void)state;
        for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
                for (size_t bit = 0; bit < 8 * fields[i].size; bit++) {
                        if (fields[i].known & (uint32_t)1 << bit)
                                continue;
                        assert_int_equal(with_bits(fields[i].name, fields[i].offset + bit / 8,
                                                   (uint8_t)(1u << bit % 8)),
                                         SHMB_STATUS_MALFORMED);
                }
}

static void test_magic_and_version_come_first(void **state) {
        struct shmb_hello hello = hello_in, out;
        uint8_t packet[SHMB_PACKET_MAX];

        (void)state;
        hello.magic ^= 1;
        size_t size = shmb_encode_hello(packet, 1, &hello) - SHMB_HEADER_SIZE;
        assert_int_equal(shmb_decode_hello(packet + SHMB_HEADER_SIZE, size, &out),
                         SHMB_STATUS_BAD_MAGIC);
        hello = hello_in;
        hello.version_min = hello.version_max = SHMB_VERSION_MAX + 1;
        /* The rest may look different in that version. */
        shmb_encode_hello(packet, 1, &hello);
        assert_int_equal(shmb_decode_hello(packet + SHMB_HEADER_SIZE, 8, &out),
                         SHMB_STATUS_VERSION);
        hello.version_min = SHMB_VERSION_MIN;
        size = shmb_encode_hello(packet, 1, &hello) - SHMB_HEADER_SIZE;
        assert_int_equal(shmb_decode_hello(packet + SHMB_HEADER_SIZE, size, &out),
                         SHMB_STATUS_OK);
}

static void test_counts(void **state) {
        static struct shmb_release release, release_back;
        static struct shmb_reclaim reclaim, reclaim_back;
        uint8_t packet[SHMB_PACKET_MAX];
        const uint8_t *payload = packet + SHMB_HEADER_SIZE;

        (void)state;
        release.count = reclaim.count = SHMB_RELEASE_MAX;
        for (uint32_t i = 0; i < SHMB_RELEASE_MAX; i++) {
                release.entries[i].lease = (struct shmb_lease_ref){ i, ~i };
                reclaim.leases[i] = release.entries[i].lease;
        }
        size_t size = shmb_encode_release(packet, 1, 0, &release);
        assert_int_equal(size, 8 + 4 + SHMB_RELEASE_MAX * 12);
        assert_int_equal(shmb_decode_release(payload, size - 8, &release_back), SHMB_STATUS_OK);
        assert_memory_equal(&release, &release_back, sizeof(release));
        packet[8] = SHMB_RELEASE_MAX + 1;
        assert_int_equal(shmb_decode_release(payload, size - 8 + 12, &release_back),
                         SHMB_STATUS_MALFORMED);
        packet[8] = 0;
        assert_int_equal(shmb_decode_release(payload, 4, &release_back), SHMB_STATUS_MALFORMED);

        size = shmb_encode_reclaim(packet, &reclaim);
        assert_int_equal(shmb_decode_reclaim(payload, size - 8, &reclaim_back), SHMB_STATUS_OK);
        assert_memory_equal(&reclaim, &reclaim_back, sizeof(reclaim));
        packet[8] = SHMB_RELEASE_MAX + 1;
        assert_int_equal(shmb_decode_reclaim(payload, size - 8 + 8, &reclaim_back),
                         SHMB_STATUS_MALFORMED);
        packet[8] = 0;
        assert_int_equal(shmb_decode_reclaim(payload, 4, &reclaim_back), SHMB_STATUS_MALFORMED);
}

/* The longest of everything fits one packet. */
static void test_the_longest_fit(void **state) {
        static struct shmb_error error, error_back;
        static struct shmb_goodbye goodbye;
        static struct shmb_fault fault;
        uint8_t packet[SHMB_PACKET_MAX];

        (void)state;
        memset(error.text, 'x', SHMB_TEXT_MAX);
        memset(goodbye.text, 'x', SHMB_TEXT_MAX);
        memset(fault.text, 'x', SHMB_TEXT_MAX);
        size_t size = shmb_encode_error(packet, 1, &error);
        assert_int_equal(size, 8 + 20 + 2 + SHMB_TEXT_MAX);
        assert_int_equal(shmb_decode_error(packet + 8, size - 8, &error_back), SHMB_STATUS_OK);
        assert_string_equal(error_back.text, error.text);
        assert_int_equal(shmb_encode_goodbye(packet, &goodbye), 8 + 4 + 2 + SHMB_TEXT_MAX);
        assert_int_equal(shmb_encode_fault(packet, 1, &fault), 8 + 8 + 2 + SHMB_TEXT_MAX);
        assert_true(8 + 4 + SHMB_RELEASE_MAX * 12 <= SHMB_PACKET_MAX);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_there_and_back),
                cmocka_unit_test(test_cut_short_anywhere),
                cmocka_unit_test(test_a_byte_too_many),
                cmocka_unit_test(test_headers),
                cmocka_unit_test(test_reserved_bits),
                cmocka_unit_test(test_magic_and_version_come_first),
                cmocka_unit_test(test_counts),
                cmocka_unit_test(test_the_longest_fit),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
