/* SPDX-License-Identifier: Apache-2.0 */
/* Processes, threads, and connections that end. */
#include "scenarios.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* 0 if the child exited with status 0. */
static int child_ended_well(pid_t pid) {
        int status;

        if (pid < 0 || waitpid(pid, &status, 0) != pid)
                return -1;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                return 0;
        fprintf(stderr, "the child ended with status %#x\n", (unsigned)status);
        return -1;
}

/* ---- forks ----------------------------------------------------------------------------- */

struct inherited {
        shmc_client *client;
        shmc_buffer *writer, *reader;
        void *written, *read;
        struct shmc_token token;
};

static int in_forked_child(struct inherited *i) {
        struct shmc_stats stats = { sizeof(stats) };
        shmc_buffer *buffer = NULL;
        shmc_request *request = NULL;
        shmc_client *own = NULL;
        char text[256] = "";
        int fd = -1;

        /* Before anything else can be mapped there. */
        CHECK(msync(i->written, KIB, MS_ASYNC) < 0 && errno == ENOMEM);
        CHECK(msync(i->read, KIB, MS_ASYNC) < 0 && errno == ENOMEM);
        EXPECT(NULL, shmc_alloc(i->client, 1, NULL, &buffer), -ECHILD);
        EXPECT(NULL, shmc_import(i->client, &i->token, NULL, &buffer), -ECHILD);
        EXPECT(NULL, shmc_alloc_start(i->client, 1, NULL, NULL, NULL, &request, &buffer),
               -ECHILD);
        EXPECT(NULL, shmc_import_start(i->client, &i->token, NULL, NULL, &request), -ECHILD);
        EXPECT(NULL, shmc_buffer_export(i->writer, NULL, &i->token), -ECHILD);
        EXPECT(NULL, shmc_buffer_fd(i->writer, 0, &fd), -ECHILD);
        EXPECT(NULL, shmc_buffer_resize(i->writer, 1), -ECHILD);
        EXPECT(NULL, shmc_revoke(i->client, &i->token), -ECHILD);
        EXPECT(NULL, shmc_sync(i->client), -ECHILD);
        EXPECT(NULL, shmc_trim(i->client), -ECHILD);
        EXPECT(NULL, shmc_dispatch(i->client), -ECHILD);
        EXPECT(NULL, shmc_get_fd(i->client), -ECHILD);
        EXPECT(NULL, shmc_get_events(i->client), -ECHILD);
        EXPECT(NULL, shmc_get_stats(i->client, &stats), -ECHILD);
        shmc_last_error(i->client, text, sizeof(text));
        CHECK(strstr(text, "child"));
        CHECK(!shmc_buffer_data(i->writer) && !shmc_buffer_data(i->reader));
        /* In either order, all of it can be let go of. */
        shmc_buffer_unref(i->reader);
        shmc_close(i->client);
        shmc_buffer_unref(i->writer);
        /* And the child can make a connection of its own. */
        OK(NULL, connected(&own));
        OK(own, shmc_import(own, &i->token, NULL, &buffer));
        OK(own, has_only(buffer, 5));
        shmc_buffer_unref(buffer);
        shmc_close(own);
        return 0;
}

static int fork_child(void) {
        struct inherited i = { 0 };
        shmc_buffer *cached = NULL;

        OK(NULL, connected(&i.client));
        OK(i.client, filled(i.client, NULL, MIB, 5, &i.writer));
        OK(i.client, filled(i.client, NULL, 4 * KIB, 6, &cached));
        shmc_buffer_unref(cached);
        OK(i.client, exported(i.writer, 0, &i.token));
        OK(i.client, shmc_import(i.client, &i.token, NULL, &i.reader));
        i.written = shmc_buffer_data(i.writer);
        i.read = shmc_buffer_data(i.reader);
        pid_t pid = fork();
        if (pid == 0)
                _exit(in_forked_child(&i) == 0 ? 0 : 1);
        OK(NULL, child_ended_well(pid));
        /* The parent's has taken no harm. */
        OK(i.client, has_only(i.reader, 5));
        OK(i.client, shmc_sync(i.client));
        OK(i.client, shmc_alloc(i.client, 4 * KIB, NULL, &cached));
        OK(i.client, has_only(cached, 6));
        shmc_buffer_unref(cached);
        shmc_buffer_unref(i.writer);
        shmc_buffer_unref(i.reader);
        shmc_close(i.client);
        return 0;
}

/* The exporter is gone before the token is used. */
static int export_and_exit(int pipe_fd) {
        CLIENT client = NULL;
        BUFFER buffer = NULL;
        struct shmc_token token;

        OK(NULL, connected(&client));
        OK(client, filled(client, NULL, 20 * MIB, 5, &buffer));
        OK(client, exported(buffer, 0, &token));
        CHECK(write(pipe_fd, &token, sizeof(token)) == sizeof(token));
        return 0;
}

