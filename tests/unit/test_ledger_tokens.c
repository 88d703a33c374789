/* SPDX-License-Identifier: Apache-2.0 */
/* The life of tokens. */
#include "ledger-rig.h"

/* ---- tokens ----------------------------------------------------------------------- */

static void test_token_fates(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *writer = rig_join(rig, UID_A), *reader = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        struct rig_token unknown = rig_token(rig);

        assert_int_equal(rig_import_as(rig, reader, &unknown, NULL), SHMB_STATUS_TOKEN_UNKNOWN);
        struct rig_token once = rig_export(rig, writer, ref, SHMB_EXPORT_ONCE);
        rig_import(rig, reader, &once);
        assert_int_equal(rig_import_as(rig, reader, &once, NULL), SHMB_STATUS_TOKEN_USED);
        struct rig_token many = rig_export(rig, writer, ref, 0);
        for (int i = 0; i < 3; i++)
                rig_import(rig, reader, &many);
        rig_advance(rig, SECOND - 1);
        rig_import(rig, reader, &many);
        rig_advance(rig, 1);
        assert_int_equal(rig_import_as(rig, reader, &many, NULL), SHMB_STATUS_TOKEN_EXPIRED);
        struct rig_token revoked = rig_export(rig, writer, ref, 0);
        assert_int_equal(client_revoke(reader, revoked.bytes), SHMB_STATUS_TOKEN_UNKNOWN);
        assert_int_equal(client_revoke(writer, revoked.bytes), SHMB_STATUS_OK);
        assert_int_equal(client_revoke(writer, revoked.bytes), SHMB_STATUS_OK);
        rig_check(rig);
        assert_int_equal(rig_import_as(rig, reader, &revoked, NULL), SHMB_STATUS_TOKEN_REVOKED);
        assert_int_equal(rig_export_as(rig, writer, ref, &revoked, 0, 1000, 1),
                         SHMB_STATUS_TOKEN_EXISTS);
        rig_finish(rig);
}

static void test_export_refusals(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *writer = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE), bad = ref;
        struct rig_token token = rig_token(rig);

        bad.generation += 5;
        assert_int_equal(rig_export_as(rig, writer, bad, &token, 0, 1000, 1),
                         SHMB_STATUS_STALE_BUFFER);
        assert_int_equal(rig_export_as(rig, writer, ref, &token, 0, 0, 1), SHMB_STATUS_BAD_TTL);
        assert_int_equal(rig_export_as(rig, writer, ref, &token, 0, 60001, 1),
                         SHMB_STATUS_BAD_TTL);
        assert_int_equal(rig_export_as(rig, writer, ref, &token, 0, UINT64_MAX, 1),
                         SHMB_STATUS_BAD_TTL);
        assert_int_equal(rig_export_as(rig, writer, ref, &token, 0, 1000, 0),
                         SHMB_STATUS_BAD_LENGTH);
        assert_int_equal(rig_export_as(rig, writer, ref, &token, 0, 1000, PAGE + 1),
                         SHMB_STATUS_BAD_LENGTH);
        assert_int_equal(rig_export_as(rig, writer, ref, &token, 0, 60000, PAGE),
                         SHMB_STATUS_OK);
        rig_finish(rig);
}

