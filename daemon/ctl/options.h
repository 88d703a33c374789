/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of shmbrokerctl. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "show.h"

enum {
        EXIT_FAILED = 1,
        EXIT_USAGE = 2,
};

/* What a command may be given, beside what all may. */
enum command_option {
        TAKES_CLIENT = 1 << 0, /* --client */
        TAKES_POOL = 1 << 1,
        TAKES_VERIFY = 1 << 2,
        TAKES_COUNT = 1 << 3,
        NEEDS_CLIENT = 1 << 4, /* an argument */
};

struct command {
        const char *name;
        const char *method; /* NULL: top */
        const char *list;   /* the key of the list it gives in pages, or NULL */
        show_fn show;
        unsigned takes;
};

/* Strings point into argv, or into the environment. */
struct options {
        const struct command *command;
        const char *socket_path; /* NULL: to be looked for */
        const char *pool;        /* NULL: every one */
        uint64_t client;         /* 0: every one */
        uint64_t count;          /* 0: no end */
        bool json, no_header, verify;
};

enum options_outcome {
        OPTIONS_GO = 0,
        OPTIONS_EXIT = 1, /* all was said; exit with *ret_status */
};

enum options_outcome options_parse(int argc, char **argv, struct options *ret_options,
                                   int *ret_status);
