/* SPDX-License-Identifier: Apache-2.0 */
#include "terminal.h"

#include <errno.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

static struct winsize size_of(int fd) {
        struct winsize size = { 0 };

        if (!isatty(fd) || ioctl(fd, TIOCGWINSZ, &size) < 0)
                return (struct winsize){ 0 };
        return size;
}

unsigned terminal_width(int fd) {
        return size_of(fd).ws_col;
}

unsigned terminal_height(int fd) {
        return size_of(fd).ws_row;
}

bool terminal_is_there(void) {
        return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

int terminal_take(struct terminal *terminal) {
        struct termios raw;

        if (tcgetattr(STDIN_FILENO, &terminal->before) < 0)
                return -errno;
        raw = terminal->before;
        /* ^C comes as a key: nothing but the loop ends the program, and it cleans up. */
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG);
        raw.c_cc[VMIN] = 1;
        raw.c_cc[VTIME] = 0;
        if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw) < 0)
                return -errno;
        terminal->taken = true;
        fputs("\033[?1049h\033[?25l", stdout); /* the other screen; no cursor */
        return 0;
}

void terminal_give_back(struct terminal *terminal) {
        if (!terminal->taken)
                return;
        terminal->taken = false;
        fputs("\033[?25h\033[?1049l", stdout);
        fflush(stdout);
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &terminal->before);
}
