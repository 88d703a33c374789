/* SPDX-License-Identifier: Apache-2.0 */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "log.h"
#include "options.h"
#include "shmbroker-proto.h"

#define BROKER_SOCKET "broker.sock"
#define CONTROL_SOCKET "control.sock"

static const int passed_on[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT };

static void run_freep(struct run **run) {
        run_free(*run);
}

/* ---- preparing -------------------------------------------------------------------- */

static int make_directory_in(const char *parent, char **ret_directory) {
        SHMB_FREE char *directory = NULL;

        if (asprintf(&directory, "%s/shmbroker-XXXXXX", parent) < 0) {
                directory = NULL;
                return -ENOMEM;
        }
        if (strlen(directory) + sizeof "/" CONTROL_SOCKET >
            sizeof((struct sockaddr_un *)NULL)->sun_path)
                return -ENAMETOOLONG;
        if (!mkdtemp(directory))
                return -errno;

        *ret_directory = shmb_steal_ptr(directory);
        return 0;
}

static int make_directory(char **ret_directory) {
        const char *runtime = getenv("XDG_RUNTIME_DIR");

        /* A runtime directory that is gone, full or another's does not end it. */
        if (runtime && runtime[0] == '/' && make_directory_in(runtime, ret_directory) == 0)
                return 0;
        int r = make_directory_in("/tmp", ret_directory);
        if (r < 0)
                log_error("cannot make a directory for the sockets in /tmp: %s", strerror(-r));
        return r;
}

static int open_signals(struct run *run) {
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGCHLD);
        for (size_t i = 0; i < sizeof passed_on / sizeof *passed_on; i++)
                sigaddset(&set, passed_on[i]);
        int r = -pthread_sigmask(SIG_BLOCK, &set, &run->mask);
        if (r < 0)
                return r;
        run->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        return run->signal_fd < 0 ? -errno : 0;
}

int run_prepare(struct run **ret_run) {
        SHMB_CLEANUP(run_freep) struct run *run = calloc(1, sizeof *run);
        int r;

        if (!run)
                return -ENOMEM;
        run->signal_fd = -1;
        if (getrlimit(RLIMIT_NOFILE, &run->nofile) < 0)
                return -errno;
        r = open_signals(run);
        if (r < 0) {
                log_error("cannot receive signals: %s", strerror(-r));
                return r;
        }
        r = make_directory(&run->directory);
        if (r < 0)
                return r;
        if (asprintf(&run->socket_path, "%s/" BROKER_SOCKET, run->directory) < 0) {
                run->socket_path = NULL;
                return -ENOMEM;
        }
        if (asprintf(&run->control_path, "%s/" CONTROL_SOCKET, run->directory) < 0) {
                run->control_path = NULL;
                return -ENOMEM;
        }

        *ret_run = shmb_steal_ptr(run);
        return 0;
}

/* ---- starting --------------------------------------------------------------------- */

/* "NAME=value" for the front of the command's environment. */
static char *variable(const char *name, const char *value) {
        char *text = NULL;

        return asprintf(&text, "%s=%s", name, value) < 0 ? NULL : text;
}

static bool is_variable(const char *entry, const char *name) {
        size_t length = strlen(name);

        return strncmp(entry, name, length) == 0 && entry[length] == '=';
}

/* This process's environment with the two variables first; only those are to be freed. */
static char **make_environment(const struct run *run) {
        size_t n = 0, kept = 2;

        while (environ[n])
                n++;
        char **environment = calloc(n + 3, sizeof *environment);
        if (!environment)
                return NULL;
        environment[0] = variable(SHMB_ENV_SOCKET, run->socket_path);
        environment[1] = variable(SHMB_ENV_CONTROL, run->control_path);
        for (size_t i = 0; i < n; i++)
                if (!is_variable(environ[i], SHMB_ENV_SOCKET) &&
                    !is_variable(environ[i], SHMB_ENV_CONTROL))
                        environment[kept++] = environ[i];
        return environment;
}

static void free_environment(char ***environment) {
        if (!*environment)
                return;
        free((*environment)[0]);
        free((*environment)[1]);
        free(*environment);
}

/*
 * In the child, of a process with threads: nothing that could wait for a lock. A caught
 * signal is reset by exec; those that the broker ignores are not.
 */
static _Noreturn void become(const struct run *run, char **argv, char **environment,
                             int error_fd) {
        signal(SIGPIPE, SIG_DFL);
        signal(SIGIO, SIG_DFL);
        setrlimit(RLIMIT_NOFILE, &run->nofile);
        sigprocmask(SIG_SETMASK, &run->mask, NULL);
        execvpe(argv[0], argv, environment);

        int error = errno;
        ssize_t written = write(error_fd, &error, sizeof error);
        (void)written; /* the parent then sees the exit status */
        _exit(EXIT_NOT_EXECUTABLE);
}

