/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens and descriptors: what lets others at a buffer. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "cleanup.h"
#include "client.h"
#include "clock.h"
#include "options.h"
#include "request.h"
#include "token.h"

static const uint64_t default_ttl_ms = 60 * 1000;

/* A token nobody has seen: drawn in batches, each used once. */
static int draw_token(struct shmc_client *client, uint8_t token[SHMB_TOKEN_SIZE]) {
        if (client->tokens_left == 0) {
                ssize_t size;

                do
                        size = getrandom(client->tokens, sizeof(client->tokens), 0);
                while (size < 0 && errno == EINTR);
                if (size != sizeof(client->tokens))
                        return size < 0 ? -errno : -EIO;
                client->tokens_left = TOKEN_BATCH;
        }
        client->tokens_left--;
        memcpy(token, client->tokens[client->tokens_left], SHMB_TOKEN_SIZE);
        explicit_bzero(client->tokens[client->tokens_left], SHMB_TOKEN_SIZE);
        return 0;
}

/* ---- one-way messages ------------------------------------------------------------------ */

/* One that a thread waits to see sent. */
struct parcel {
        struct out out;
        struct waiter waiter;
};

static void parcel_gone(struct out *out) {
        struct parcel *parcel = (struct parcel *)(void *)out;

        waiter_done(&parcel->waiter);
}

/*
 * Returns when the message is in the socket: a token must not travel faster than the export
 * that makes it known. With the mutex.
 */
static int send_now(struct shmc_client *client, const uint8_t *packet, size_t size,
                    const char *what) {
        struct conn *conn = &client->conn;
        struct parcel parcel = {
                .out = { .packet = packet, .size = size, .gone = parcel_gone },
        };

        if (conn->error == 0) {
                int r = waiter_init(&parcel.waiter);
                if (r < 0)
                        return client_failed(client, r, "%s: no condition variable", what);
                uint64_t deadline = clock_after(client->timeout_ns);
                conn_send(conn, &parcel.out);
                r = conn_wait(client, &parcel.waiter, deadline);
                if (r == 0 && conn->broken && conn->error == 0) {
                        /* Dropped, not sent; the reader is about to find out why. */
                        parcel.waiter.done = false;
                        r = conn_wait(client, &parcel.waiter, deadline);
                }
                conn_unsend(conn, &parcel.out);
                waiter_deinit(&parcel.waiter);
                if (r < 0)
                        return client_failed(client, r,
                                             "%s: the broker took nothing for the whole of "
                                             "the timeout",
                                             what);
        }
        if (conn->error != 0)
                return client_failed(client, conn->error, "%s: %s", what, conn->reason);
        return 0;
}

/* ---- export ---------------------------------------------------------------------------- */

static int read_options(struct shmc_buffer *buffer, const struct shmc_export_options *given,
                        struct shmc_export_options *options) {
        const uint32_t known = SHMC_EXPORT_ONCE | SHMC_EXPORT_TRANSFER | SHMC_EXPORT_SAME_UID |
                               SHMC_EXPORT_CONFIRM;
        struct shmc_client *client = buffer->lease->client;

        if (client_is_forked(client))
                return -ECHILD;
        if (!options_read(options, sizeof(*options), given) || options->flags & ~known ||
            options->reserved != 0)
                return client_fails(client, -EINVAL, "export: malformed options");
        if (!buffer->lease->writable)
                return client_fails(client, -EROFS,
                                    "export: the buffer was imported for reading; only its "
                                    "writer can export it");
        if ((options->flags & SHMC_EXPORT_TRANSFER) &&
            atomic_load_explicit(&buffer->refs, memory_order_acquire) != 1)
                return client_fails(client, -EBUSY,
                                    "export: transfer of a buffer that has "
                                    "other references");
        return 0;
}

/* Rounded up: a token lives at least as long as asked for. */
static uint64_t ttl_ms(const struct shmc_export_options *options) {
        if (options->ttl_ns == 0)
                return default_ttl_ms;
        return options->ttl_ns / NS_PER_MS + (options->ttl_ns % NS_PER_MS > 0);
}

static int describe(struct shmc_buffer *buffer, const struct shmc_export_options *options,
                    struct shmb_export *message) {
        struct lease *lease = buffer->lease;
        struct shmc_client *client = lease->client;

        *message = (struct shmb_export){
                .lease = lease->ref,
                .ttl_ms = ttl_ms(options),
                .length = buffer->size,
        };
        if (options->flags & SHMC_EXPORT_ONCE)
                message->flags |= SHMB_EXPORT_ONCE;
        if (options->flags & SHMC_EXPORT_TRANSFER)
                message->flags |= SHMB_EXPORT_TRANSFER | SHMB_EXPORT_ONCE;
        if (options->flags & SHMC_EXPORT_SAME_UID)
                message->flags |= SHMB_EXPORT_SAME_DOMAIN;
        if (message->ttl_ms > client->max_ttl_ms)
                return client_failed(client, -EINVAL,
                                     "export: a ttl of %llu s is above the broker's limit of "
                                     "%llu s",
                                     (unsigned long long)message->ttl_ms / 1000,
                                     (unsigned long long)client->max_ttl_ms / 1000);
        int r = draw_token(client, message->token);
        if (r < 0)
                return client_failed(client, r, "export: no random numbers: %s",
                                     strerrordesc_np(-r));
        lease->exported = true;
        return 0;
}

