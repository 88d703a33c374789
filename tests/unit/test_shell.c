/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's shell: log, command line, --run and what systemd passes. Each case runs in a
 * process of its own, because all of it is about the process: descriptors, signals,
 * environment. A case returns the line that failed, or 0.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "log.h"
#include "options.h"
#include "run.h"
#include "sdglue.h"

#define CHECK(condition)                                                                       \
        do {                                                                                   \
                if (!(condition))                                                              \
                        return __LINE__;                                                       \
        } while (0)

#define NOT_HERE (-3) /* this process is not allowed to try it */

static int shared_output; /* a memfd that is stdout and stderr of the case */
static char output[16384];

static unsigned open_descriptors(void) {
        unsigned n = 0;
        DIR *directory = opendir("/proc/self/fd");

        while (directory && readdir(directory))
                n++;
        if (directory)
                closedir(directory);
        return n;
}

/* What the case wrote so far. */
static const char *written(void) {
        fflush(NULL);
        ssize_t n = pread(shared_output, output, sizeof output - 1, 0);
        output[n < 0 ? 0 : n] = '\0';
        return output;
}

static void in_process(int (*test)(void)) {
        int wait_status;
        volatile int *result = mmap(NULL, sizeof *result, PROT_READ | PROT_WRITE,
                                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        assert_true(result != MAP_FAILED);
        *result = -2;
        shared_output = memfd_create("output", MFD_CLOEXEC);
        assert_true(shared_output >= 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                alarm(30);
                dup2(shared_output, STDOUT_FILENO);
                dup2(shared_output, STDERR_FILENO);
                shared_output = STDERR_FILENO;
                closefrom(3);
                unsigned before = open_descriptors();
                int failed = test();
                *result = failed == 0 && open_descriptors() != before ? -1 : failed;
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &wait_status, 0), pid);
        int line = *result;
        const char *said = written();
        close(shared_output);
        munmap((void *)result, sizeof *result);
        if (line == NOT_HERE)
                skip();
        if (line == -2)
                fail_msg("the case died with wait status %d: %s", wait_status, said);
        if (line == -1)
                fail_msg("descriptors are left open: %s", said);
        if (line != 0)
                fail_msg("line %d: %s", line, said);
}

/* ---- the log ---------------------------------------------------------------------- */

static int lines_of_the_log(void) {
        CHECK(log_level_parse("debug") == LOG_LEVEL_DEBUG);
        CHECK(log_level_parse("Debug") == -EINVAL);
        CHECK(strcmp(log_level_name(LOG_LEVEL_WARNING), "warning") == 0);

        setenv("JOURNAL_STREAM", "1:1", 1); /* once ours, but stderr leads elsewhere now */
        log_open();
        errno = EDOM;
        log_debug("not shown");
        log_info("plain %d%%", 5);
        log_with(LOG_LEVEL_WARNING,
                 LOG_FIELDS(LOG_NUMBER("pid", 12), LOG_TEXT("reason", "a\n\"b\"\033\\")),
                 "two\nlines");
        log_set_level(LOG_LEVEL_ERROR);
        log_warning("not shown either");
        log_error("last");
        CHECK(errno == EDOM);
        CHECK(strcmp(written(), "shmbrokerd: plain 5%\n"
                                "shmbrokerd: two lines (pid=12 "
                                "reason=\"a\\x0a\\\"b\\\"\\x1b\\\\\")\n"
                                "shmbrokerd: last\n") == 0);
        return 0;
}

static int long_messages(void) {
        char text[4096];

        memset(text, 'x', sizeof text - 1);
        text[sizeof text - 1] = '\0';
        log_with(LOG_LEVEL_ERROR, LOG_FIELDS(LOG_TEXT("reason", text)), "%s", text);
        log_error("next");
        const char *said = written();
        CHECK(strlen(said) < 1200);
        CHECK(strstr(said, "x\nshmbrokerd: next\n"));
        return 0;
}

static int rates(void) {
        struct log_rate rate = { .site = "here" };
        uint32_t suppressed = 77;

        for (unsigned i = 0; i < LOG_BURST; i++)
                CHECK(log_rate_step(&rate, 5 + i, &suppressed) && suppressed == 0);
        for (unsigned i = 0; i < 1000; i++)
                CHECK(!log_rate_step(&rate, 100, &suppressed) && suppressed == 0);
        CHECK(!log_rate_step(&rate, 5 + LOG_INTERVAL_NS - 1, &suppressed));
        CHECK(log_rate_step(&rate, 5 + LOG_INTERVAL_NS, &suppressed) && suppressed == 1001);
        CHECK(log_rate_step(&rate, 6 + LOG_INTERVAL_NS, &suppressed) && suppressed == 0);
        return 0;
}

