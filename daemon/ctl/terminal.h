/* SPDX-License-Identifier: Apache-2.0 */
/* A terminal taken over for a while: no echo, keys at once, a screen of its own. */
#pragma once

#include <stdbool.h>
#include <termios.h>

struct terminal {
        struct termios before;
        bool taken;
};

/* Columns; 0 if it is no terminal or does not say. */
unsigned terminal_width(int fd);
unsigned terminal_height(int fd);

/* Are both ends of this process a terminal? */
bool terminal_is_there(void);

/* 0 or -errno. */
int terminal_take(struct terminal *terminal);

/* Gives it back as it was. Harmless if it was not taken. */
void terminal_give_back(struct terminal *terminal);
