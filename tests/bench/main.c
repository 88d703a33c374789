/* SPDX-License-Identifier: Apache-2.0 */
/* shmbench: what things cost here, and what the machine itself would charge for them. */
#include <errno.h>
#include <fnmatch.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "private.h"
#include "process.h"

enum {
        EXIT_USAGE = 2,
        NAMES_MAX = 64,
        WATCHDOG_S = 300, /* no bench takes as long, unless it hangs */
};

static const struct bench benches[] = {
        { "limit.spin.oneway", "two processes spin on one cache line; half a round trip",
          run_spin, .count = 1000000 },
        { "limit.eventfd.oneway", "two processes sleep on eventfds; half a round trip",
          run_eventfd, .count = 20000 },
        { "limit.seqpacket.fd.rtt", "a server that only answers with a descriptor",
          run_seqpacket, .count = 20000 },
        { "limit.malloc64", "malloc(64) and free", run_malloc, .count = 1000000 },
        { "limit.memcpy", "memcpy into a warm mapping", run_memcpy, .count = 200,
          .sizes = { PAYLOAD } },
        { "pool.cached", "shmc_alloc and shmc_buffer_unref from the client's cache",
          run_pool_cached, .count = 1000000, .sizes = { PAYLOAD }, .broker = true },
        { "pool.brokered", "shmc_alloc past the cache: a round trip with a descriptor",
          run_pool_brokered, .count = 10000, .sizes = { 4 * KIB, PAYLOAD }, .broker = true },
        { "pool.cold", "shmc_alloc of memory the broker has yet to make", run_pool_cold,
          .count = 48, .sizes = { PAYLOAD }, .broker = true },
        { "token.import", "shmc_import of a buffer already mapped", run_token_import,
          .count = 10000, .sizes = { PAYLOAD }, .broker = true },
        { "mixed.cold1g", "4 KiB round trips, alone and while another client takes 1 GiB cold",
          run_mixed, .count = 20000, .sizes = { 4 * KIB }, .broker = true },
        { "scale.1000", "1,000 connections and 20,000 buffers at once: memory and round trip",
          run_scale, .count = 10000, .sizes = { 4 * KIB }, .broker = true },
};
#define BENCHES (sizeof(benches) / sizeof(benches[0]))

static void usage(FILE *to) {
        fprintf(to, "Usage: shmbench list\n"
                    "       shmbench run NAME... [OPTION...]\n"
                    "\n"
                    "NAME is one that `shmbench list` shows, a pattern such as 'pool.*', or "
                    "`all`.\n"
                    "Benches that need a broker use the one $SHMBROKER_SOCKET names, and "
                    "otherwise\n"
                    "each start a private one with `shmbrokerd --run` ($SHMBROKERD, the one of "
                    "the\n"
                    "same build tree, or the one in PATH). For a round trip both sides are "
                    "kept on\n"
                    "two different processors, where there are two.\n"
                    "\n"
                    "  -n, --count COUNT     operations to measure\n"
                    "  -s, --size BYTES...   payload sizes, with K, M or G\n"
                    "  -t, --seconds S       end each measurement after S seconds\n"
                    "  -j, --json            one JSON object a line: name, size, n, p50_ns, "
                    "p99_ns, ...\n"
                    "      --no-header       a table without its heading\n"
                    "  -h, --help            this\n"
                    "      --version         the version\n"
                    "\n"
                    "Exit status: 0 measured, 1 something failed, 2 wrong usage.\n");
}

static int usage_error(const char *what, const char *value) {
        fprintf(stderr, "shmbench: %s '%s'; see shmbench --help\n", what, value);
        return EXIT_USAGE;
}

/* Digits with an optional K, M or G, above 0. */
static bool parse_size(const char *text, size_t *ret_size) {
        char *end;

        errno = 0;
        unsigned long long value = strtoull(text, &end, 10);
        if (errno || end == text || *text == '-' || value == 0)
                return false;
        unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
        if (end[shift != 0] != '\0' || value > SIZE_MAX >> shift)
                return false;
        *ret_size = (size_t)value << shift;
        return true;
}

static bool add_size(struct options *options, const char *text) {
        return options->n_sizes < SIZES_MAX &&
               parse_size(text, &options->sizes[options->n_sizes]) && ++options->n_sizes;
}

static bool parse_seconds(const char *text, double *ret_seconds) {
        char *end;
        double value = strtod(text, &end);

        if (end == text || *end != '\0' || !(value > 0 && value < WATCHDOG_S))
                return false;
        *ret_seconds = value;
        return true;
}

/* What to run, in the order of the table. */
static bool wanted[BENCHES];

