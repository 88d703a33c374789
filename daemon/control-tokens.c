/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens: what was exported and may still be imported. */
#include <stdio.h>

#include "control-internal.h"
#include "token.h"

#define SHOWN_DIGITS 4
#define TOKEN_VALUES 17u

static void put_bytes(struct control_request *request, struct json_object *object,
                      const struct token *token) {
        uid_t uid = request->peer.uid;
        bool complete = control_is_privileged(uid) || uid == token->uid;
        char text[2 * SHMB_TOKEN_SIZE + 1];

        shmb_token_format(token->bytes, text);
        if (!complete)
                snprintf(text + SHOWN_DIGITS, sizeof(text) - SHOWN_DIGITS, "\u2026");
        build_string(&request->build, object, "token", text);
        build_bool(&request->build, object, "complete", complete);
}

static void put_token(struct control_request *request, struct json_object *list,
                      const struct token *token) {
        struct builder *build = &request->build;
        struct json_object *object = build_append_object(build, list);
        const struct client *exporter;

        HASH_FIND(hh, request->control->ledger->clients, &token->exporter,
                  sizeof(token->exporter), exporter);
        build_int(build, object, "number", token->number);
        put_bytes(request, object, token);
        build_int(build, object, "object", token->object->id);
        build_string(build, object, "pool", token->object->pool->config->name);
        build_int(build, object, "capacity", object_capacity(token->object));
        build_int(build, object, "length", token->length);
        build_int(build, object, "client", token->exporter);
        build_bool(build, object, "connected", exporter != NULL);
        build_int(build, object, "uid", token->uid);
        build_bool(build, object, "once",
                   token->flags & (SHMB_EXPORT_ONCE | SHMB_EXPORT_TRANSFER));
        build_bool(build, object, "transfer", token->flags & SHMB_EXPORT_TRANSFER);
        build_bool(build, object, "same_uid",
                   (token->flags & (SHMB_EXPORT_SAME_DOMAIN | SHMB_EXPORT_TRANSFER)) ||
                           token->object->pool->config->share == CONFIG_SHARE_UID);
        build_int(build, object, "imports", token->imports);
        control_put_age(request, object, "age_ns", token->since);
        build_int(build, object, "expires_in_ns",
                  token->expiry.when > request->now ? token->expiry.when - request->now : 0);
}

const char *control_tokens(struct control_request *request) {
        const struct ledger *ledger = request->control->ledger;
        struct control_page page = control_page_of(request);
        struct json_object *list = build_array(&request->build, request->reply, "tokens");
        const struct token *token = ledger->tokens;

        /* In order of number, which no index leads to. */
        while (token && token->number <= page.last)
                token = token->hh.next;
        for (; token; token = token->hh.next) {
                if (!control_page_goes_on(&page, request, token->number))
                        break;
                if (!token->object)
                        continue; /* over, and only remembered */
                put_token(request, list, token);
                control_page_spend(&page, TOKEN_VALUES);
                page.rows--;
        }
        return NULL;
}
