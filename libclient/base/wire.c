/* SPDX-License-Identifier: Apache-2.0 */
#include "wire.h"

#include "cursor.h"

static enum shmb_status finish(const struct shmb_reader *r) {
        return shmb_reader_done(r) ? SHMB_STATUS_OK : SHMB_STATUS_MALFORMED;
}

static void read_lease(struct shmb_reader *r, struct shmb_lease_ref *ret) {
        ret->slot = shmb_read_u32(r);
        ret->generation = shmb_read_u32(r);
}

/* Reads the u16 count and u16 zero that lead a list; fails on 0 and on more than the limit. */
static uint16_t read_count(struct shmb_reader *r) {
        uint16_t count = shmb_read_u16(r);

        if (shmb_read_u16(r) != 0 || count == 0 || count > SHMB_RELEASE_MAX) {
                r->failed = true;
                return 0;
        }
        return count;
}

enum shmb_status shmb_decode_header(const void *packet, size_t size, struct shmb_header *ret,
                                    const uint8_t **ret_payload, size_t *ret_payload_size) {
        struct shmb_reader r = shmb_reader_init(packet, size);
        struct shmb_header header = {
                .opcode = shmb_read_u16(&r),
                .flags = shmb_read_u16(&r),
                .serial = shmb_read_u32(&r),
        };

        if (r.failed)
                return SHMB_STATUS_MALFORMED;
        *ret = header;
        *ret_payload = r.data + r.at;
        *ret_payload_size = r.size - r.at;
        return SHMB_STATUS_OK;
}

enum shmb_status shmb_decode_hello(const void *payload, size_t size, struct shmb_hello *ret) {
        struct shmb_reader r = shmb_reader_init(payload, size);

        ret->magic = shmb_read_u32(&r);
        if (!r.failed && ret->magic != SHMB_MAGIC)
                return SHMB_STATUS_BAD_MAGIC;
        ret->version_min = shmb_read_u16(&r);
        ret->version_max = shmb_read_u16(&r);
        /* What follows the versions may differ in a later version: judge those first. */
        if (!r.failed &&
            (ret->version_min > SHMB_VERSION_MAX || ret->version_max < SHMB_VERSION_MIN))
                return SHMB_STATUS_VERSION;
        ret->lease_slots = shmb_read_u32(&r);
        ret->reserved = shmb_read_u32(&r);
        shmb_read_string(&r, ret->name, sizeof(ret->name));
        if (ret->reserved != 0)
                r.failed = true;
        return finish(&r);
}

enum shmb_status shmb_decode_alloc(const void *payload, size_t size, struct shmb_alloc *ret) {
        struct shmb_reader r = shmb_reader_init(payload, size);

        ret->size = shmb_read_u64(&r);
        ret->timeout_ns = shmb_read_u64(&r);
        ret->flags = shmb_read_u32(&r);
        shmb_read_string(&r, ret->pool, sizeof(ret->pool));
        if (ret->flags != 0)
                r.failed = true;
        return finish(&r);
}

enum shmb_status shmb_decode_cancel(const void *payload, size_t size, struct shmb_cancel *ret) {
        struct shmb_reader r = shmb_reader_init(payload, size);

        ret->serial = shmb_read_u32(&r);
        return finish(&r);
}

enum shmb_status shmb_decode_release(const void *payload, size_t size,
                                     struct shmb_release *ret) {
        struct shmb_reader r = shmb_reader_init(payload, size);

        ret->count = read_count(&r);
        for (uint16_t i = 0; i < ret->count; i++) {
                read_lease(&r, &ret->entries[i].lease);
                ret->entries[i].flags = shmb_read_u32(&r);
                if (ret->entries[i].flags & ~SHMB_RELEASE_KEEP)
                        r.failed = true;
        }
        return finish(&r);
}

enum shmb_status shmb_decode_export(const void *payload, size_t size, struct shmb_export *ret) {
        const uint32_t known = SHMB_EXPORT_ONCE | SHMB_EXPORT_TRANSFER |
                               SHMB_EXPORT_SAME_DOMAIN;
        struct shmb_reader r = shmb_reader_init(payload, size);

        read_lease(&r, &ret->lease);
        shmb_read_bytes(&r, ret->token, sizeof(ret->token));
        ret->flags = shmb_read_u32(&r);
        ret->ttl_ms = shmb_read_u64(&r);
        ret->length = shmb_read_u64(&r);
        if (ret->flags & ~known)
                r.failed = true;
        return finish(&r);
}

enum shmb_status shmb_decode_import(const void *payload, size_t size, struct shmb_import *ret) {
        struct shmb_reader r = shmb_reader_init(payload, size);

        shmb_read_bytes(&r, ret->token, sizeof(ret->token));
        ret->flags = shmb_read_u32(&r);
        if (ret->flags != 0)
                r.failed = true;
        return finish(&r);
}

enum shmb_status shmb_decode_fd(const void *payload, size_t size, struct shmb_fd *ret) {
        struct shmb_reader r = shmb_reader_init(payload, size);

