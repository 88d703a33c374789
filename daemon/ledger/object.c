/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "internal.h"

/* Proof is tried again after 1 ms, 2 ms, ... up to about 4 s. */
#define RETRY_FIRST_NS 1000000u
#define RETRY_DOUBLINGS 12u

uint64_t object_capacity(const struct object *object) {
        return pool_capacity(object->pool, object->class_index);
}

/* The domain whose limits it counts against, or NULL. */
static struct domain *charged_domain(const struct object *object) {
        bool spent = object->state != OBJECT_FREE && object->state != OBJECT_RETIRING;

        return spent ? object->domain : NULL;
}

/* Will be FREE or gone without anybody's doing: worth waiting for even in haste. */
static bool is_leaving(const struct object *object) {
        switch ((enum object_state)object->state) {
        case OBJECT_MAKING:
                return !object->wanted_by;
        case OBJECT_PROVING:
        case OBJECT_SCRUBBING:
        case OBJECT_RETIRING:
                return true;
        default:
                return false;
        }
}

/* Adds the object to the sums its state and domain put it in; a negative one takes it out. */
static void count(struct object *object, int sign) {
        struct pool *pool = object->pool;
        uint64_t bytes = object_capacity(object) * (uint64_t)sign;
        uint32_t one = (uint32_t)sign;
        struct domain *domain = charged_domain(object);
        bool leaving = is_leaving(object);

        pool->bytes[object->state] += bytes;
        pool->buffers[object->state] += one;
        if (leaving) {
                pool->leaving_bytes += bytes;
                pool->leaving_buffers += one;
                pool->ledger->leaving_bytes += bytes;
                pool->ledger->leaving_buffers += one;
        }
        if (domain) {
                domain->bytes += bytes;
                domain->buffers += one;
                domain->leaving_bytes += leaving ? bytes : 0;
                domain->leaving_buffers += leaving ? one : 0;
        }
}

static bool is_leased(const struct object *object) {
        return object->state == OBJECT_LEASED && object->domain;
}

static void enter(struct object *object) {
        DL_APPEND(object->pool->lists[object->state], object);
        if (is_leased(object))
                DL_APPEND2(object->domain->leased, object, bin_prev, bin_next);
        count(object, 1);
}

static void leave(struct object *object) {
        DL_DELETE(object->pool->lists[object->state], object);
        if (is_leased(object))
                DL_DELETE2(object->domain->leased, object, bin_prev, bin_next);
        count(object, -1);
}

static struct object **bin(struct object *object) {
        struct object **bins = object->domain ? object->domain->free : object->pool->fresh;

        return &bins[object->class_index];
}

/* The state changes, and with it the bin: a FREE object stands in exactly one. */
void object_set_state(struct object *object, enum object_state state) {
        if (object->state == OBJECT_FREE) {
                DL_DELETE2(*bin(object), object, bin_prev, bin_next);
                object->pool->kept_free[object->class_index]--;
        }
        leave(object);
        object->state = (uint8_t)state;
        object->since = object->pool->ledger->now;
        enter(object);
        if (state == OBJECT_FREE) {
                /* The most recently used first: its pages are the likeliest in a cache. */
                DL_PREPEND2(*bin(object), object, bin_prev, bin_next);
                object->pool->kept_free[object->class_index]++;
        }
}

void object_set_wanted_by(struct object *object, struct waiter *waiter) {
        count(object, -1);
        object->wanted_by = waiter;
        count(object, 1);
}

void object_set_domain(struct object *object, struct domain *domain) {
        struct domain *old = object->domain;

        if (domain == old)
                return;
        leave(object);
        if (domain)
                domain->references++;
        object->domain = domain;
        enter(object);
        domain_unref(old);
}

struct object *object_new(struct pool *pool, uint32_t class_index, struct domain *domain) {
        struct ledger *ledger = pool->ledger;
        struct object *object = calloc(1, sizeof(*object));

        if (!object)
                return NULL;
        object->id = ++ledger->next_object;
        object->pool = pool;
        object->class_index = (uint16_t)class_index;
        object->state = OBJECT_MAKING;
        object->since = ledger->now;
        object->fd = object->spare_fd = -1;
        object->retry.kind = DEADLINE_RETRY;
        HASH_ADD(hh, ledger->objects, id, sizeof(object->id), object);
        if (!object->hh.tbl) {
                free(object);
                return NULL;
        }
        if (domain)
                domain->references++;
        object->domain = domain;
        ledger->bytes += object_capacity(object);
        ledger->buffers++;
        enter(object);
        return object;
}

struct object *object_free(struct object *object) {
        if (!object)
                return NULL;
        struct ledger *ledger = object->pool->ledger;

        leave(object);
        ledger->bytes -= object_capacity(object);
        ledger->buffers--;
        deadline_clear(&ledger->deadlines, &object->retry);
        HASH_DELETE(hh, ledger->objects, object);
        domain_unref(object->domain);
        free(object);
        return NULL;
}

struct object *object_find_free(struct domain *domain, uint32_t class_index) {
        struct object *object = domain->free[class_index];

        return object ? object : domain->pool->fresh[class_index];
}

