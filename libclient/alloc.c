/* SPDX-License-Identifier: Apache-2.0 */
/* Allocation and import, waiting or not. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "client.h"
#include "clock.h"
#include "options.h"
#include "request.h"
#include "token.h"

/* Without a timeout of its own: others' memory may have to be made, or scrubbed, first. */
static const uint64_t making_timeout_ns = 30 * (uint64_t)NS_PER_S;

/* ---- allocation ------------------------------------------------------------------------ */

static int read_options(struct shmc_client *client, size_t size,
                        const struct shmc_alloc_options *given,
                        struct shmc_alloc_options *options) {
        const uint32_t known = SHMC_ALLOC_UNCACHED | SHMC_ALLOC_ZERO;

        if (client_is_forked(client))
                return -ECHILD;
        if (size == 0)
                return client_fails(client, -EINVAL,
                                    "alloc of 0 bytes: a buffer has at least one byte");
        if (!options_read(options, sizeof(*options), given) || options->flags & ~known ||
            options->reserved != 0)
                return client_fails(client, -EINVAL, "alloc of %zu bytes: malformed options",
                                    size);
        if (options->pool && !shmb_name_is_valid(options->pool))
                return client_fails(client, -EINVAL,
                                    "alloc of %zu bytes: not a pool's name: 1 to %u "
                                    "characters of A-Z a-z 0-9 . _ : @ -",
                                    size, SHMB_NAME_MAX);
        return 0;
}

/* 1: from the cache; 0: not there. */
static int from_cache(struct shmc_client *client, size_t size,
                      const struct shmc_alloc_options *options,
                      struct shmc_buffer **ret_buffer) {
        struct lease_list retired = TAILQ_HEAD_INITIALIZER(retired);
        struct lease *lease = NULL;

        pthread_mutex_lock(&client->lock);
        if (!(options->flags & SHMC_ALLOC_UNCACHED))
                lease = cache_take(client, options->pool, size, &retired);
        if (lease) {
                *ret_buffer = lease_use(lease, &lease->own, size);
                client->stats.cache_hits++;
        } else {
                client->stats.cache_misses++;
        }
        pthread_mutex_unlock(&client->lock);
        leases_release(client, &retired);
        if (lease && (options->flags & SHMC_ALLOC_ZERO))
                memset(lease->data, 0, size);
        return lease != NULL;
}

static struct shmc_request *alloc_request(struct shmc_client *client, size_t size,
                                          const struct shmc_alloc_options *options) {
        struct shmc_request *request = request_new(client, REQUEST_ALLOC);

        if (!request)
                return NULL;
        request->alloc_flags = options->flags;
        request->message.alloc.size = size;
        request->message.alloc.timeout_ns = options->timeout_ns;
        snprintf(request->message.alloc.pool, sizeof(request->message.alloc.pool), "%s",
                 options->pool ? options->pool : DEFAULT_POOL);
        return request;
}

int shmc_alloc(shmc_client *client, size_t size, const struct shmc_alloc_options *given,
               shmc_buffer **ret_buffer) {
        struct shmc_alloc_options options = SHMC_ALLOC_OPTIONS_INIT;
        int r = read_options(client, size, given, &options);

        if (r < 0)
                return r;
        if (from_cache(client, size, &options, ret_buffer))
                return 0;
        struct shmc_request *request = alloc_request(client, size, &options);
        if (!request)
                return client_fails(client, -ENOMEM, "alloc of %zu bytes: out of memory", size);
        uint64_t patience = options.timeout_ns == 0
                                    ? making_timeout_ns
                                    : clock_add(options.timeout_ns, client->timeout_ns);
        /* Making memory takes time, whatever the timeout; a nanosecond a byte is plenty. */
        patience = clock_add(patience, size);
        r = request_run(request, clock_after(patience));
        if (r < 0)
                return r;
        struct shmc_buffer *buffer = shmb_steal_ptr(request->buffer);
        request_zero(request, buffer);
        request_free(request);
        *ret_buffer = buffer;
        return 0;
}

/* ---- import ---------------------------------------------------------------------------- */

static struct shmc_request *import_request(struct shmc_client *client,
                                           const struct shmc_token *token) {
        struct shmc_request *request = request_new(client, REQUEST_IMPORT);

        if (request)
                memcpy(request->message.import.token, token->bytes, SHMB_TOKEN_SIZE);
        return request;
}

int shmc_import(shmc_client *client, const struct shmc_token *token,
                const struct shmc_import_options *given, shmc_buffer **ret_buffer) {
        struct shmc_import_options options = SHMC_IMPORT_OPTIONS_INIT;

        if (client_is_forked(client))
                return -ECHILD;
        if (!options_read(&options, sizeof(options), given))
                return client_fails(client, -EINVAL, "import: malformed options");
        struct shmc_request *request = import_request(client, token);
        if (!request)
                return client_fails(client, -ENOMEM, "import: out of memory");
        uint64_t patience = options.timeout_ns > 0 ? options.timeout_ns : client->timeout_ns;
        int r = request_run(request, clock_after(patience));
        if (r < 0)
                return r;
        *ret_buffer = shmb_steal_ptr(request->buffer);
        request_free(request);
        return 0;
}

/* ---- without waiting ------------------------------------------------------------------- */

static int start(struct shmc_request *request, shmc_complete_fn complete, void *userdata,
                 struct shmc_request **ret_request) {
        struct shmc_client *client = request->client;

        request->complete = complete;
        request->userdata = userdata;
        pthread_mutex_lock(&client->lock);
        int r = request_start(request);
        /* Before the mutex goes: another thread may complete it right after. */
        if (r == 0)
                *ret_request = request;
        pthread_mutex_unlock(&client->lock);
        if (r < 0)
                request_free(request);
        return r;
}

int shmc_alloc_start(shmc_client *client, size_t size, const struct shmc_alloc_options *given,
                     shmc_complete_fn complete, void *userdata, shmc_request **ret_request,
                     shmc_buffer **ret_buffer) {
        struct shmc_alloc_options options = SHMC_ALLOC_OPTIONS_INIT;
        int r = read_options(client, size, given, &options);

        if (r < 0)
                return r;
        if (from_cache(client, size, &options, ret_buffer))
                return 1;
        struct shmc_request *request = alloc_request(client, size, &options);
        if (!request)
                return client_fails(client, -ENOMEM, "alloc of %zu bytes: out of memory", size);
        return start(request, complete, userdata, ret_request);
}

int shmc_import_start(shmc_client *client, const struct shmc_token *token,
                      shmc_complete_fn complete, void *userdata, shmc_request **ret_request) {
        if (client_is_forked(client))
                return -ECHILD;
        struct shmc_request *request = import_request(client, token);
        if (!request)
                return client_fails(client, -ENOMEM, "import: out of memory");
        return start(request, complete, userdata, ret_request);
}

shmc_request *shmc_request_cancel(shmc_request *request) {
        if (!request || client_is_forked(request->client))
                return NULL;
        struct shmc_client *client = request->client;
        bool ours = true;

        pthread_mutex_lock(&client->lock);
        if (request->running) /* called from its own callback */
                ours = false;
        else if (request->pending)
                ours = request_abandon(request);
        else
                TAILQ_REMOVE(&client->conn.completed, request, link);
        pthread_mutex_unlock(&client->lock);
        if (ours)
                request_free(request);
        return NULL;
}
