/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "log.h"
#include "shmbroker-proto.h"

#define PROGRAM "shmbrokerd"

enum option_id {
        OPTION_SOCKET = 256,
        OPTION_CONTROL,
        OPTION_CONFIG,
        OPTION_CHECK_CONFIG,
        OPTION_LOG_LEVEL,
        OPTION_RUN,
        OPTION_VERSION,
        OPTION_HELP,
};

static const struct option long_options[] = {
        { "socket", required_argument, NULL, OPTION_SOCKET },
        { "control", required_argument, NULL, OPTION_CONTROL },
        { "config", required_argument, NULL, OPTION_CONFIG },
        { "check-config", no_argument, NULL, OPTION_CHECK_CONFIG },
        { "log-level", required_argument, NULL, OPTION_LOG_LEVEL },
        { "run", no_argument, NULL, OPTION_RUN },
        { "version", no_argument, NULL, OPTION_VERSION },
        { "help", no_argument, NULL, OPTION_HELP },
        { 0 },
};

static const char help[] =
        "Usage: shmbrokerd [OPTION]...\n"
        "       shmbrokerd [OPTION]... --run -- COMMAND [ARGUMENT]...\n"
        "\n"
        "Hands out shared memory to the programs of this host.\n"
        "\n"
        "      --socket=PATH      listen for clients here\n"
        "      --control=PATH     listen for shmbrokerctl here\n"
        "      --config=FILE      read FILE and FILE.d/*.conf; without it\n"
        "                           " CONFIG_DEFAULT_FILE " and its\n"
        "                           drop-ins, if they are there\n"
        "      --check-config     print the configuration in force, and exit\n"
        "      --log-level=LEVEL  error, warning, info or debug\n"
        "      --run              start a broker of its own for COMMAND, and end with it;\n"
        "                           COMMAND finds it by $" SHMB_ENV_SOCKET " and\n"
        "                           $" SHMB_ENV_CONTROL "\n"
        "      --version          print the version, and exit\n"
        "  -h, --help             print this, and exit\n"
        "\n"
        "Exit status: 0 if it ended when told to, 1 on a failure, 2 for a wrong command line.\n"
        "With --run, that of COMMAND, or 128 and its signal's number; 126 if COMMAND cannot\n"
        "be executed, 127 if there is none.\n";

static enum options_outcome leave(int *ret_status, int status) {
        *ret_status = status;
        return OPTIONS_EXIT;
}

__attribute__((format(printf, 2, 3))) static enum options_outcome usage_error(
        int *ret_status, const char *format, ...) {
        va_list arguments;

        fputs(PROGRAM ": ", stderr);
        va_start(arguments, format);
        vfprintf(stderr, format, arguments);
        va_end(arguments);
        fputs("\nTry '" PROGRAM " --help'.\n", stderr);
        return leave(ret_status, EXIT_USAGE);
}

/* Printing is the whole task here: a full disk is a failure of it. */
static int flush_output(void) {
        if (fflush(stdout) == 0 && !ferror(stdout))
                return EXIT_SUCCESS;
        fprintf(stderr, PROGRAM ": writing the output: %s\n", strerror(errno));
        return EXIT_FAILURE;
}

static enum options_outcome print_and_leave(const char *text, int *ret_status) {
        fputs(text, stdout);
        return leave(ret_status, flush_output());
}

/* One option that needs no more than noting. */
static enum options_outcome take(int id, struct options *options, int *ret_status) {
        switch (id) {
        case OPTION_SOCKET:
                options->socket_path = optarg;
                break;
        case OPTION_CONTROL:
                options->control_path = optarg;
                break;
        case OPTION_CONFIG:
                options->config_path = optarg;
                break;
        case OPTION_CHECK_CONFIG:
                options->check_config = true;
                break;
        case OPTION_LOG_LEVEL:
                options->log_level = log_level_parse(optarg);
                if (options->log_level < 0)
                        return usage_error(ret_status,
                                           "--log-level=%s: not one of error, warning, info, "
                                           "debug",
                                           optarg);
                break;
        default:
                return usage_error(ret_status, "unknown option");
        }
        return OPTIONS_GO;
}

/* getopt prints its own messages; these are in the words of this program. */
static enum options_outcome bad_option(int outcome, char **argv, int *ret_status) {
        const char *option = argv[optind - 1];

        if (outcome == ':')
                return usage_error(ret_status, "%s: an argument is missing", option);
        if (optopt > 0 && optopt < OPTION_SOCKET)
                return usage_error(ret_status, "-%c: unknown option", optopt);
        if (optopt >= OPTION_SOCKET)
                return usage_error(ret_status, "%s: takes no argument", option);
        return usage_error(ret_status, "%s: unknown or ambiguous option", option);
}

static enum options_outcome check(struct options *options, bool run, char **rest,
                                  int *ret_status) {
        const char *const paths[][2] = {
                { "--socket", options->socket_path },
                { "--control", options->control_path },
                { "--config", options->config_path },
        };

        for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
                if (paths[i][1] && paths[i][1][0] == '\0')
                        return usage_error(ret_status, "%s: the path is empty", paths[i][0]);
        if (run && (options->socket_path || options->control_path))
                return usage_error(ret_status,
                                   "--run makes sockets of its own: leave out --socket and "
                                   "--control");
        if (run && !*rest)
                return usage_error(ret_status, "--run: the command is missing");
        if (run && options->check_config)
                return usage_error(ret_status, "--run and --check-config exclude each other");
        if (!run && *rest)
                return usage_error(ret_status, "%s: not an option; a command follows --run --",
                                   *rest);
        options->run_argv = run ? rest : NULL;
        return OPTIONS_GO;
}

enum options_outcome options_parse(int argc, char **argv, struct options *ret_options,
                                   int *ret_status) {
        struct options options = { .log_level = -1 };
        bool run = false;

        optind = 0; /* begin anew */
        for (int id; (id = getopt_long(argc, argv, "+:h", long_options, NULL)) != -1;) {
                if (id == OPTION_HELP || id == 'h')
                        return print_and_leave(help, ret_status);
                if (id == OPTION_VERSION)
                        return print_and_leave(PROGRAM " " SHMB_VERSION "\n", ret_status);
                if (id == '?' || id == ':')
                        return bad_option(id, argv, ret_status);
                if (id == OPTION_RUN)
                        run = true;
                else if (take(id, &options, ret_status) == OPTIONS_EXIT)
                        return OPTIONS_EXIT;
        }
        if (check(&options, run, argv + optind, ret_status) == OPTIONS_EXIT)
                return OPTIONS_EXIT;

        *ret_options = options;
        return OPTIONS_GO;
}

int options_check_config(const struct options *options) {
        struct config *config = NULL;
        char error[CONFIG_ERROR_SIZE] = "";

        int r = config_new(&config);
        if (r == 0)
                r = config_load(config, options->config_path, error);
        if (r < 0)
                fprintf(stderr, PROGRAM ": %s\n", *error ? error : strerror(-r));
        else
                config_dump(config, stdout);
        config_free(config);
        return r < 0 ? EXIT_FAILURE : flush_output();
}
