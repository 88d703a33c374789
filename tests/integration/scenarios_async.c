/* SPDX-License-Identifier: Apache-2.0 */
/* Event loops. */
#include "scenarios.h"

#include <poll.h>

struct outcome {
        bool done;
        int calls, error;
        shmc_buffer *buffer;
};

static void completed(shmc_client *client, int error, shmc_buffer *buffer, void *userdata) {
        struct outcome *outcome = userdata;

        (void)client;
        outcome->done = true;
        outcome->calls++;
        outcome->error = error;
        outcome->buffer = buffer;
}

/* The broker's answer lies in the socket. */
static int answer_is_there(shmc_client *client) {
        struct pollfd fd = { .fd = shmc_get_fd(client), .events = POLLIN };

        return poll(&fd, 1, 10000) == 1 ? 0 : -1;
}

static int async_alloc(void) {
        struct outcome outcome = { 0 };
        CLIENT client = NULL;
        BUFFER buffer = NULL;
        shmc_request *request = NULL;

        OK(NULL, connected(&client));
        CHECK(shmc_get_events(client) == POLLIN);
        OK(client, shmc_alloc_start(client, MIB, NULL, completed, &outcome, &request, &buffer));
        CHECK(request && !buffer && outcome.calls == 0);
        OK(client, dispatch_until(client, &outcome.done));
        CHECK(outcome.calls == 1 && outcome.error == 0);
        CHECK(shmc_buffer_size(outcome.buffer) == MIB);
        memset(shmc_buffer_data(outcome.buffer), 1, MIB);
        shmc_buffer_unref(outcome.buffer);
        EXPECT(client,
               shmc_alloc_start(client, MIB, NULL, completed, &outcome, &request, &buffer), 1);
        OK(client, has_only(buffer, 1));
        EXPECT(client, shmc_dispatch(client), 0);
        CHECK(outcome.calls == 1);
        return 0;
}

static int async_refusal(void) {
        struct outcome outcome = { 0 };
        CLIENT client = NULL;
        shmc_request *request = NULL;
        BUFFER buffer = NULL;

        OK(NULL, connected(&client));
        OK(client, shmc_alloc_start(client, (size_t)1 << 63, NULL, completed, &outcome,
                                    &request, &buffer));
        OK(client, dispatch_until(client, &outcome.done));
        CHECK(outcome.error == -E2BIG && !outcome.buffer);
        EXPECT(client,
               shmc_alloc_start(client, 0, NULL, completed, &outcome, &request, &buffer),
               -EINVAL);
        return 0;
}

static int async_import(void) {
        struct outcome outcome = { 0 };
        CLIENT client = NULL;
        BUFFER writer = NULL;
        shmc_request *request = NULL;
        struct shmc_token token;

        OK(NULL, connected(&client));
        OK(client, filled(client, NULL, 100, 5, &writer));
        OK(client, exported(writer, 0, &token));
        OK(client, shmc_import_start(client, &token, completed, &outcome, &request));
        OK(client, dispatch_until(client, &outcome.done));
        OK(client, outcome.error);
        OK(client, has_only(outcome.buffer, 5));
        shmc_buffer_unref(outcome.buffer);
        token.bytes[0] ^= 1;
        outcome.done = false;
        OK(client, shmc_import_start(client, &token, completed, &outcome, &request));
        OK(client, dispatch_until(client, &outcome.done));
        CHECK(outcome.error == -ENOENT && outcome.calls == 2);
        return 0;
}

/* Cancelled while it waits in line: the line goes on without it. */
static int async_cancel(void) {
        struct shmc_alloc_options options = SHMC_ALLOC_OPTIONS_INIT;
        struct outcome outcome = { 0 };
        CLIENT client = NULL;
        CLIENT other = NULL;
        BUFFER first = NULL;
        BUFFER second = NULL;
        BUFFER third = NULL;
        shmc_request *request = NULL;

        OK(NULL, connected(&client));
        OK(NULL, connected(&other));
        OK(other, filled(other, SMALL_POOL, 2 * MIB, 1, &first));
        OK(other, filled(other, SMALL_POOL, 2 * MIB, 2, &second));
        options.pool = SMALL_POOL;
        options.timeout_ns = SHMC_FOREVER;
        OK(client,
           shmc_alloc_start(client, 2 * MIB, &options, completed, &outcome, &request, &third));
        OK(client, shmc_sync(client));
        CHECK(shmc_request_cancel(request) == NULL);
        CHECK(shmc_request_cancel(NULL) == NULL);
        first = shmc_buffer_unref(first);
        OK(other, shmc_sync(other));
        options.timeout_ns = 10 * SECOND_NS;
        OK(client, shmc_alloc(client, 2 * MIB, &options, &third));
        CHECK(outcome.calls == 0);
        return 0;
}

