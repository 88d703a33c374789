/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_broker.h"

#include <poll.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "memfd.h"
#include "packet.h"

enum { DEADLINE_MS = 20000 };

static int accept_client(struct fake *fake) {
        struct pollfd fd = { .fd = fake->listener, .events = POLLIN };

        CHECK(poll(&fd, 1, DEADLINE_MS) == 1);
        fake->peer = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC);
        CHECK(fake->peer >= 0);
        return 0;
}

static void *serve(void *userdata) {
        struct fake *fake = userdata;

        fake->result = accept_client(fake);
        if (fake->result == 0)
                fake->result = fake->script(fake);
        fake->peer = shmb_close(fake->peer);
        return NULL;
}

int fake_start(struct fake *fake, int (*script)(struct fake *fake), int variant) {
        static unsigned count;
        struct sockaddr_un name = { .sun_family = AF_UNIX };
        size_t page = (size_t)sysconf(_SC_PAGESIZE);

        *fake = (struct fake){ .listener = -1, .peer = -1, .page_fd = -1, .memory_fd = -1 };
        fake->script = script;
        fake->variant = variant;
        snprintf(fake->address, sizeof(fake->address), "@shmbroker-fake-%d-%u", (int)getpid(),
                 count++);
        size_t length = strlen(fake->address);
        memcpy(name.sun_path + 1, fake->address + 1, length - 1);
        fake->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        CHECK(bind(fake->listener, (struct sockaddr *)&name,
                   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) == 0);
        CHECK(listen(fake->listener, 4) == 0);
        fake->page_fd = shmb_memfd_new("page", page, false);
        fake->memory_fd = shmb_memfd_new("memory", FAKE_CAPACITY, false);
        CHECK(fake->page_fd >= 0 && fake->memory_fd >= 0);
        fake->words = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fake->page_fd, 0);
        CHECK(fake->words != MAP_FAILED);
        CHECK(pthread_create(&fake->thread, NULL, serve, fake) == 0);
        fake->running = true;
        return 0;
}

int fake_finish(struct fake *fake) {
        if (fake->running)
                pthread_join(fake->thread, NULL);
        fake->running = false;
        return fake->result;
}

void fake_done(struct fake *fake) {
        fake_finish(fake);
        if (fake->words && fake->words != MAP_FAILED)
                munmap((void *)fake->words, (size_t)sysconf(_SC_PAGESIZE));
        shmb_close(fake->listener);
        shmb_close(fake->page_fd);
        shmb_close(fake->memory_fd);
}

int fake_connect(const struct fake *fake, shmc_client **ret_client) {
        struct shmc_connect_options options = SHMC_CONNECT_OPTIONS_INIT;

        options.timeout_ns = 2 * SECOND_NS;
        return shmc_connect(ret_client, fake->address, &options);
}

/* ---- for scripts ----------------------------------------------------------------------- */

/* 1: a packet; 0: the end; -1: too late. */
static int receive(struct fake *fake, uint8_t packet[SHMB_PACKET_MAX], size_t *ret_size) {
        struct pollfd fd = { .fd = fake->peer, .events = POLLIN };
        int none = -1;

        CHECK(poll(&fd, 1, DEADLINE_MS) == 1);
        int r = shmb_packet_receive(fake->peer, packet, SHMB_PACKET_MAX, 0, ret_size, &none);
        if (r == SHMB_PACKET_END || r == -ECONNRESET)
                return 0;
        CHECK(r == SHMB_PACKET_OK && none == -1);
        return 1;
}

int fake_expect(struct fake *fake, uint16_t opcode, uint8_t packet[SHMB_PACKET_MAX],
                size_t *ret_size) {
        struct shmb_header header;
        const uint8_t *payload;
        size_t size = 0;

        CHECK(receive(fake, packet, &size) == 1);
        CHECK(shmb_decode_header(packet, size, &header, &payload, ret_size) == SHMB_STATUS_OK);
        if (header.opcode != opcode) {
                fprintf(stderr, "the client sent %#x, not %#x\n", header.opcode, opcode);
                return -1;
        }
        fake->serial = header.serial;
        return 0;
}

int fake_send(struct fake *fake, const uint8_t *packet, size_t size, int fd) {
        int r = shmb_packet_send(fake->peer, packet, size, fd, 0);

        CHECK(r == 0 || r == -EPIPE);
        return 0;
}

int fake_welcome(struct fake *fake) {
        struct shmb_welcome welcome = {
                .version = 1,
                .lease_slots = FAKE_SLOTS,
                .max_requests = 8,
                .max_tokens = 8,
                .cache_bytes = MIB,
                .max_ttl_ms = 86400000,
        };
        uint8_t packet[SHMB_PACKET_MAX];
        size_t size;

        CHECK(fake_expect(fake, SHMB_HELLO, packet, &size) == 0);
        size = shmb_encode_welcome(packet, fake->serial, &welcome);
        return fake_send(fake, packet, size, fake->page_fd);
}

struct shmb_grant fake_grant(uint32_t slot, uint32_t flags) {
        return (struct shmb_grant){
                .lease = { slot, 100 + slot },
                .object = 1000,
                .capacity = FAKE_CAPACITY,
                .length = FAKE_CAPACITY,
                .pool = FAKE_POOL,
                .flags = flags,
        };
}

int fake_send_grant(struct fake *fake, const struct shmb_grant *grant) {
        uint8_t packet[SHMB_PACKET_MAX];
        size_t size = shmb_encode_grant(packet, fake->serial, grant);
        bool writable = grant->flags & SHMB_GRANT_WRITABLE;
        SHMB_CLOSE int fd = -1;

        if (grant->flags & SHMB_GRANT_HAS_FD)
                fd = shmb_memfd_reopen(fake->memory_fd, writable);
        if (writable && grant->lease.slot <= FAKE_SLOTS)
                shmb_word_store(&fake->words[grant->lease.slot], 0, SHMB_WORD_HELD);
        return fake_send(fake, packet, size, fd);
}

int fake_send_done(struct fake *fake) {
        uint8_t packet[SHMB_PACKET_MAX];

        return fake_send(fake, packet, shmb_encode_empty(packet, SHMB_DONE, fake->serial), -1);
}

int fake_expect_release(struct fake *fake, struct shmb_lease_ref lease, uint32_t flags) {
        static struct shmb_release release;
        uint8_t packet[SHMB_PACKET_MAX];
        size_t size;

        CHECK(fake_expect(fake, SHMB_RELEASE, packet, &size) == 0);
        CHECK(shmb_decode_release(packet + SHMB_HEADER_SIZE, size, &release) == SHMB_STATUS_OK);
        CHECK(release.count == 1);
        CHECK(release.entries[0].lease.slot == lease.slot);
        CHECK(release.entries[0].lease.generation == lease.generation);
        CHECK(release.entries[0].flags == flags);
        return 0;
}

int fake_expect_end(struct fake *fake) {
        uint8_t packet[SHMB_PACKET_MAX];
        size_t size;
        int r;

        do
                r = receive(fake, packet, &size);
        while (r == 1);
        return r;
}