static int suppression(void) {
        char expected[128];
        int line = 0;

        for (unsigned i = 0; i < LOG_BURST + 3; i++) {
                line = __LINE__ + 1;
                log_limited(LOG_LEVEL_WARNING, LOG_FIELDS(LOG_NUMBER("n", i)), "again");
        }
        log_flush_suppressed();
        log_flush_suppressed();
        snprintf(expected, sizeof expected,
                 "again (n=9)\nshmbrokerd: 3 messages like it suppressed "
                 "(site=\"test_shell.c:%d\")\n",
                 line);
        const char *end = strstr(written(), expected);
        CHECK(end && strcmp(end, expected) == 0);
        return 0;
}

/*
 * journald's socket is at a fixed path: put one of ours there, in a namespace of mounts. That
 * takes root, and not in every container.
 */
static int journal_socket(void) {
        struct sockaddr_un address = { AF_UNIX, "/run/systemd/journal/socket" };
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        if (fd < 0 || unshare(CLONE_NEWNS) < 0 ||
            mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("tmpfs", "/run", "tmpfs", 0, NULL) < 0 || mkdir("/run/systemd", 0755) < 0 ||
            mkdir("/run/systemd/journal", 0755) < 0 ||
            bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
                return -1;
        return fd;
}

static int fields_of_the_journal(void) {
        char stream[64], message[4096] = "\n";
        struct stat status;
        int journal = journal_socket();

        if (journal < 0)
                return NOT_HERE;
        CHECK(fstat(STDERR_FILENO, &status) == 0);
        snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)status.st_dev,
                 (uintmax_t)status.st_ino);
        setenv("JOURNAL_STREAM", stream, 1);
        log_open();
        log_with(LOG_LEVEL_WARNING,
                 LOG_FIELDS(LOG_NUMBER("pid", 12), LOG_TEXT("reason", "why")), "gone %d", 1);
        CHECK(recv(journal, message + 1, sizeof message - 2, 0) > 0);
        CHECK(strstr(message, "\nMESSAGE=gone 1 (pid=12 reason=\"why\")\n"));
        CHECK(strstr(message, "\nPRIORITY=4\n"));
        CHECK(strstr(message, "\nSYSLOG_IDENTIFIER=shmbrokerd\n"));
        CHECK(strstr(message, "\nSHMB_PID=12\n"));
        CHECK(strstr(message, "\nSHMB_REASON=why\n"));
        CHECK(strcmp(written(), "") == 0);

        close(journal);
        log_error("the journal went away");
        CHECK(strcmp(written(), "shmbrokerd: the journal went away\n") == 0);
        closefrom(3); /* libsystemd keeps a socket of its own */
        return 0;
}

/* ---- the command line ------------------------------------------------------------- */

#define PARSE(options, status, ...)                                                            \
        options_parse(                                                                         \
                (int)(sizeof((const char *[]){ "shmbrokerd", __VA_ARGS__ }) / sizeof(char *)), \
                (char **)(const char *[]){ "shmbrokerd", __VA_ARGS__, NULL }, (options),       \
                (status))

static int good_options(void) {
        struct options options;
        int status = 77;

        const char *all[] = { "shmbrokerd",  "--socket",          "/s", "--control=@c",
                              "--config=/f", "--log-level=debug", NULL };
        CHECK(options_parse(6, (char **)all, &options, &status) == OPTIONS_GO);
        CHECK(options.socket_path == all[2]);
        CHECK(strcmp(options.control_path, "@c") == 0);
        CHECK(strcmp(options.config_path, "/f") == 0);
        CHECK(options.log_level == LOG_LEVEL_DEBUG && !options.check_config);
        CHECK(!options.run_argv);

        const char *run[] = { "shmbrokerd", "--run", "--", "sh", "--help", NULL };
        CHECK(options_parse(5, (char **)run, &options, &status) == OPTIONS_GO);
        CHECK(options.run_argv == (char **)run + 3);
        CHECK(options.log_level == -1 && !options.socket_path);
        CHECK(PARSE(&options, &status, "--check-config") == OPTIONS_GO && options.check_config);
        CHECK(status == 77 && strcmp(written(), "") == 0);

        CHECK(PARSE(&options, &status, "--version") == OPTIONS_EXIT && status == 0);
        CHECK(strcmp(written(), "shmbrokerd " SHMB_VERSION "\n") == 0);
        CHECK(PARSE(&options, &status, "-h") == OPTIONS_EXIT && status == 0);
        CHECK(strstr(written(), "\nUsage: shmbrokerd [OPTION]...\n"));
        return 0;
}

