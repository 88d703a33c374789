/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shmclient.h - pass large memory between processes on one Linux host.
 *
 *     shmc_client *client = NULL;
 *     shmc_buffer *buffer = NULL;
 *     struct shmc_token token;
 *
 *     if (shmc_connect(&client, NULL, NULL) < 0) ...
 *     if (shmc_alloc(client, 20 << 20, NULL, &buffer) < 0) ...
 *     fill(shmc_buffer_data(buffer), shmc_buffer_size(buffer));
 *     if (shmc_buffer_export(buffer, NULL, &token) < 0) ...
 *     buffer = shmc_buffer_unref(buffer);        // the token keeps the memory
 *     send_somehow(&token, sizeof token);        // 16 bytes, any transport
 *
 *     // in another process
 *     if (shmc_import(client, &token, NULL, &buffer) < 0) ...
 *     use(shmc_buffer_data(buffer), shmc_buffer_size(buffer));
 *     buffer = shmc_buffer_unref(buffer);
 *
 * Conventions
 *   Errors   Functions return 0 or a positive value on success and -errno on failure;
 *            shmc_last_error() has the words: what was refused, which limit, how full it is.
 *   Results  `ret_` parameters are written only on success.
 *   Options  Structs start with their own size: initialise with the matching _INIT macro.
 *            NULL means every default.
 *   Time     Nanoseconds. A timeout of 0 does not wait; SHMC_FOREVER waits without limit.
 *   Threads  Every function may be called from several threads at once on one client, and
 *            on distinct buffers of it; one buffer is used by one thread at a time, except
 *            that shmc_buffer_ref and shmc_buffer_unref are atomic.
 *   Fork     A connection belongs to the process that made it. Buffers are not mapped in a
 *            forked child, and every call on the parent's client there returns -ECHILD.
 *   Signals  A caught signal does not end a wait; the timeout goes on.
 *   The library writes no log, starts no thread, keeps no global state, and does not abort.
 *
 * The errors that any call with a broker behind it can return, beside its own:
 *   -ECONNRESET the broker went away   -EPROTO the broker broke the protocol
 *   -ECHILD     this is a forked child -ENOMEM malloc or mmap failed in this process
 *   -ETIMEDOUT  no answer in time      -EMFILE this process has no descriptor left
 */
#ifndef SHMCLIENT_H
#define SHMCLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SHMC_PUBLIC __attribute__((visibility("default")))
#else
#define SHMC_PUBLIC
#endif

#define SHMC_FOREVER UINT64_MAX
#define SHMC_TOKEN_STRING_SIZE 33 /* 32 hexadecimal digits and a NUL */

typedef struct shmc_client shmc_client;   /* one connection to a broker */
typedef struct shmc_buffer shmc_buffer;   /* a counted reference to mapped memory */
typedef struct shmc_request shmc_request; /* an allocation or import under way */

/*
 * Stands for a reference to a buffer. Whoever has the bytes can import it, so send it only
 * to whom you would send the data.
 */
struct shmc_token {
        uint8_t bytes[16];
};

/* ---- connection ------------------------------------------------------------------- */

struct shmc_connect_options {
        size_t struct_size;
        const char *name;     /* shown by the control socket, up to 63 bytes of
                                 [A-Za-z0-9._:@-]; NULL: the program's short name */
        uint32_t max_buffers; /* leases at once; 0: 511, one page of lease words */
        uint32_t flags;       /* 0 */
        uint64_t cache_bytes; /* most to keep mapped for reuse; 0: the broker's default;
                                 UINT64_MAX: keep nothing */
        uint64_t timeout_ns;  /* for connecting, and for each later call that has no
                                 timeout of its own (export, fd, sync); 0: 5 s */
};
#define SHMC_CONNECT_OPTIONS_INIT                                                              \
        { sizeof(struct shmc_connect_options), NULL, 0, 0, 0, 0 }

/*
 * Connects and shakes hands. `address` is a socket path, or an abstract name after '@';
 * NULL takes $SHMBROKER_SOCKET, else $XDG_RUNTIME_DIR/shmbroker/broker.sock if that exists,
 * else /run/shmbroker/broker.sock. The caller owns the client and ends it with shmc_close.
 *   -ENOENT, -ECONNREFUSED  no broker there      -EACCES     not allowed to connect
 *   -EPROTOTYPE  the socket is of another type   -EINVAL     address or options malformed
 *   -EPROTO      not a broker                    -ETIMEDOUT  it did not answer
 *   -EPROTONOSUPPORT  no protocol version in common
 *   -EUSERS      the broker's connection limit  -ECONNRESET it closed in the handshake
 *   -EMFILE, -ENFILE, -ENOMEM  no descriptors or memory, here or in the broker
 */
