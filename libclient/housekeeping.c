/* SPDX-License-Identifier: Apache-2.0 */
/* Event loops, synchronisation, figures. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "clock.h"
#include "options.h"
#include "request.h"

void shmc_last_error(shmc_client *client, char *text, size_t size) {
        if (size == 0)
                return;
        if (client_is_forked(client)) {
                snprintf(text, size,
                         "the connection belongs to the parent process; a forked "
                         "child makes its own");
                return;
        }
        pthread_mutex_lock(&client->lock);
        snprintf(text, size, "%s", client->error_text);
        pthread_mutex_unlock(&client->lock);
}

int shmc_get_fd(const shmc_client *client) {
        return client_is_forked(client) ? -ECHILD : client->conn.fd;
}

int shmc_get_events(shmc_client *client) {
        if (client_is_forked(client))
                return -ECHILD;
        pthread_mutex_lock(&client->lock);
        int events = TAILQ_EMPTY(&client->conn.queue) ? POLLIN : POLLIN | POLLOUT;
        pthread_mutex_unlock(&client->lock);
        return events;
}

int shmc_dispatch(shmc_client *client) {
        if (client_is_forked(client))
                return -ECHILD;
        pthread_mutex_lock(&client->lock);
        int r = conn_dispatch(client);
        /* Polled again, a dead connection would be ready for ever. */
        if (r == 0 && client->conn.error != 0)
                r = client_failed(client, client->conn.error, "dispatch: %s",
                                  client->conn.reason);
        pthread_mutex_unlock(&client->lock);
        return r;
}

int shmc_sync(shmc_client *client) {
        if (client_is_forked(client))
                return -ECHILD;
        struct shmc_request *request = request_new(client, REQUEST_SYNC);
        if (!request)
                return client_fails(client, -ENOMEM, "sync: out of memory");
        int r = request_run(request, clock_after(client->timeout_ns));
        if (r < 0)
                return r;
        request_free(request);
        pthread_mutex_lock(&client->lock);
        if (client->fault < 0)
                r = client_failed(client, client->fault, "%s", client->fault_text);
        client->fault = 0;
        pthread_mutex_unlock(&client->lock);
        return r;
}

int64_t shmc_trim(shmc_client *client) {
        struct lease_list retired = TAILQ_HEAD_INITIALIZER(retired);

        if (client_is_forked(client))
                return -ECHILD;
        pthread_mutex_lock(&client->lock);
        uint64_t before = client->cache.bytes;
        cache_shrink(client, 0, &retired);
        uint64_t after = client->cache.bytes;
        pthread_mutex_unlock(&client->lock);
        leases_release(client, &retired);
        return (int64_t)(before - after);
}

int shmc_get_stats(shmc_client *client, struct shmc_stats *stats) {
        size_t size = stats->struct_size;

        if (client_is_forked(client))
                return -ECHILD;
        if (size < sizeof(stats->struct_size) || size > OPTIONS_SIZE_MAX)
                return client_fails(client, -EINVAL, "stats: struct_size is not set");
        pthread_mutex_lock(&client->lock);
        struct shmc_stats now = client->stats;
        now.cached_bytes = client->cache.bytes;
        now.cached_buffers = client->cache.buffers;
        now.held_buffers = client->held;
        pthread_mutex_unlock(&client->lock);
        now.struct_size = size;
        memset(stats, 0, size);
        memcpy(stats, &now, size < sizeof(now) ? size : sizeof(now));
        return 0;
}

const char *shmc_version(void) {
        return SHMB_VERSION;
}