#define REFUSES(said, ...)                                                                     \
        do {                                                                                   \
                struct options options_;                                                       \
                int status_ = 77;                                                              \
                CHECK(ftruncate(shared_output, 0) == 0);                                       \
                lseek(shared_output, 0, SEEK_SET);                                             \
                CHECK(PARSE(&options_, &status_, __VA_ARGS__) == OPTIONS_EXIT);                \
                CHECK(status_ == EXIT_USAGE);                                                  \
                CHECK(strstr(written(), "shmbrokerd: " said));                                 \
                CHECK(strstr(written(), "\nTry 'shmbrokerd --help'.\n"));                      \
        } while (0)

static int wrong_options(void) {
        REFUSES("--bogus: unknown", "--bogus");
        REFUSES("--con: unknown or ambiguous", "--con");
        REFUSES("-x: unknown option", "-x");
        REFUSES("--config: an argument is missing", "--config");
        REFUSES("--run=x: takes no argument", "--run=x");
        REFUSES("--log-level=loud: not one of", "--log-level=loud");
        REFUSES("x: not an option", "x");
        REFUSES("--run: the command is missing", "--run", "--");
        REFUSES("--run makes sockets of its own", "--run", "--socket=/x", "--", "true");
        REFUSES("--run and --check-config", "--run", "--check-config", "--", "true");
        REFUSES("--socket: the path is empty", "--socket=");
        return 0;
}

/* ---- --run ------------------------------------------------------------------------ */

/* Runs `script` as main does, and returns the status to exit with. */
static int run_script(const char *script, int signal_to_pass) {
        struct run *run = NULL;
        const char *argv[] = { "sh", "-c", script, NULL };
        int status = -1;
        sigset_t none;

        sigemptyset(&none); /* the run before left its signals blocked */
        sigprocmask(SIG_SETMASK, &none, NULL);
        if (run_prepare(&run) < 0)
                return -1;
        int socket_file = open(run->socket_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        close(socket_file);
        if (run_start(run, (char **)argv, &status) == 0) {
                struct pollfd ready = { run->signal_fd, POLLIN, 0 };
                char line[8];

                /* The script says when it has set its traps. */
                if (signal_to_pass && read(STDIN_FILENO, line, sizeof line) > 0)
                        kill(getpid(), signal_to_pass);
                while (poll(&ready, 1, -1) >= 0 && run_dispatch(run, &status) == 0)
                        ;
        }
        char *directory = strdup(run->directory);
        run_free(run);
        if (access(directory, F_OK) == 0)
                status = -2;
        free(directory);
        return status;
}

static int run_statuses(void) {
        CHECK(run_script("exit 0", 0) == 0);
        CHECK(run_script("exit 7", 0) == 7);
        CHECK(run_script("kill -KILL $$", 0) == 128 + SIGKILL);
        /* The command must not inherit the blocked signals. */
        CHECK(run_script("kill -TERM $$; exit 3", 0) == 128 + SIGTERM);
        return 0;
}

static int run_environment(void) {
        struct rlimit limit;

        setenv("SHMBROKER_SOCKET", "/elsewhere", 1);
        setenv("XDG_RUNTIME_DIR", "/nonexistent", 1);
        signal(SIGPIPE, SIG_IGN);
        getrlimit(RLIMIT_NOFILE, &limit);
        CHECK(run_script("d=${SHMBROKER_SOCKET%/*}; "
                         "test \"$SHMBROKER_SOCKET\" = \"$d/broker.sock\" || exit 1; "
                         "test \"$SHMBROKER_CONTROL\" = \"$d/control.sock\" || exit 2; "
                         "test \"$(stat -c %a $d)\" = 700 || exit 3; "
                         "case $d in /tmp/shmbroker-*) ;; *) exit 4;; esac; "
                         "test $(env | grep -c ^SHMBROKER_SOCKET=) = 1 || exit 5; "
                         "test $(ls /proc/$$/fd | wc -l) -le 4 || exit 6; "
                         "kill -PIPE $$; exit 7",
                         0) == 128 + SIGPIPE);
        const char *own = getenv("SHMBROKER_SOCKET");
        CHECK(own && strcmp(own, "/elsewhere") == 0);
        return 0;
}

static int run_descriptor_limit(void) {
        struct run *run = NULL;
        struct rlimit limit;
        char script[64];
        const char *argv[] = { "sh", "-c", script, NULL };
        int status = -1;

        CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur > 100);
        limit.rlim_cur = 100;
        CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
        CHECK(run_prepare(&run) == 0);
        limit.rlim_cur = 101; /* as the broker does, for its own sake */
        CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
        snprintf(script, sizeof script, "exit $(ulimit -n)");
        CHECK(run_start(run, (char **)argv, &status) == 0);
        struct pollfd ready = { run->signal_fd, POLLIN, 0 };
        while (poll(&ready, 1, -1) >= 0 && run_dispatch(run, &status) == 0)
                ;
        CHECK(status == 100);
        CHECK(!run_free(run));
        return 0;
}

