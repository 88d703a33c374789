/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only way in and out of a packet's bytes. A cursor that once ran out stays failed:
 * reads then give zeros, so a decoder checks once, at its end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct shmb_reader {
        const uint8_t *data;
        size_t size, at;
        bool failed;
};

struct shmb_writer {
        uint8_t *data;
        size_t size, at;
        bool failed;
};

static inline struct shmb_reader shmb_reader_init(const void *data, size_t size) {
        return (struct shmb_reader){ .data = data, .size = size };
}

static inline struct shmb_writer shmb_writer_init(void *data, size_t size) {
        return (struct shmb_writer){ .data = data, .size = size };
}

uint16_t shmb_read_u16(struct shmb_reader *r);
uint32_t shmb_read_u32(struct shmb_reader *r);
uint64_t shmb_read_u64(struct shmb_reader *r);
void shmb_read_bytes(struct shmb_reader *r, void *out, size_t size);

/*
 * Reads u16 length and that many bytes into `out`, NUL-ended. Fails on a length of `size` or
 * more and on a NUL inside.
 */
void shmb_read_string(struct shmb_reader *r, char *out, size_t size);

/* True if nothing failed and nothing is left over. */
bool shmb_reader_done(const struct shmb_reader *r);

void shmb_write_u16(struct shmb_writer *w, uint16_t value);
void shmb_write_u32(struct shmb_writer *w, uint32_t value);
void shmb_write_u64(struct shmb_writer *w, uint64_t value);
void shmb_write_bytes(struct shmb_writer *w, const void *bytes, size_t size);
void shmb_write_string(struct shmb_writer *w, const char *string);