SHMC_PUBLIC int shmc_connect(shmc_client **ret_client, const char *address,
                             const struct shmc_connect_options *options);

/*
 * Why shmc_connect failed, in words, when there is no client yet to ask. `error` is its
 * (negative) result and `address` its argument. Writes at most `size` bytes, NUL-ended.
 */
SHMC_PUBLIC void shmc_connect_error(int error, const char *address, char *text, size_t size);

/*
 * Disconnects. Accepts NULL, returns NULL. The broker takes back whatever this client held;
 * tokens it exported stay. Buffers not yet unreferenced stay mapped until they are, but
 * their contents are no longer protected from reuse: unreference them first. Requests not
 * completed are freed without their callback. No other call may be under way, so not from a
 * callback either. Safe in a forked child: it closes the child's copy only.
 */
SHMC_PUBLIC shmc_client *shmc_close(shmc_client *client);

/*
 * The words for the last failure of a call on this client, of any thread: copied to `text`
 * (at most `size` bytes, NUL-ended). Empty if nothing has failed.
 */
SHMC_PUBLIC void shmc_last_error(shmc_client *client, char *text, size_t size);

/* ---- buffers ---------------------------------------------------------------------- */

#define SHMC_ALLOC_UNCACHED                                                                    \
        0x1u /* ask the broker even if the cache has one; on release it
                                    goes back to the broker at once */
#define SHMC_ALLOC_ZERO                                                                        \
        0x2u /* `size` bytes of zeros; else contents are undefined (they
                                    may be an earlier buffer's of the same uid) */

struct shmc_alloc_options {
        size_t struct_size;
        const char *pool;    /* NULL: "default" */
        uint32_t flags;      /* SHMC_ALLOC_* */
        uint32_t reserved;   /* 0 */
        uint64_t timeout_ns; /* how long to wait in line for memory others hold */
};
#define SHMC_ALLOC_OPTIONS_INIT                                                                \
        { sizeof(struct shmc_alloc_options), NULL, 0, 0, 0 }

/*
 * Gets a writable buffer of at least `size` bytes (1 and up), page-aligned, all of its
 * memory already allocated: writing to it cannot run out. From the client's cache this
 * makes no system call. With a timeout it waits its turn, first come first served per
 * pool, fair between uids. The caller owns one reference.
 *   -EINVAL     size 0, or malformed options     -E2BIG     above the pool's largest class
 *   -ENOENT     no such pool                     -EACCES    the pool is not for this uid
 *   -ENOSPC     the pool's (or broker's) limit   -EDQUOT    this uid's limit in the pool
 *   -EMFILE     this client's max_buffers        -ETIMEDOUT the timeout passed
 *   -ENOMEM     the host, or this process, has no memory
 *   -ENFILE     the broker has no descriptors left
 */
SHMC_PUBLIC int shmc_alloc(shmc_client *client, size_t size,
                           const struct shmc_alloc_options *options, shmc_buffer **ret_buffer);

/* One more reference to the same buffer; returns it. */
SHMC_PUBLIC shmc_buffer *shmc_buffer_ref(shmc_buffer *buffer);

/*
 * Gives up one reference; the last one returns the memory to the cache or to the broker.
 * Accepts NULL, returns NULL. After it the data must not be touched. Never fails and never
 * waits: what the broker cannot be told now is told with the next call.
 */
SHMC_PUBLIC shmc_buffer *shmc_buffer_unref(shmc_buffer *buffer);

/*
 * The memory; valid while a reference is held. Writing through it when
 * !shmc_buffer_is_writable() raises SIGSEGV. Never NULL, save in a forked child.
 */
SHMC_PUBLIC void *shmc_buffer_data(const shmc_buffer *buffer);

/* Bytes asked for, or bytes the exporter said are valid. */
SHMC_PUBLIC size_t shmc_buffer_size(const shmc_buffer *buffer);

/* Bytes mapped: what shmc_buffer_resize can reach. */
SHMC_PUBLIC size_t shmc_buffer_capacity(const shmc_buffer *buffer);

