/* SPDX-License-Identifier: Apache-2.0 */
#include "config-keys.h"

#include <errno.h>
#include <string.h>

#include "config-kinds.h"

#define B(field) .section = CONFIG_BROKER, .offset = offsetof(struct config, field)
#define P(field) .section = CONFIG_POOL, .offset = offsetof(struct pool_config, field)
#define P_LIST(field)                                                                          \
        P(field), .count_offset = offsetof(struct pool_config, n_##field), .preset = ""

#define SECOND_NS UINT64_C(1000000000)
#define MILLISECOND_NS UINT64_C(1000000)
#define YEAR_NS (UINT64_C(365) * 24 * 3600 * SECOND_NS)
#define PAGE UINT64_C(4096)
/* Far above any host's, and far from where sums could wrap. */
#define MEMORY_MOST (UINT64_C(1) << 50)

static const struct config_key keys[] = {
        { B(memory_max), .name = "MemoryMax", .kind = &config_kind_memory, .preset = "50%",
          .min = PAGE, .max = MEMORY_MOST,
          .help = "memory of all pools together; the default is lowered to 90% of the "
                  "control group's memory.max" },
        { B(buffers_max), .name = "BuffersMax", .kind = &config_kind_count, .preset = "65536",
          .min = 1, .max = 16 << 20, .help = "memory objects of all pools together" },
        { B(connections_max), .name = "ConnectionsMax", .kind = &config_kind_count,
          .preset = "4096", .min = 1, .max = 1 << 20, .help = "clients connected at once" },
        { B(connections_per_uid_max), .name = "UidConnectionsMax", .kind = &config_kind_count,
          .preset = "2048", .min = 1, .max = 1 << 20,
          .help = "clients of one uid connected at once" },
        { B(control_connections_max), .name = "ControlConnectionsMax",
          .kind = &config_kind_count, .preset = "64", .min = 1, .max = 1 << 16,
          .help = "connections to the control socket at once" },
        { B(requests_max), .name = "RequestsMax", .kind = &config_kind_count, .preset = "64",
          .min = 1, .max = 4096, .help = "unanswered requests of one client" },
        { B(queue_max), .name = "QueueMax", .kind = &config_kind_count, .preset = "256",
          .min = 1, .max = 1 << 16,
          .help = "packets queued to a client that does not read; one more disconnects it" },
        { B(tokens_max), .name = "TokensMax", .kind = &config_kind_count, .preset = "1024",
          .min = 1, .max = 1 << 20, .help = "tokens of one client not yet used up or expired" },
        { B(uid_tokens_max), .name = "UidTokensMax", .kind = &config_kind_count,
          .preset = "16384", .min = 1, .max = 1 << 24,
          .help = "the same of one uid in one pool, exporters that have left included" },
        { B(token_ttl_max_ns), .name = "TokenTtlMax", .kind = &config_kind_duration,
          .preset = "1d", .min = MILLISECOND_NS, .max = YEAR_NS,
          .help = "longest life a token may ask for" },
        { B(lease_slots_default), .name = "LeaseSlots", .kind = &config_kind_count,
          .preset = "511", .min = 1, .max = CONFIG_LEASE_SLOTS_LIMIT,
          .help = "buffers at once of a client that asks for no number" },
        { B(lease_slots_max), .name = "LeaseSlotsMax", .kind = &config_kind_count,
          .preset = "16383", .min = 1, .max = CONFIG_LEASE_SLOTS_LIMIT,
          .help = "most buffers at once a client may ask for" },
        { B(cache_bytes), .name = "CacheSize", .kind = &config_kind_size, .preset = "256M",
          .min = 0, .max = MEMORY_MOST,
          .help = "unused buffers a client keeps mapped, unless it asks otherwise" },
        { B(cache_idle_ns), .name = "CacheIdle", .kind = &config_kind_duration, .preset = "60s",
          .min = MILLISECOND_NS, .max = YEAR_NS, .infinity = true,
          .help = "a buffer unused this long in a client's cache is taken back" },
        { B(quarantine_ns), .name = "QuarantineMax", .kind = &config_kind_duration,
          .preset = "60s", .min = 0, .max = YEAR_NS,
          .help = "a returned object that someone still maps this long later is retired" },
        { B(hello_timeout_ns), .name = "HelloTimeout", .kind = &config_kind_duration,
          .preset = "10s", .min = MILLISECOND_NS, .max = YEAR_NS,
          .help = "a client that connected must introduce itself within this" },
        { B(workers), .name = "Workers", .kind = &config_kind_count, .preset = "2", .min = 1,
          .max = 64, .help = "threads that allocate and scrub memory" },
        { B(socket_path), .name = "Socket", .kind = &config_kind_socket,
          .preset = SHMB_DEFAULT_USER_SOCKET,
          .help = "the data socket: an absolute path, a path below $XDG_RUNTIME_DIR (for root, "
                  "below /run), or an abstract name after @" },
        { B(socket_mode), .name = "SocketMode", .kind = &config_kind_mode, .preset = "0660",
          .min = 0, .max = 0777, .help = "access mode of the data socket" },
        { B(control_path), .name = "ControlSocket", .kind = &config_kind_socket,
          .preset = SHMB_DEFAULT_USER_CONTROL, .help = "the control socket, likewise" },
        { B(control_mode), .name = "ControlMode", .kind = &config_kind_mode, .preset = "0660",
          .min = 0, .max = 0777, .help = "access mode of the control socket" },
        { B(socket_gid), .name = "SocketGroup", .kind = &config_kind_group, .preset = "",
          .help = "group of both sockets, by name or number; empty: the broker's" },
        { B(log_level), .name = "LogLevel", .kind = &config_kind_level, .preset = "info",
          .help = "error, warning, info or debug" },

        { P(memory_max), .name = "MemoryMax", .kind = &config_kind_memory, .preset = "infinity",
          .infinity = true, .min = PAGE, .max = MEMORY_MOST,
          .help = "memory of the pool; infinity: up to the broker's limit" },
        { P(buffers_max), .name = "BuffersMax", .kind = &config_kind_count,
          .preset = "infinity", .infinity = true, .min = 1, .max = 16 << 20,
          .help = "memory objects of the pool; infinity: up to the broker's limit" },
        { P(uid_memory_max), .name = "UidMemoryMax", .kind = &config_kind_memory,
          .preset = "infinity", .infinity = true, .min = PAGE, .max = MEMORY_MOST,
          .help = "memory of the pool that one uid may hold; infinity: up to the pool's "
                  "limit" },
        { P(uid_buffers_max), .name = "UidBuffersMax", .kind = &config_kind_count,
          .preset = "infinity", .infinity = true, .min = 1, .max = 16 << 20,
          .help = "buffers of the pool that one uid may hold; infinity: up to the pool's "
                  "limit" },
        { P(size_min), .name = "SizeMin", .kind = &config_kind_size, .preset = "4K", .min = 1,
          .max = MEMORY_MOST, .help = "smallest class, rounded up to whole pages" },
        { P(size_max), .name = "SizeMax", .kind = &config_kind_size, .preset = "64G",
          .min = PAGE, .max = MEMORY_MOST,
          .help = "largest class, and so the largest buffer; the default is lowered to the "
                  "pool's MemoryMax" },
        { P_LIST(classes), .name = "Classes", .kind = &config_kind_sizes, .min = 1,
          .max = MEMORY_MOST,
          .help = "the sizes buffers come in, rounded up to whole pages, in place of four "
                  "steps per doubling from SizeMin to SizeMax" },
        { P_LIST(prealloc), .name = "Preallocate", .kind = &config_kind_prealloc, .min = 1,
          .max = MEMORY_MOST,
          .help = "memory objects made at the start and kept, as COUNTxSIZE" },
        { P(free_idle_ns), .name = "FreeIdle", .kind = &config_kind_duration, .preset = "60s",
          .min = 0, .max = YEAR_NS, .infinity = true,
          .help = "a free object unused this long goes back to the kernel" },
        { P(share), .name = "Share", .kind = &config_kind_share, .preset = "any",
          .help = "whose processes may import a token: any, or those of the same-uid" },
        { P(huge), .name = "HugePages", .kind = &config_kind_huge, .preset = "no",
          .help = "no, thp (transparent, by advice) or 2M (from the reserved ones)" },
        { P(numa_node), .name = "NumaNode", .kind = &config_kind_node, .preset = "none",
          .min = 0, .max = 1023, .help = "the node to take memory from, or none" },
        { P_LIST(allow_uids), .name = "AllowUsers", .kind = &config_kind_users,
          .help = "users that may use the pool, by name or number; everyone if AllowGroups "
                  "is empty too" },
        { P_LIST(allow_gids), .name = "AllowGroups", .kind = &config_kind_groups,
          .help = "groups that may use the pool, by name or number" },
};

#define N_KEYS (sizeof keys / sizeof *keys)
_Static_assert(N_KEYS <= CONFIG_KEYS_MAX, "a bit and a place for every key");

const struct config_key *config_keys(size_t *ret_n) {
        *ret_n = N_KEYS;
        return keys;
}

const struct config_key *config_key_find(enum config_section section, const char *name) {
        for (size_t i = 0; i < N_KEYS; i++)
                if (keys[i].section == section && strcmp(keys[i].name, name) == 0)
                        return &keys[i];
        return NULL;
}

uint64_t config_key_bit(const struct config_key *key) {
        return UINT64_C(1) << (key - keys);
}

struct config_place *config_key_place(const struct config_key *key, void *section) {
        struct config_place *places = key->section == CONFIG_BROKER
                                              ? ((struct config *)section)->places
                                              : ((struct pool_config *)section)->places;

        return &places[key - keys];
}

static bool given(enum config_section section, uint64_t bits, size_t offset) {
        for (size_t i = 0; i < N_KEYS; i++)
                if (keys[i].section == section && keys[i].offset == offset)
                        return bits & config_key_bit(&keys[i]);
        return false;
}

bool config_given(const struct config *config, size_t offset) {
        return given(CONFIG_BROKER, config->given, offset);
}

bool pool_config_given(const struct pool_config *pool, size_t offset) {
        return given(CONFIG_POOL, pool->given, offset);
}

static uint64_t *given_bits(enum config_section section, void *data) {
        return section == CONFIG_BROKER ? &((struct config *)data)->given
                                        : &((struct pool_config *)data)->given;
}

int config_key_assign(const struct config_key *key, void *data, const char *value, char *why) {
        uint64_t *bits = given_bits(key->section, data);

        if (*value == '\0') {
                *bits &= ~config_key_bit(key);
                if (key->kind->clear)
                        key->kind->clear(key, data);
                return key->kind->list ? 0 : key->kind->parse(key, data, key->preset, why);
        }

        int r = key->kind->parse(key, data, value, why);
        if (r < 0)
                return r;
        *bits |= config_key_bit(key);
        return 0;
}

int config_keys_preset(enum config_section section, void *data) {
        char why[CONFIG_WHY_SIZE];

        for (size_t i = 0; i < N_KEYS; i++) {
                if (keys[i].section != section)
                        continue;
                int r = config_key_assign(&keys[i], data, "", why);
                if (r < 0)
                        return r;
        }
        return 0;
}

void config_keys_clear(enum config_section section, void *data) {
        for (size_t i = 0; i < N_KEYS; i++)
                if (keys[i].section == section && keys[i].kind->clear)
                        keys[i].kind->clear(&keys[i], data);
}