static int exporter_exits(void) {
        CLIENT client = NULL;
        BUFFER buffer = NULL;
        struct shmc_token token;
        int fds[2];

        CHECK(pipe(fds) == 0);
        pid_t pid = fork();
        if (pid == 0)
                _exit(export_and_exit(fds[1]) == 0 ? 0 : 1);
        close(fds[1]);
        ssize_t size = read(fds[0], &token, sizeof(token));
        close(fds[0]);
        OK(NULL, child_ended_well(pid));
        CHECK(size == sizeof(token));
        OK(NULL, connected(&client));
        OK(client, shmc_import(client, &token, NULL, &buffer));
        return has_only(buffer, 5);
}

/* ---- threads --------------------------------------------------------------------------- */

enum { THREADS = 8, ROUNDS = 400 };

struct hammer {
        shmc_client *client, *other;
        unsigned index;
        int result;
};

static int hammer_once(struct hammer *hammer, unsigned round) {
        shmc_client *client = round % 3 == 0 ? hammer->other : hammer->client;
        size_t size = 4 * KIB << round % 5;
        int fill = (int)(hammer->index * 16 + round % 16);
        BUFFER writer = NULL;
        BUFFER reader = NULL;
        struct shmc_token token;

        OK(hammer->client, filled(hammer->client, NULL, size, fill, &writer));
        if (round % 2 == 0)
                return has_only(writer, fill);
        OK(hammer->client, exported(writer, round % 4 == 1 ? SHMC_EXPORT_ONCE : 0, &token));
        OK(client, shmc_import(client, &token, NULL, &reader));
        OK(client, has_only(reader, fill));
        if (round % 7 == 0)
                writer = shmc_buffer_unref(writer);
        if (round % 50 == 49)
                OK(hammer->client, shmc_sync(hammer->client));
        if (round % 100 == 99)
                shmc_trim(hammer->client);
        return has_only(reader, fill);
}

static void *hammer(void *userdata) {
        struct hammer *hammer = userdata;

        for (unsigned round = 0; round < ROUNDS && hammer->result == 0; round++)
                hammer->result = hammer_once(hammer, round);
        return NULL;
}

static int threads(void) {
        struct hammer hammers[THREADS];
        pthread_t handles[THREADS];
        CLIENT client = NULL;
        CLIENT other = NULL;
        int failures = 0;

        OK(NULL, connected(&client));
        OK(NULL, connected(&other));
        for (unsigned i = 0; i < THREADS; i++) {
                hammers[i] = (struct hammer){ .client = client, .other = other, .index = i };
                CHECK(pthread_create(&handles[i], NULL, hammer, &hammers[i]) == 0);
        }
        for (unsigned i = 0; i < THREADS; i++) {
                pthread_join(handles[i], NULL);
                failures += hammers[i].result != 0;
        }
        EXPECT(client, failures, 0);
        OK(client, shmc_sync(client));
        OK(other, shmc_sync(other));
        CHECK(stats_of(client).held_buffers == 0 && stats_of(other).held_buffers == 0);
        return 0;
}

/* The same with a small cache and few slots: evictions all the time. */
static int threads_tight(void) {
        struct shmc_connect_options options = SHMC_CONNECT_OPTIONS_INIT;
        struct hammer hammers[THREADS];
        pthread_t handles[THREADS];
        CLIENT client = NULL;
        int failures = 0;

        options.max_buffers = 4 * THREADS;
        options.cache_bytes = 128 * KIB;
        OK(NULL, shmc_connect(&client, NULL, &options));
        for (unsigned i = 0; i < THREADS; i++) {
                hammers[i] = (struct hammer){ .client = client, .other = client, .index = i };
                CHECK(pthread_create(&handles[i], NULL, hammer, &hammers[i]) == 0);
        }
        for (unsigned i = 0; i < THREADS; i++) {
                pthread_join(handles[i], NULL);
                failures += hammers[i].result != 0;
        }
        EXPECT(client, failures, 0);
        OK(client, shmc_sync(client));
        return 0;
}

struct loop {
        shmc_client *client;
        _Atomic(bool) stop;
        _Atomic(int) calls, refusals;
        int started;
};

static void counted(shmc_client *client, int error, shmc_buffer *buffer, void *userdata) {
        struct loop *loop = userdata;

        (void)client;
        loop->calls++;
        loop->refusals += error != 0;
        shmc_buffer_unref(buffer);
}

static void *blocking_calls(void *userdata) {
        struct loop *loop = userdata;

        while (!atomic_load(&loop->stop))
                shmc_sync(loop->client);
        return NULL;
}

