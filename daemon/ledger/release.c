/* SPDX-License-Identifier: Apache-2.0 */
/* Leases: their slots, and how a client gives them up. */
#include <stdlib.h>

#include "internal.h"

shmb_word *lease_word(const struct lease *lease) {
        return &lease->client->words[lease->slot];
}

bool lease_is_idle(const struct lease *lease) {
        return lease && lease->writer && lease->state == LEASE_HELD &&
               shmb_word_state_of(shmb_word_load(lease_word(lease))) == SHMB_WORD_IDLE;
}

static bool slots_grow(struct client *client) {
        uint32_t wanted = client->slots_room ? 2 * client->slots_room : 8;

        if (wanted > client->lease_slots + 1)
                wanted = client->lease_slots + 1;
        if (wanted <= client->slots_room)
                return false;
        struct lease **slots = reallocarray(client->slots, wanted, sizeof(struct lease *));
        if (!slots)
                return false;
        for (uint32_t i = client->slots_room; i < wanted; i++)
                slots[i] = NULL;
        client->slots = slots;
        client->slots_room = wanted;
        return true;
}

/* 0: none. slot_hint is at or below the lowest free slot. */
static uint32_t slot_find(struct client *client) {
        uint32_t slot = client->slot_hint > 0 ? client->slot_hint : 1;

        while (slot < client->slots_room && client->slots[slot])
                slot++;
        client->slot_hint = slot;
        if (slot >= client->slots_room && !slots_grow(client))
                return 0;
        return slot;
}

struct lease *lease_new(struct client *client, struct object *object, bool writer) {
        uint32_t slot = slot_find(client);
        struct lease *lease = slot ? calloc(1, sizeof(*lease)) : NULL;

        if (!lease)
                return NULL;
        /* 0 is no generation, so that zeros name no lease. */
        if (++client->generation == 0)
                client->generation = 1;
        lease->object = object;
        lease->client = client;
        lease->since = client->ledger->now;
        lease->slot = slot;
        lease->generation = client->generation;
        lease->state = LEASE_HELD;
        lease->writer = writer;
        client->slots[slot] = lease;
        client->slots_used++;
        DL_APPEND(object->leases, lease);
        object->n_leases++;
        if (writer)
                object->writer = lease;
        else
                object->readers++;
        if (writer)
                shmb_word_store(lease_word(lease), 0, SHMB_WORD_HELD);
        return lease;
}

/* The object forgets the lease. */
static void detach(struct lease *lease) {
        struct object *object = lease->object;

        if (!object)
                return;
        DL_DELETE(object->leases, lease);
        object->n_leases--;
        if (lease->writer)
                object->writer = NULL;
        else if (lease->state == LEASE_HELD)
                object->readers--;
        lease->object = NULL;
}

void lease_end(struct lease *lease) {
        struct client *client = lease->client;

        detach(lease);
        shmb_word_store(lease_word(lease), 0, SHMB_WORD_NONE);
        client->slots[lease->slot] = NULL;
        client->slots_used--;
        if (lease->slot < client->slot_hint)
                client->slot_hint = lease->slot;
        free(lease);
}

void lease_take(struct lease *lease) {
        struct ledger *ledger = lease->client->ledger;
        struct shmb_lease_ref ref = { lease->slot, lease->generation };

        detach(lease);
        lease->state = LEASE_TAKEN;
        lease->since = ledger->now;
        /* Whatever the client may have written there: the ledger's word is the one that counts. */
        shmb_word_store(lease_word(lease), 0, SHMB_WORD_TAKEN);
        ledger->ops->reclaim(ledger->userdata, lease->client, ref);
}

struct lease *client_lease(struct client *client, struct shmb_lease_ref ref) {
        struct lease *lease = ref.slot < client->slots_room ? client->slots[ref.slot] : NULL;

        return lease && lease->generation == ref.generation ? lease : NULL;
}

static enum shmb_status release_writer(struct lease *lease, bool keep) {
        struct object *object = lease->object;

        if (keep && lease->state == LEASE_SHARED)
                return SHMB_STATUS_STALE_BUFFER;
        if (keep) {
                lease->state = LEASE_SHARED;
                lease->since = lease->client->ledger->now;
        } else {
                lease_end(lease);
        }
        object_settle(object);
        return SHMB_STATUS_OK;
}

static enum shmb_status release_reader(struct lease *lease, bool keep) {
        struct object *object = lease->object;

        if (lease->state == LEASE_KEPT) {
                if (keep)
                        return SHMB_STATUS_STALE_BUFFER;
                lease_end(lease);
                return SHMB_STATUS_OK;
        }
        if (--lease->count > 0)
                return SHMB_STATUS_OK;
        if (!keep) {
                lease_end(lease);
        } else if (object->left_domain || object->escaped) {
                lease_take(lease);
        } else {
                object->readers--;
                lease->state = LEASE_KEPT;
                lease->since = lease->client->ledger->now;
        }
        object_settle(object);
        return SHMB_STATUS_OK;
}

enum shmb_status client_release(struct client *client, const struct shmb_release_entry *entry) {
        struct lease *lease = client_lease(client, entry->lease);
        bool keep = entry->flags & SHMB_RELEASE_KEEP;

        if (!lease)
                return SHMB_STATUS_STALE_BUFFER;
        if (lease->state == LEASE_TAKEN) {
                /* The answer to RECLAIM; or a release that crossed it, whose KEEP came to
                   nothing: then the answer is still to come. */
                if (!keep)
                        lease_end(lease);
                return SHMB_STATUS_OK;
        }
        return lease->writer ? release_writer(lease, keep) : release_reader(lease, keep);
}

enum shmb_status client_may_escape(struct client *client, const struct shmb_fd *request,
                                   struct object **ret_object) {
        struct lease *lease = client_lease(client, request->lease);

        if (!lease || lease->state != LEASE_HELD)
                return SHMB_STATUS_STALE_BUFFER;
        if (!lease->writer && !(request->flags & SHMB_FD_READONLY))
                return SHMB_STATUS_NOT_WRITER;
        *ret_object = lease->object;
        return SHMB_STATUS_OK;
}

void object_escape(struct object *object) {
        object->escaped = true;
}
