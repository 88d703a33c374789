/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Anything, in any order: clients of several uids, some of them hostile, work that ends in
 * any way, deaths, time. After every step all books are counted anew.
 *
 * LEDGER_SEED=n runs that seed alone, LEDGER_SEEDS=n that many.
 */
#include "ledger-rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
        SEEDS = 200,
        STEPS = 2500,
        CLIENTS = 9,
        TOKENS = 32,
};

struct player {
        struct client *client;
        bool hostile;
};

struct game {
        struct rig *rig;
        uint64_t random;
        struct player players[CLIENTS];
        struct rig_token tokens[TOKENS]; /* the latest, of anybody's */
        uint32_t n_tokens;
        uint32_t serials[8]; /* of the latest requests */
        uint32_t n_serials;
};

/* ---- chance ----------------------------------------------------------------------- */

static uint32_t roll(struct game *game, uint32_t sides) {
        game->random = game->random * 6364136223846793005u + 1442695040888963407u;
        return (uint32_t)(game->random >> 33) % sides;
}

static bool chance(struct game *game, uint32_t percent) {
        return roll(game, 100) < percent;
}

/* ---- memory that runs out --------------------------------------------------------- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_reallocarray(void *old, size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_reallocarray(void *old, size_t n, size_t size);

static struct game *failing; /* whose allocations fail now and then */

static bool fails(void) {
        return failing && chance(failing, 3);
}

