/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger-rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void rig_fail(const struct rig *rig, const char *file, int line, const char *what) {
        if (rig->seed)
                print_error("seed %llu step %llu: ", (unsigned long long)rig->seed,
                            (unsigned long long)rig->step);
        print_error("does not hold: %s\n", what);
        _fail(file, line);
        abort(); /* _fail does not return */
}

/* ---- what the ledger asks for ----------------------------------------------------- */

uint32_t *rig_audience(struct rig *rig, const struct object *object) {
        struct rig_seen *seen;

        HASH_FIND(hh, rig->seen, &object->id, sizeof(object->id), seen);
        rig_require(rig, seen);
        return &seen->audience;
}

static void audience_add(struct rig *rig, const struct object *object) {
        struct rig_seen *seen = test_calloc(1, sizeof(*seen));

        seen->id = object->id;
        while (!seen->hh.tbl) /* allocations may be made to fail */
                HASH_ADD(hh, rig->seen, id, sizeof(seen->id), seen);
}

static void audience_remove(struct rig *rig, uint64_t id) {
        struct rig_seen *seen;

        HASH_FIND(hh, rig->seen, &id, sizeof(id), seen);
        rig_require(rig, seen);
        HASH_DELETE(hh, rig->seen, seen);
        test_free(seen);
}

static uint32_t bit_of(uid_t uid) {
        return 1u << (uid - UID_A);
}

/* Nobody else may be using, or ever have seen, what is handed out for writing. */
static void check_writer_grant(struct rig *rig, const struct ledger_grant *grant, uid_t uid) {
        const struct object *object = grant->object;
        const struct lease *lease;
        uint32_t audience = *rig_audience(rig, object);
        bool transfer = object->tokens > 0;

        rig_require(rig, object->writer && object->writer->client->uid == uid);
        rig_require(rig, object->readers == 0 && object->tokens == (transfer ? 1 : 0));
        DL_FOREACH(object->leases, lease)
                rig_require(rig, lease == object->writer || lease->state == LEASE_KEPT);
        if (grant->message.flags & SHMB_GRANT_ZEROED)
                rig_require(rig, audience == 0 && !transfer);
        /* Who gave a descriptor out knows it; that it did goes with the right to write. */
        if (transfer)
                audience &= ~AUDIENCE_UNKNOWN;
        rig_require(rig, (audience & ~bit_of(uid)) == 0);
}

static enum shmb_status on_granted(void *userdata, struct client *client, uint32_t serial,
                                   const struct ledger_grant *grant) {
        struct rig *rig = userdata;
        enum shmb_status status = rig->grant_status;
        struct lease *lease = client_lease(client, grant->message.lease);

        rig->grant_status = SHMB_STATUS_OK;
        rig_require(rig, lease && lease->object == grant->object);
        rig_require(rig, lease->state == LEASE_HELD && lease->writer == grant->writable);
        rig_require(rig, grant->message.capacity == object_capacity(grant->object));
        rig_require(rig, grant->object->fd >= 0);
        rig_require(rig, grant->writable == !!(grant->message.flags & SHMB_GRANT_WRITABLE));
        if (grant->writable)
                check_writer_grant(rig, grant, client->uid);
        if (status != SHMB_STATUS_OK)
                return status;
        *rig_audience(rig, grant->object) |= bit_of(client->uid);
        rig->answers[serial % RIG_ANSWERS] = (struct rig_answer){
                .client = client->id,
                .serial = serial,
                .granted = true,
                .sent_fd = grant->send_fd,
                .grant = grant->message,
        };
        return SHMB_STATUS_OK;
}

static void on_refused(void *userdata, struct client *client, uint32_t serial,
                       const struct refusal *refusal) {
        struct rig *rig = userdata;

        rig_require(rig, refusal->status != SHMB_STATUS_OK && refusal->text[0]);
        rig->answers[serial % RIG_ANSWERS] = (struct rig_answer){
                .client = client->id,
                .serial = serial,
                .refusal = *refusal,
        };
}

static void on_reclaim(void *userdata, struct client *client, struct shmb_lease_ref ref) {
        struct rig *rig = userdata;
        struct client *known;

        /* A client that is leaving hears nothing more. */
        HASH_FIND(hh, rig->ledger->clients, &client->id, sizeof(client->id), known);
        rig_require(rig, known == client);
        rig->reclaims[rig->n_reclaims % RIG_RECLAIMS].client = client->id;
        rig->reclaims[rig->n_reclaims % RIG_RECLAIMS].lease = ref;
        rig->n_reclaims++;
}