/* One thread has an event loop, another makes blocking calls: either may read the answers. */
static int threads_and_loop(void) {
        struct shmc_alloc_options options = SHMC_ALLOC_OPTIONS_INIT;
        struct loop loop = { 0 };
        CLIENT client = NULL;
        pthread_t thread;

        options.flags = SHMC_ALLOC_UNCACHED;
        OK(NULL, connected(&client));
        loop.client = client;
        CHECK(pthread_create(&thread, NULL, blocking_calls, &loop) == 0);
        for (; loop.started < 500; loop.started++) {
                shmc_request *request = NULL;
                shmc_buffer *buffer = NULL;
                int r;
                do {
                        shmc_dispatch(client);
                        r = shmc_alloc_start(client, 4 * KIB, &options, counted, &loop,
                                             &request, &buffer);
                } while (r == -EAGAIN);
                if (r != 0)
                        break;
        }
        atomic_store(&loop.stop, true);
        pthread_join(thread, NULL);
        OK(client, shmc_sync(client)); /* what was asked before is answered by then, or soon */
        while (loop.calls < loop.started && shmc_sync(client) == 0)
                ;
        EXPECT(client, loop.calls, 500);
        EXPECT(client, loop.refusals, 0);
        return 0;
}

/* ---- the end of a connection ----------------------------------------------------------- */

static int close_first(void) {
        shmc_client *client = NULL;
        shmc_buffer *writer = NULL, *reader = NULL;
        struct shmc_token token;

        OK(NULL, connected(&client));
        OK(client, filled(client, NULL, MIB, 5, &writer));
        OK(client, exported(writer, 0, &token));
        OK(client, shmc_import(client, &token, NULL, &reader));
        CHECK(shmc_close(client) == NULL);
        CHECK(shmc_close(NULL) == NULL);
        OK(NULL, has_only(writer, 5));
        OK(NULL, has_only(reader, 5));
        CHECK(!shmc_buffer_unref(reader) && !shmc_buffer_unref(writer));
        return 0;
}

static int bad_addresses(void) {
        struct shmc_connect_options options = SHMC_CONNECT_OPTIONS_INIT;
        shmc_client *client = NULL;
        char text[512], longer[300];

        memset(longer, 'x', sizeof(longer) - 1);
        longer[sizeof(longer) - 1] = '\0';
        EXPECT(NULL, shmc_connect(&client, "/nonexistent/broker.sock", NULL), -ENOENT);
        shmc_connect_error(-ENOENT, "/nonexistent/broker.sock", text, sizeof(text));
        CHECK(strstr(text, "/nonexistent/broker.sock") && strstr(text, "shmbrokerd"));
        EXPECT(NULL, shmc_connect(&client, "@shmbroker-nobody", NULL), -ECONNREFUSED);
        EXPECT(NULL, shmc_connect(&client, "/proc/self/exe", NULL), -ECONNREFUSED);
        EXPECT(NULL, shmc_connect(&client, longer, NULL), -EINVAL);
        EXPECT(NULL, shmc_connect(&client, "", NULL), -EINVAL);
        EXPECT(NULL, shmc_connect(&client, "@", NULL), -EINVAL);
        options.name = "not a name";
        EXPECT(NULL, shmc_connect(&client, NULL, &options), -EINVAL);
        options.name = NULL;
        options.flags = 1;
        EXPECT(NULL, shmc_connect(&client, NULL, &options), -EINVAL);
        CHECK(!client);
        return 0;
}

static int wrong_socket_type(void) {
        struct sockaddr_un name = { .sun_family = AF_UNIX };
        char directory[] = "/tmp/client_scenarios.XXXXXX";
        SHMB_CLOSE int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        shmc_client *client = NULL;

        CHECK(mkdtemp(directory));
        snprintf(name.sun_path, sizeof(name.sun_path), "%s/socket", directory);
        int r = bind(listener, (struct sockaddr *)&name, sizeof(name)) < 0 ||
                                listen(listener, 1) < 0
                        ? -errno
                        : shmc_connect(&client, name.sun_path, NULL);
        unlink(name.sun_path);
        rmdir(directory);
        EXPECT(NULL, r, -EPROTOTYPE);
        return 0;
}

/* Something that accepts and says nothing, or whose backlog is full. */
static int deaf_broker(void) {
        struct shmc_connect_options options = SHMC_CONNECT_OPTIONS_INIT;
        struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "\0shmbroker-deaf" };
        SHMB_CLOSE int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        shmc_client *client = NULL;

        options.timeout_ns = SECOND_NS / 20;
        CHECK(bind(listener, (struct sockaddr *)&name, sizeof(sa_family_t) + 15) == 0 &&
              listen(listener, 0) == 0);
        for (int i = 0; i < 3; i++)
                EXPECT(NULL, shmc_connect(&client, "@shmbroker-deaf", &options), -ETIMEDOUT);
        CHECK(!client);
        return 0;
}

const struct scenario process_scenarios[] = {
        { "fork-child", fork_child },
        { "exporter-exits", exporter_exits },
        { "threads", threads },
        { "threads-tight", threads_tight },
        { "threads-and-loop", threads_and_loop },
        { "close-first", close_first },
        { "bad-addresses", bad_addresses },
        { "wrong-socket-type", wrong_socket_type },
        { "deaf-broker", deaf_broker },
        { NULL, NULL },
};
