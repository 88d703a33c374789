/* SPDX-License-Identifier: Apache-2.0 */
#include "token.h"

#include <string.h>

bool shmb_name_is_valid(const char *name) {
        static const char allowed[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:@-";
        size_t length = strlen(name);

        return length >= 1 && length <= SHMB_NAME_MAX && strspn(name, allowed) == length;
}

void shmb_token_format(const uint8_t token[SHMB_TOKEN_SIZE],
                       char text[2 * SHMB_TOKEN_SIZE + 1]) {
        static const char digits[] = "0123456789abcdef";

        for (unsigned i = 0; i < SHMB_TOKEN_SIZE; i++) {
                text[2 * i] = digits[token[i] >> 4];
                text[2 * i + 1] = digits[token[i] & 0xf];
        }
        text[2 * SHMB_TOKEN_SIZE] = '\0';
}

static int digit_value(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -1;
}

bool shmb_token_parse(const char *text, uint8_t token[SHMB_TOKEN_SIZE]) {
        uint8_t parsed[SHMB_TOKEN_SIZE];

        if (strlen(text) != 2 * SHMB_TOKEN_SIZE)
                return false;
        for (unsigned i = 0; i < SHMB_TOKEN_SIZE; i++) {
                int high = digit_value(text[2 * i]), low = digit_value(text[2 * i + 1]);
                if (high < 0 || low < 0)
                        return false;
                parsed[i] = (uint8_t)(high << 4 | low);
        }
        memcpy(token, parsed, sizeof(parsed));
        return true;
}