static void on_work(void *userdata, struct object *object, enum work_kind kind) {
        struct rig *rig = userdata;

        for (size_t i = 0; i < rig->n_work; i++)
                rig_require(rig, rig->work[i].object != object); /* one thing at a time */
        rig_require(rig, !object->leases && object->tokens == 0);
        rig_require(rig, (kind == WORK_MAKE) == (object->fd < 0));
        if (kind == WORK_MAKE)
                audience_add(rig, object);
        if (rig->n_work == rig->work_room) {
                rig->work_room = rig->work_room ? 2 * rig->work_room : 16;
                rig->work = test_realloc(rig->work, rig->work_room * sizeof(*rig->work));
        }
        rig->work[rig->n_work++] = (struct rig_work){ object, kind };
}

static const struct ledger_ops ops = {
        .granted = on_granted,
        .refused = on_refused,
        .reclaim = on_reclaim,
        .work = on_work,
};

/* ---- from beginning to end -------------------------------------------------------- */

static uint64_t classes[] = { 1 * PAGE, 2 * PAGE, 4 * PAGE, 8 * PAGE, 16 * PAGE };

void rig_init(struct rig *rig) {
        *rig = (struct rig){ .now = 10 * (uint64_t)SECOND };
        rig->pools[0] = (struct pool_config){
                .name = "default",
                .memory_max = 64 * PAGE,
                .uid_memory_max = 48 * PAGE,
                .buffers_max = 32,
                .uid_buffers_max = 24,
                .size_min = PAGE,
                .size_max = 16 * PAGE,
                .classes = classes,
                .n_classes = 5,
                .free_idle_ns = 20 * (uint64_t)SECOND,
                .share = CONFIG_SHARE_ANY,
                .numa_node = -1,
        };
        rig->pools[1] = rig->pools[0];
        memcpy(rig->pools[1].name, "own", sizeof("own"));
        rig->pools[1].memory_max = rig->pools[1].uid_memory_max = 16 * PAGE;
        rig->pools[1].share = CONFIG_SHARE_UID;
        rig->config = (struct config){
                .memory_max = 72 * PAGE,
                .buffers_max = 36,
                .tokens_max = 16,
                .uid_tokens_max = 24,
                .token_ttl_max_ns = 60 * (uint64_t)SECOND,
                .cache_idle_ns = 8 * (uint64_t)SECOND,
                .quarantine_ns = 1 * (uint64_t)SECOND,
                .pools = rig->pools,
                .n_pools = RIG_POOLS,
        };
}

void rig_start(struct rig *rig) {
        /* The ops need it before ledger_new returns: for preallocation they do not look. */
        assert_int_equal(ledger_new(&rig->ledger, &rig->config, &ops, rig, rig->now), 0);
        rig_check(rig);
}

static void expect_nothing_held(const struct rig *rig) {
        for (size_t i = 0; i < rig->ledger->n_pools; i++) {
                const struct pool *pool = &rig->ledger->pools[i];

                for (int state = 0; state < OBJECT_STATES; state++)
                        if (state != OBJECT_FREE)
                                assert_int_equal(pool->buffers[state], 0);
                assert_int_equal(pool->n_waiters, 0);
        }
}

void rig_finish(struct rig *rig) {
        struct ledger *ledger = rig->ledger;

        while (ledger->clients)
                rig_leave(rig, ledger->clients);
        rig_advance(rig, rig->config.token_ttl_max_ns);
        rig_do_all(rig);
        rig_advance(rig, rig->config.token_ttl_max_ns);
        rig_do_all(rig);
        assert_int_equal(ledger->n_tokens, 0);
        expect_nothing_held(rig);
        ledger_trim(ledger);
        rig_do_all(rig);
        assert_int_equal(ledger->bytes, 0);
        assert_int_equal(ledger->buffers, 0);
        assert_null(ledger->objects);
        assert_null(rig->seen);
        for (size_t i = 0; i < ledger->n_pools; i++)
                assert_null(ledger->pools[i].domains);
        ledger_free(ledger);
        test_free(rig->work);
}

/* ---- clients ---------------------------------------------------------------------- */

