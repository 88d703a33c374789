/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

int pool_init(struct pool *pool, struct ledger *ledger, const struct pool_config *config,
              uint32_t index) {
        *pool = (struct pool){ .config = config, .ledger = ledger, .index = index };
        pool->fresh = calloc(config->n_classes, sizeof(*pool->fresh));
        pool->kept_free = calloc(config->n_classes, sizeof(*pool->kept_free));
        pool->prealloc = calloc(config->n_classes, sizeof(*pool->prealloc));
        if (!pool->fresh || !pool->kept_free || !pool->prealloc)
                return -ENOMEM;
        for (size_t i = 0; i < config->n_prealloc; i++) {
                int class_index = pool_config_class(config, config->prealloc[i].capacity);
                if (class_index >= 0)
                        pool->prealloc[class_index] += config->prealloc[i].count;
        }
        return 0;
}

void pool_deinit(struct pool *pool) {
        free(pool->fresh);
        free(pool->kept_free);
        free(pool->prealloc);
        pool->fresh = NULL;
        pool->kept_free = pool->prealloc = NULL;
}

struct pool *pool_find(struct ledger *ledger, const char *name) {
        for (size_t i = 0; i < ledger->n_pools; i++)
                if (strcmp(ledger->pools[i].config->name, name) == 0)
                        return &ledger->pools[i];
        return NULL;
}

uint64_t pool_capacity(const struct pool *pool, uint32_t class_index) {
        return pool->config->classes[class_index];
}

uint64_t pool_floor(const struct pool *pool, uint32_t class_index) {
        return class_index > 0 ? pool->config->classes[class_index - 1] : 0;
}

uint64_t pool_bytes(const struct pool *pool) {
        uint64_t sum = 0;

        for (int state = 0; state < OBJECT_STATES; state++)
                sum += pool->bytes[state];
        return sum;
}

uint32_t pool_buffers(const struct pool *pool) {
        uint32_t sum = 0;

        for (int state = 0; state < OBJECT_STATES; state++)
                sum += pool->buffers[state];
        return sum;
}

static struct domain *domain_new(struct pool *pool, uid_t uid) {
        struct domain *domain = calloc(1, sizeof(*domain));

        if (!domain)
                return NULL;
        domain->pool = pool;
        domain->uid = uid;
        domain->free = calloc(pool->config->n_classes, sizeof(*domain->free));
        if (domain->free)
                HASH_ADD(hh, pool->domains, uid, sizeof(domain->uid), domain);
        if (!domain->free || !domain->hh.tbl) {
                free(domain->free);
                free(domain);
                return NULL;
        }
        return domain;
}

struct domain *domain_ref(struct pool *pool, uid_t uid) {
        struct domain *domain;

        HASH_FIND(hh, pool->domains, &uid, sizeof(uid), domain);
        if (!domain)
                domain = domain_new(pool, uid);
        if (domain)
                domain->references++;
        return domain;
}

struct domain *domain_unref(struct domain *domain) {
        if (!domain || --domain->references > 0)
                return NULL;
        HASH_DELETE(hh, domain->pool->domains, domain);
        free(domain->free);
        free(domain);
        return NULL;
}