/* Cancelled when the grant, or the import, is already on its way: it goes back. */
static int async_cancel_late(void) {
        struct outcome outcome = { 0 };
        CLIENT client = NULL;
        BUFFER buffer = NULL;
        shmc_request *request = NULL;
        struct shmc_token token;

        OK(NULL, connected(&client));
        OK(client, shmc_alloc_start(client, MIB, NULL, completed, &outcome, &request, &buffer));
        OK(client, answer_is_there(client));
        shmc_request_cancel(request);
        OK(client, shmc_sync(client));
        CHECK(stats_of(client).held_buffers == 0);
        OK(client, filled(client, NULL, MIB, 5, &buffer));
        OK(client, exported(buffer, SHMC_EXPORT_ONCE, &token));
        OK(client, shmc_import_start(client, &token, completed, &outcome, &request));
        OK(client, answer_is_there(client));
        shmc_request_cancel(request);
        OK(client, shmc_sync(client));
        CHECK(stats_of(client).held_buffers == 1 && outcome.calls == 0);
        return 0;
}

/* More than the broker allows at once is refused here; the rest all complete. */
static int async_many(void) {
        struct outcome outcomes[REQUESTS_MAX + 1] = { 0 };
        CLIENT client = NULL;
        shmc_request *request = NULL;
        BUFFER buffer = NULL;
        int started = 0, r = 0;

        OK(NULL, connected(&client));
        while (r == 0 && started <= REQUESTS_MAX) {
                r = shmc_alloc_start(client, 4 * KIB, NULL, completed, &outcomes[started],
                                     &request, &buffer);
                started += r == 0;
        }
        EXPECT(client, r, -EAGAIN);
        EXPECT(client, started, REQUESTS_MAX);
        CHECK(shmc_alloc(client, 100 * KIB, NULL, &buffer) == 0); /* waits its turn */
        for (int i = 0; i < started; i++) {
                OK(client, dispatch_until(client, &outcomes[i].done));
                CHECK(outcomes[i].calls == 1 && outcomes[i].error == 0);
                shmc_buffer_unref(outcomes[i].buffer);
        }
        CHECK(stats_of(client).cached_buffers == REQUESTS_MAX);
        OK(client, shmc_sync(client));
        return 0;
}

/* A callback may use the client, and wait. */
static void chain(shmc_client *client, int error, shmc_buffer *buffer, void *userdata) {
        struct outcome *outcome = userdata;
        shmc_request *request = NULL;

        outcome->error |= error | shmc_sync(client);
        shmc_buffer_unref(buffer);
        if (++outcome->calls == 10) {
                outcome->done = true;
                return;
        }
        buffer = NULL;
        int r = shmc_alloc_start(client, (size_t)outcome->calls * MIB, NULL, chain, outcome,
                                 &request, &buffer);
        if (r == 1) /* the next link has been forged already */
                chain(client, 0, buffer, outcome);
        else
                outcome->error |= r;
}

static int async_chain(void) {
        struct outcome outcome = { 0 };
        CLIENT client = NULL;
        shmc_request *request = NULL;
        BUFFER buffer = NULL;

        OK(NULL, connected(&client));
        OK(client, shmc_alloc_start(client, 1, NULL, chain, &outcome, &request, &buffer));
        OK(client, dispatch_until(client, &outcome.done));
        OK(client, outcome.error);
        CHECK(outcome.calls == 10);
        return 0;
}

/* Whatever waits in line for memory: what gives some back does not wait behind it. */
static int async_line(void) {
        struct shmc_alloc_options options = SHMC_ALLOC_OPTIONS_INIT;
        struct outcome outcome = { 0 };
        CLIENT client = NULL;
        shmc_buffer *first = NULL;
        BUFFER second = NULL;
        shmc_request *request = NULL;
        shmc_buffer *none = NULL;
        struct shmc_token token;

        OK(NULL, connected(&client));
        OK(client, filled(client, SMALL_POOL, 2 * MIB, 1, &first));
        OK(client, filled(client, SMALL_POOL, 2 * MIB, 2, &second));
        options.pool = SMALL_POOL;
        options.timeout_ns = SHMC_FOREVER;
        for (int i = 0; i < REQUESTS_MAX; i++)
                OK(client, shmc_alloc_start(client, 2 * MIB, &options, completed, &outcome,
                                            &request, &none));
        OK(client, shmc_sync(client));
        OK(client, exported(first, SHMC_EXPORT_TRANSFER, &token));
        CHECK(!outcome.done);
        OK(client, shmc_revoke(client, &token));
        OK(client, dispatch_until(client, &outcome.done));
        CHECK(outcome.calls == 1 && outcome.error == 0);
        shmc_buffer_unref(outcome.buffer);
        return 0;
}

static int async_close(void) {
        struct outcome outcome = { 0 };
        shmc_client *client = NULL;
        shmc_request *request = NULL;
        shmc_buffer *buffer = NULL;

        OK(NULL, connected(&client));
        for (int i = 0; i < 4; i++)
                OK(client,
                   shmc_alloc_start(client, MIB, NULL, completed, &outcome, &request, &buffer));
        OK(client, answer_is_there(client));
        client = shmc_close(client);
        CHECK(!client && outcome.calls == 0);
        return 0;
}

const struct scenario async_scenarios[] = {
        { "async-alloc", async_alloc },
        { "async-refusal", async_refusal },
        { "async-import", async_import },
        { "async-cancel", async_cancel },
        { "async-cancel-late", async_cancel_late },
        { "async-many", async_many },
        { "async-chain", async_chain },
        { "async-line", async_line },
        { "async-close", async_close },
        { NULL, NULL },
};