static int run_signals(void) {
        static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT };
        static const char *const names[] = { "TERM", "INT", "HUP", "QUIT" };
        struct run *run = NULL;
        int status = -1;
        char script[128];

        for (size_t i = 0; i < 4; i++) {
                int ends[2];

                CHECK(pipe(ends) == 0);
                dup2(ends[0], STDIN_FILENO);
                snprintf(script, sizeof script,
                         "trap 'exit %zu' %s; echo >&%d; while :; do sleep 0.01; done", 40 + i,
                         names[i], ends[1]);
                int got = run_script(script, signals[i]);
                close(ends[0]);
                close(ends[1]);
                CHECK(got == 40 + (int)i);
        }

        /* Before there is a command the signal ends the broker itself. */
        CHECK(run_prepare(&run) == 0);
        kill(getpid(), SIGTERM);
        CHECK(run_dispatch(run, &status) == 1 && status == 128 + SIGTERM);
        CHECK(!run_free(run));
        CHECK(!run_free(NULL));
        return 0;
}

static int run_failures(void) {
        char closed[] = "/tmp/test-shell-XXXXXX", path[64];
        struct run *run = NULL;
        int status = -1;

        /* A directory that may not be searched has not got the command. */
        CHECK(mkdtemp(closed) && chmod(closed, 0) == 0);
        snprintf(path, sizeof path, "%s:/usr/bin:/bin", closed);
        setenv("PATH", path, 1);
        CHECK(geteuid() != 0 || setresuid(65534, 65534, 0) == 0);

        CHECK(run_prepare(&run) == 0);
        CHECK(run_start(run, (char **)(const char *[]){ "no-such-command", NULL }, &status) ==
              -ENOENT);
        CHECK(status == EXIT_NOT_FOUND);
        CHECK(run_start(run, (char **)(const char *[]){ "/etc/passwd", NULL }, &status) ==
              -EACCES);
        CHECK(status == EXIT_NOT_EXECUTABLE);
        CHECK(run_start(run, (char **)(const char *[]){ "/etc", NULL }, &status) == -EACCES);
        CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
        CHECK(run->pid == 0);
        run_free(run);
        CHECK(strstr(written(),
                     "shmbrokerd: no-such-command: command not found\n"
                     "shmbrokerd: /etc/passwd: cannot be executed: Permission denied\n"));
        CHECK(setresuid(0, 0, 0) == 0 || geteuid() != 0);
        CHECK(rmdir(closed) == 0);
        return 0;
}

/* ---- systemd ---------------------------------------------------------------------- */

static void listening(int type, int at) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, type, 0);

        /* An address of no name: the kernel picks an abstract one. */
        if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(sa_family_t)) < 0 ||
            (type != SOCK_DGRAM && listen(fd, 5) < 0))
                _exit(1);
        if (fd != at) {
                dup2(fd, at);
                close(fd);
        }
}

/* Passes sockets of these types under these names, as systemd would. */
static int take(const char *names, const int *types, int n, struct sdglue_sockets *ret_sockets,
                char *error) {
        char text[16];

        closefrom(3);
        for (int i = 0; i < n; i++)
                listening(types[i], 3 + i);
        snprintf(text, sizeof text, "%d", getpid());
        setenv("LISTEN_PID", text, 1);
        snprintf(text, sizeof text, "%d", n);
        setenv("LISTEN_FDS", text, 1);
        setenv("LISTEN_FDNAMES", names, 1);
        return sdglue_listen_fds(ret_sockets, error, 256);
}

