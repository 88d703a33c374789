/* SPDX-License-Identifier: Apache-2.0 */
#include "cursor.h"

#include <string.h>

static const uint8_t *take(struct shmb_reader *r, size_t size) {
        if (r->failed || size > r->size - r->at) {
                r->failed = true;
                return NULL;
        }
        const uint8_t *at = r->data + r->at;
        r->at += size;
        return at;
}

static uint64_t read_le(struct shmb_reader *r, size_t size) {
        const uint8_t *at = take(r, size);
        uint64_t value = 0;

        for (size_t i = 0; at && i < size; i++)
                value |= (uint64_t)at[i] << (8 * i);
        return value;
}

uint16_t shmb_read_u16(struct shmb_reader *r) {
        return (uint16_t)read_le(r, 2);
}

uint32_t shmb_read_u32(struct shmb_reader *r) {
        return (uint32_t)read_le(r, 4);
}

uint64_t shmb_read_u64(struct shmb_reader *r) {
        return read_le(r, 8);
}

void shmb_read_bytes(struct shmb_reader *r, void *out, size_t size) {
        const uint8_t *at = take(r, size);

        if (at)
                memcpy(out, at, size);
        else
                memset(out, 0, size);
}

void shmb_read_string(struct shmb_reader *r, char *out, size_t size) {
        size_t length = shmb_read_u16(r);
        const uint8_t *at = NULL;

        out[0] = '\0';
        if (length >= size)
                r->failed = true;
        else
                at = take(r, length);
        if (!at)
                return;
        if (memchr(at, '\0', length)) {
                r->failed = true;
                return;
        }
        memcpy(out, at, length);
        out[length] = '\0';
}

bool shmb_reader_done(const struct shmb_reader *r) {
        return !r->failed && r->at == r->size;
}

static uint8_t *room(struct shmb_writer *w, size_t size) {
        if (w->failed || size > w->size - w->at) {
                w->failed = true;
                return NULL;
        }
        uint8_t *at = w->data + w->at;
        w->at += size;
        return at;
}

static void write_le(struct shmb_writer *w, uint64_t value, size_t size) {
        uint8_t *at = room(w, size);

        for (size_t i = 0; at && i < size; i++)
                at[i] = (uint8_t)(value >> (8 * i));
}

void shmb_write_u16(struct shmb_writer *w, uint16_t value) {
        write_le(w, value, 2);
}

void shmb_write_u32(struct shmb_writer *w, uint32_t value) {
        write_le(w, value, 4);
}

void shmb_write_u64(struct shmb_writer *w, uint64_t value) {
        write_le(w, value, 8);
}

void shmb_write_bytes(struct shmb_writer *w, const void *bytes, size_t size) {
        uint8_t *at = room(w, size);

        if (at)
                memcpy(at, bytes, size);
}

void shmb_write_string(struct shmb_writer *w, const char *string) {
        size_t length = strlen(string);

        if (length > UINT16_MAX) {
                w->failed = true;
                return;
        }
        shmb_write_u16(w, (uint16_t)length);
        shmb_write_bytes(w, string, length);
}