        read_lease(&r, &ret->lease);
        ret->flags = shmb_read_u32(&r);
        if (ret->flags & ~SHMB_FD_READONLY)
                r.failed = true;
        return finish(&r);
}

enum shmb_status shmb_decode_revoke(const void *payload, size_t size, struct shmb_revoke *ret) {
        struct shmb_reader r = shmb_reader_init(payload, size);

        shmb_read_bytes(&r, ret->token, sizeof(ret->token));
        return finish(&r);
}

enum shmb_status shmb_decode_empty(const void *payload, size_t size) {
        struct shmb_reader r = shmb_reader_init(payload, size);

        return finish(&r);
}

enum shmb_status shmb_decode_welcome(const void *payload, size_t size,
                                     struct shmb_welcome *ret) {
        struct shmb_reader r = shmb_reader_init(payload, size);

        ret->version = shmb_read_u16(&r);
        ret->reserved = shmb_read_u16(&r);
        ret->lease_slots = shmb_read_u32(&r);
        ret->max_requests = shmb_read_u32(&r);
        ret->max_tokens = shmb_read_u32(&r);
        ret->cache_bytes = shmb_read_u64(&r);
        ret->max_ttl_ms = shmb_read_u64(&r);
        ret->client_id = shmb_read_u64(&r);
        return finish(&r);
}

enum shmb_status shmb_decode_grant(const void *payload, size_t size, struct shmb_grant *ret) {
        struct shmb_reader r = shmb_reader_init(payload, size);

        read_lease(&r, &ret->lease);
        ret->object = shmb_read_u64(&r);
        ret->capacity = shmb_read_u64(&r);
        ret->length = shmb_read_u64(&r);
        ret->class_floor = shmb_read_u64(&r);
        ret->pool = shmb_read_u32(&r);
        ret->flags = shmb_read_u32(&r);
        return finish(&r);
}

enum shmb_status shmb_decode_error(const void *payload, size_t size, struct shmb_error *ret) {
        struct shmb_reader r = shmb_reader_init(payload, size);

        ret->status = shmb_read_u32(&r);
        ret->limit = shmb_read_u64(&r);
        ret->used = shmb_read_u64(&r);
        shmb_read_string(&r, ret->text, sizeof(ret->text));
        return finish(&r);
}

enum shmb_status shmb_decode_reclaim(const void *payload, size_t size,
                                     struct shmb_reclaim *ret) {
        struct shmb_reader r = shmb_reader_init(payload, size);

        ret->count = read_count(&r);
        for (uint16_t i = 0; i < ret->count; i++)
                read_lease(&r, &ret->leases[i]);
        return finish(&r);
}

enum shmb_status shmb_decode_fault(const void *payload, size_t size, struct shmb_fault *ret) {
        struct shmb_reader r = shmb_reader_init(payload, size);

        ret->opcode = shmb_read_u16(&r);
        if (shmb_read_u16(&r) != 0)
                r.failed = true;
        ret->status = shmb_read_u32(&r);
        shmb_read_string(&r, ret->text, sizeof(ret->text));
        return finish(&r);
}

enum shmb_status shmb_decode_goodbye(const void *payload, size_t size,
                                     struct shmb_goodbye *ret) {
        struct shmb_reader r = shmb_reader_init(payload, size);

        ret->status = shmb_read_u32(&r);
        shmb_read_string(&r, ret->text, sizeof(ret->text));
        return finish(&r);
}

static struct shmb_writer start(uint8_t *packet, uint16_t opcode, uint16_t flags,
                                uint32_t serial) {
        struct shmb_writer w = shmb_writer_init(packet, SHMB_PACKET_MAX);

        shmb_write_u16(&w, opcode);
        shmb_write_u16(&w, flags);
        shmb_write_u32(&w, serial);
        return w;
}

static void write_lease(struct shmb_writer *w, const struct shmb_lease_ref *lease) {
        shmb_write_u32(w, lease->slot);
        shmb_write_u32(w, lease->generation);
}

size_t shmb_encode_hello(uint8_t *packet, uint32_t serial, const struct shmb_hello *m) {
        struct shmb_writer w = start(packet, SHMB_HELLO, 0, serial);

        shmb_write_u32(&w, m->magic);
        shmb_write_u16(&w, m->version_min);
        shmb_write_u16(&w, m->version_max);
        shmb_write_u32(&w, m->lease_slots);
        shmb_write_u32(&w, m->reserved);
        shmb_write_string(&w, m->name);
        return w.at;
}

size_t shmb_encode_alloc(uint8_t *packet, uint32_t serial, const struct shmb_alloc *m) {
        struct shmb_writer w = start(packet, SHMB_ALLOC, 0, serial);

        shmb_write_u64(&w, m->size);
        shmb_write_u64(&w, m->timeout_ns);
        shmb_write_u32(&w, m->flags);
        shmb_write_string(&w, m->pool);
        return w.at;
}

