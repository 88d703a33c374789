/* SPDX-License-Identifier: Apache-2.0 */
#include "process.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"

int helper_start(struct helper *ret_helper, helper_fn function, void *arg) {
        int pair[2];
        pid_t parent = getpid();

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        fflush(NULL);
        pid_t pid = fork();
        if (pid < 0) {
                int error = -errno;
                close(pair[0]);
                close(pair[1]);
                return error;
        }
        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() != parent) /* it died before the line above */
                        _exit(EXIT_FAILURE);
                close(pair[0]);
                int r = function(pair[1], arg);
                fflush(NULL);
                _exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
        }
        close(pair[1]);
        *ret_helper = (struct helper){ .pid = pid, .fd = pair[0] };
        return 0;
}

int helper_end(struct helper *helper) {
        int status = 0;
        pid_t pid = helper->pid;

        helper->fd = shmb_close(helper->fd);
        if (pid < 0)
                return 0;
        helper->pid = -1;
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ECHILD;
}

void helper_kill(struct helper *helper) {
        if (helper->pid >= 0)
                kill(helper->pid, SIGKILL);
        (void)helper_end(helper);
}

int helper_send(int fd, const void *message, size_t size) {
        ssize_t sent;

        do
                sent = send(fd, message, size, MSG_NOSIGNAL);
        while (sent < 0 && errno == EINTR);
        return sent < 0 ? -errno : 0;
}

int helper_receive(int fd, void *message, size_t size) {
        ssize_t got;

        do
                got = recv(fd, message, size, 0);
        while (got < 0 && errno == EINTR);
        if (got < 0)
                return -errno;
        if (got == 0)
                return -EPIPE;
        return (size_t)got == size ? 0 : -EPROTO;
}

static cpu_set_t allowed;

bool pin_choose(size_t *ret_first, size_t *ret_second) {
        size_t found[2], n = 0;

        if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
                return false;
        for (size_t cpu = 0; cpu < CPU_SETSIZE && n < 2; cpu++)
                if (CPU_ISSET(cpu, &allowed))
                        found[n++] = cpu;
        if (n < 2)
                return false;
        *ret_first = found[0];
        *ret_second = found[1];
        return true;
}

void pin_to(size_t cpu) {
        cpu_set_t one;

        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        (void)sched_setaffinity(0, sizeof(one), &one);
}

void unpin(void) {
        (void)sched_setaffinity(0, sizeof(allowed), &allowed);
}
