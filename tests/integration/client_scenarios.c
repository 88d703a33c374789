/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_scenarios NAME... - the library against a live broker, at $SHMBROKER_SOCKET, that
 * has client_scenarios.conf; some start one of their own, from the program that $SHMBROKERD
 * names. "list" prints the names, "all" runs them all. Exit status 0 if
 * all went as they should and no descriptor was left open; else 1, with the reason on stderr.
 */
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "scenarios.h"

/* A scenario that takes longer hangs. */
enum { DEADLINE_S = 60, DISPATCH_DEADLINE_MS = 10000 };

int unexpected(shmc_client *client, const char *function, int line, const char *call,
               int64_t got, int64_t wanted) {
        char text[768] = "";

        if (client)
                shmc_last_error(client, text, sizeof(text));
        fprintf(stderr, "%s:%d: %s gave %lld, not %lld (last error: %s)\n", function, line,
                call, (long long)got, (long long)wanted, text);
        return -1;
}

int connected(shmc_client **ret_client) {
        char text[512];
        int r = shmc_connect(ret_client, NULL, NULL);

        if (r == 0)
                return 0;
        shmc_connect_error(r, NULL, text, sizeof(text));
        fprintf(stderr, "%s\n", text);
        return r;
}

int filled(shmc_client *client, const char *pool, size_t size, int fill,
           shmc_buffer **ret_buffer) {
        struct shmc_alloc_options options = SHMC_ALLOC_OPTIONS_INIT;

        options.pool = pool;
        int r = shmc_alloc(client, size, &options, ret_buffer);
        if (r == 0)
                memset(shmc_buffer_data(*ret_buffer), fill, size);
        return r;
}

int has_only(const shmc_buffer *buffer, int fill) {
        const uint8_t *data = shmc_buffer_data(buffer);

        for (size_t i = 0; i < shmc_buffer_size(buffer); i++)
                if (data[i] != (uint8_t)fill) {
                        fprintf(stderr, "byte %zu of %zu is %u, not %d\n", i,
                                shmc_buffer_size(buffer), data[i], fill);
                        return -1;
                }
        return 0;
}

int exported(shmc_buffer *buffer, uint32_t flags, struct shmc_token *ret_token) {
        struct shmc_export_options options = SHMC_EXPORT_OPTIONS_INIT;

        options.flags = flags;
        return shmc_buffer_export(buffer, &options, ret_token);
}

struct shmc_stats stats_of(shmc_client *client) {
        struct shmc_stats stats = { .struct_size = sizeof(stats) };

        shmc_get_stats(client, &stats);
        return stats;
}

int dispatch_until(shmc_client *client, const bool *flag) {
        while (!*flag) {
                struct pollfd fd = { .fd = shmc_get_fd(client),
                                     .events = (short)shmc_get_events(client) };
                if (poll(&fd, 1, DISPATCH_DEADLINE_MS) <= 0 || shmc_dispatch(client) < 0)
                        return -1;
        }
        return 0;
}

/* ---- running --------------------------------------------------------------------------- */

static int open_descriptors(void) {
        DIR *directory = opendir("/proc/self/fd");
        int count = 0;

        while (directory && readdir(directory))
                count++;
        if (directory)
                closedir(directory);
        return count;
}

static int run(const struct scenario *scenario) {
        int before = open_descriptors();

        alarm(DEADLINE_S); /* its signal's name is reason enough */
        int r = scenario->run();
        alarm(0);
        int after = open_descriptors();
        if (r == 0 && after != before) {
                fprintf(stderr, "%s: %d descriptors before, %d after\n", scenario->name, before,
                        after);
                r = -1;
        }
        printf("%s %s\n", r == 0 ? "ok" : "FAILED", scenario->name);
        fflush(stdout);
        return r;
}

/* Those of that name, or all, or only their names. How many, or -1 if one failed. */
static int run_some(const struct scenario *scenarios, const char *name) {
        bool failed = false;
        int count = 0;

        for (const struct scenario *s = scenarios; s->name; s++) {
                if (strcmp(name, "list") == 0)
                        count = puts(s->name) < 0 ? count : count + 1;
                else if (strcmp(name, "all") == 0 || strcmp(name, s->name) == 0) {
                        failed |= run(s) != 0;
                        count++;
                }
        }
        return failed ? -1 : count;
}

int main(int argc, char **argv) {
        const struct scenario *const groups[] = { buffer_scenarios, sharing_scenarios,
                                                  async_scenarios,  process_scenarios,
                                                  broker_scenarios, hostile_scenarios,
                                                  thread_scenarios };
        int status = argc > 1 ? 0 : 1;

        if (argc < 2)
                fputs("usage: client_scenarios NAME... | all | list\n", stderr);
        for (int i = 1; i < argc; i++) {
                int count = 0;
                for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++) {
                        int n = run_some(groups[g], argv[i]);
                        if (n < 0)
                                status = 1;
                        count += n != 0;
                }
                if (count == 0) {
                        fprintf(stderr, "no scenario is named %s\n", argv[i]);
                        status = 1;
                }
        }
        return status;
}
