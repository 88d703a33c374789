/* SPDX-License-Identifier: Apache-2.0 */
/* Connecting and the handshake; nobody else knows the client yet. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "address.h"
#include "cleanup.h"
#include "client.h"
#include "clock.h"
#include "options.h"
#include "packet.h"
#include "status.h"
#include "token.h"

/* A broker that grants more is not believed. */
enum { LEASE_SLOTS_MAX = 1 << 24 };

static const uint64_t default_timeout_ns = 5 * (uint64_t)NS_PER_S;

/* 0 is no limit for the kernel, so that what is left is never rounded down to it. */
static int limit_connect(int fd, uint64_t left) {
        struct timeval limit = { 0 };

        if (left != SHMC_FOREVER) {
                limit.tv_sec = (time_t)(left / NS_PER_S);
                limit.tv_usec = (suseconds_t)(left % NS_PER_S / 1000);
                if (limit.tv_sec == 0 && limit.tv_usec == 0)
                        limit.tv_usec = 1;
        }
        return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ? -errno : 0;
}

/*
 * A connect that does not block fails at once when the broker's backlog is full, and cannot
 * be polled for; one with a send timeout waits in line.
 */
static int connect_socket(const struct address *address, uint64_t deadline, int *ret_fd) {
        SHMB_CLOSE int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        if (fd < 0)
                return -errno;
        for (;;) {
                uint64_t left = clock_left(deadline);
                int r = left == 0 ? -ETIMEDOUT : limit_connect(fd, left);

                if (r < 0)
                        return r;
                if (connect(fd, (const struct sockaddr *)&address->socket, address->size) == 0)
                        break;
                if (errno != EINTR)
                        return errno == EAGAIN ? -ETIMEDOUT : -errno;
        }
        *ret_fd = shmb_steal_fd(&fd);
        return 0;
}

/* The program's name, with what a client's name may not have made '_'. */
static void default_name(char name[SHMB_NAME_MAX + 1]) {
        snprintf(name, SHMB_NAME_MAX + 1, "%s", program_invocation_short_name);
        for (char *c = name; *c != '\0'; c++) {
                char one[] = { *c, '\0' };
                if (!shmb_name_is_valid(one))
                        *c = '_';
        }
        if (name[0] == '\0')
                snprintf(name, SHMB_NAME_MAX + 1, "unnamed");
}

static int send_hello(int fd, const struct shmc_connect_options *options, uint32_t serial) {
        struct shmb_hello hello = {
                .magic = SHMB_MAGIC,
                .version_min = SHMB_VERSION_MIN,
                .version_max = SHMB_VERSION_MAX,
                .lease_slots = options->max_buffers,
        };
        uint8_t packet[SHMB_PACKET_MAX];

        if (options->name)
                snprintf(hello.name, sizeof(hello.name), "%s", options->name);
        else
                default_name(hello.name);
        size_t size = shmb_encode_hello(packet, serial, &hello);
        /* The first packet on a socket: there is room. */
        return shmb_packet_send(fd, packet, size, -1, MSG_DONTWAIT);
}

static int await_answer(int fd, uint64_t deadline) {
        struct pollfd poll = { .fd = fd, .events = POLLIN };

        for (;;) {
                uint64_t left = clock_left(deadline);
                struct timespec timeout = clock_timespec(left);
                int r = ppoll(&poll, 1, left == SHMC_FOREVER ? NULL : &timeout, NULL);

                if (r > 0)
                        return 0;
                if (r == 0)
                        return -ETIMEDOUT;
                if (errno != EINTR)
                        return -errno;
        }
}

/* The broker's refusal as errno. */
static int refused(uint16_t opcode, const uint8_t *payload, size_t size) {
        struct shmb_goodbye goodbye;
        struct shmb_error error;
        int r = 0;

        if (opcode == SHMB_GOODBYE &&
            shmb_decode_goodbye(payload, size, &goodbye) == SHMB_STATUS_OK)
                r = shmb_status_errno(goodbye.status);
        else if (opcode == SHMB_ERROR &&
                 shmb_decode_error(payload, size, &error) == SHMB_STATUS_OK)
                r = shmb_status_errno(error.status);
        return r < 0 ? r : -EPROTO;
}

static int receive_welcome(int fd, uint32_t serial, struct shmb_welcome *ret, int *ret_page) {
        uint8_t packet[SHMB_PACKET_MAX];
        SHMB_CLOSE int page = -1;
        struct shmb_header header;
        const uint8_t *payload;
        size_t size, payload_size;
        int r = shmb_packet_receive(fd, packet, sizeof(packet), MSG_DONTWAIT, &size, &page);

        if (r == SHMB_PACKET_LOST_FDS)
                return -EMFILE;
        if (r == SHMB_PACKET_END)
                return -ECONNRESET;
        if (r != SHMB_PACKET_OK)
                return r < 0 ? r : -EPROTO;
        if (shmb_decode_header(packet, size, &header, &payload, &payload_size) !=
            SHMB_STATUS_OK)
                return -EPROTO;
        if (header.opcode != SHMB_WELCOME)
                return refused(header.opcode, payload, payload_size);
        if (shmb_decode_welcome(payload, payload_size, ret) != SHMB_STATUS_OK ||
            header.serial != serial || page < 0)
                return -EPROTO;
        if (ret->version < SHMB_VERSION_MIN || ret->version > SHMB_VERSION_MAX)
                return -EPROTONOSUPPORT;
        *ret_page = shmb_steal_fd(&page);
        return 0;
}