static int passed_sockets(void) {
        struct sdglue_sockets sockets = { 77, 77 };
        char error[256];
        const int both[] = { SOCK_STREAM, SOCK_SEQPACKET };

        unsetenv("LISTEN_FDS");
        CHECK(sdglue_listen_fds(&sockets, error, sizeof error) == 0);
        CHECK(sockets.broker == -1 && sockets.control == -1);

        CHECK(take("control:broker", both, 2, &sockets, error) == 0);
        CHECK(sockets.control == 3 && sockets.broker == 4);
        CHECK(fcntl(4, F_GETFD) & FD_CLOEXEC);
        CHECK(fcntl(4, F_GETFL) & O_NONBLOCK);
        CHECK(!getenv("LISTEN_FDS") && !getenv("LISTEN_FDNAMES"));

        CHECK(take("broker", both + 1, 1, &sockets, error) == 0);
        CHECK(sockets.broker == 3 && sockets.control == -1);
        close(3);
        return 0;
}

static int wrong_sockets(void) {
        struct sdglue_sockets sockets = { 77, 77 };
        char error[256];
        const int stream[] = { SOCK_STREAM, SOCK_STREAM };
        const int packets[] = { SOCK_SEQPACKET, SOCK_SEQPACKET };

        CHECK(take("broker", stream, 1, &sockets, error) == -EPROTOTYPE);
        CHECK(strcmp(error, "socket \"broker\" from systemd is not a listening "
                            "ListenSequentialPacket= Unix socket") == 0);
        CHECK(fcntl(3, F_GETFD) < 0);
        CHECK(take("control", packets, 1, &sockets, error) == -EPROTOTYPE);
        CHECK(take("broker:extra", packets, 2, &sockets, error) == -EINVAL);
        CHECK(strstr(error, "socket \"extra\" from systemd: FileDescriptorName= is neither"));
        CHECK(fcntl(3, F_GETFD) < 0 && fcntl(4, F_GETFD) < 0);
        CHECK(take("broker:broker", packets, 2, &sockets, error) == -EEXIST);
        CHECK(strstr(error, "\"broker\" from systemd came twice"));
        CHECK(sockets.broker == 77 && sockets.control == 77);
        return 0;
}

static int notification(void) {
        struct sockaddr_un address = { AF_UNIX, "" };
        socklen_t length = sizeof address;
        char name[sizeof address.sun_path + 1] = "@", message[256] = "";
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        unsetenv("NOTIFY_SOCKET");
        sdglue_ready("nobody asks");
        CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(sa_family_t)) == 0);
        CHECK(getsockname(fd, (struct sockaddr *)&address, &length) == 0);
        memcpy(name + 1, address.sun_path + 1, length - sizeof(sa_family_t) - 1);
        setenv("NOTIFY_SOCKET", name, 1);

        sdglue_ready("%d pools", 3);
        CHECK(recv(fd, message, sizeof message - 1, 0) > 0);
        CHECK(strcmp(message, "READY=1\nSTATUS=3 pools") == 0);
        memset(message, 0, sizeof message);
        sdglue_status("%s", "busy");
        CHECK(recv(fd, message, sizeof message - 1, 0) > 0);
        CHECK(strcmp(message, "STATUS=busy") == 0);
        memset(message, 0, sizeof message);
        sdglue_stopping();
        CHECK(recv(fd, message, sizeof message - 1, 0) > 0);
        CHECK(strcmp(message, "STOPPING=1\nSTATUS=Stopping") == 0);
        close(fd);
        return 0;
}

#define CASE(name)                                                                             \
        static void test_##name(void **state) {                                                \
                (void)state;                                                                   \
                in_process(name);                                                              \
        }

CASE(lines_of_the_log)
CASE(long_messages)
CASE(rates)
CASE(suppression)
CASE(fields_of_the_journal)
CASE(good_options)
CASE(wrong_options)
CASE(run_statuses)
CASE(run_environment)
CASE(run_descriptor_limit)
CASE(run_signals)
CASE(run_failures)
CASE(passed_sockets)
CASE(wrong_sockets)
CASE(notification)

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_lines_of_the_log),
                cmocka_unit_test(test_long_messages),
                cmocka_unit_test(test_rates),
                cmocka_unit_test(test_suppression),
                cmocka_unit_test(test_fields_of_the_journal),
                cmocka_unit_test(test_good_options),
                cmocka_unit_test(test_wrong_options),
                cmocka_unit_test(test_run_statuses),
                cmocka_unit_test(test_run_environment),
                cmocka_unit_test(test_run_descriptor_limit),
                cmocka_unit_test(test_run_signals),
                cmocka_unit_test(test_run_failures),
                cmocka_unit_test(test_passed_sockets),
                cmocka_unit_test(test_wrong_sockets),
                cmocka_unit_test(test_notification),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
