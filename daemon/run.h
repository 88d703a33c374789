/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shmbrokerd --run -- CMD: a private broker for one command, with sockets in a directory of
 * its own.
 *
 *     run_prepare(&run)                      before any thread and before limits are raised
 *     ... listen on run->socket_path and run->control_path ...
 *     run_start(run, argv, &status)          once the broker listens
 *     ... poll run->signal_fd for reading; on it run_dispatch(run, &status) ...
 *     run_free(run)                          removes the directory; then exit with `status`
 *
 * The signals come through a descriptor because only its siginfo tells a ^C of the terminal,
 * which reached the command already, from a kill of the broker alone, which has to be passed
 * on.
 */
#pragma once

#include <signal.h>
#include <sys/resource.h>
#include <sys/types.h>

struct run {
        char *directory; /* mode 0700 */
        char *socket_path, *control_path;
        int signal_fd;        /* SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT; owned by the run */
        pid_t pid;            /* 0: not started */
        sigset_t mask;        /* of this process before run_prepare, and of the command */
        struct rlimit nofile; /* likewise */
};

/*
 * Makes the directory, below $XDG_RUNTIME_DIR or else /tmp, and blocks those signals in this
 * thread and in those it starts. Returns 0, or -errno with the reason logged.
 */
int run_prepare(struct run **ret_run);

/*
 * Starts the command, with $SHMBROKER_SOCKET and $SHMBROKER_CONTROL set for it, and with the
 * signal mask and the descriptor limit this process began with. Returns 0; or -errno with the
 * reason logged and in *ret_status what to exit with: 127 not found, 126 not executable, 1.
 */
int run_start(struct run *run, char **argv, int *ret_status);

/*
 * Takes what the signals say: passes SIGTERM, SIGINT, SIGHUP and SIGQUIT on to the command.
 * Returns 1 when the broker is to end, because the command did (or was never started and one
 * of the signals came), with *ret_status the status to exit with; 0 to go on; or -errno.
 */
int run_dispatch(struct run *run, int *ret_status);

/* What to exit with for a wait(2) status: the exit status, or 128 plus the signal. */
int run_exit_status(int wait_status);

/*
 * Removes sockets and directory. The command, if still there, is left alone; the signals stay
 * blocked, for one that is pending must not replace the exit status. Accepts NULL, returns NULL.
 */
struct run *run_free(struct run *run);