static void test_token_limits(void **state) {
        struct rig *rig = *state;

        rig->config.tokens_max = 3;
        rig->config.uid_tokens_max = 5;
        rig_start(rig);
        struct client *first = rig_join(rig, UID_A), *second = rig_join(rig, UID_A);
        struct client *other = rig_join(rig, UID_B);
        struct shmb_lease_ref ref = rig_get(rig, first, PAGE), of_second;
        struct rig_token token;

        for (int i = 0; i < 3; i++)
                token = rig_export(rig, first, ref, 0);
        struct rig_token more = rig_token(rig);
        assert_int_equal(rig_export_as(rig, first, ref, &more, 0, 1000, 1),
                         SHMB_STATUS_TOKEN_LIMIT);
        of_second = rig_get(rig, second, PAGE);
        rig_export(rig, second, of_second, 0);
        rig_export(rig, second, of_second, 0);
        assert_int_equal(rig_export_as(rig, second, of_second, &more, 0, 1000, 1),
                         SHMB_STATUS_TOKEN_LIMIT);
        rig_export(rig, other, rig_get(rig, other, PAGE), 0);
        client_revoke(first, token.bytes);
        assert_int_equal(rig_export_as(rig, second, of_second, &more, 0, 1000, 1),
                         SHMB_STATUS_OK);
        /* Tokens outlive their exporter, and still count for its uid. */
        rig_leave(rig, first);
        assert_int_equal(rig->ledger->n_tokens, 6);
        rig_finish(rig);
}

static void test_tokens_over_are_forgotten_in_the_end(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *writer = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        struct rig_token first = rig_export(rig, writer, ref, 0), token = first;

        client_revoke(writer, first.bytes);
        for (unsigned i = 1; i < TOKENS_OVER_MAX; i++) {
                token.bytes[8] = (uint8_t)i;
                token.bytes[9] = (uint8_t)(i >> 8);
                struct shmb_export request = { .lease = ref, .ttl_ms = 1, .length = 1 };
                for (size_t n = 0; n < SHMB_TOKEN_SIZE; n++)
                        request.token[n] = token.bytes[n];
                assert_int_equal(client_export(writer, &request), SHMB_STATUS_OK);
                assert_int_equal(client_revoke(writer, token.bytes), SHMB_STATUS_OK);
        }
        assert_int_equal(rig_import_as(rig, writer, &first, NULL), SHMB_STATUS_TOKEN_REVOKED);
        struct rig_token last = rig_export(rig, writer, ref, 0);
        client_revoke(writer, last.bytes);
        assert_int_equal(rig_import_as(rig, writer, &first, NULL), SHMB_STATUS_TOKEN_UNKNOWN);
        assert_int_equal(rig_import_as(rig, writer, &last, NULL), SHMB_STATUS_TOKEN_REVOKED);
        rig_finish(rig);
}

static void test_transfer(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *from = rig_join(rig, UID_A), *to = rig_join(rig, UID_A);
        struct client *other = rig_join(rig, UID_B);
        struct shmb_lease_ref ref = rig_get(rig, from, PAGE);
        struct rig_token shared = rig_export(rig, from, ref, 0), token = rig_token(rig);
        uint32_t serial = 0;

        assert_int_equal(rig_export_as(rig, from, ref, &token, SHMB_EXPORT_TRANSFER, 1000, 1),
                         SHMB_STATUS_BUSY_WRITER); /* by a token */
        struct shmb_lease_ref import = rig_import(rig, to, &shared);
        client_revoke(from, shared.bytes);
        assert_int_equal(rig_export_as(rig, from, ref, &token, SHMB_EXPORT_TRANSFER, 1000, 1),
                         SHMB_STATUS_BUSY_WRITER); /* by a reader */
        rig_release(rig, to, import, 0);
        token = rig_export(rig, from, ref, SHMB_EXPORT_TRANSFER);
        assert_int_equal(from->slots_used, 0);
        assert_int_equal(rig_word_state(from, ref), SHMB_WORD_NONE);
        assert_int_equal(rig_release(rig, from, ref, 0), SHMB_STATUS_STALE_BUFFER);
        assert_int_equal(rig_import_as(rig, other, &token, NULL), SHMB_STATUS_TOKEN_DOMAIN);
        rig->grant_status = SHMB_STATUS_NO_DESCRIPTORS;
        assert_int_equal(rig_import_as(rig, to, &token, NULL), SHMB_STATUS_NO_DESCRIPTORS);
        assert_int_equal(rig_import_as(rig, to, &token, &serial), SHMB_STATUS_OK);
        assert_true(rig_answer(rig, serial)->grant.flags & SHMB_GRANT_WRITABLE);
        ref = rig_answer(rig, serial)->grant.lease;
        assert_int_equal(rig_word_state(to, ref), SHMB_WORD_HELD);
        assert_int_equal(rig_import_as(rig, from, &token, NULL), SHMB_STATUS_TOKEN_USED);
        rig_finish(rig);
}

