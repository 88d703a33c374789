/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shmbroker-proto.h - the constants of the data protocol, version 1.
 *
 * docs/protocol.md is normative; tests/static checks it against this file. All integers on
 * the wire are little-endian and fixed-width; one message is one SOCK_SEQPACKET packet.
 */
#ifndef SHMBROKER_PROTO_H
#define SHMBROKER_PROTO_H

#define SHMB_MAGIC 0x424d4853u /* "SHMB" read as a little-endian u32 */
#define SHMB_VERSION_MIN 1u
#define SHMB_VERSION_MAX 1u

/* Bytes; a longer packet is SHMB_STATUS_OVERSIZE. */
#define SHMB_PACKET_MAX 2048u
#define SHMB_HEADER_SIZE 8u /* u16 opcode, u16 flags, u32 serial */
#define SHMB_TOKEN_SIZE 16u
#define SHMB_NAME_MAX 63u     /* bytes of a pool or client name */
#define SHMB_TEXT_MAX 400u    /* bytes of an error text */
#define SHMB_RELEASE_MAX 128u /* entries of one RELEASE or RECLAIM */
#define SHMB_TIMEOUT_FOREVER 0xffffffffffffffffu

#define SHMB_DEFAULT_SYSTEM_SOCKET "/run/shmbroker/broker.sock"
#define SHMB_DEFAULT_SYSTEM_CONTROL "/run/shmbroker/control.sock"
#define SHMB_DEFAULT_USER_SOCKET "shmbroker/broker.sock"   /* below $XDG_RUNTIME_DIR */
#define SHMB_DEFAULT_USER_CONTROL "shmbroker/control.sock" /* below $XDG_RUNTIME_DIR */
#define SHMB_ENV_SOCKET "SHMBROKER_SOCKET"
#define SHMB_ENV_CONTROL "SHMBROKER_CONTROL"

/* From a client. Those marked one-way have no reply unless header flag CONFIRM is set. */
enum shmb_request {
        SHMB_HELLO = 0x01,
        SHMB_ALLOC = 0x02,
        SHMB_CANCEL = 0x03,  /* one-way, never confirmed */
        SHMB_RELEASE = 0x04, /* one-way */
        SHMB_EXPORT = 0x05,  /* one-way */
        SHMB_IMPORT = 0x06,
        SHMB_FD = 0x07,
        SHMB_REVOKE = 0x08, /* one-way */
        SHMB_SYNC = 0x09,
        /* 0x10 to 0x1f: channels */
};

/* From the broker. */
enum shmb_reply {
        SHMB_WELCOME = 0x81,
        SHMB_GRANT = 0x82,
        SHMB_ERROR = 0x83,
        SHMB_DONE = 0x84,
        SHMB_RECLAIM = 0x85, /* unasked; serial 0 */
        SHMB_DESCRIPTOR = 0x86,
        SHMB_FAULT = 0x87,   /* unasked: a one-way request failed; serial is that request's */
        SHMB_GOODBYE = 0x88, /* unasked: the reason of the disconnect that follows */
        /* 0x90 to 0x9f: channels */
};

/* Header flags of a request. */
#define SHMB_HEADER_CONFIRM 0x0001u /* RELEASE, EXPORT, REVOKE: answer DONE or ERROR */

/* RELEASE entry flags. */
#define SHMB_RELEASE_KEEP 0x1u /* the mapping stays: SHARED for a writer, warm for a reader */

/* EXPORT flags. */
#define SHMB_EXPORT_ONCE 0x1u        /* the first import uses the token up */
#define SHMB_EXPORT_TRANSFER 0x2u    /* the right to write goes with the token; implies ONCE */
#define SHMB_EXPORT_SAME_DOMAIN 0x4u /* only the exporter's own uid may import */

/* FD flags. */
#define SHMB_FD_READONLY 0x1u

/* GRANT flags. */
#define SHMB_GRANT_WRITABLE 0x001u
#define SHMB_GRANT_HAS_FD 0x002u    /* one descriptor travels with this packet */
#define SHMB_GRANT_MAY_KEEP 0x004u  /* a RELEASE may carry KEEP: the buffer is in its domain */
#define SHMB_GRANT_ZEROED 0x008u    /* never used since it was made or scrubbed */
#define SHMB_GRANT_HUGE 0x010u      /* backed by huge pages */
#define SHMB_GRANT_HUGE_MISS 0x020u /* the pool asks for huge pages, the host had none */
#define SHMB_GRANT_NUMA 0x040u      /* bound to the pool's NUMA node */
#define SHMB_GRANT_NUMA_MISS 0x080u /* the pool asks for a node, the host refused */

