/* SPDX-License-Identifier: Apache-2.0 */
/* Handing over without copying: by nothing but memory both have anyway, and by token. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "handover.h"
#include "process.h"
#include "shmclient.h"

/* ---- the floor ------------------------------------------------------------------------- */

static int floor_setup(struct handover *h) {
        void *memory = mmap(NULL, h->size, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (memory == MAP_FAILED)
                return -errno;
        h->shared = memory;
        return 0;
}

static int floor_open(struct handover *h) {
        (void)h;
        return 0;
}

static int floor_give(struct handover *h, uint64_t seed, struct digest *ret_written) {
        char here = 1;

        *ret_written = payload_write(h->shared, h->source, h->size, seed);
        return helper_send(h->fd, &here, sizeof(here));
}

static int floor_take(struct handover *h, struct digest *ret_read) {
        char here;
        int r = helper_receive(h->fd, &here, sizeof(here));

        if (r == 0)
                *ret_read = payload_read(h->shared, h->size);
        return r;
}

static void floor_close(struct handover *h) {
        (void)h;
}

static void floor_teardown(struct handover *h) {
        if (h->shared)
                munmap(h->shared, h->size);
}

const struct way way_floor = {
        .name = "the floor",
        .what = "one mapping both processes have had from the start, and a byte to say go:\n"
                "                     what writing and reading cost by themselves; no pool "
                "does "
                "less",
        .setup = floor_setup,
        .open = floor_open,
        .give = floor_give,
        .take = floor_take,
        .close = floor_close,
        .teardown = floor_teardown,
};

/* ---- a token ------------------------------------------------------------------------------ */

static int token_failed(shmc_client *client, int error) {
        char text[512];

        shmc_last_error(client, text, sizeof(text));
        fprintf(stderr, "handover: %s\n", text);
        return error;
}

static int token_open(struct handover *h) {
        shmc_client *client = NULL;
        char text[256];
        int r = shmc_connect(&client, NULL, NULL);

        if (r < 0) {
                shmc_connect_error(r, NULL, text, sizeof(text));
                fprintf(stderr, "handover: %s\n", text);
                return r;
        }
        h->own = client;
        return 0;
}

static int token_give(struct handover *h, uint64_t seed, struct digest *ret_written) {
        struct shmc_export_options options = SHMC_EXPORT_OPTIONS_INIT;
        shmc_client *client = h->own;
        shmc_buffer *buffer = NULL;
        struct shmc_token token;
        int r = shmc_alloc(client, h->size, NULL, &buffer);

        if (r < 0)
                return token_failed(client, r);
        *ret_written = payload_write(shmc_buffer_data(buffer), h->source, h->size, seed);
        options.flags = SHMC_EXPORT_ONCE;
        r = shmc_buffer_export(buffer, &options, &token);
        shmc_buffer_unref(buffer);
        if (r < 0)
                return token_failed(client, r);
        return helper_send(h->fd, &token, sizeof(token));
}

static int token_take(struct handover *h, struct digest *ret_read) {
        shmc_client *client = h->own;
        shmc_buffer *buffer = NULL;
        struct shmc_token token;
        int r = helper_receive(h->fd, &token, sizeof(token));

        if (r < 0)
                return r;
        r = shmc_import(client, &token, NULL, &buffer);
        if (r < 0)
                return token_failed(client, r);
        *ret_read = payload_read(shmc_buffer_data(buffer), shmc_buffer_size(buffer));
        shmc_buffer_unref(buffer);
        return 0;
}

static void token_close(struct handover *h) {
        h->own = shmc_close(h->own);
}

const struct way way_token = {
        .name = "token (shmbroker)",
        .what = "shmc_alloc, write, shmc_buffer_export; 16 bytes travel; shmc_import, read, "
                "unref",
        .open = token_open,
        .give = token_give,
        .take = token_take,
        .close = token_close,
};
