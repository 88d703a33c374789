/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A broker that stops, ends or dies, and a process that runs out of descriptors. Each scenario
 * has a broker of its own, started from the program that $SHMBROKERD names.
 */
#include "scenarios.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

struct broker {
        pid_t pid;
        char directory[64], socket[96], control[96], config[96];
};

static void file_done(FILE **file) {
        if (*file)
                fclose(*file);
}

static void broker_done(struct broker *broker) {
        if (broker->pid > 0) {
                kill(broker->pid, SIGCONT);
                kill(broker->pid, SIGKILL);
                waitpid(broker->pid, NULL, 0);
        }
        unlink(broker->socket);
        unlink(broker->control);
        unlink(broker->config);
        rmdir(broker->directory);
}

#define BROKER SHMB_CLEANUP(broker_done) struct broker

static void broker_main(const struct broker *broker) {
        char socket[128], control[128], config[128];

        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a scenario that crashes leaves none behind */
        snprintf(socket, sizeof(socket), "--socket=%s", broker->socket);
        snprintf(control, sizeof(control), "--control=%s", broker->control);
        snprintf(config, sizeof(config), "--config=%s", broker->config);
        execl(getenv("SHMBROKERD"), "shmbrokerd", socket, control, config, "--log-level=error",
              NULL);
        _exit(127);
}

/* Connects as soon as the socket is there; a change in the directory is what it waits for. */
static int connect_when_up(const struct broker *broker, shmc_client **ret_client) {
        struct shmc_connect_options options = SHMC_CONNECT_OPTIONS_INIT;
        SHMB_CLOSE int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        struct pollfd fd = { .fd = watch, .events = POLLIN };
        char events[4096];
        int r;

        options.timeout_ns = SECOND_NS;
        if (inotify_add_watch(watch, broker->directory, IN_CREATE | IN_ATTRIB) < 0)
                return -errno;
        for (;;) {
                r = shmc_connect(ret_client, broker->socket, &options);
                if (r != -ENOENT && r != -ECONNREFUSED)
                        return r;
                /* Between bind and listen nothing shows: then it looks again shortly. */
                if (poll(&fd, 1, r == -ENOENT ? 10000 : 1) < 0)
                        return -errno;
                if (read(watch, events, sizeof(events)) < 0 && errno != EAGAIN)
                        return -errno;
        }
}

static int write_config(const struct broker *broker) {
        SHMB_CLEANUP(file_done) FILE *file = fopen(broker->config, "we");

        CHECK(file);
        CHECK(fputs("[Pool " SMALL_POOL "]\nMemoryMax=4M\nClasses=2M\n", file) >= 0);
        return 0;
}

static int broker_start(struct broker *broker, shmc_client **ret_client) {
        CHECK(getenv("SHMBROKERD"));
        strcpy(broker->directory, "/tmp/client_scenarios.XXXXXX");
        CHECK(mkdtemp(broker->directory));
        snprintf(broker->socket, sizeof(broker->socket), "%s/broker", broker->directory);
        snprintf(broker->control, sizeof(broker->control), "%s/control", broker->directory);
        snprintf(broker->config, sizeof(broker->config), "%s/config", broker->directory);
        CHECK(write_config(broker) == 0);
        broker->pid = fork();
        if (broker->pid == 0)
                broker_main(broker);
        CHECK(broker->pid > 0);
        return connect_when_up(broker, ret_client);
}

/* A broker that does not read: giving back waits for nobody, and is not lost. */
static int stopped_broker(void) {
        struct shmc_alloc_options options = SHMC_ALLOC_OPTIONS_INIT;
        BROKER broker = { 0 };
        CLIENT client = NULL;
        shmc_buffer *buffers[500];
        BUFFER writer = NULL;
        shmc_buffer *none = NULL;
        struct shmc_token token;
        int status, sent = 0, r;

        options.flags = SHMC_ALLOC_UNCACHED;
        OK(NULL, broker_start(&broker, &client));
        OK(client, filled(client, NULL, 100, 5, &writer));
        for (int i = 0; i < 500; i++)
                OK(client, shmc_alloc(client, 4 * KIB, &options, &buffers[i]));
        CHECK(kill(broker.pid, SIGSTOP) == 0);
        CHECK(waitpid(broker.pid, &status, WUNTRACED) == broker.pid && WIFSTOPPED(status));
        for (int i = 0; i < 500; i++)
                shmc_buffer_unref(buffers[i]);
        CHECK(shmc_get_events(client) & POLLOUT);
        EXPECT(client, shmc_dispatch(client), 0);
        /* A token of an export that could not be sent would be a promise nobody keeps. */
        EXPECT(client, exported(writer, 0, &token), -ETIMEDOUT);
        EXPECT(client, shmc_sync(client), -ETIMEDOUT);
        EXPECT(client, shmc_import(client, &token, NULL, &none), -ETIMEDOUT);
        CHECK(kill(broker.pid, SIGCONT) == 0);
        do
                r = shmc_sync(client);
        while (r == -ETIMEDOUT && sent++ < 10);
        OK(client, r);
        CHECK(shmc_get_events(client) == POLLIN);
        OK(client, exported(writer, SHMC_EXPORT_CONFIRM, &token));
        CHECK(stats_of(client).held_buffers == 1);
        return 0;
}

