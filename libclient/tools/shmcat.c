/* SPDX-License-Identifier: Apache-2.0 */
#include "shmcat.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"

int failed(const char *format, ...) {
        va_list args;

        va_start(args, format);
        fputs("shmcat: ", stderr);
        vfprintf(stderr, format, args);
        fputc('\n', stderr);
        va_end(args);
        return STATUS_FAILED;
}

int library_failed(shmc_client *client, const char *what, int error) {
        char text[768] = "";

        shmc_last_error(client, text, sizeof(text));
        return failed("%s: %s", what, text[0] != '\0' ? text : strerror(-error));
}

/* ---- the command line ------------------------------------------------------------------ */

struct command {
        const char *name, *operand;
        int (*run)(shmc_client *client, const struct options *options, const char *operand);
        const char *letters; /* of the options it takes, beside those all take */
};

static const struct command commands[] = {
        { "put", "FILE", shmcat_put, "tPTou" },
        { "get", "TOKEN", shmcat_get, "O" },
};

static const struct option long_options[] = {
        { "socket", required_argument, NULL, 's' },  { "ttl", required_argument, NULL, 't' },
        { "once", no_argument, NULL, 'o' },          { "pool", required_argument, NULL, 'P' },
        { "timeout", required_argument, NULL, 'T' }, { "same-user", no_argument, NULL, 'u' },
        { "output", required_argument, NULL, 'O' },  { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },       { NULL, 0, NULL, 0 },
};

static void print_help(void) {
        fputs("Usage: shmcat put [OPTION]... FILE\n"
              "       shmcat get [OPTION]... TOKEN\n"
              "\n"
              "Hands bytes to other processes of this host through shared memory.\n"
              "\n"
              "put copies FILE (- for standard input) into shared memory, prints a token that\n"
              "stands for it, and exits; the memory stays until the token is used up or "
              "expires.\n"
              "\n"
              "      --ttl=SECONDS      let the token expire after that (300)\n"
              "      --once             let the first get use the token up\n"
              "      --same-user        let nobody but this user get it\n"
              "      --pool=NAME        take the memory from that pool (default)\n"
              "      --timeout=SECONDS  wait so long for memory that others hold (0)\n"
              "\n"
              "get writes the bytes that TOKEN stands for to standard output.\n"
              "\n"
              "      --output=FILE      write them to FILE\n"
              "\n"
              "Both:\n"
              "      --socket=PATH      the broker's socket; without it $SHMBROKER_SOCKET, "
              "else\n"
              "                           the user's broker, else the system's\n"
              "  -h, --help             print this, and exit\n"
              "      --version          print the version, and exit\n"
              "\n"
              "Exit status: 0 if it worked, 1 on a failure, 2 for a wrong command line.\n",
              stdout);
}

static int usage(const char *what, const char *value) {
        fprintf(stderr, "shmcat: %s%s\nTry 'shmcat --help'.\n", what, value);
        return STATUS_USAGE;
}

/* Decimal seconds; a fraction is allowed. */
static bool parse_seconds(const char *text, uint64_t *ret_ns) {
        char *end;

        errno = 0;
        double seconds = strtod(text, &end);
        if (errno != 0 || end == text || *end != '\0' || !isfinite(seconds) || seconds < 0 ||
            seconds > 1e9 || strpbrk(text, "xX"))
                return false;
        *ret_ns = (uint64_t)(seconds * 1e9);
        return true;
}

/* -1: go on; else the exit status. */
static int take_option(int letter, const char *value, struct options *options) {
        switch (letter) {
        case 's':
                options->socket = value;
                return -1;
        case 't':
                if (!parse_seconds(value, &options->ttl_ns) || options->ttl_ns == 0)
                        return usage("--ttl takes a number of seconds above 0, not ", value);
                return -1;
        case 'o':
                options->once = true;
                return -1;
        case 'P':
                options->pool = value;
                return -1;
        case 'T':
                if (!parse_seconds(value, &options->timeout_ns))
                        return usage("--timeout takes a number of seconds, not ", value);
                return -1;
        case 'u':
                options->same_user = true;
                return -1;
        case 'O':
                options->output = value;
                return -1;
        case 'h':
                print_help();
                return STATUS_OK;
        case 'V':
                printf("shmcat %s\n", shmc_version());
                return STATUS_OK;
        default: /* getopt_long has said what is wrong */
                fputs("Try 'shmcat --help'.\n", stderr);
                return STATUS_USAGE;
        }
}

/* What was taken must be what the command takes. */
static int check_letters(const struct command *command, const char *letters) {
        for (const char *c = letters; *c != '\0'; c++)
                for (const struct option *o = long_options; o->name; o++)
                        if (o->val == *c && *c != 's' && !strchr(command->letters, *c)) {
                                fprintf(stderr,
                                        "shmcat: %s takes no --%s\nTry 'shmcat --help'.\n",
                                        command->name, o->name);
                                return STATUS_USAGE;
                        }
        return -1;
}

static int parse(int argc, char **argv, struct options *options,
                 const struct command **ret_command, const char **ret_operand) {
        char letters[16] = "";
        int letter, r = -1;

        while ((letter = getopt_long(argc, argv, "h", long_options, NULL)) >= 0) {
                r = take_option(letter, optarg, options);
                if (r >= 0)
                        return r;
                if (!strchr(letters, letter))
                        letters[strlen(letters)] = (char)letter;
        }
        if (optind == argc)
                return usage("a command is missing: put or get", "");
        for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
                if (strcmp(argv[optind], commands[i].name) == 0)
                        *ret_command = &commands[i];
        if (!*ret_command)
                return usage("no such command: ", argv[optind]);
        if (argc - optind != 2)
                return usage(argc - optind < 2 ? "missing: " : "there must be nothing after ",
                             (*ret_command)->operand);
        *ret_operand = argv[optind + 1];
        return check_letters(*ret_command, letters);
}

/* Else the broker's socket would take the place of a closed standard output. */
static bool fill_standard_descriptors(void) {
        int fd;

        do
                fd = open("/dev/null", O_RDONLY);
        while (fd >= 0 && fd <= STDERR_FILENO);
        if (fd > STDERR_FILENO)
                close(fd);
        return fd >= 0;
}

static void client_done(shmc_client **client) {
        *client = shmc_close(*client);
}

int main(int argc, char **argv) {
        struct options options = { .ttl_ns = 300 * (uint64_t)1000000000 };
        SHMB_CLEANUP(client_done) shmc_client *client = NULL;
        const struct command *command = NULL;
        const char *operand = NULL;
        char text[512];
        int r = parse(argc, argv, &options, &command, &operand);

        if (r >= 0)
                return r;
        if (!fill_standard_descriptors())
                return failed("/dev/null: cannot open: %s", strerror(errno));
        /* A reader that goes away is a failed write with a name, not a silent death. */
        signal(SIGPIPE, SIG_IGN);
        r = shmc_connect(&client, options.socket, NULL);
        if (r < 0) {
                shmc_connect_error(r, options.socket, text, sizeof(text));
                return failed("%s %s: %s", command->name, operand, text);
        }
        return command->run(client, &options, operand);
}