struct client *rig_join_slots(struct rig *rig, uid_t uid, uint32_t slots) {
        struct client *client = NULL;
        struct client template = {
                .pid = 1,
                .uid = uid,
                .name = "test",
                .lease_slots = slots,
                .words = test_calloc(slots + 1, sizeof(shmb_word)),
        };

        int r = client_join(rig->ledger, &template, &client);
        if (r < 0)
                test_free(template.words);
        rig_require(rig, r == 0 || rig->may_want_memory);
        rig_check(rig);
        return client;
}

struct client *rig_join(struct rig *rig, uid_t uid) {
        return rig_join_slots(rig, uid, 24);
}

void rig_leave(struct rig *rig, struct client *client) {
        shmb_word *words = client->words;

        client_leave(client);
        test_free(words);
        rig_check(rig);
}

uint32_t rig_ask(struct rig *rig, struct client *client, const char *pool, uint64_t size,
                 uint64_t timeout_ns) {
        struct shmb_alloc request = { .size = size, .timeout_ns = timeout_ns };
        uint32_t serial = ++rig->serial;

        snprintf(request.pool, sizeof(request.pool), "%s", pool);
        client_alloc(client, serial, &request);
        rig_check(rig);
        return serial;
}

const struct rig_answer *rig_answer(const struct rig *rig, uint32_t serial) {
        const struct rig_answer *answer = &rig->answers[serial % RIG_ANSWERS];

        return answer->serial == serial ? answer : NULL;
}

enum shmb_status rig_status(const struct rig *rig, uint32_t serial) {
        const struct rig_answer *answer = rig_answer(rig, serial);

        assert_non_null(answer);
        return answer->granted ? SHMB_STATUS_OK : answer->refusal.status;
}

bool rig_waits(const struct rig *rig, uint32_t serial) {
        return !rig_answer(rig, serial);
}

struct shmb_lease_ref rig_get(struct rig *rig, struct client *client, uint64_t size) {
        uint32_t serial = rig_ask(rig, client, "default", size, 0);

        if (rig_waits(rig, serial))
                rig_do(rig, WORK_MAKE, 0);
        assert_int_equal(rig_status(rig, serial), SHMB_STATUS_OK);
        return rig_answer(rig, serial)->grant.lease;
}

enum shmb_status rig_release(struct rig *rig, struct client *client, struct shmb_lease_ref ref,
                             uint32_t flags) {
        struct shmb_release_entry entry = { .lease = ref, .flags = flags };
        enum shmb_status status = client_release(client, &entry);

        rig_check(rig);
        return status;
}

/* ---- tokens ----------------------------------------------------------------------- */

struct rig_token rig_token(struct rig *rig) {
        struct rig_token token = { 0 };
        uint32_t number = ++rig->token;

        memcpy(token.bytes, &number, sizeof(number));
        return token;
}

enum shmb_status rig_export_as(struct rig *rig, struct client *client,
                               struct shmb_lease_ref ref, const struct rig_token *token,
                               uint32_t flags, uint64_t ttl_ms, uint64_t length) {
        struct shmb_export request = {
                .lease = ref, .flags = flags, .ttl_ms = ttl_ms, .length = length
        };

        memcpy(request.token, token->bytes, sizeof(request.token));
        enum shmb_status status = client_export(client, &request);
        rig_check(rig);
        return status;
}

struct rig_token rig_export(struct rig *rig, struct client *client, struct shmb_lease_ref ref,
                            uint32_t flags) {
        struct rig_token token = rig_token(rig);

        assert_int_equal(rig_export_as(rig, client, ref, &token, flags, 1000, 1),
                         SHMB_STATUS_OK);
        return token;
}

enum shmb_status rig_import_as(struct rig *rig, struct client *client,
                               const struct rig_token *token, uint32_t *ret_serial) {
        uint32_t serial = ++rig->serial;
        enum shmb_status status = client_import(client, serial, token->bytes);

        rig_check(rig);
        if (status == SHMB_STATUS_OK)
                rig_require(rig, rig_answer(rig, serial) && rig_answer(rig, serial)->granted);
        if (ret_serial)
                *ret_serial = serial;
        return status;
}

struct shmb_lease_ref rig_import(struct rig *rig, struct client *client,
                                 const struct rig_token *token) {
        uint32_t serial = 0;

        assert_int_equal(rig_import_as(rig, client, token, &serial), SHMB_STATUS_OK);
        return rig_answer(rig, serial)->grant.lease;
}