void *__wrap_malloc(size_t size) {
        return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size) {
        return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_reallocarray(void *old, size_t n, size_t size) {
        return fails() ? NULL : __real_reallocarray(old, n, size);
}

/* ---- moves ------------------------------------------------------------------------ */

static struct player *any_player(struct game *game) {
        return &game->players[roll(game, CLIENTS)];
}

static struct rig_token *any_token(struct game *game) {
        return &game->tokens[roll(game, TOKENS)];
}

static void seat(struct game *game, struct player *player) {
        uid_t uid = UID_A + roll(game, 3);

        player->hostile = chance(game, 30);
        player->client = rig_join_slots(game->rig, uid, 1 + roll(game, 12));
}

static void leave(struct game *game, struct player *player) {
        rig_leave(game->rig, player->client);
        player->client = NULL;
        seat(game, player);
}

static void ask(struct game *game, struct player *player) {
        static const uint64_t timeouts[] = { 0, 0, MS, SECOND, SHMB_TIMEOUT_FOREVER };
        uint64_t size = 1 + roll(game, 16 * PAGE);
        uint32_t serial = rig_ask(game->rig, player->client,
                                  chance(game, 75) ? "default" : "own", size,
                                  timeouts[roll(game, 5)]);

        game->serials[game->n_serials++ % 8] = serial;
}

/* Some lease the client has, or NULL. */
static struct lease *any_lease(struct game *game, const struct player *player) {
        const struct client *client = player->client;

        if (client->slots_room < 2)
                return NULL;
        uint32_t from = 1 + roll(game, client->slots_room - 1);
        for (uint32_t i = 0; i < client->slots_room; i++) {
                uint32_t slot = (from + i) % client->slots_room;
                if (slot > 0 && client->slots[slot])
                        return client->slots[slot];
        }
        return NULL;
}

static struct shmb_lease_ref ref_of(struct game *game, const struct player *player,
                                    const struct lease *lease) {
        struct shmb_lease_ref ref = { lease->slot, lease->generation };

        if (player->hostile && chance(game, 20))
                ref.generation -= roll(game, 3);
        if (player->hostile && chance(game, 10))
                ref.slot = roll(game, 20);
        return ref;
}

static void release(struct game *game, struct player *player, struct shmb_lease_ref ref,
                    uint32_t flags) {
        enum shmb_status status = rig_release(game->rig, player->client, ref, flags);

        rig_require(game->rig, player->hostile || status == SHMB_STATUS_OK);
}

static void export(struct game *game, struct player *player, struct shmb_lease_ref ref) {
        static const uint32_t flags[] = { 0, SHMB_EXPORT_ONCE, SHMB_EXPORT_TRANSFER,
                                          SHMB_EXPORT_SAME_DOMAIN };
        struct rig_token token = rig_token(game->rig);

        if (player->hostile && chance(game, 10))
                token = *any_token(game);
        enum shmb_status status = rig_export_as(game->rig, player->client, ref, &token,
                                                flags[roll(game, 4)], roll(game, 5000),
                                                1 + roll(game, 20 * PAGE));
        if (status == SHMB_STATUS_OK)
                game->tokens[game->n_tokens++ % TOKENS] = token;
}

/* Out of the client's own cache: nobody else may have been given it meanwhile. */
static void reuse(struct game *game, const struct lease *lease) {
        struct rig *rig = game->rig;
        shmb_word *word = &lease->client->words[lease->slot];

        rig_require(rig, shmb_word_swap(word, SHMB_WORD_IDLE, 1, SHMB_WORD_HELD));
        rig_require(rig, lease->object && lease->object->writer == lease);
        rig_require(rig, lease->object->readers == 0 && lease->object->tokens == 0);
}

/* A writer that keeps to the protocol, whatever its lease's state is. */
static void write_honestly(struct game *game, struct player *player, struct lease *lease) {
        struct rig *rig = game->rig;
        struct client *client = player->client;
        struct shmb_lease_ref ref = { lease->slot, lease->generation };
        shmb_word *word = &client->words[lease->slot];
        enum shmb_word_state word_state = shmb_word_state_of(shmb_word_load(word));
        bool shared = lease->object->tokens > 0 || lease->object->readers > 0;

        if (lease->state == LEASE_SHARED) {
                rig_require(rig, word_state == SHMB_WORD_SHARED);
                if (chance(game, 20)) {
                        shmb_word_store(word, 0, SHMB_WORD_NONE);
                        release(game, player, ref, 0);
                }
                return;
        }
        if (word_state == SHMB_WORD_IDLE) {
                reuse(game, lease);
                return;
        }
        rig_require(rig, word_state == SHMB_WORD_HELD);
        switch (roll(game, 6)) {
        case 0:
        case 1:
                export(game, player, ref);
                break;
        case 2:
                if (chance(game, 20))
                        rig_escape(rig, client, ref, chance(game, 50) ? SHMB_FD_READONLY : 0);
                break;
        case 3:
                if (shared || lease->object->escaped || lease->object->left_domain) {
                        shmb_word_store(word, 0, SHMB_WORD_SHARED);
                        release(game, player, ref, SHMB_RELEASE_KEEP);
                } else if (rig_set_idle(rig, client, ref)) {
                        reuse(game, lease);
                        shmb_word_store(word, 0, SHMB_WORD_NONE);
                        release(game, player, ref, 0);
                }
                break;
        default:
                shmb_word_store(word, 0, SHMB_WORD_NONE);
                release(game, player, ref, 0);
        }
}

static void read_honestly(struct game *game, struct player *player, struct lease *lease) {
        struct shmb_lease_ref ref = { lease->slot, lease->generation };

        if (lease->state == LEASE_KEPT && chance(game, 70))
                return; /* it is there to be kept */
        bool keep = lease->state == LEASE_HELD && chance(game, 60);
        if (lease->state == LEASE_HELD && chance(game, 10))
                rig_escape(game->rig, player->client, ref, SHMB_FD_READONLY);
        release(game, player, ref, keep ? SHMB_RELEASE_KEEP : 0);
}

static void use_honestly(struct game *game, struct player *player) {
        struct lease *lease = any_lease(game, player);

        if (!lease)
                return;
        struct shmb_lease_ref ref = { lease->slot, lease->generation };
        if (lease->state == LEASE_TAKEN)
                release(game, player, ref, chance(game, 30) ? SHMB_RELEASE_KEEP : 0);
        else if (lease->writer)
                write_honestly(game, player, lease);
        else
                read_honestly(game, player, lease);
}

static void use_hostilely(struct game *game, struct player *player) {
        struct client *client = player->client;
        struct lease *lease = any_lease(game, player);

        if (chance(game, 50)) {
                uint64_t word = chance(game, 70) ? roll(game, 6)
                                                 : (uint64_t)roll(game, UINT32_MAX) << 20;
                atomic_store(&client->words[roll(game, client->lease_slots + 1)], word);
        }
        if (!lease)
                return;
        struct shmb_lease_ref ref = ref_of(game, player, lease);
        switch (roll(game, 4)) {
        case 0:
                export(game, player, ref);
                break;
        case 1:
                rig_escape(game->rig, client, ref, roll(game, 2));
                break;
        default:
                release(game, player, ref, roll(game, 2));
        }
}

static void import(struct game *game, struct player *player) {
        struct rig_token token = *any_token(game);

        if (chance(game, 5))
                token = rig_token(game->rig);
        rig_import_as(game->rig, player->client, &token, NULL);
}

static void revoke(struct game *game, struct player *player) {
        client_revoke(player->client, any_token(game)->bytes);
        rig_check(game->rig);
}

static void work(struct game *game) {
        struct rig *rig = game->rig;

        if (rig->n_work == 0)
                return;
        size_t i = roll(game, (uint32_t)rig->n_work);
        switch (rig->work[i].kind) {
        case WORK_MAKE:
                rig_do_nth(rig, i, chance(game, 85) ? 0 : chance(game, 50) ? -ENOMEM : -EMFILE);
                break;
        case WORK_PROVE:
                rig_do_nth(rig, i, chance(game, 65) ? 1 : chance(game, 80) ? 0 : -EMFILE);
                break;
        case WORK_SCRUB:
                rig_do_nth(rig, i, chance(game, 90) ? 0 : -ENOMEM);
                break;
        case WORK_RETIRE:
                rig_do_nth(rig, i, 0);
                break;
        }
}

static void pass_time(struct game *game) {
        static const uint64_t jumps[] = {
                1, MS, 10 * MS, 200 * MS, SECOND, UINT64_C(9) * SECOND
        };

        rig_advance(game->rig, jumps[roll(game, 6)]);
}

static void step(struct game *game) {
        struct player *player = any_player(game);
        uint32_t move = roll(game, 100);

        if (chance(game, 2))
                game->rig->grant_status = SHMB_STATUS_NO_DESCRIPTORS;
        if (!player->client)
                seat(game, player);
        else if (move < 18)
                ask(game, player);
        else if (move < 50 && player->hostile)
                use_hostilely(game, player);
        else if (move < 50)
                use_honestly(game, player);
        else if (move < 62)
                import(game, player);
        else if (move < 64)
                revoke(game, player);
        else if (move < 65)
                client_cancel(player->client, game->serials[roll(game, 8)]);
        else if (move < 67)
                leave(game, player);
        else if (move < 74)
                pass_time(game);
        else if (move < 75)
                ledger_trim(game->rig->ledger);
        else
                work(game);
        rig_check(game->rig);
}

/* ---- games ------------------------------------------------------------------------ */

static void play(uint64_t seed, bool memory_runs_out) {
        static struct config_prealloc prealloc[] = { { PAGE, 2 }, { 8 * PAGE, 1 } };
        struct rig rig;
        struct game game = { .rig = &rig, .random = seed };

        rig_init(&rig);
        rig.seed = seed;
        rig.may_want_memory = memory_runs_out;
        if (chance(&game, 50)) {
                rig.pools[0].prealloc = prealloc;
                rig.pools[0].n_prealloc = 2;
        }
        if (chance(&game, 30))
                rig.pools[0].buffers_max = 6;
        if (chance(&game, 30))
                rig.pools[0].uid_buffers_max = 3;
        if (chance(&game, 30))
                rig.config.memory_max = 40 * PAGE;
        rig_start(&rig);
        failing = memory_runs_out ? &game : NULL;
        for (rig.step = 0; rig.step < STEPS; rig.step++)
                step(&game);
        failing = NULL;
        rig.grant_status = SHMB_STATUS_OK;
        rig_finish(&rig);
}

static uint64_t number_from(const char *variable, uint64_t otherwise) {
        const char *text = getenv(variable);

        return text ? strtoull(text, NULL, 10) : otherwise;
}

static void play_all(bool memory_runs_out) {
        uint64_t one = number_from("LEDGER_SEED", 0),
                 seeds = number_from("LEDGER_SEEDS", SEEDS);

        for (uint64_t seed = 1; seed <= seeds && one == 0; seed++)
                play(seed, memory_runs_out);
        if (one > 0)
                play(one, memory_runs_out);
}

static void test_random(void **state) {
        (void)state;
        play_all(false);
}

static void test_random_without_memory(void **state) {
        (void)state;
        play_all(true);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_random),
                cmocka_unit_test(test_random_without_memory),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