static int map_words(struct shmc_client *client, uint32_t lease_slots, int page) {
        size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
        size_t size = ((size_t)lease_slots + 1) * sizeof(shmb_word);
        struct stat st;

        size = (size + page_size - 1) / page_size * page_size;
        if (lease_slots == 0 || lease_slots > LEASE_SLOTS_MAX || fstat(page, &st) < 0 ||
            st.st_size < 0 || (uint64_t)st.st_size < size)
                return -EPROTO;
        client->slots = calloc((size_t)lease_slots + 1, sizeof(*client->slots));
        void *words = client->slots
                              ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, page, 0)
                              : MAP_FAILED;
        if (words == MAP_FAILED)
                return -ENOMEM;
        client->lease_slots = lease_slots;
        client->words = words;
        client->words_size = size;
        return madvise(words, size, MADV_DONTFORK) < 0 ? -ENOMEM : 0;
}

static int shake_hands(struct shmc_client *client, const struct shmc_connect_options *options,
                       uint64_t deadline) {
        struct shmb_welcome welcome = { 0 };
        SHMB_CLOSE int page = -1;
        uint32_t serial = conn_serial(&client->conn);
        int r = send_hello(client->conn.fd, options, serial);

        /* Who was turned away at the door finds the reason in the socket. */
        if (r == 0 || r == -EPIPE || r == -ECONNRESET)
                r = await_answer(client->conn.fd, deadline);
        if (r == 0)
                r = receive_welcome(client->conn.fd, serial, &welcome, &page);
        if (r == -ECONNRESET) /* as an error it comes before what was sent; see receive.c */
                r = receive_welcome(client->conn.fd, serial, &welcome, &page);
        if (r < 0)
                return r;
        client->max_requests = welcome.max_requests > 0 ? welcome.max_requests : 1;
        client->max_ttl_ms = welcome.max_ttl_ms;
        client->cache.limit = options->cache_bytes > 0 ? options->cache_bytes
                                                       : welcome.cache_bytes;
        if (options->cache_bytes == UINT64_MAX)
                client->cache.limit = 0;
        return map_words(client, welcome.lease_slots, page);
}

static int open_client(struct shmc_client *client, const struct address *address,
                       const struct shmc_connect_options *options) {
        SHMB_CLOSE int fd = -1;

        client->timeout_ns = options->timeout_ns > 0 ? options->timeout_ns : default_timeout_ns;
        uint64_t deadline = clock_after(client->timeout_ns);
        int r = connect_socket(address, deadline, &fd);
        if (r == 0)
                r = conn_open(&client->conn, &fd);
        return r < 0 ? r : shake_hands(client, options, deadline);
}

int shmc_connect(shmc_client **ret_client, const char *address_text,
                 const struct shmc_connect_options *given) {
        struct shmc_connect_options options = SHMC_CONNECT_OPTIONS_INIT;
        struct shmc_client *client = NULL;
        struct address address;
        int r;

        if (!options_read(&options, sizeof(options), given) || options.flags != 0 ||
            (options.name && !shmb_name_is_valid(options.name)))
                return -EINVAL;
        r = address_resolve(address_text, &address);
        if (r == 0)
                r = client_new(&client);
        if (r == 0)
                r = open_client(client, &address, &options);
        if (r < 0) {
                client_close(client);
                return r;
        }
        *ret_client = client;
        return 0;
}

shmc_client *shmc_close(shmc_client *client) {
        return client_close(client);
}

/* ---- why it failed --------------------------------------------------------------------- */

static const char *advice(int error) {
        switch (-error) {
        case ENOENT:
        case ECONNREFUSED:
                return ": start shmbrokerd, or name its socket in " SHMB_ENV_SOCKET;
        case EACCES:
        case EPERM:
                return ": this user may not connect; see the permissions of the socket and of "
                       "the directories above it";
        case EPROTOTYPE:
                return ": the socket is of another type than the broker's data socket "
                       "(SOCK_SEQPACKET); the control socket is another one";
        case EINVAL:
                return ": the options, or the client's name, are malformed";
        case EPROTO:
                return ": what listens there does not speak the shmbroker protocol";
        case ETIMEDOUT:
                return ": the broker did not answer in time; is it stopped, or overloaded?";
        case EPROTONOSUPPORT:
                return ": the broker and this library have no protocol version in common; "
                       "update the older one";
        case EUSERS:
                return ": the broker's limit of connections, in all or of this user, is "
                       "reached; raise it, or close others";
        case ECONNRESET:
                return ": what listens there closed the connection in the handshake; it is "
                       "going down, or not a shmbroker";
        case EMFILE:
                return ": this process has no file descriptor left; see RLIMIT_NOFILE";
        case ENOMEM:
                return ": no memory for the client";
        default:
                return "";
        }
}

void shmc_connect_error(int error, const char *address_text, char *text, size_t size) {
        struct address address;
        int r = address_resolve(address_text, &address);

        if (size == 0)
                return;
        if (error >= 0) {
                snprintf(text, size, "connected to %s", address.text);
        } else if (error == -EINVAL && r < 0) {
                snprintf(text, size,
                         "cannot connect to a broker at \"%s\" (%s): not a socket path or "
                         "\"@\" and an abstract name, of at most %zu bytes",
                         address.text, address.origin, sizeof(address.socket.sun_path) - 1);
        } else {
                snprintf(text, size, "%s at %s, from %s (%s)%s",
                         error == -ENOENT || error == -ECONNREFUSED
                                 ? "no broker"
                                 : "cannot connect to a broker",
                         address.text, address.origin, strerrordesc_np(-error), advice(error));
        }
}