static bool want(const char *pattern) {
        bool found = false;

        for (size_t i = 0; i < BENCHES; i++)
                if (strcmp(pattern, "all") == 0 || fnmatch(pattern, benches[i].name, 0) == 0)
                        wanted[i] = found = true;
        return found;
}

/* Of a watchdog, or of someone tired of waiting. Helpers die with this process. */
static void give_up(int signal) {
        static const char text[] = "shmbench: no result in time, giving up\n";

        /* The broker may be another's; sched_setaffinity is a bare system call. */
        unpin(); /* NOLINT(bugprone-signal-handler,cert-sig30-c) */
        if (signal == SIGALRM)
                (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
        _exit(signal == SIGALRM ? EXIT_FAILURE : 128 + signal);
}

static int run_here(const struct bench *bench, const struct options *options) {
        size_t n = options->n_sizes && bench->sizes[0] ? options->n_sizes : 0;
        const size_t *sizes = n ? options->sizes : bench->sizes;
        int failed = 0;

        if (!n)
                n = bench->sizes[1] ? 2 : 1;
        for (size_t i = 0; i < n; i++) {
                struct context context = {
                        .bench = bench,
                        .options = options,
                        .size = sizes[i],
                        /* By the clock alone, as many as fit. */
                        .count = options->count         ? options->count
                                 : options->seconds > 0 ? 0
                                                        : bench->count,
                };
                alarm(WATCHDOG_S);
                int r = bench->run(&context);
                if (r < 0)
                        failed = r;
                alarm(0);
        }
        return failed;
}

static int run_wanted(const struct options *options) {
        bool failed = false;

        signal(SIGALRM, give_up);
        signal(SIGINT, give_up);
        signal(SIGTERM, give_up);
        report_header(options);
        for (size_t i = 0; i < BENCHES; i++) {
                if (!wanted[i])
                        continue;
                int r = benches[i].broker && !broker_is_given()
                                ? broker_run(&benches[i], options)
                                : run_here(&benches[i], options);
                failed |= r < 0;
        }
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int list(void) {
        for (size_t i = 0; i < BENCHES; i++)
                printf("%-24s %s\n", benches[i].name, benches[i].about);
        return EXIT_SUCCESS;
}

/* The command and the names behind it. */
static int run_command(int argc, char **argv, struct options *options) {
        if (argc == 0) {
                usage(stderr);
                return EXIT_USAGE;
        }
        if (strcmp(argv[0], "list") == 0)
                return argc == 1 ? list() : usage_error("unexpected argument", argv[1]);
        if (strcmp(argv[0], "run") != 0)
                return usage_error("unknown command", argv[0]);
        if (argc == 1)
                return usage_error("a NAME is missing after", argv[0]);
        for (int i = 1; i < argc; i++) {
                /* `--size 4096 20M`: no bench has a name that begins with a digit. */
                bool digit = argv[i][0] >= '0' && argv[i][0] <= '9';
                if (digit && options->n_sizes > 0) {
                        if (!add_size(options, argv[i]))
                                return usage_error("not a size", argv[i]);
                } else if (!want(argv[i])) {
                        return usage_error("no such bench:", argv[i]);
                }
        }
        return run_wanted(options);
}

int main(int argc, char **argv) {
        enum { NO_HEADER = 256, VERSION };
        static const struct option longs[] = {
                { "count", required_argument, NULL, 'n' },
                { "size", required_argument, NULL, 's' },
                { "seconds", required_argument, NULL, 't' },
                { "json", no_argument, NULL, 'j' },
                { "no-header", no_argument, NULL, NO_HEADER },
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, VERSION },
                { 0 },
        };
        struct options options = { 0 };
        int c;

        while ((c = getopt_long(argc, argv, "n:s:t:jh", longs, NULL)) >= 0) {
                switch (c) {
                case 'n':
                        if (!parse_size(optarg, &options.count))
                                return usage_error("not a count above 0:", optarg);
                        break;
                case 's':
                        if (!add_size(&options, optarg))
                                return usage_error("not a size:", optarg);
                        break;
                case 't':
                        if (!parse_seconds(optarg, &options.seconds))
                                return usage_error("not a time:", optarg);
                        break;
                case 'j':
                        options.json = true;
                        break;
                case NO_HEADER:
                        options.no_header = true;
                        break;
                case 'h':
                        usage(stdout);
                        return EXIT_SUCCESS;
                case VERSION:
                        puts("shmbench " SHMB_VERSION);
                        return EXIT_SUCCESS;
                default:
                        return EXIT_USAGE;
                }
        }
        return run_command(argc - optind, argv + optind, &options);
}
