/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers as the program sees them, and what becomes of one after its last reference. */
#include <errno.h>
#include <stdlib.h>

#include "client.h"

shmc_buffer *shmc_buffer_ref(shmc_buffer *buffer) {
        atomic_fetch_add_explicit(&buffer->refs, 1, memory_order_relaxed);
        return buffer;
}

/* True if it was the last. */
static bool drop_reference(shmc_buffer *buffer) {
        /* The only holder needs no atomic subtraction: nobody can add a reference to what
           nobody else has. */
        return atomic_load_explicit(&buffer->refs, memory_order_acquire) == 1 ||
               atomic_fetch_sub_explicit(&buffer->refs, 1, memory_order_acq_rel) == 1;
}

static bool may_keep(const struct shmc_client *client, const struct lease *lease) {
        return lease->may_keep && !lease->escaped && !lease->uncached &&
               lease->capacity <= client->cache.limit;
}

static void writer_returned(struct shmc_client *client, struct lease *lease,
                            struct lease_list *retired) {
        uint32_t uses = shmb_word_uses(shmb_word_load(lease->word));

        if (!may_keep(client, lease) || !lease->class ||
            (lease->exported && client->conn.error != 0)) {
                lease_retire(lease, retired);
        } else if (!lease->exported) {
                /* While others wait for memory nothing is put aside; a broker that is gone
                   has nobody waiting. */
                if (shmb_word_store_idle(client->words, lease->ref.slot, uses) &&
                    client->conn.error == 0)
                        lease_retire(lease, retired);
                else
                        cache_put(client, lease, PLACE_IDLE, retired);
        } else {
                shmb_word_store(lease->word, uses, SHMB_WORD_SHARED);
                conn_release(&client->conn, &lease->own.out, lease->ref, SHMB_RELEASE_KEEP,
                             NULL);
                cache_put(client, lease, PLACE_SHARED, retired);
                conn_flush(&client->conn);
        }
}

static void reader_returned(struct shmc_client *client, struct shmc_buffer *buffer,
                            struct lease_list *retired) {
        struct lease *lease = buffer->lease;

        if (--lease->count > 0) {
                lease_read_less(lease, buffer, 0);
        } else if (may_keep(client, lease) && client->conn.error == 0) {
                lease_read_less(lease, buffer, SHMB_RELEASE_KEEP);
                cache_put(client, lease, PLACE_WARM, retired);
        } else if (client->imports == 0) {
                free(buffer);
                lease_retire(lease, retired);
        } else {
                /* An answer under way may grant the object without a descriptor, because
                   this mapping exists: then it is needed after all. */
                lease->owed = buffer;
                lease->place = PLACE_UNWANTED;
                TAILQ_INSERT_TAIL(&client->unwanted, lease, link);
        }
}

/* True if that was all a closed client waited for. */
static bool let_go(struct shmc_client *client) {
        return --client->held == 0 && client->closed;
}

/* The memory is not mapped in a forked child, and the lease is its parent's. */
static void dropped_in_child(struct shmc_client *client, struct shmc_buffer *buffer) {
        struct lease *lease = buffer->lease;

        /* Held by a thread that the fork left behind, the books may be in any state. */
        if (pthread_mutex_trylock(&client->lock) != 0)
                return;
        bool last = let_go(client);
        if (lease->writable || --lease->count == 0) {
                if (client->slots[lease->ref.slot] == lease) /* not if it was disowned */
                        client->slots[lease->ref.slot] = NULL;
                client->slots_used--;
        } else {
                lease = NULL; /* other buffers stand on it */
        }
        pthread_mutex_unlock(&client->lock);
        if (!lease || buffer != &lease->own)
                free(buffer);
        free(lease);
        if (last)
                client_free(client);
}

shmc_buffer *shmc_buffer_unref(shmc_buffer *buffer) {
        struct lease_list retired = TAILQ_HEAD_INITIALIZER(retired);

        if (!buffer || !drop_reference(buffer))
                return NULL;
        struct lease *lease = buffer->lease;
        struct shmc_client *client = lease->client;
        if (client_is_forked(client)) {
                dropped_in_child(client, buffer);
                return NULL;
        }
        pthread_mutex_lock(&client->lock);
        if (lease->writable)
                writer_returned(client, lease, &retired);
        else
                reader_returned(client, buffer, &retired);
        if (!TAILQ_EMPTY(&retired)) {
                pthread_mutex_unlock(&client->lock);
                leases_release(client, &retired);
                pthread_mutex_lock(&client->lock);
        }
        bool last = let_go(client);
        pthread_mutex_unlock(&client->lock);
        if (last)
                client_free(client);
        return NULL;
}

void *shmc_buffer_data(const shmc_buffer *buffer) {
        return client_is_forked(buffer->lease->client) ? NULL : buffer->lease->data;
}

size_t shmc_buffer_size(const shmc_buffer *buffer) {
        return buffer->size;
}

size_t shmc_buffer_capacity(const shmc_buffer *buffer) {
        return buffer->lease->capacity;
}

bool shmc_buffer_is_writable(const shmc_buffer *buffer) {
        return buffer->lease->writable;
}

uint32_t shmc_buffer_features(const shmc_buffer *buffer) {
        return buffer->lease->features;
}

int shmc_buffer_resize(shmc_buffer *buffer, size_t size) {
        struct lease *lease = buffer->lease;
        struct shmc_client *client = lease->client;

        if (client_is_forked(client))
                return -ECHILD;
        if (!lease->writable)
                return client_fails(client, -EROFS,
                                    "resize to %zu bytes: the buffer is read-only", size);
        if (size == 0)
                return client_fails(client, -EINVAL, "resize: a buffer has at least one byte");
        if (size > lease->capacity)
                return client_fails(client, -ENOSPC,
                                    "resize to %zu bytes: the buffer's capacity is %zu", size,
                                    (size_t)lease->capacity);
        buffer->size = size;
        return 0;
}