SHMC_PUBLIC bool shmc_buffer_is_writable(const shmc_buffer *buffer);

/*
 * Changes the size within the capacity; moves nothing.
 *   -ENOSPC  above the capacity     -EINVAL  0     -EROFS  not writable
 */
SHMC_PUBLIC int shmc_buffer_resize(shmc_buffer *buffer, size_t size);

#define SHMC_FEATURE_HUGE 0x1u      /* in huge pages */
#define SHMC_FEATURE_HUGE_MISS 0x2u /* the pool asks for huge pages, the host had none */
#define SHMC_FEATURE_NUMA 0x4u      /* on the pool's NUMA node */
#define SHMC_FEATURE_NUMA_MISS 0x8u /* the pool asks for a node, the host refused */

/* SHMC_FEATURE_* of the memory behind the buffer. */
SHMC_PUBLIC uint32_t shmc_buffer_features(const shmc_buffer *buffer);

/* ---- sharing ---------------------------------------------------------------------- */

#define SHMC_EXPORT_ONCE 0x1u /* the first import uses the token up; else any number */
#define SHMC_EXPORT_TRANSFER                                                                   \
        0x2u                      /* the importer may write, and this process no longer has
                                     the buffer: on success the caller's reference is
                                     consumed; same uid only; implies ONCE and CONFIRM */
#define SHMC_EXPORT_SAME_UID 0x4u /* only processes of this uid may import */
#define SHMC_EXPORT_CONFIRM 0x8u  /* wait for the broker's answer */

struct shmc_export_options {
        size_t struct_size;
        uint32_t flags;    /* SHMC_EXPORT_* */
        uint32_t reserved; /* 0 */
        uint64_t ttl_ns;   /* how long it may stay unimported; 0: 60 s; the broker's limit
                              is a day unless configured */
};
#define SHMC_EXPORT_OPTIONS_INIT                                                               \
        { sizeof(struct shmc_export_options), 0, 0, 0 }

/*
 * Makes a token for a writable buffer, with its present size. The token holds the memory:
 * the exporter may unreference the buffer and exit at once. Others read it; that nobody
 * writes to it any more is up to the exporter. Without CONFIRM nothing is waited for, and a
 * refusal by the broker shows in shmc_sync, and as an unknown token to the importer.
 *   -EROFS  not writable     -EBUSY  TRANSFER of a buffer with other references or readers
 *   -EINVAL malformed options, or a ttl above the broker's limit
 *   -EDQUOT (with CONFIRM) the limit of outstanding tokens
 *   -ETIMEDOUT the broker took no message, or (with CONFIRM) gave no answer, in time
 * A buffer whose TRANSFER fails with -ETIMEDOUT or -ECONNRESET may be another's already:
 * unreference it.
 */
SHMC_PUBLIC int shmc_buffer_export(shmc_buffer *buffer,
                                   const struct shmc_export_options *options,
                                   struct shmc_token *ret_token);

/* Withdraws a token this client exported; buffers already imported stay. One-way. */
SHMC_PUBLIC int shmc_revoke(shmc_client *client, const struct shmc_token *token);

struct shmc_import_options {
        size_t struct_size;
        uint64_t timeout_ns; /* for the broker to answer; 0: the connection's timeout */
};
#define SHMC_IMPORT_OPTIONS_INIT                                                               \
        { sizeof(struct shmc_import_options), 0 }

/*
 * Gets the buffer a token stands for: read-only, or writable for a transferred one. The
 * caller owns one reference.
 *   -ENOENT  no such token (never exported, or its exporter was refused)
 *   -ESTALE  expired, used up, or revoked       -EACCES  not for this uid
 *   -EMFILE  this client's max_buffers          -ENFILE  the broker has no descriptors left
 *   -ETIMEDOUT
 */
SHMC_PUBLIC int shmc_import(shmc_client *client, const struct shmc_token *token,
                            const struct shmc_import_options *options,
                            shmc_buffer **ret_buffer);

#define SHMC_FD_READONLY 0x1u

/*
 * A descriptor of the memory for other interfaces (V4L2, udmabuf, Wayland, sendmsg). The
 * caller owns it, close-on-exec. The buffer is reused only when the kernel shows that every
 * descriptor and mapping of it is gone. A writable one needs a writable buffer.
 *   -EROFS  not writable     -EINVAL  unknown flags     -ENFILE  as for shmc_import
 */