/*
 * What became of a request. The values are the protocol's own; the library maps them to
 * errno (libclient/base/status.c).
 */
enum shmb_status {
        SHMB_STATUS_OK = 0,

        /* Protocol breaches: GOODBYE, then disconnect. */
        SHMB_STATUS_MALFORMED = 1, /* truncated, trailing bytes, reserved bits set */
        SHMB_STATUS_OVERSIZE = 2,  /* longer than SHMB_PACKET_MAX */
        SHMB_STATUS_UNKNOWN_OPCODE = 3,
        SHMB_STATUS_UNEXPECTED_FD = 4, /* clients send no descriptors */
        SHMB_STATUS_OUT_OF_ORDER = 5,  /* a request before HELLO, or a second HELLO */
        SHMB_STATUS_BAD_MAGIC = 6,
        SHMB_STATUS_VERSION = 7,           /* no version in common */
        SHMB_STATUS_SLOW_READER = 8,       /* replies were not read */
        SHMB_STATUS_TOO_MANY_REQUESTS = 9, /* more outstanding than WELCOME allows */
        SHMB_STATUS_TOO_MANY_CLIENTS = 10, /* connections, in all or of this uid */
        SHMB_STATUS_SHUTDOWN = 11,         /* the broker is going down */
        SHMB_STATUS_DISCONNECTED = 12,     /* by an administrator */

        /* Refusals. */
        SHMB_STATUS_BAD_SIZE = 20,  /* 0 */
        SHMB_STATUS_TOO_LARGE = 21, /* above the pool's largest class */
        SHMB_STATUS_NO_SUCH_POOL = 22,
        SHMB_STATUS_POOL_DENIED = 23,    /* the pool's access rules */
        SHMB_STATUS_POOL_BYTES = 24,     /* pool limit, in bytes */
        SHMB_STATUS_POOL_BUFFERS = 25,   /* pool limit, in buffers */
        SHMB_STATUS_UID_BYTES = 26,      /* limit of one uid in the pool, in bytes */
        SHMB_STATUS_UID_BUFFERS = 27,    /* limit of one uid in the pool, in buffers */
        SHMB_STATUS_LEASE_SLOTS = 28,    /* this client's lease page is full */
        SHMB_STATUS_NO_MEMORY = 29,      /* the kernel had none */
        SHMB_STATUS_NO_DESCRIPTORS = 30, /* the broker has none left */
        SHMB_STATUS_TIMED_OUT = 31,      /* the deadline passed */
        SHMB_STATUS_CANCELLED = 32,
        SHMB_STATUS_STALE_BUFFER = 33, /* this client holds no such slot and generation */
        SHMB_STATUS_NOT_WRITER = 34,   /* only the holder for writing may do this */
        SHMB_STATUS_TOKEN_UNKNOWN = 35,
        SHMB_STATUS_TOKEN_EXPIRED = 36,
        SHMB_STATUS_TOKEN_USED = 37, /* a once token, already imported */
        SHMB_STATUS_TOKEN_REVOKED = 38,
        SHMB_STATUS_TOKEN_DOMAIN = 39,   /* not for this uid */
        SHMB_STATUS_TOKEN_EXISTS = 40,   /* the same 16 bytes were exported before */
        SHMB_STATUS_TOKEN_LIMIT = 41,    /* too many tokens outstanding */
        SHMB_STATUS_BAD_TTL = 42,        /* 0, or above the broker's limit */
        SHMB_STATUS_BAD_LENGTH = 43,     /* longer than the buffer */
        SHMB_STATUS_BUSY_WRITER = 44,    /* transfer of a buffer with readers */
        SHMB_STATUS_BROKER_BYTES = 45,   /* limit of all pools together, in bytes */
        SHMB_STATUS_BROKER_BUFFERS = 46, /* limit of all pools together, in buffers */
};

/*
 * The lease page: an array of u64 words, one per lease slot. Word 0 belongs to no lease: the
 * broker writes it, SHMB_WORD_ZERO_WANTED while somebody waits for memory, else 0.
 * Word: bits 0-7 state, bits 8-31 zero, bits 32-63 the count of uses.
 * docs/protocol.md, "The lease page", says who may write which transition.
 */
#define SHMB_WORD_STATE_MASK 0xffu
#define SHMB_WORD_USE_SHIFT 32
#define SHMB_WORD_ZERO_WANTED 0x1u

enum shmb_word_state {
        SHMB_WORD_NONE = 0,
        SHMB_WORD_HELD = 1,
        SHMB_WORD_SHARED = 2,
        SHMB_WORD_IDLE = 3,
        SHMB_WORD_TAKEN = 4,
};

#endif