enum shmb_status rig_escape(struct rig *rig, struct client *client, struct shmb_lease_ref ref,
                            uint32_t flags) {
        struct shmb_fd request = { .lease = ref, .flags = flags };
        struct object *object = NULL;
        enum shmb_status status = client_may_escape(client, &request, &object);

        if (status == SHMB_STATUS_OK) {
                object_escape(object);
                *rig_audience(rig, object) |= AUDIENCE_UNKNOWN;
        }
        rig_check(rig);
        return status;
}

/* ---- work and time ---------------------------------------------------------------- */

void rig_do_nth(struct rig *rig, size_t i, int result) {
        rig_require(rig, i < rig->n_work);
        struct rig_work work = rig->work[i];
        uint64_t id = work.object->id;

        rig->work[i] = rig->work[--rig->n_work];
        if (work.kind == WORK_MAKE && result == 0)
                work.object->fd = 100;
        if (work.kind == WORK_SCRUB && result == 0)
                *rig_audience(rig, work.object) = 0;
        if (work.kind == WORK_RETIRE || (work.kind == WORK_MAKE && result < 0))
                audience_remove(rig, id);
        ledger_work_done(rig->ledger, work.object, work.kind, result);
        rig_check(rig);
}

size_t rig_pending(const struct rig *rig, enum work_kind kind) {
        size_t n = 0;

        for (size_t i = 0; i < rig->n_work; i++)
                n += rig->work[i].kind == kind;
        return n;
}

void rig_do(struct rig *rig, enum work_kind kind, int result) {
        size_t i = 0;

        while (i < rig->n_work && rig->work[i].kind != kind)
                i++;
        rig_do_nth(rig, i, result);
}

void rig_do_all(struct rig *rig) {
        while (rig->n_work > 0)
                rig_do_nth(rig, 0, rig->work[0].kind == WORK_PROVE ? 1 : 0);
}

void rig_advance(struct rig *rig, uint64_t by_ns) {
        rig->now += by_ns;
        ledger_advance(rig->ledger, rig->now);
        rig_check(rig);
}

/* ---- looking ---------------------------------------------------------------------- */

shmb_word *rig_word(struct client *client, struct shmb_lease_ref ref) {
        return &client->words[ref.slot];
}

enum shmb_word_state rig_word_state(struct client *client, struct shmb_lease_ref ref) {
        return shmb_word_state_of(shmb_word_load(rig_word(client, ref)));
}

bool rig_set_idle(struct rig *rig, struct client *client, struct shmb_lease_ref ref) {
        uint32_t uses = shmb_word_uses(shmb_word_load(rig_word(client, ref)));
        bool wanted = shmb_word_store_idle(client->words, ref.slot, uses);

        rig_check(rig);
        return wanted;
}

struct lease *rig_lease(struct rig *rig, struct client *client, struct shmb_lease_ref ref) {
        struct lease *lease = client_lease(client, ref);

        rig_require(rig, lease);
        return lease;
}

struct object *rig_object(struct rig *rig, struct client *client, struct shmb_lease_ref ref) {
        struct object *object = rig_lease(rig, client, ref)->object;

        rig_require(rig, object);
        return object;
}

size_t rig_reclaimed(const struct rig *rig, const struct client *client,
                     struct shmb_lease_ref ref) {
        size_t n = 0;

        for (size_t i = 0; i < RIG_RECLAIMS && i < rig->n_reclaims; i++)
                n += rig->reclaims[i].client == client->id &&
                     rig->reclaims[i].lease.slot == ref.slot &&
                     rig->reclaims[i].lease.generation == ref.generation;
        return n;
}

/* ---- what tests ask and begin with ---- */

enum object_state rig_state_of(struct rig *rig, uint64_t id) {
        struct object *object;

        HASH_FIND(hh, rig->ledger->objects, &id, sizeof(id), object);
        assert_non_null(object);
        return (enum object_state)object->state;
}

bool rig_is_gone(struct rig *rig, uint64_t id) {
        struct object *object;

        HASH_FIND(hh, rig->ledger->objects, &id, sizeof(id), object);
        return !object;
}

uint64_t rig_id_of(struct rig *rig, struct client *client, struct shmb_lease_ref ref) {
        return rig_object(rig, client, ref)->id;
}

int rig_setup(void **state) {
        static struct rig rig;

        rig_init(&rig);
        *state = &rig;
        return 0;
}

struct rig *rig_begin(void **state) {
        rig_start(*state);
        return *state;
}