/* Leases KEPT hold nothing but a mapping; whoever must see the mappings gone asks here. */
static void take_kept(struct object *object) {
        struct lease *lease, *next;

        DL_FOREACH_SAFE(object->leases, lease, next)
                if (lease->state == LEASE_KEPT)
                        lease_take(lease);
}

static void work(struct object *object, enum object_state state, enum work_kind kind) {
        struct ledger *ledger = object->pool->ledger;

        object_set_state(object, state);
        ledger->ops->work(ledger->userdata, object, kind);
}

void object_returned(struct object *object) {
        if (object->left_domain || object->escaped || object->lost_holder) {
                take_kept(object);
                object->pool->count.proofs++;
                work(object, OBJECT_PROVING, WORK_PROVE);
                return;
        }
        object_set_state(object, OBJECT_FREE);
        ledger_serve(object->pool->ledger);
}

void object_retire(struct object *object) {
        take_kept(object);
        deadline_clear(&object->pool->ledger->deadlines, &object->retry);
        object->pool->count.retired++;
        work(object, OBJECT_RETIRING, WORK_RETIRE);
        object_set_domain(object, NULL);
}

/*
 * A writer that gave the buffer up but kept it mapped gets it back warm, without a word on
 * the socket, unless the mapping must be seen gone.
 */
static bool warm_up(struct object *object, struct lease *writer) {
        if (object->left_domain || object->escaped || object->lost_holder ||
            !shmb_word_swap(lease_word(writer), SHMB_WORD_SHARED, 0, SHMB_WORD_IDLE))
                return false;
        writer->state = LEASE_HELD;
        writer->since = object->pool->ledger->now;
        writer->seen_idle = false;
        reclaim_note_idle(object);
        /* What is idle can be had by those who wait. */
        if (object->pool->ledger->wanted)
                ledger_serve(object->pool->ledger);
        return true;
}

void object_settle(struct object *object) {
        struct lease *writer = object->writer;

        if (object->state != OBJECT_LEASED || object->readers > 0 || object->tokens > 0)
                return;
        if (writer && writer->state == LEASE_HELD)
                return;
        if (writer) {
                if (warm_up(object, writer))
                        return;
                lease_take(writer);
        }
        object_returned(object);
}

static void quarantine(struct object *object) {
        struct ledger *ledger = object->pool->ledger;
        unsigned doublings = object->probes < RETRY_DOUBLINGS ? object->probes
                                                              : RETRY_DOUBLINGS;

        if (object->quarantined == 0)
                object->quarantined = ledger->now;
        if (object->probes < UINT8_MAX)
                object->probes++;
        object->pool->count.proofs_failed++;
        object_set_state(object, OBJECT_QUARANTINE);
        /* Retiring punches the memory out. Whoever was given a raw descriptor is in its right
           to use it for as long as it likes; the uid's limits pay for that. */
        if (!object->escaped &&
            ledger->now - object->quarantined >= ledger->config->quarantine_ns) {
                object_retire(object);
                return;
        }
        if (deadline_set(&ledger->deadlines, &object->retry,
                         ledger->now + ((uint64_t)RETRY_FIRST_NS << doublings)) < 0)
                object_retire(object);
}

void object_retry_due(struct object *object) {
        object->pool->count.proofs++;
        work(object, OBJECT_PROVING, WORK_PROVE);
}

static void proved(struct object *object) {
        /* Nobody knows who saw an escaped one; the proof does not see pages in pipes. */
        bool scrub = object->left_domain || object->escaped;

        object->quarantined = 0;
        object->probes = 0;
        object->escaped = object->lost_holder = false;
        if (scrub) {
                object->pool->count.scrubs++;
                work(object, OBJECT_SCRUBBING, WORK_SCRUB);
                return;
        }
        object_set_state(object, OBJECT_FREE);
}

static void scrubbed(struct object *object) {
        object->left_domain = false;
        object->fresh = true;
        object_set_domain(object, NULL);
        object_set_state(object, OBJECT_FREE);
}

static void made(struct object *object, int result) {
        struct waiter *waiter = object->wanted_by;

        if (waiter) {
                waiter->object = NULL;
                object_set_wanted_by(object, NULL);
        }
        if (result < 0) {
                object_free(object);
                if (waiter)
                        waiter_make_failed(waiter, result);
                return;
        }
        object->fresh = true;
        object->pool->count.made++;
        object_set_domain(object, NULL);
        object_set_state(object, OBJECT_FREE);
        if (waiter)
                waiter_made(waiter, object);
}

void ledger_work_done(struct ledger *ledger, struct object *object, enum work_kind kind,
                      int result) {
        switch (kind) {
        case WORK_MAKE:
                made(object, result);
                break;
        case WORK_PROVE:
                /* A probe that could not be made proves nothing; it is tried again. */
                if (result > 0)
                        proved(object);
                else
                        quarantine(object);
                break;
        case WORK_SCRUB:
                if (result == 0)
                        scrubbed(object);
                else
                        object_retire(object);
                break;
        case WORK_RETIRE:
                object_free(object);
                break;
        }
        ledger_serve(ledger);
}
