/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "config-check.h"
#include "config-keys.h"
#include "config-read.h"

static void empty(struct config *config) {
        for (size_t i = 0; i < config->n_pools; i++)
                config_keys_clear(CONFIG_POOL, &config->pools[i]);
        free(config->pools);
        config_keys_clear(CONFIG_BROKER, config);
        for (size_t i = 0; i < config->n_files; i++)
                free(config->files[i]);
        free(config->files);
        *config = (struct config){ 0 };
}

struct config *config_free(struct config *config) {
        if (config)
                empty(config);
        free(config);
        return NULL;
}

static void config_freep(struct config **config) {
        config_free(*config);
}

/* Presets, not yet resolved. */
static int preset(struct config *config) {
        empty(config);
        int r = config_keys_preset(CONFIG_BROKER, config);
        if (r < 0)
                return r;
        return config_pool_obtain(config, "default") ? 0 : -ENOMEM;
}

int config_new(struct config **ret_config) {
        SHMB_CLEANUP(config_freep) struct config *config = calloc(1, sizeof *config);
        char error[CONFIG_ERROR_SIZE];

        if (!config)
                return -ENOMEM;
        int r = preset(config);
        if (r == 0)
                r = config_resolve(config, error);
        if (r < 0)
                return r;

        *ret_config = shmb_steal_ptr(config);
        return 0;
}

int config_load_from(struct config *config, const char *path, struct config_roots roots,
                     char *error) {
        error[0] = '\0';
        int r = preset(config);
        if (r == 0)
                r = config_read(config, path, roots, error);
        return r < 0 ? r : config_resolve(config, error);
}

int config_load(struct config *config, const char *path, char *error) {
        return config_load_from(config, path, config_system_roots, error);
}

const struct pool_config *config_pool(const struct config *config, const char *name) {
        for (size_t i = 0; i < config->n_pools; i++)
                if (strcmp(config->pools[i].name, name) == 0)
                        return &config->pools[i];
        return NULL;
}

struct pool_config *config_pool_obtain(struct config *config, const char *name) {
        const struct pool_config *there = config_pool(config, name);

        if (there)
                return &config->pools[there - config->pools];

        struct pool_config *longer = reallocarray(config->pools, config->n_pools + 1,
                                                  sizeof *config->pools);
        if (!longer)
                return NULL;
        config->pools = longer;

        struct pool_config *pool = &longer[config->n_pools];
        *pool = (struct pool_config){ 0 };
        snprintf(pool->name, sizeof pool->name, "%s", name);
        if (config_keys_preset(CONFIG_POOL, pool) < 0) {
                config_keys_clear(CONFIG_POOL, pool);
                return NULL;
        }
        config->n_pools++;
        return pool;
}

static void dump_section(enum config_section section, const void *data, uint64_t given,
                         FILE *to) {
        size_t n;
        const struct config_key *keys = config_keys(&n);

        for (size_t i = 0; i < n; i++) {
                if (keys[i].section != section)
                        continue;
                fprintf(to, "# %s\n%s=", keys[i].help, keys[i].name);
                keys[i].kind->format(&keys[i], data, to);
                if (!(given & config_key_bit(&keys[i])))
                        fprintf(to, " ; default%s%s", *keys[i].preset ? ": " : "",
                                keys[i].preset);
                fputc('\n', to);
        }
}

void config_dump(const struct config *config, FILE *to) {
        fprintf(to, "[Broker]\n");
        dump_section(CONFIG_BROKER, config, config->given, to);
        for (size_t i = 0; i < config->n_pools; i++) {
                fprintf(to, "\n[Pool %s]\n", config->pools[i].name);
                dump_section(CONFIG_POOL, &config->pools[i], config->pools[i].given, to);
        }
}
