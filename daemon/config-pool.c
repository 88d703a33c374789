/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked of a pool's configuration while the broker runs. */
#include "config.h"

bool pool_config_admits(const struct pool_config *pool, uid_t uid, const gid_t *gids,
                        size_t n_gids) {
        if (pool->n_allow_uids == 0 && pool->n_allow_gids == 0)
                return true;
        for (size_t i = 0; i < pool->n_allow_uids; i++)
                if (pool->allow_uids[i] == uid)
                        return true;
        for (size_t i = 0; i < pool->n_allow_gids; i++)
                for (size_t j = 0; j < n_gids; j++)
                        if (pool->allow_gids[i] == gids[j])
                                return true;
        return false;
}

int pool_config_class(const struct pool_config *pool, uint64_t size) {
        size_t low = 0, high = pool->n_classes;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (pool->classes[middle] < size)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low < pool->n_classes ? (int)low : -1;
}
