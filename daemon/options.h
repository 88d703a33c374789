/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's command line. */
#pragma once

#include <stdbool.h>

/* Exit statuses; with --run it is the command's, or these two. */
enum {
        EXIT_USAGE = 2,
        EXIT_NOT_EXECUTABLE = 126,
        EXIT_NOT_FOUND = 127,
};

/* Strings point into argv. */
struct options {
        const char *socket_path;  /* NULL: as configured */
        const char *control_path; /* NULL: as configured */
        const char *config_path;  /* NULL: the default file, which need not exist */
        int log_level;            /* enum log_level; -1: as configured */
        bool check_config;
        char **run_argv; /* --run: the command, NULL-ended; else NULL */
};

enum options_outcome {
        OPTIONS_GO = 0,
        OPTIONS_EXIT = 1, /* all was said; exit with *ret_status */
};

/* Answers --help and --version itself, and complains on stderr about what is wrong. */
enum options_outcome options_parse(int argc, char **argv, struct options *ret_options,
                                   int *ret_status);

/*
 * --check-config: prints the configuration in force, or on stderr what is wrong with it.
 * Returns the exit status.
 */
int options_check_config(const struct options *options);