static void test_transfer_never_imported(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *from = rig_join(rig, UID_A);
        struct shmb_lease_ref ref = rig_get(rig, from, PAGE);
        uint64_t id = rig_id_of(rig, from, ref);

        rig_export(rig, from, ref, SHMB_EXPORT_TRANSFER);
        rig_leave(rig, from);
        assert_int_equal(rig_state_of(rig, id), OBJECT_LEASED);
        rig_advance(rig, SECOND);
        assert_int_equal(rig_state_of(rig, id), OBJECT_FREE);
        rig_finish(rig);
}

/* Readers of another uid may look on after they let go: nobody gets that to write into. */
static void test_no_transfer_under_foreign_eyes(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *from = rig_join(rig, UID_A), *other = rig_join(rig, UID_B);
        struct shmb_lease_ref ref = rig_get(rig, from, PAGE);
        struct rig_token token = rig_export(rig, from, ref, SHMB_EXPORT_ONCE);

        rig_release(rig, other, rig_import(rig, other, &token), 0);
        token = rig_token(rig);
        assert_int_equal(rig_export_as(rig, from, ref, &token, SHMB_EXPORT_TRANSFER, 1000, 1),
                         SHMB_STATUS_BUSY_WRITER);
        rig_finish(rig);
}

static void test_same_domain_only(void **state) {
        struct rig *rig = rig_begin(state);
        struct client *writer = rig_join(rig, UID_A), *other = rig_join(rig, UID_B);
        struct shmb_lease_ref ref = rig_get(rig, writer, PAGE);
        struct rig_token token = rig_export(rig, writer, ref, SHMB_EXPORT_SAME_DOMAIN);

        assert_int_equal(rig_import_as(rig, other, &token, NULL), SHMB_STATUS_TOKEN_DOMAIN);
        /* The whole pool may be of that kind. */
        uint32_t serial = rig_ask(rig, writer, "own", PAGE, 0);
        rig_do_all(rig);
        ref = rig_answer(rig, serial)->grant.lease;
        token = rig_export(rig, writer, ref, 0);
        assert_int_equal(rig_import_as(rig, other, &token, NULL), SHMB_STATUS_TOKEN_DOMAIN);
        rig_import(rig, writer, &token);
        rig_finish(rig);
}

static void test_import_needs_the_pool(void **state) {
        uid_t allowed[] = { UID_A };
        struct rig *rig = *state;

        rig->pools[0].allow_uids = allowed;
        rig->pools[0].n_allow_uids = 1;
        rig_start(rig);
        struct client *writer = rig_join(rig, UID_A), *other = rig_join(rig, UID_B);
        struct rig_token token = rig_export(rig, writer, rig_get(rig, writer, PAGE), 0);

        assert_int_equal(rig_import_as(rig, other, &token, NULL), SHMB_STATUS_POOL_DENIED);
        uint32_t serial = rig_ask(rig, other, "default", PAGE, 0);
        assert_int_equal(rig_status(rig, serial), SHMB_STATUS_POOL_DENIED);
        rig_finish(rig);
}

#define LIFE(name) cmocka_unit_test_setup(name, rig_setup)

int main(void) {
        const struct CMUnitTest tests[] = {
                LIFE(test_token_fates),
                LIFE(test_export_refusals),
                LIFE(test_token_limits),
                LIFE(test_tokens_over_are_forgotten_in_the_end),
                LIFE(test_transfer),
                LIFE(test_transfer_never_imported),
                LIFE(test_no_transfer_under_foreign_eyes),
                LIFE(test_same_domain_only),
                LIFE(test_import_needs_the_pool),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
