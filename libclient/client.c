/* SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cleanup.h"
#include "request.h"

/* The kernel zeroes the page in a forked child: a fork is seen without a system call. */
static int mark_process(struct shmc_client *client) {
        size_t size = (size_t)sysconf(_SC_PAGESIZE);
        void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                          0);

        if (page == MAP_FAILED)
                return -ENOMEM;
        client->here = page;
        if (madvise(page, size, MADV_WIPEONFORK) < 0)
                return -errno;
        *client->here = 1;
        return 0;
}

int client_new(struct shmc_client **ret_client) {
        struct shmc_client *client = calloc(1, sizeof(*client));

        if (!client)
                return -ENOMEM;
        pthread_mutex_init(&client->lock, NULL);
        pthread_cond_init(&client->released, NULL);
        conn_init(&client->conn);
        cache_init(&client->cache);
        TAILQ_INIT(&client->unwanted);
        int r = mark_process(client);
        if (r < 0) {
                client_free(client);
                return r;
        }
        *ret_client = client;
        return 0;
}

void client_free(struct shmc_client *client) {
        conn_close(&client->conn);
        /* The lease page is not in a forked child; its addresses may be others' there. */
        if (client->words && !client_is_forked(client))
                munmap((void *)client->words, client->words_size);
        if (client->here)
                munmap((void *)(uintptr_t)client->here, (size_t)sysconf(_SC_PAGESIZE));
        cache_deinit(&client->cache);
        free(client->slots);
        pthread_cond_destroy(&client->released);
        pthread_mutex_destroy(&client->lock);
        explicit_bzero(client->tokens, sizeof(client->tokens));
        free(client);
}

/* What the program does not have: cached, or to be dropped. */
static void drop_unused(struct shmc_client *client) {
        struct lease_list retired = TAILQ_HEAD_INITIALIZER(retired);
        bool mapped = !client_is_forked(client);

        for (uint32_t slot = 1; client->slots && slot <= client->lease_slots; slot++) {
                struct lease *lease = client->slots[slot];

                if (!lease || lease->place == PLACE_USED)
                        continue;
                if (mapped) {
                        lease_retire(lease, &retired);
                        continue;
                }
                client->slots[slot] = NULL;
                free(lease->owed);
                free(lease);
        }
        pthread_mutex_unlock(&client->lock);
        leases_release(client, &retired);
        pthread_mutex_lock(&client->lock);
}

static void drop_requests(struct shmc_client *client) {
        struct conn *conn = &client->conn;
        struct shmc_request *request;

        while ((request = TAILQ_FIRST(&conn->completed))) {
                TAILQ_REMOVE(&conn->completed, request, link);
                pthread_mutex_unlock(&client->lock);
                request_free(request);
                pthread_mutex_lock(&client->lock);
        }
}

struct shmc_client *client_close(struct shmc_client *client) {
        if (!client)
                return NULL;
        if (!client_is_forked(client)) {
                pthread_mutex_lock(&client->lock);
        } else if (pthread_mutex_trylock(&client->lock) != 0) {
                /* Held by a thread that the fork left behind: the books may be in any state,
                   so that only the descriptors can be told apart safely. */
                conn_close(&client->conn);
                return NULL;
        }
        client->closed = true;
        client->held++; /* stays until the end of this function */
        client->cache.limit = 0;
        client->conn.broken = true;
        conn_flush(&client->conn);
        /* Unmapped before the broker hears of the end, so that it finds the memory unused. */
        drop_unused(client);
        if (client_is_forked(client))
                conn_close(&client->conn);
        conn_fail(&client->conn, -ECONNRESET, "the client was closed");
        drop_requests(client);
        conn_close(&client->conn);
        bool last = --client->held == 0;
        pthread_mutex_unlock(&client->lock);
        if (last)
                client_free(client);
        return NULL;
}

int client_failed(struct shmc_client *client, int error, const char *format, ...) {
        va_list args;

        va_start(args, format);
        vsnprintf(client->error_text, sizeof(client->error_text), format, args);
        va_end(args);
        return error;
}

int client_fails(struct shmc_client *client, int error, const char *format, ...) {
        va_list args;

        pthread_mutex_lock(&client->lock);
        va_start(args, format);
        vsnprintf(client->error_text, sizeof(client->error_text), format, args);
        va_end(args);
        pthread_mutex_unlock(&client->lock);
        return error;
}
