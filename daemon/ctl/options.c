/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shmbroker-proto.h"

#define PROGRAM "shmbrokerctl"

static const struct command commands[] = {
        { "status", "io.shmbroker.Status", NULL, show_status, 0 },
        { "pools", "io.shmbroker.Pools", "pools", show_pools, 0 },
        { "clients", "io.shmbroker.Clients", "clients", show_clients, 0 },
        { "buffers", "io.shmbroker.Buffers", "buffers", show_buffers,
          TAKES_CLIENT | TAKES_POOL | TAKES_VERIFY },
        { "tokens", "io.shmbroker.Tokens", "tokens", show_tokens, 0 },
        { "quarantine", "io.shmbroker.Quarantine", "quarantine", show_quarantine,
          TAKES_VERIFY },
        { "trim", "io.shmbroker.Trim", NULL, show_trim, 0 },
        { "disconnect", "io.shmbroker.Disconnect", NULL, show_disconnect, NEEDS_CLIENT },
        { "top", NULL, NULL, NULL, TAKES_COUNT },
};

enum option_id {
        OPTION_SOCKET = 256,
        OPTION_JSON,
        OPTION_NO_HEADER,
        OPTION_CLIENT,
        OPTION_POOL,
        OPTION_VERIFY,
        OPTION_COUNT,
        OPTION_VERSION,
};

static const struct option long_options[] = {
        { "socket", required_argument, NULL, OPTION_SOCKET },
        { "json", no_argument, NULL, OPTION_JSON },
        { "no-header", no_argument, NULL, OPTION_NO_HEADER },
        { "client", required_argument, NULL, OPTION_CLIENT },
        { "pool", required_argument, NULL, OPTION_POOL },
        { "verify", no_argument, NULL, OPTION_VERIFY },
        { "count", required_argument, NULL, OPTION_COUNT },
        { "version", no_argument, NULL, OPTION_VERSION },
        { "help", no_argument, NULL, 'h' },
        { 0 },
};

static const char help[] =
        "Usage: shmbrokerctl [OPTION]... COMMAND\n"
        "\n"
        "Shows what the shared memory pools of shmbrokerd hold, and who holds it.\n"
        "\n"
        "  status             the broker at a glance: memory, limits, counters\n"
        "  pools              each pool, with its classes and users\n"
        "  clients            who is connected, and what each holds\n"
        "  buffers            every memory object, its holders and their ages\n"
        "      --client=ID      only what this client holds\n"
        "      --pool=NAME      only those of this pool\n"
        "      --verify         also ask the kernel what is allocated\n"
        "  tokens             what was exported and may still be imported\n"
        "  quarantine         returned memory that someone still maps (--verify likewise)\n"
        "  top                all of it, each second; q ends it\n"
        "      --count=N        print it N times instead, one below the other\n"
        "  trim               give what nobody uses back to the kernel\n"
        "  disconnect ID      disconnect a client; what it held returns to the pools\n"
        "\n"
        "      --socket=PATH  the broker's control socket; else $" SHMB_ENV_CONTROL ",\n"
        "                       else $XDG_RUNTIME_DIR/" SHMB_DEFAULT_USER_CONTROL "\n"
        "                       if it exists, else " SHMB_DEFAULT_SYSTEM_CONTROL "\n"
        "      --json         one JSON document, with exact numbers\n"
        "      --no-header    no column titles\n"
        "      --version      print the version, and exit\n"
        "  -h, --help         print this, and exit\n"
        "\n"
        "trim and disconnect need root or the broker's user.\n"
        "Exit status: 0, 1 on a failure, 2 for a wrong command line.\n";

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
static enum options_outcome answer(int *ret_status, const char *text) {
        bool written = fputs(text, stdout) >= 0 && fflush(stdout) == 0;

        if (!written)
                fprintf(stderr, PROGRAM ": cannot write: %s\n", strerror(errno));
        return leave(ret_status, written ? EXIT_SUCCESS : EXIT_FAILED);
}

/* A whole number from 1 on. */
static bool parse_number(const char *text, uint64_t *ret_number) {
        char *end = NULL;

        errno = 0;
        unsigned long long number = strtoull(text, &end, 10);
        if (errno != 0 || *end != '\0' || *text < '0' || *text > '9' || number == 0 ||
            number > INT64_MAX)
                return false;
        *ret_number = number;
        return true;
}

static const struct command *find_command(const char *name) {
        for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
                if (strcmp(commands[i].name, name) == 0)
                        return &commands[i];
        return NULL;
}

static const char *name_of(unsigned option) {
        switch (option) {
        case TAKES_CLIENT:
                return "client";
        case TAKES_POOL:
                return "pool";
        case TAKES_VERIFY:
                return "verify";
        default:
                return "count";
        }
}

/* The command and its argument; `given` are the options that not all commands take. */
static enum options_outcome parse_command(int argc, char **argv, unsigned given,
                                          struct options *options, int *ret_status) {
        if (argc == 0)
                return usage_error(ret_status, "no command is given");
        options->command = find_command(argv[0]);
        if (!options->command)
                return usage_error(ret_status, "there is no command \"%s\"", argv[0]);
        for (unsigned option = TAKES_CLIENT; option <= TAKES_COUNT; option <<= 1)
                if (given & option & ~options->command->takes)
                        return usage_error(ret_status, "%s takes no --%s", argv[0],
                                           name_of(option));
        if (!(options->command->takes & NEEDS_CLIENT))
                return argc == 1 ? OPTIONS_GO
                                 : usage_error(ret_status, "%s takes no argument \"%s\"",
                                               argv[0], argv[1]);
        if (argc != 2)
                return usage_error(ret_status, "%s takes one argument, a client's number",
                                   argv[0]);
        if (!parse_number(argv[1], &options->client))
                return usage_error(ret_status, "\"%s\" is not a client's number", argv[1]);
        return OPTIONS_GO;
}

enum options_outcome options_parse(int argc, char **argv, struct options *ret_options,
                                   int *ret_status) {
        struct options options = { 0 };
        unsigned given = 0;
        int option;

        while ((option = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
                switch (option) {
                case OPTION_SOCKET:
                        options.socket_path = optarg;
                        break;
                case OPTION_JSON:
                        options.json = true;
                        break;
                case OPTION_NO_HEADER:
                        options.no_header = true;
                        break;
                case OPTION_CLIENT:
                        given |= TAKES_CLIENT;
                        if (!parse_number(optarg, &options.client))
                                return usage_error(ret_status,
                                                   "--client: \"%s\" is not a client's number",
                                                   optarg);
                        break;
                case OPTION_POOL:
                        given |= TAKES_POOL;
                        options.pool = optarg;
                        break;
                case OPTION_VERIFY:
                        given |= TAKES_VERIFY;
                        options.verify = true;
                        break;
                case OPTION_COUNT:
                        given |= TAKES_COUNT;
                        if (!parse_number(optarg, &options.count))
                                return usage_error(ret_status,
                                                   "--count: \"%s\" is not a number from 1 on",
                                                   optarg);
                        break;
                case OPTION_VERSION:
                        return answer(ret_status, PROGRAM " " SHMB_VERSION "\n");
                case 'h':
                        return answer(ret_status, help);
                default: /* getopt_long has said what */
                        fputs("Try '" PROGRAM " --help'.\n", stderr);
                        return leave(ret_status, EXIT_USAGE);
                }
        }
        if (parse_command(argc - optind, argv + optind, given, &options, ret_status) !=
            OPTIONS_GO)
                return OPTIONS_EXIT;
        *ret_options = options;
        return OPTIONS_GO;
}
