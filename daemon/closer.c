/* SPDX-License-Identifier: Apache-2.0 */
#include "closer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "log.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* What lingers gives up when a signal comes; the rest of them goes on in the next thread. */
#define PROD_AFTER_NS 5000000
/* Beyond these, sockets wait for one of the threads: only file systems that hang need so many. */
#define THREADS_MAX 64u
#define END_WAIT_SECONDS 1

struct closer {
        pthread_mutex_t lock;
        pthread_cond_t thread_ended;
        int *fds; /* not yet taken by a thread */
        size_t n_fds, room;
        unsigned n_threads;
        uint32_t n_pending; /* those in `fds`, and those the threads are at */
};

static void on_prod(int number) {
        (void)number; /* to have come is all it is for */
}

/* True if nobody can have left anything in the socket. It takes no more from here on. */
static bool is_empty(int fd) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(struct ucred))];
        } control;
        struct msghdr message = { .msg_control = control.bytes,
                                  .msg_controllen = sizeof(control.bytes) };
        int on = 1;
        ssize_t size;

        /* An empty packet reads like the end, but brings its sender's credentials. */
        if (shutdown(fd, SHUT_RDWR) < 0 ||
            setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
                return false;
        do
                size = recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT);
        while (size < 0 && (errno == ECONNRESET || errno == EINTR));
        return size == 0 && message.msg_controllen == 0;
}

/* Signals this thread again and again; *ret_timer is to be deleted. */
static bool prod_me(timer_t *ret_timer) {
        const struct itimerspec often = { { 0, PROD_AFTER_NS }, { 0, PROD_AFTER_NS } };
        struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN };

        event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
        if (timer_create(CLOCK_MONOTONIC, &event, ret_timer) < 0)
                return false;
        timer_settime(*ret_timer, 0, &often, NULL);
        return true;
}

static void *run(void *userdata) {
        struct closer *closer = userdata;
        timer_t timer;
        bool prodded = prod_me(&timer);

        pthread_mutex_lock(&closer->lock);
        while (closer->n_fds > 0) {
                int fd = closer->fds[--closer->n_fds];
                pthread_mutex_unlock(&closer->lock);
                shmb_close(fd);
                pthread_mutex_lock(&closer->lock);
                closer->n_pending--;
        }
        if (prodded)
                timer_delete(timer);
        closer->n_threads--;
        pthread_cond_signal(&closer->thread_ended);
        pthread_mutex_unlock(&closer->lock);
        return NULL;
}

static bool start_thread(struct closer *closer) {
        pthread_t thread;

        if (pthread_create(&thread, NULL, run, closer) != 0)
                return false;
        pthread_detach(thread);
        closer->n_threads++;
        return true;
}

static bool put(struct closer *closer, int fd) {
        if (closer->n_fds == closer->room) {
                size_t room = closer->room ? 2 * closer->room : 16;
                int *fds = reallocarray(closer->fds, room, sizeof(*fds));
                if (!fds)
                        return false;
                closer->fds = fds;
                closer->room = room;
        }
        closer->fds[closer->n_fds++] = fd;
        closer->n_pending++;
        return true;
}

void closer_close(struct closer *closer, int fd) {
        if (fd < 0)
                return;
        if (is_empty(fd)) {
                shmb_close(fd);
                return;
        }
        pthread_mutex_lock(&closer->lock);
        bool taken = put(closer, fd);
        /* A thread for each: one that hangs shall not keep the next from its end. */
        if (taken && closer->n_threads < THREADS_MAX && !start_thread(closer) &&
            closer->n_threads == 0) {
                closer->n_fds--;
                closer->n_pending--;
                taken = false;
        }
        pthread_mutex_unlock(&closer->lock);
        if (!taken) {
                log_limited(LOG_LEVEL_WARNING, LOG_NO_FIELDS,
                            "no memory or thread to close a socket with");
                shmb_close(fd);
        }
}

uint32_t closer_pending(struct closer *closer) {
        pthread_mutex_lock(&closer->lock);
        uint32_t n = closer->n_pending;
        pthread_mutex_unlock(&closer->lock);
        return n;
}

int closer_new(struct closer **ret_closer) {
        const struct sigaction prod = { .sa_handler = on_prod };
        struct closer *closer = calloc(1, sizeof(*closer));
        pthread_condattr_t clock;

        if (!closer)
                return -ENOMEM;
        /* No SA_RESTART: it is to interrupt. */
        sigaction(SIGRTMIN, &prod, NULL);
        pthread_mutex_init(&closer->lock, NULL);
        pthread_condattr_init(&clock);
        pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
        pthread_cond_init(&closer->thread_ended, &clock);
        pthread_condattr_destroy(&clock);
        *ret_closer = closer;
        return 0;
}

struct closer *closer_free(struct closer *closer) {
        struct timespec until;
        int r = 0;

        if (!closer)
                return NULL;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += END_WAIT_SECONDS;
        pthread_mutex_lock(&closer->lock);
        while (closer->n_threads > 0 && r == 0)
                r = pthread_cond_timedwait(&closer->thread_ended, &closer->lock, &until);
        pthread_mutex_unlock(&closer->lock);
        if (r != 0)
                return NULL; /* some file system hangs; its thread still needs all this */
        pthread_cond_destroy(&closer->thread_ended);
        pthread_mutex_destroy(&closer->lock);
        free(closer->fds);
        free(closer);
        return NULL;
}