SHMC_PUBLIC int shmc_buffer_fd(shmc_buffer *buffer, uint32_t flags, int *ret_fd);

/* Writes 32 hexadecimal digits and a NUL. */
SHMC_PUBLIC void shmc_token_to_string(const struct shmc_token *token,
                                      char string[SHMC_TOKEN_STRING_SIZE]);

/* -EINVAL unless `string` is exactly 32 hexadecimal digits. */
SHMC_PUBLIC int shmc_token_from_string(const char *string, struct shmc_token *ret_token);

/* ---- event loops ------------------------------------------------------------------ */

/*
 * The socket to poll, for its life; owned by the client: neither read nor close it. Poll
 * for shmc_get_events() (POLLIN, and POLLOUT while something waits to be sent), again asked
 * before each poll, and call shmc_dispatch when it is ready.
 */
SHMC_PUBLIC int shmc_get_fd(const shmc_client *client);
SHMC_PUBLIC int shmc_get_events(shmc_client *client);

/*
 * Sends what is queued, reads what there is, completes requests (their callbacks run here),
 * and gives back cached memory the broker wants. Does not wait. Returns how many packets it
 * handled, or -ECONNRESET once the broker is gone: then there is nothing left to poll for.
 * A program that uses only blocking calls need not call it; one that sleeps long with a full
 * cache does the host a favour by calling it when the socket is readable.
 */
SHMC_PUBLIC int shmc_dispatch(shmc_client *client);

/*
 * Called once per request, from whichever call reads the answer: shmc_dispatch, or a
 * blocking call on the same client, of any thread. No lock is held; callbacks of two requests
 * may run at once in two threads. It may call anything on the client but shmc_close. `error`
 * is 0 and `buffer` the callback's to unreference, or `error` is negative and `buffer` NULL.
 * The request is freed on return.
 */
typedef void (*shmc_complete_fn)(shmc_client *client, int error, shmc_buffer *buffer,
                                 void *userdata);

/*
 * Begin an allocation or an import; errors as for shmc_alloc and shmc_import. Returns 1
 * when it was served at once (from the cache): *ret_buffer is set and there is no request
 * and no callback. Returns 0 when it is under way: *ret_request is set, and is valid until
 * the callback returns.
 *   -EAGAIN  as many requests as the broker allows one client are under way
 */
SHMC_PUBLIC int shmc_alloc_start(shmc_client *client, size_t size,
                                 const struct shmc_alloc_options *options,
                                 shmc_complete_fn complete, void *userdata,
                                 shmc_request **ret_request, shmc_buffer **ret_buffer);
SHMC_PUBLIC int shmc_import_start(shmc_client *client, const struct shmc_token *token,
                                  shmc_complete_fn complete, void *userdata,
                                  shmc_request **ret_request);

/*
 * Frees the request; its callback will not run. A grant that is already on its way is given
 * back. Accepts NULL, returns NULL.
 */
SHMC_PUBLIC shmc_request *shmc_request_cancel(shmc_request *request);

/* ---- housekeeping ----------------------------------------------------------------- */

/*
 * Waits until the broker has handled everything this client sent. Returns the first failure
 * of a one-way call (export, revoke, release) since the last shmc_sync, else 0.
 */
SHMC_PUBLIC int shmc_sync(shmc_client *client);

/* Gives the whole cache back. Returns the number of bytes unmapped. */
SHMC_PUBLIC int64_t shmc_trim(shmc_client *client);

struct shmc_stats {
        size_t struct_size;
        uint64_t cached_bytes; /* kept for reuse now */
        uint64_t cached_buffers;
        uint64_t held_buffers; /* referenced by the program now */
        uint64_t cache_hits;   /* allocations without the broker */
        uint64_t cache_misses;
        uint64_t warm_imports; /* imports without a new mapping */
        uint64_t cold_imports;
        uint64_t taken; /* cached buffers the broker took back */
};

/* Fills what fits in stats->struct_size, which the caller sets; what this library does not
   know is 0. */
SHMC_PUBLIC int shmc_get_stats(shmc_client *client, struct shmc_stats *stats);

/* "0.1.0" */
SHMC_PUBLIC const char *shmc_version(void);

#ifdef __cplusplus
}
#endif

#endif
