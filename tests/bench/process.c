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

static struct {
        volatile sig_atomic_t pinned;
        pid_t other;
        cpu_set_t own, others; /* as they were */
} pins;

static bool pin(pid_t pid, size_t cpu) {
        cpu_set_t one;

        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        return sched_setaffinity(pid, sizeof(one), &one) == 0;
}

bool pin_apart(pid_t other) {
        size_t first = 0, second = 0;

        if (other <= 0 || sched_getaffinity(0, sizeof(pins.own), &pins.own) < 0 ||
            sched_getaffinity(other, sizeof(pins.others), &pins.others) < 0)
                return false;
        while (first < CPU_SETSIZE && !CPU_ISSET(first, &pins.own))
                first++;
        while (second < CPU_SETSIZE && (second == first || !CPU_ISSET(second, &pins.others)))
                second++;
        if (first == CPU_SETSIZE || second == CPU_SETSIZE)
                return false;
        pins.other = other;
        pins.pinned = 1;
        if (pin(0, first) && pin(other, second))
                return true;
        unpin();
        return false;
}

void unpin(void) {
        if (!pins.pinned)
                return;
        pins.pinned = 0;
        (void)sched_setaffinity(0, sizeof(pins.own), &pins.own);
        (void)sched_setaffinity(pins.other, sizeof(pins.others), &pins.others);
}