struct waiting {
        shmc_client *client;
        shmc_buffer *buffer;
        int result;
};

static void *wait_for_small(void *userdata) {
        struct shmc_alloc_options options = SHMC_ALLOC_OPTIONS_INIT;
        struct waiting *waiting = userdata;

        options.pool = SMALL_POOL;
        options.timeout_ns = SHMC_FOREVER;
        waiting->result = shmc_alloc(waiting->client, 2 * MIB, &options, &waiting->buffer);
        return NULL;
}

/*
 * One thread waits for memory; another's release of it cannot be sent at once, and no further
 * call is made: the waiting thread has to send it.
 */
static int stopped_and_waiting(void) {
        struct shmc_alloc_options options = SHMC_ALLOC_OPTIONS_INIT;
        struct waiting waiting = { 0 };
        BROKER broker = { 0 };
        CLIENT client = NULL;
        shmc_buffer *buffers[402];
        pthread_t thread;
        int status;

        options.flags = SHMC_ALLOC_UNCACHED;
        OK(NULL, broker_start(&broker, &client));
        for (int i = 0; i < 400; i++)
                OK(client, shmc_alloc(client, 4 * KIB, &options, &buffers[i]));
        options.pool = SMALL_POOL;
        for (int i = 400; i < 402; i++)
                OK(client, shmc_alloc(client, 2 * MIB, &options, &buffers[i]));
        waiting.client = client;
        CHECK(pthread_create(&thread, NULL, wait_for_small, &waiting) == 0);
        CHECK(kill(broker.pid, SIGSTOP) == 0);
        CHECK(waitpid(broker.pid, &status, WUNTRACED) == broker.pid && WIFSTOPPED(status));
        for (int i = 0; i < 402; i++)
                shmc_buffer_unref(buffers[i]);
        CHECK(shmc_get_events(client) & POLLOUT);
        CHECK(kill(broker.pid, SIGCONT) == 0);
        pthread_join(thread, NULL);
        OK(client, waiting.result);
        shmc_buffer_unref(waiting.buffer);
        return 0;
}

/*
 * What is in the cache goes on, unless the broker, ending in good order, took it back; what
 * needs a broker says that it is gone, and why.
 */
static int goes_on_without(shmc_client *client, bool cache_stays, const char *why) {
        shmc_buffer *buffer = NULL;
        BUFFER more = NULL;
        char text[1024];

        for (int i = 0; i < 10 && cache_stays; i++) {
                OK(client, shmc_alloc(client, MIB, NULL, &buffer));
                memset(shmc_buffer_data(buffer), i, MIB);
                shmc_buffer_unref(buffer);
        }
        EXPECT(client, shmc_alloc(client, 8 * MIB, NULL, &more), -ECONNRESET);
        shmc_last_error(client, text, sizeof(text));
        if (!strstr(text, why)) {
                fprintf(stderr, "\"%s\" lacks \"%s\"\n", text, why);
                return -1;
        }
        EXPECT(client, shmc_sync(client), -ECONNRESET);
        EXPECT(client, shmc_dispatch(client), -ECONNRESET);
        return 0;
}

static void noted(shmc_client *client, int error, shmc_buffer *buffer, void *userdata) {
        int *result = userdata;

        (void)client;
        shmc_buffer_unref(buffer);
        *result = error;
}