static int export_one_way(struct shmc_client *client, const struct shmb_export *message) {
        uint8_t packet[SHMB_PACKET_MAX];
        size_t size = shmb_encode_export(packet, conn_serial(&client->conn), 0, message);

        return send_now(client, packet, size, "export");
}

/* Without the mutex. */
static int export_confirmed(struct lease *lease, const struct shmb_export *message) {
        struct shmc_client *client = lease->client;
        struct shmc_request *request = request_new(client, REQUEST_EXPORT);

        if (!request)
                return client_fails(client, -ENOMEM, "export: out of memory");
        request->message.export = *message;
        if (message->flags & SHMB_EXPORT_TRANSFER)
                request->transferred = lease;
        int r = request_run(request, clock_after(client->timeout_ns));
        if (r == 0)
                request_free(request);
        return r;
}

int shmc_buffer_export(shmc_buffer *buffer, const struct shmc_export_options *given,
                       struct shmc_token *ret_token) {
        struct shmc_export_options options = SHMC_EXPORT_OPTIONS_INIT;
        struct shmb_export message;
        struct lease *lease = buffer->lease;
        int r = read_options(buffer, given, &options);

        if (r < 0)
                return r;
        /* Whether the buffer is gone must be known for sure. */
        bool transfer = options.flags & SHMC_EXPORT_TRANSFER;
        bool confirm = transfer || (options.flags & SHMC_EXPORT_CONFIRM);
        pthread_mutex_lock(&lease->client->lock);
        r = describe(buffer, &options, &message);
        if (r == 0 && !confirm)
                r = export_one_way(lease->client, &message);
        pthread_mutex_unlock(&lease->client->lock);
        if (r == 0 && confirm)
                r = export_confirmed(lease, &message);
        if (r < 0)
                return r;
        memcpy(ret_token->bytes, message.token, SHMB_TOKEN_SIZE);
        if (transfer)
                lease_forget(lease);
        return 0;
}

int shmc_revoke(shmc_client *client, const struct shmc_token *token) {
        struct shmb_revoke message;
        uint8_t packet[SHMB_PACKET_MAX];

        if (client_is_forked(client))
                return -ECHILD;
        memcpy(message.token, token->bytes, sizeof(message.token));
        pthread_mutex_lock(&client->lock);
        size_t size = shmb_encode_revoke(packet, conn_serial(&client->conn), 0, &message);
        int r = send_now(client, packet, size, "revoke");
        pthread_mutex_unlock(&client->lock);
        return r;
}

/* ---- descriptors ----------------------------------------------------------------------- */

int shmc_buffer_fd(shmc_buffer *buffer, uint32_t flags, int *ret_fd) {
        struct lease *lease = buffer->lease;
        struct shmc_client *client = lease->client;

        if (client_is_forked(client))
                return -ECHILD;
        if (flags & ~SHMC_FD_READONLY)
                return client_fails(client, -EINVAL, "descriptor of a buffer: unknown flags");
        if (!lease->writable && !(flags & SHMC_FD_READONLY))
                return client_fails(client, -EROFS,
                                    "descriptor of a buffer: a writable one of a read-only "
                                    "buffer");
        struct shmc_request *request = request_new(client, REQUEST_FD);
        if (!request)
                return client_fails(client, -ENOMEM, "descriptor of a buffer: out of memory");
        request->message.fd.lease = lease->ref;
        request->message.fd.flags = flags & SHMC_FD_READONLY ? SHMB_FD_READONLY : 0;
        /* Even if it never arrives: it may have been sent. */
        pthread_mutex_lock(&client->lock);
        lease->escaped = true;
        pthread_mutex_unlock(&client->lock);
        int r = request_run(request, clock_after(client->timeout_ns));
        if (r < 0)
                return r;
        *ret_fd = shmb_steal_fd(&request->fd);
        request_free(request);
        return 0;
}

/* ---- tokens as text -------------------------------------------------------------------- */

void shmc_token_to_string(const struct shmc_token *token, char string[SHMC_TOKEN_STRING_SIZE]) {
        shmb_token_format(token->bytes, string);
}

int shmc_token_from_string(const char *string, struct shmc_token *ret_token) {
        return shmb_token_parse(string, ret_token->bytes) ? 0 : -EINVAL;
}
