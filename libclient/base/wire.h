/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages of docs/protocol.md as structs, and their encoders and decoders.
 *
 * A decoder reads the payload behind the header and returns SHMB_STATUS_OK or the breach;
 * the struct is meaningful only on OK. An encoder writes header and payload and returns the
 * packet's size; `packet` has SHMB_PACKET_MAX bytes, which every message fits by design.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "shmbroker-proto.h"

struct shmb_header {
        uint16_t opcode, flags;
        uint32_t serial;
};

struct shmb_hello {
        uint32_t magic;
        uint16_t version_min, version_max;
        uint32_t lease_slots; /* wanted, word 0 not counted; 0: the broker's default */
        uint32_t reserved;    /* 0 */
        char name[SHMB_NAME_MAX + 1];
};

struct shmb_welcome { /* + the lease page's descriptor */
        uint16_t version, reserved;
        uint32_t lease_slots; /* granted, word 0 not counted */
        uint32_t max_requests, max_tokens;
        uint64_t cache_bytes, max_ttl_ms, client_id;
};

struct shmb_alloc {
        uint64_t size, timeout_ns;
        uint32_t flags; /* 0 */
        char pool[SHMB_NAME_MAX + 1];
};

struct shmb_cancel {
        uint32_t serial;
};

struct shmb_lease_ref {
        uint32_t slot, generation;
};

struct shmb_release_entry {
        struct shmb_lease_ref lease;
        uint32_t flags; /* SHMB_RELEASE_* */
};

struct shmb_release {
        uint16_t count; /* 1 to SHMB_RELEASE_MAX */
        struct shmb_release_entry entries[SHMB_RELEASE_MAX];
};

struct shmb_export {
        struct shmb_lease_ref lease;
        uint8_t token[SHMB_TOKEN_SIZE];
        uint32_t flags; /* SHMB_EXPORT_* */
        uint64_t ttl_ms, length;
};

struct shmb_import {
        uint8_t token[SHMB_TOKEN_SIZE];
        uint32_t flags; /* 0 */
};

struct shmb_fd {
        struct shmb_lease_ref lease;
        uint32_t flags; /* SHMB_FD_* */
};

struct shmb_revoke {
        uint8_t token[SHMB_TOKEN_SIZE];
};

struct shmb_grant { /* + the memory's descriptor with SHMB_GRANT_HAS_FD */
        struct shmb_lease_ref lease;
        uint64_t object; /* the memory object's number, for life */
        uint64_t capacity, length;
        uint64_t class_floor; /* sizes above this and up to `capacity` are of this class */
        uint32_t pool;        /* the pool's number */
        uint32_t flags;       /* SHMB_GRANT_* */
};

struct shmb_error {
        uint32_t status;
        uint64_t limit, used; /* of what the status names; 0 where it names no limit */
        char text[SHMB_TEXT_MAX + 1];
};

struct shmb_reclaim {
        uint16_t count; /* 1 to SHMB_RELEASE_MAX */
        struct shmb_lease_ref leases[SHMB_RELEASE_MAX];
};

struct shmb_fault {
        uint16_t opcode; /* of the one-way request */
        uint32_t status;
        char text[SHMB_TEXT_MAX + 1];
};

struct shmb_goodbye {
        uint32_t status;
        char text[SHMB_TEXT_MAX + 1];
};

/* Splits a packet into header and payload; MALFORMED if it is shorter than a header. */
enum shmb_status shmb_decode_header(const void *packet, size_t size, struct shmb_header *ret,
                                    const uint8_t **ret_payload, size_t *ret_payload_size);

enum shmb_status shmb_decode_hello(const void *payload, size_t size, struct shmb_hello *ret);
enum shmb_status shmb_decode_alloc(const void *payload, size_t size, struct shmb_alloc *ret);
enum shmb_status shmb_decode_cancel(const void *payload, size_t size, struct shmb_cancel *ret);
enum shmb_status shmb_decode_release(const void *payload, size_t size,
                                     struct shmb_release *ret);
enum shmb_status shmb_decode_export(const void *payload, size_t size, struct shmb_export *ret);
enum shmb_status shmb_decode_import(const void *payload, size_t size, struct shmb_import *ret);
enum shmb_status shmb_decode_fd(const void *payload, size_t size, struct shmb_fd *ret);
enum shmb_status shmb_decode_revoke(const void *payload, size_t size, struct shmb_revoke *ret);
enum shmb_status shmb_decode_empty(const void *payload,
                                   size_t size); /* SYNC, DONE, DESCRIPTOR */
enum shmb_status shmb_decode_welcome(const void *payload, size_t size,
                                     struct shmb_welcome *ret);
enum shmb_status shmb_decode_grant(const void *payload, size_t size, struct shmb_grant *ret);
enum shmb_status shmb_decode_error(const void *payload, size_t size, struct shmb_error *ret);
enum shmb_status shmb_decode_reclaim(const void *payload, size_t size,
                                     struct shmb_reclaim *ret);
enum shmb_status shmb_decode_fault(const void *payload, size_t size, struct shmb_fault *ret);
enum shmb_status shmb_decode_goodbye(const void *payload, size_t size,
                                     struct shmb_goodbye *ret);

size_t shmb_encode_hello(uint8_t *packet, uint32_t serial, const struct shmb_hello *m);
size_t shmb_encode_alloc(uint8_t *packet, uint32_t serial, const struct shmb_alloc *m);
size_t shmb_encode_cancel(uint8_t *packet, uint32_t serial, const struct shmb_cancel *m);
/* `header_flags`: SHMB_HEADER_*. */
size_t shmb_encode_release(uint8_t *packet, uint32_t serial, uint16_t header_flags,
                           const struct shmb_release *m);
size_t shmb_encode_export(uint8_t *packet, uint32_t serial, uint16_t header_flags,
                          const struct shmb_export *m);
size_t shmb_encode_revoke(uint8_t *packet, uint32_t serial, uint16_t header_flags,
                          const struct shmb_revoke *m);
size_t shmb_encode_import(uint8_t *packet, uint32_t serial, const struct shmb_import *m);
size_t shmb_encode_fd(uint8_t *packet, uint32_t serial, const struct shmb_fd *m);
size_t shmb_encode_empty(uint8_t *packet, uint16_t opcode, uint32_t serial);
size_t shmb_encode_welcome(uint8_t *packet, uint32_t serial, const struct shmb_welcome *m);
size_t shmb_encode_grant(uint8_t *packet, uint32_t serial, const struct shmb_grant *m);
size_t shmb_encode_error(uint8_t *packet, uint32_t serial, const struct shmb_error *m);
size_t shmb_encode_reclaim(uint8_t *packet, const struct shmb_reclaim *m);
size_t shmb_encode_fault(uint8_t *packet, uint32_t serial, const struct shmb_fault *m);
size_t shmb_encode_goodbye(uint8_t *packet, const struct shmb_goodbye *m);