static int broker_ends(int signal, const char *why) {
        BROKER broker = { 0 };
        CLIENT client = NULL;
        BUFFER held = NULL;
        BUFFER reader = NULL;
        shmc_buffer *cached = NULL, *none = NULL;
        shmc_request *request = NULL;
        struct shmc_token token;
        int result = 1;

        OK(NULL, broker_start(&broker, &client));
        OK(client, filled(client, NULL, 4 * KIB, 5, &held));
        OK(client, filled(client, NULL, MIB, 6, &cached));
        shmc_buffer_unref(cached);
        OK(client, exported(held, 0, &token));
        OK(client, shmc_import(client, &token, NULL, &reader));
        CHECK(kill(broker.pid, SIGSTOP) == 0);
        CHECK(waitpid(broker.pid, NULL, WUNTRACED) == broker.pid);
        OK(client, shmc_alloc_start(client, 8 * MIB, NULL, noted, &result, &request, &none));
        CHECK(kill(broker.pid, signal) == 0);
        CHECK(kill(broker.pid, SIGCONT) == 0);
        CHECK(waitpid(broker.pid, NULL, 0) == broker.pid);
        broker.pid = 0;
        while (result == 1) {
                struct pollfd fd = { .fd = shmc_get_fd(client), .events = POLLIN };
                CHECK(poll(&fd, 1, 10000) == 1);
                shmc_dispatch(client);
        }
        /* It may have been served in its last moments. */
        CHECK(result == -ECONNRESET || (signal != SIGKILL && result == 0));
        while (shmc_dispatch(client) >= 0)
                ;
        OK(client, has_only(held, 5));
        OK(client, has_only(reader, 5));
        return goes_on_without(client, signal == SIGKILL, why);
}

static int broker_killed(void) {
        return broker_ends(SIGKILL, "went away");
}

static int broker_shut_down(void) {
        return broker_ends(SIGTERM, "shutdown");
}

/* No descriptor left for what the broker sends: an error here, and the memory goes back. */
static int no_descriptors(void) {
        struct rlimit limit, none;
        BROKER broker = { 0 };
        CLIENT client = NULL;
        BUFFER buffer = NULL;
        BUFFER reader = NULL;
        struct shmc_token token;
        int fd = -1;

        OK(NULL, broker_start(&broker, &client));
        OK(client, filled(client, NULL, 100, 5, &buffer));
        OK(client, exported(buffer, 0, &token));
        CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
        none = limit;
        none.rlim_cur = 3;
        CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
        shmc_buffer *more = NULL;
        int alloc = shmc_alloc(client, MIB, NULL, &more);
        int import = shmc_import(client, &token, NULL, &reader);
        int descriptor = shmc_buffer_fd(buffer, 0, &fd);
        shmc_client *another = NULL;
        int connect = shmc_connect(&another, broker.socket, NULL);
        CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
        EXPECT(client, alloc, -EMFILE);
        EXPECT(client, import, -EMFILE);
        EXPECT(client, descriptor, -EMFILE);
        EXPECT(client, connect, -EMFILE);
        OK(client, shmc_sync(client));
        OK(client, shmc_import(client, &token, NULL, &reader));
        OK(client, has_only(reader, 5));
        CHECK(stats_of(client).held_buffers == 2);
        return 0;
}

/* Bytes of address space in use. */
static uint64_t mapped_bytes(void) {
        SHMB_CLEANUP(file_done) FILE *file = fopen("/proc/self/statm", "re");
        char line[128];

        if (!file || !fgets(line, sizeof(line), file))
                return 0;
        return strtoull(line, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* No address space for what the broker sends. */
static int no_address_space(void) {
        struct rlimit limit, tight;
        BROKER broker = { 0 };
        CLIENT client = NULL;
        BUFFER buffer = NULL;

        OK(NULL, broker_start(&broker, &client));
        CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
        tight = limit;
        tight.rlim_cur = mapped_bytes() + 64 * MIB;
        CHECK(setrlimit(RLIMIT_AS, &tight) == 0);
        int r = shmc_alloc(client, 128 * MIB, NULL, &buffer);
        CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
        EXPECT(client, r, -ENOMEM);
        OK(client, shmc_sync(client));
        OK(client, shmc_alloc(client, 128 * MIB, NULL, &buffer));
        return 0;
}

const struct scenario broker_scenarios[] = {
        { "stopped-broker", stopped_broker },
        { "stopped-and-waiting", stopped_and_waiting },
        { "broker-killed", broker_killed },
        { "broker-shut-down", broker_shut_down },
        { "no-descriptors", no_descriptors },
        { "no-address-space", no_address_space },
        { NULL, NULL },
};