/* Waits until the child runs the command: 0; or has failed to: -errno, and it is gone. */
static int wait_for_exec(pid_t pid, int error_fd) {
        int error = 0;
        ssize_t n;

        do
                n = read(error_fd, &error, sizeof error);
        while (n < 0 && errno == EINTR);
        if (n != (ssize_t)sizeof error)
                return 0;

        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                ;
        return -error;
}

static int spawn(struct run *run, char **argv) {
        SHMB_CLEANUP(free_environment) char **environment = make_environment(run);
        SHMB_CLOSE int from_child = -1;
        SHMB_CLOSE int to_parent = -1;
        int ends[2];

        if (!environment || !environment[0] || !environment[1])
                return -ENOMEM;
        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        from_child = ends[0];
        to_parent = ends[1];

        pid_t pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0)
                become(run, argv, environment, to_parent);
        to_parent = shmb_close(to_parent);
        int r = wait_for_exec(pid, from_child);
        if (r == 0)
                run->pid = pid;
        return r;
}

/* Whether there is a file of that name, or at that path. */
static bool exists(const char *command) {
        const char *directories = getenv("PATH");
        SHMB_FREE char *path = strdup(directories ? directories : "");
        char *rest = path;

        if (strchr(command, '/'))
                return access(command, F_OK) == 0;
        for (const char *directory; rest && (directory = strsep(&rest, ":"));) {
                SHMB_FREE char *file = NULL;

                if (asprintf(&file, "%s/%s", *directory ? directory : ".", command) < 0)
                        file = NULL;
                if (file && access(file, F_OK) == 0)
                        return true;
        }
        return false;
}

int run_start(struct run *run, char **argv, int *ret_status) {
        int r = spawn(run, argv);

        if (r == 0)
                return 0;
        /* exec also says EACCES of a directory in $PATH that may not be searched. */
        if (r == -EACCES && !exists(argv[0]))
                r = -ENOENT;
        if (r == -ENOENT || r == -ENOTDIR) {
                log_error("%s: command not found", argv[0]);
                *ret_status = EXIT_NOT_FOUND;
        } else if (r == -ENOMEM || r == -EAGAIN || r == -EMFILE || r == -ENFILE) {
                log_error("cannot start %s: %s", argv[0], strerror(-r));
                *ret_status = EXIT_FAILURE;
        } else {
                log_error("%s: cannot be executed: %s", argv[0], strerror(-r));
                *ret_status = EXIT_NOT_EXECUTABLE;
        }
        return r;
}

/* ---- watching --------------------------------------------------------------------- */

int run_exit_status(int wait_status) {
        return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status)
                                        : WEXITSTATUS(wait_status);
}

/* 1 if the command ended. The broker has no other children, but could inherit some. */
static int reap(struct run *run, int *ret_status) {
        int wait_status;

        for (;;) {
                pid_t pid = waitpid(-1, &wait_status, WNOHANG);

                if (pid < 0 && errno == EINTR)
                        continue;
                if (pid <= 0)
                        return 0;
                if (pid == run->pid) {
                        run->pid = 0;
                        *ret_status = run_exit_status(wait_status);
                        return 1;
                }
        }
}

static int pass_on(const struct run *run, const struct signalfd_siginfo *info,
                   int *ret_status) {
        if (run->pid == 0) {
                *ret_status = 128 + (int)info->ssi_signo;
                return 1;
        }
        /* The terminal sends to all of the foreground: a second ^C would be one too many. */
        if (info->ssi_code == SI_KERNEL)
                return 0;
        return kill(run->pid, (int)info->ssi_signo) < 0 && errno != ESRCH ? -errno : 0;
}

int run_dispatch(struct run *run, int *ret_status) {
        struct signalfd_siginfo info;

        for (;;) {
                ssize_t n = read(run->signal_fd, &info, sizeof info);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return errno == EAGAIN ? 0 : -errno;
                int r = info.ssi_signo == SIGCHLD ? reap(run, ret_status)
                                                  : pass_on(run, &info, ret_status);
                if (r != 0)
                        return r;
        }
}

struct run *run_free(struct run *run) {
        if (!run)
                return NULL;
        if (run->socket_path)
                unlink(run->socket_path);
        if (run->control_path)
                unlink(run->control_path);
        if (run->directory && rmdir(run->directory) < 0)
                log_warning("%s is left over: %s", run->directory, strerror(errno));
        free(run->socket_path);
        free(run->control_path);
        free(run->directory);
        shmb_close(run->signal_fd);
        free(run);
        return NULL;
}
