/* SPDX-License-Identifier: Apache-2.0 */
#include "lease.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "client.h"

static struct lease *lease_of_out(struct out *out) {
        return (struct lease *)(void *)((char *)out - offsetof(struct lease, own.out));
}

static void lease_gone(struct out *out) {
        free(lease_of_out(out));
}

/* ---- the grant ------------------------------------------------------------------------- */

int lease_map(int fd, const struct shmb_grant *grant, void **ret_data) {
        int protection = PROT_READ | (grant->flags & SHMB_GRANT_WRITABLE ? PROT_WRITE : 0);
        struct stat st;

        /* Beyond its end a mapping is a SIGBUS in waiting. */
        if (fstat(fd, &st) < 0 || st.st_size < 0 || (uint64_t)st.st_size < grant->capacity)
                return -EPROTO;
        void *data = mmap(NULL, grant->capacity, protection, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED)
                return -ENOMEM;
        if (madvise(data, grant->capacity, MADV_DONTFORK) < 0) {
                munmap(data, grant->capacity);
                return -ENOMEM;
        }
        *ret_data = data;
        return 0;
}

void lease_enter(struct shmc_client *client, struct lease *lease,
                 const struct shmb_grant *grant, void *data) {
        *lease = (struct lease){
                .client = client,
                .word = &client->words[grant->lease.slot],
                .data = data,
                .capacity = grant->capacity,
                .place = PLACE_USED,
                .writable = grant->flags & SHMB_GRANT_WRITABLE,
                .may_keep = grant->flags & SHMB_GRANT_MAY_KEEP,
                .object = grant->object,
                .ref = grant->lease,
        };
        if (grant->flags & SHMB_GRANT_HUGE)
                lease->features |= SHMC_FEATURE_HUGE;
        if (grant->flags & SHMB_GRANT_HUGE_MISS)
                lease->features |= SHMC_FEATURE_HUGE_MISS;
        if (grant->flags & SHMB_GRANT_NUMA)
                lease->features |= SHMC_FEATURE_NUMA;
        if (grant->flags & SHMB_GRANT_NUMA_MISS)
                lease->features |= SHMC_FEATURE_NUMA_MISS;
        if (lease->writable)
                lease->class = cache_class(&client->cache, grant);
        client->slots[grant->lease.slot] = lease;
        client->slots_used++;
}

struct lease *lease_find(const struct shmc_client *client, struct shmb_lease_ref ref) {
        struct lease *lease = NULL;

        if (ref.slot > 0 && ref.slot <= client->lease_slots)
                lease = client->slots[ref.slot];
        return lease && lease->ref.generation == ref.generation ? lease : NULL;
}

static void reader_gone(struct out *out) {
        free((char *)out - offsetof(struct shmc_buffer, out));
}

void lease_read_less(struct lease *lease, struct shmc_buffer *buffer, uint32_t flags) {
        conn_release(&lease->client->conn, &buffer->out, lease->ref, flags, reader_gone);
        conn_flush(&lease->client->conn);
}

static void take_out(struct lease *lease) {
        if (lease->place == PLACE_UNWANTED)
                TAILQ_REMOVE(&lease->client->unwanted, lease, link);
        else if (lease->place != PLACE_USED)
                cache_remove(lease->client, lease);
        lease->place = PLACE_USED;
}

struct shmc_buffer *lease_use(struct lease *lease, struct shmc_buffer *buffer, size_t size) {
        take_out(lease);
        if (lease->owed)
                lease_read_less(lease, shmb_steal_ptr(lease->owed), 0);
        buffer->lease = lease;
        buffer->size = size;
        atomic_store_explicit(&buffer->refs, 1, memory_order_relaxed);
        if (!lease->writable)
                lease->count++;
        lease->exported = false;
        lease->client->held++;
        return buffer;
}

/* ---- the release ----------------------------------------------------------------------- */

static void leave_slot(struct lease *lease) {
        struct lease **slot = &lease->client->slots[lease->ref.slot];

        if (*slot == lease)
                *slot = NULL;
}

static void leave_books(struct lease *lease) {
        take_out(lease);
        leave_slot(lease);
        conn_unsend(&lease->client->conn, &lease->own.out);
        lease->place = PLACE_GONE;
}

void lease_disown(struct lease *lease) {
        leave_slot(lease);
        lease->may_keep = false;
        lease->word = &lease->disowned;
}

void lease_retire(struct lease *lease, struct lease_list *retired) {
        leave_books(lease);
        /* The broker may grant the slot anew as soon as it has the release: the word is
           written for the last time. Readers' words are the broker's alone. */
        if (lease->writable)
                shmb_word_store(lease->word, 0, SHMB_WORD_NONE);
        else
                lease->client->retiring_readers++;
        lease->client->retiring++;
        free(shmb_steal_ptr(lease->owed)); /* the release of the lease tells all */
        TAILQ_INSERT_TAIL(retired, lease, link);
}

void leases_release(struct shmc_client *client, struct lease_list *retired) {
        struct lease *lease;

        if (TAILQ_EMPTY(retired))
                return;
        /* First, so that the broker finds the memory in nobody's use when it hears of it. */
        TAILQ_FOREACH(lease, retired, link)
        munmap(lease->data, lease->capacity);
        pthread_mutex_lock(&client->lock);
        while ((lease = TAILQ_FIRST(retired))) {
                TAILQ_REMOVE(retired, lease, link);
                if (!lease->writable)
                        client->retiring_readers--;
                client->retiring--;
                client->slots_used--;
                conn_release(&client->conn, &lease->own.out, lease->ref, 0, lease_gone);
        }
        conn_flush(&client->conn);
        pthread_cond_broadcast(&client->released);
        pthread_mutex_unlock(&client->lock);
}

void lease_forget(struct lease *lease) {
        struct shmc_client *client = lease->client;

        munmap(lease->data, lease->capacity);
        pthread_mutex_lock(&client->lock);
        leave_books(lease);
        client->slots_used--;
        client->held--;
        pthread_mutex_unlock(&client->lock);
        free(lease);
}

void lease_refuse(struct shmc_client *client, struct lease *lease,
                  const struct shmb_grant *grant) {
        if (grant->flags & SHMB_GRANT_WRITABLE)
                shmb_word_store(&client->words[grant->lease.slot], 0, SHMB_WORD_NONE);
        conn_release(&client->conn, &lease->own.out, grant->lease, 0, lease_gone);
        conn_flush(&client->conn);
}

void lease_reclaim(struct shmc_client *client, struct shmb_lease_ref ref,
                   struct lease_list *retired) {
        struct lease *lease = lease_find(client, ref);

        /* Unknown: the word had told already. In use: the word was swapped back in time. */
        if (!lease || lease->place == PLACE_USED || lease->place == PLACE_UNWANTED)
                return;
        client->stats.taken++;
        lease_retire(lease, retired);
}

void leases_settle(struct shmc_client *client, struct lease_list *retired) {
        if (client->imports > 0)
                return;
        if (client->conn.error != 0)
                cache_drop_stranded(client, retired);
        while (!TAILQ_EMPTY(&client->unwanted))
                lease_retire(TAILQ_FIRST(&client->unwanted), retired);
        cache_shrink(client, client->cache.limit, retired);
}
