/* SPDX-License-Identifier: Apache-2.0 */
#include "status.h"

#include <errno.h>
#include <stddef.h>

static const struct {
        enum shmb_status status;
        int error;
        const char *name, *text;
} statuses[] = {
        { SHMB_STATUS_OK, 0, "ok", "done" },
        { SHMB_STATUS_MALFORMED, EPROTO, "malformed", "malformed message" },
        { SHMB_STATUS_OVERSIZE, EPROTO, "oversize", "message longer than the protocol allows" },
        { SHMB_STATUS_UNKNOWN_OPCODE, EPROTO, "unknown-opcode", "unknown kind of message" },
        { SHMB_STATUS_UNEXPECTED_FD, EPROTO, "unexpected-fd",
          "descriptor attached to a message that takes none" },
        { SHMB_STATUS_OUT_OF_ORDER, EPROTO, "out-of-order",
          "message not allowed at this point of the conversation" },
        { SHMB_STATUS_BAD_MAGIC, EPROTO, "bad-magic", "not the shmbroker protocol" },
        { SHMB_STATUS_VERSION, EPROTONOSUPPORT, "version", "no protocol version in common" },
        { SHMB_STATUS_SLOW_READER, ECONNRESET, "slow-reader",
          "replies were not read, and too many piled up" },
        { SHMB_STATUS_TOO_MANY_REQUESTS, EPROTO, "too-many-requests",
          "more requests outstanding than the broker allows" },
        { SHMB_STATUS_TOO_MANY_CLIENTS, EUSERS, "too-many-clients",
          "the broker's limit of connections is reached" },
        { SHMB_STATUS_SHUTDOWN, ECONNRESET, "shutdown", "the broker is shutting down" },
        { SHMB_STATUS_DISCONNECTED, ECONNRESET, "disconnected",
          "disconnected by an administrator" },
        { SHMB_STATUS_BAD_SIZE, EINVAL, "bad-size", "a buffer of size 0 cannot be asked for" },
        { SHMB_STATUS_TOO_LARGE, E2BIG, "too-large", "larger than the pool's largest class" },
        { SHMB_STATUS_NO_SUCH_POOL, ENOENT, "no-such-pool", "no pool of that name" },
        { SHMB_STATUS_POOL_DENIED, EACCES, "pool-denied",
          "the pool's access rules exclude this user" },
        { SHMB_STATUS_POOL_BYTES, ENOSPC, "pool-bytes", "the pool's byte limit is reached" },
        { SHMB_STATUS_POOL_BUFFERS, ENOSPC, "pool-buffers",
          "the pool's buffer limit is reached" },
        { SHMB_STATUS_UID_BYTES, EDQUOT, "uid-bytes",
          "this user's byte limit in the pool is reached" },
        { SHMB_STATUS_UID_BUFFERS, EDQUOT, "uid-buffers",
          "this user's buffer limit in the pool is reached" },
        { SHMB_STATUS_LEASE_SLOTS, EMFILE, "lease-slots",
          "this connection holds as many buffers as it asked for at most" },
        { SHMB_STATUS_NO_MEMORY, ENOMEM, "no-memory", "the host has no memory left" },
        { SHMB_STATUS_NO_DESCRIPTORS, ENFILE, "no-descriptors",
          "the broker has no file descriptors left" },
        { SHMB_STATUS_TIMED_OUT, ETIMEDOUT, "timed-out", "the deadline passed" },
        { SHMB_STATUS_CANCELLED, ECANCELED, "cancelled", "cancelled" },
        { SHMB_STATUS_STALE_BUFFER, EBADF, "stale-buffer",
          "this client does not hold that buffer" },
        { SHMB_STATUS_NOT_WRITER, EROFS, "not-writer", "only the buffer's writer may do this" },
        { SHMB_STATUS_TOKEN_UNKNOWN, ENOENT, "token-unknown", "no such token" },
        { SHMB_STATUS_TOKEN_EXPIRED, ESTALE, "token-expired", "the token expired" },
        { SHMB_STATUS_TOKEN_USED, ESTALE, "token-used",
          "the token was good for one import, and that has been made" },
        { SHMB_STATUS_TOKEN_REVOKED, ESTALE, "token-revoked", "the token was withdrawn" },
        { SHMB_STATUS_TOKEN_DOMAIN, EACCES, "token-domain", "the token is not for this user" },
        { SHMB_STATUS_TOKEN_EXISTS, EEXIST, "token-exists", "the token was exported before" },
        { SHMB_STATUS_TOKEN_LIMIT, EDQUOT, "token-limit",
          "this client's limit of outstanding tokens is reached" },
        { SHMB_STATUS_BAD_TTL, EINVAL, "bad-ttl", "time to live of 0 or above the limit" },
        { SHMB_STATUS_BAD_LENGTH, EINVAL, "bad-length", "length of 0 or above the capacity" },
        { SHMB_STATUS_BUSY_WRITER, EBUSY, "busy-writer",
          "a buffer that others read, or that another user has read, cannot be transferred" },
        { SHMB_STATUS_BROKER_BYTES, ENOSPC, "broker-bytes",
          "the broker's byte limit over all pools is reached" },
        { SHMB_STATUS_BROKER_BUFFERS, ENOSPC, "broker-buffers",
          "the broker's buffer limit over all pools is reached" },
};

static size_t find(uint32_t status) {
        size_t i = 0;

        while (i < sizeof(statuses) / sizeof(statuses[0]) && statuses[i].status != status)
                i++;
        return i;
}

const char *shmb_status_name(uint32_t status) {
        size_t i = find(status);

        return i < sizeof(statuses) / sizeof(statuses[0]) ? statuses[i].name : "unknown-status";
}

const char *shmb_status_text(uint32_t status) {
        size_t i = find(status);

        return i < sizeof(statuses) / sizeof(statuses[0])
                       ? statuses[i].text
                       : "a status this version does not know";
}

int shmb_status_errno(uint32_t status) {
        size_t i = find(status);

        return i < sizeof(statuses) / sizeof(statuses[0]) ? -statuses[i].error : -EPROTO;
}
