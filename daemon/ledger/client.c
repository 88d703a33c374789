/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "internal.h"

void client_show_wanted(struct client *client) {
        atomic_store_explicit(&client->words[0],
                              client->ledger->wanted ? SHMB_WORD_ZERO_WANTED : 0,
                              memory_order_seq_cst);
}

int client_join(struct ledger *ledger, const struct client *template,
                struct client **ret_client) {
        struct client *client = calloc(1, sizeof(*client));

        if (!client)
                return -ENOMEM;
        *client = *template;
        client->ledger = ledger;
        client->id = ++ledger->next_client;
        client->since = ledger->now;
        HASH_ADD(hh, ledger->clients, id, sizeof(client->id), client);
        if (!client->hh.tbl) {
                free(client);
                return -ENOMEM;
        }
        client_show_wanted(client);
        *ret_client = client;
        return 0;
}

/* Those HELD, or all others. */
static void end_leases(struct client *client, bool held) {
        for (uint32_t slot = 1; slot < client->slots_room; slot++) {
                struct lease *lease = client->slots[slot];
                if (!lease || (lease->state == LEASE_HELD) != held)
                        continue;
                struct object *object = lease->object;
                /* It may still have the memory mapped, if only its socket is gone. */
                if (held)
                        object->lost_holder = true;
                lease_end(lease);
                if (held)
                        object_settle(object);
        }
}

void client_leave(struct client *client) {
        struct ledger *ledger = client->ledger;

        /* Nobody is served before it is gone: else its cached leases, still in the books,
           might be taken back, and it be told so. */
        ledger->serving = true;
        while (client->waiters)
                waiter_free(client->waiters);
        HASH_DELETE(hh, ledger->clients, client);
        /* What it gave up but kept mapped goes first: it holds nothing, but might be asked
           for when what it held goes. */
        end_leases(client, false);
        end_leases(client, true);
        free(client->slots);
        free(client);
        ledger->serving = false;
        ledger_serve(ledger);
}