size_t shmb_encode_cancel(uint8_t *packet, uint32_t serial, const struct shmb_cancel *m) {
        struct shmb_writer w = start(packet, SHMB_CANCEL, 0, serial);

        shmb_write_u32(&w, m->serial);
        return w.at;
}

size_t shmb_encode_release(uint8_t *packet, uint32_t serial, uint16_t header_flags,
                           const struct shmb_release *m) {
        struct shmb_writer w = start(packet, SHMB_RELEASE, header_flags, serial);

        shmb_write_u16(&w, m->count);
        shmb_write_u16(&w, 0);
        for (uint16_t i = 0; i < m->count; i++) {
                write_lease(&w, &m->entries[i].lease);
                shmb_write_u32(&w, m->entries[i].flags);
        }
        return w.at;
}

size_t shmb_encode_export(uint8_t *packet, uint32_t serial, uint16_t header_flags,
                          const struct shmb_export *m) {
        struct shmb_writer w = start(packet, SHMB_EXPORT, header_flags, serial);

        write_lease(&w, &m->lease);
        shmb_write_bytes(&w, m->token, sizeof(m->token));
        shmb_write_u32(&w, m->flags);
        shmb_write_u64(&w, m->ttl_ms);
        shmb_write_u64(&w, m->length);
        return w.at;
}

size_t shmb_encode_revoke(uint8_t *packet, uint32_t serial, uint16_t header_flags,
                          const struct shmb_revoke *m) {
        struct shmb_writer w = start(packet, SHMB_REVOKE, header_flags, serial);

        shmb_write_bytes(&w, m->token, sizeof(m->token));
        return w.at;
}

size_t shmb_encode_import(uint8_t *packet, uint32_t serial, const struct shmb_import *m) {
        struct shmb_writer w = start(packet, SHMB_IMPORT, 0, serial);

        shmb_write_bytes(&w, m->token, sizeof(m->token));
        shmb_write_u32(&w, m->flags);
        return w.at;
}

size_t shmb_encode_fd(uint8_t *packet, uint32_t serial, const struct shmb_fd *m) {
        struct shmb_writer w = start(packet, SHMB_FD, 0, serial);

        write_lease(&w, &m->lease);
        shmb_write_u32(&w, m->flags);
        return w.at;
}

size_t shmb_encode_empty(uint8_t *packet, uint16_t opcode, uint32_t serial) {
        return start(packet, opcode, 0, serial).at;
}

size_t shmb_encode_welcome(uint8_t *packet, uint32_t serial, const struct shmb_welcome *m) {
        struct shmb_writer w = start(packet, SHMB_WELCOME, 0, serial);

        shmb_write_u16(&w, m->version);
        shmb_write_u16(&w, m->reserved);
        shmb_write_u32(&w, m->lease_slots);
        shmb_write_u32(&w, m->max_requests);
        shmb_write_u32(&w, m->max_tokens);
        shmb_write_u64(&w, m->cache_bytes);
        shmb_write_u64(&w, m->max_ttl_ms);
        shmb_write_u64(&w, m->client_id);
        return w.at;
}

size_t shmb_encode_grant(uint8_t *packet, uint32_t serial, const struct shmb_grant *m) {
        struct shmb_writer w = start(packet, SHMB_GRANT, 0, serial);

        write_lease(&w, &m->lease);
        shmb_write_u64(&w, m->object);
        shmb_write_u64(&w, m->capacity);
        shmb_write_u64(&w, m->length);
        shmb_write_u64(&w, m->class_floor);
        shmb_write_u32(&w, m->pool);
        shmb_write_u32(&w, m->flags);
        return w.at;
}

size_t shmb_encode_error(uint8_t *packet, uint32_t serial, const struct shmb_error *m) {
        struct shmb_writer w = start(packet, SHMB_ERROR, 0, serial);

        shmb_write_u32(&w, m->status);
        shmb_write_u64(&w, m->limit);
        shmb_write_u64(&w, m->used);
        shmb_write_string(&w, m->text);
        return w.at;
}

size_t shmb_encode_reclaim(uint8_t *packet, const struct shmb_reclaim *m) {
        struct shmb_writer w = start(packet, SHMB_RECLAIM, 0, 0);

        shmb_write_u16(&w, m->count);
        shmb_write_u16(&w, 0);
        for (uint16_t i = 0; i < m->count; i++)
                write_lease(&w, &m->leases[i]);
        return w.at;
}

size_t shmb_encode_fault(uint8_t *packet, uint32_t serial, const struct shmb_fault *m) {
        struct shmb_writer w = start(packet, SHMB_FAULT, 0, serial);

        shmb_write_u16(&w, m->opcode);
        shmb_write_u16(&w, 0);
        shmb_write_u32(&w, m->status);
        shmb_write_string(&w, m->text);
        return w.at;
}

size_t shmb_encode_goodbye(uint8_t *packet, const struct shmb_goodbye *m) {
        struct shmb_writer w = start(packet, SHMB_GOODBYE, 0, 0);

        shmb_write_u32(&w, m->status);
        shmb_write_string(&w, m->text);
        return w.at;
}
