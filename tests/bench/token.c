/* SPDX-License-Identifier: Apache-2.0 */
/* Importing, again and again, what another process exported once. */
#include <errno.h>
#include <string.h>

#include "bench.h"
#include "cleanup.h"
#include "client.h"
#include "process.h"

#define FIRST_WORD 0x73686d62656e6368u

/* Exports one buffer, sends its token, and holds it until the other side is done. */
static int exporter(int fd, void *arg) {
        const struct context *context = arg;
        SHMB_CLEANUP(client_done) shmc_client *client = NULL;
        SHMB_CLEANUP(buffer_done) shmc_buffer *buffer = NULL;
        struct shmc_export_options options = SHMC_EXPORT_OPTIONS_INIT;
        struct shmc_token token;
        uint64_t word = FIRST_WORD;
        char end;
        int r = client_connect(context, &client);

        if (r < 0)
                return r;
        r = shmc_alloc(client, context->size, NULL, &buffer);
        if (r < 0)
                return client_failed(context, client, "shmc_alloc", r);
        memcpy(shmc_buffer_data(buffer), &word,
               context->size < sizeof(word) ? context->size : sizeof(word));
        options.ttl_ns = 3600 * 1000000000ull;
        r = shmc_buffer_export(buffer, &options, &token);
        if (r < 0)
                return client_failed(context, client, "shmc_buffer_export", r);
        r = helper_send(fd, &token, sizeof(token));
        if (r < 0)
                return r;
        return helper_receive(fd, &end, sizeof(end)) == -EPIPE ? 0 : -EPROTO;
}

static int import_round(shmc_client *client, const struct shmc_token *token,
                        struct samples *import, struct samples *pair) {
        shmc_buffer *buffer = NULL;
        uint64_t begin = samples_begin(import);
        int r = shmc_import(client, token, NULL, &buffer);

        if (r < 0)
                return r;
        samples_end(import, begin);
        shmc_buffer_unref(buffer);
        samples_end(pair, begin);
        return 0;
}

/* What was imported is what was exported. */
static int check(const struct context *context, shmc_client *client,
                 const struct shmc_token *token) {
        SHMB_CLEANUP(buffer_done) shmc_buffer *buffer = NULL;
        uint64_t word = FIRST_WORD;
        int r = shmc_import(client, token, NULL, &buffer);

        if (r < 0)
                return client_failed(context, client, "shmc_import", r);
        size_t size = shmc_buffer_size(buffer);
        if (size != context->size || memcmp(shmc_buffer_data(buffer), &word,
                                            size < sizeof(word) ? size : sizeof(word)) != 0)
                return bench_failed(context, "imported bytes", -EBADMSG);
        return 0;
}

static int measure(const struct context *context, int fd, struct samples *import,
                   struct samples *pair) {
        SHMB_CLEANUP(client_done) shmc_client *client = NULL;
        struct shmc_stats before = { sizeof(before) }, after = { sizeof(after) };
        struct shmc_token token;
        int r = helper_receive(fd, &token, sizeof(token));

        if (r < 0)
                return bench_failed(context, "exporter", r);
        r = client_connect(context, &client);
        if (r == 0)
                r = check(context, client, &token);
        if (r < 0)
                return r;
        pin_apart(client_broker(client));
        for (size_t i = 0; r == 0 && i < 200; i++) {
                import->n = pair->n = 0;
                r = import_round(client, &token, import, pair);
        }
        import->n = pair->n = 0;
        shmc_get_stats(client, &before);
        while (r == 0 && samples_more(import))
                r = import_round(client, &token, import, pair);
        unpin();
        if (r < 0)
                return client_failed(context, client, "shmc_import", r);
        shmc_get_stats(client, &after);
        if (after.cold_imports != before.cold_imports)
                return bench_failed(context, "the mapping was not kept", -ENOSPC);
        return 0;
}

int run_token_import(const struct context *context) {
        SHMB_CLEANUP(samples_done) struct samples import = { 0 }, pair = { 0 };
        SHMB_CLEANUP(helper_kill) struct helper other = HELPER_NONE;
        double seconds = context->options->seconds;
        int r = samples_init(&import, context->count, 1, seconds);

        if (r == 0)
                r = samples_init(&pair, context->count, 1, seconds);
        if (r != 0)
                return bench_failed(context, "samples", r);
        r = helper_start(&other, exporter, (void *)context);
        if (r < 0)
                return bench_failed(context, "fork", r);
        r = measure(context, other.fd, &import, &pair);
        if (r < 0)
                return r;
        r = helper_end(&other);
        if (r < 0)
                return bench_failed(context, "exporter", r);
        report(context, "token.import", &import, "import of a buffer already mapped", NULL);
        report(context, "token.import.pair", &pair, "the same and unref", NULL);
        return 0;
}
