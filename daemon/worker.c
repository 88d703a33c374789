/* SPDX-License-Identifier: Apache-2.0 */
#include "worker.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "memory.h"

/* The loop's thread, and the clients it answers, come first on a busy processor. */
#define WORKER_NICE 5

/* Owners share a line by their number modulo this. */
#define LINES 32u

struct line {
        struct work *first, **last;
};

struct workers {
        pthread_mutex_t lock;
        pthread_cond_t todo_or_end;
        /* Under the lock. */
        struct line todo[LINES], done;
        size_t n_todo, turn; /* works in all lines; the line that comes next */
        bool ending;

        int event_fd; /* readable while `done` is not empty */
        struct event *event;
        worker_done_fn on_done;
        void *userdata;
        unsigned n_threads;
        pthread_t threads[];
};

static void line_put(struct line *line, struct work *work) {
        work->next = NULL;
        *line->last = work;
        line->last = &work->next;
}

static struct work *line_take(struct line *line) {
        struct work *work = line->first;

        line->first = work->next;
        if (!line->first)
                line->last = &line->first;
        return work;
}

static void line_init(struct line *line) {
        line->first = NULL;
        line->last = &line->first;
}

static void todo_put(struct workers *workers, struct work *work) {
        line_put(&workers->todo[work->owner % LINES], work);
        workers->n_todo++;
}

/* There is one. */
static struct work *todo_take(struct workers *workers) {
        while (!workers->todo[workers->turn % LINES].first)
                workers->turn++;
        workers->n_todo--;
        return line_take(&workers->todo[workers->turn++ % LINES]);
}

static void wake_loop(struct workers *workers) {
        uint64_t one = 1;

        /* Cannot fail: the counter is far from its end, and the descriptor is ours. */
        while (write(workers->event_fd, &one, sizeof(one)) < 0 && errno == EINTR)
                ;
}

static void *run(void *userdata) {
        struct workers *workers = userdata;

        (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), WORKER_NICE);
        pthread_mutex_lock(&workers->lock);
        while (!workers->ending) {
                if (workers->n_todo == 0) {
                        pthread_cond_wait(&workers->todo_or_end, &workers->lock);
                        continue;
                }
                struct work *work = todo_take(workers);
                pthread_mutex_unlock(&workers->lock);
                bool finished = memory_step(work);
                /* The loop may be waiting for this very processor: do not sit out the slice. */
                if (!finished)
                        sched_yield();
                pthread_mutex_lock(&workers->lock);
                if (!finished) {
                        todo_put(workers, work);
                        continue;
                }
                bool first = !workers->done.first;
                line_put(&workers->done, work);
                if (first)
                        wake_loop(workers);
        }
        pthread_mutex_unlock(&workers->lock);
        return NULL;
}

static void on_event(evutil_socket_t fd, short what, void *userdata) {
        struct workers *workers = userdata;
        uint64_t count;

        (void)what;
        (void)!read(fd, &count, sizeof(count));
        pthread_mutex_lock(&workers->lock);
        struct work *work = workers->done.first;
        line_init(&workers->done);
        pthread_mutex_unlock(&workers->lock);
        while (work) {
                struct work *next = work->next;
                workers->on_done(workers->userdata, work);
                work = next;
        }
}

int workers_new(struct workers **ret_workers, struct event_base *base, unsigned threads,
                worker_done_fn done, void *userdata) {
        struct workers *workers = calloc(1, sizeof(*workers) +
                                                    threads * sizeof(workers->threads[0]));
        int r;

        if (!workers)
                return -ENOMEM;
        pthread_mutex_init(&workers->lock, NULL);
        pthread_cond_init(&workers->todo_or_end, NULL);
        for (size_t i = 0; i < LINES; i++)
                line_init(&workers->todo[i]);
        line_init(&workers->done);
        workers->on_done = done;
        workers->userdata = userdata;
        workers->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (workers->event_fd < 0) {
                r = -errno;
                goto fail;
        }
        workers->event = event_new(base, workers->event_fd, EV_READ | EV_PERSIST, on_event,
                                   workers);
        if (!workers->event || event_add(workers->event, NULL) < 0) {
                r = -ENOMEM;
                goto fail;
        }
        for (; workers->n_threads < threads; workers->n_threads++) {
                r = -pthread_create(&workers->threads[workers->n_threads], NULL, run, workers);
                if (r < 0)
                        goto fail;
        }
        *ret_workers = workers;
        return 0;

fail:
        workers_free(workers);
        return r;
}

void workers_submit(struct workers *workers, struct work *work) {
        pthread_mutex_lock(&workers->lock);
        todo_put(workers, work);
        pthread_cond_signal(&workers->todo_or_end);
        pthread_mutex_unlock(&workers->lock);
}

struct workers *workers_free(struct workers *workers) {
        if (!workers)
                return NULL;
        pthread_mutex_lock(&workers->lock);
        workers->ending = true;
        pthread_cond_broadcast(&workers->todo_or_end);
        pthread_mutex_unlock(&workers->lock);
        for (unsigned i = 0; i < workers->n_threads; i++)
                pthread_join(workers->threads[i], NULL);
        if (workers->event)
                event_free(workers->event);
        shmb_close(workers->event_fd);
        pthread_cond_destroy(&workers->todo_or_end);
        pthread_mutex_destroy(&workers->lock);
        free(workers);
        return NULL;
}
