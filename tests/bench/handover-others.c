/* SPDX-License-Identifier: Apache-2.0 */
/* Handing over as programs do today: a pool written by hand, and a copy through a socket. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "handover.h"
#include "process.h"

/* ---- a POSIX pool ---------------------------------------------------------------------- */

enum { BLOCKS = 4, NAME_SIZE = 48 };

/* The free queue, in a shared memory object of its own. */
struct pool {
        pthread_mutex_t lock;
        pid_t owner; /* part of every name */
        uint32_t head, n;
        uint32_t free[BLOCKS];
};

struct posix {
        struct pool *pool;
        void *blocks[BLOCKS]; /* the producer's mappings, kept */
};

static void pool_name(pid_t owner, char name[NAME_SIZE]) {
        snprintf(name, NAME_SIZE, "/shmbroker-demo-%d-pool", owner);
}

static void block_name(pid_t owner, uint32_t block, char name[NAME_SIZE]) {
        snprintf(name, NAME_SIZE, "/shmbroker-demo-%d-%u", owner, block);
}

/* NULL, with errno, if that fails. */
static void *map_named(const char *name, int flags, size_t size) {
        int writable = (flags & O_ACCMODE) == O_RDWR;
        SHMB_CLOSE int fd = shm_open(name, flags | O_CLOEXEC, 0600);

        if (fd < 0 || ((flags & O_CREAT) && ftruncate(fd, (off_t)size) < 0))
                return NULL;
        void *memory = mmap(NULL, size, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd,
                            0);
        return memory == MAP_FAILED ? NULL : memory;
}

static int posix_setup(struct handover *h) {
        char name[NAME_SIZE];
        pthread_mutexattr_t attributes;

        pool_name(getpid(), name);
        struct pool *pool = map_named(name, O_RDWR | O_CREAT | O_EXCL, sizeof(*pool));
        if (!pool)
                return -errno;
        pthread_mutexattr_init(&attributes);
        pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        pthread_mutex_init(&pool->lock, &attributes);
        pthread_mutexattr_destroy(&attributes);
        pool->owner = getpid();
        h->shared = pool;
        return 0;
}

static void put_free(struct pool *pool, uint32_t block) {
        pthread_mutex_lock(&pool->lock);
        pool->free[(pool->head + pool->n++) % BLOCKS] = block;
        pthread_mutex_unlock(&pool->lock);
}

static int get_free(struct pool *pool, uint32_t *ret_block) {
        int r = -ENOBUFS;

        pthread_mutex_lock(&pool->lock);
        if (pool->n > 0) {
                *ret_block = pool->free[pool->head];
                pool->head = (pool->head + 1) % BLOCKS;
                pool->n--;
                r = 0;
        }
        pthread_mutex_unlock(&pool->lock);
        return r;
}

/* The producer makes the blocks; the consumer keeps no more than the pool's own page. */
static int posix_open(struct handover *h) {
        char name[NAME_SIZE];
        struct posix *p = calloc(1, sizeof(*p));

        if (!p)
                return -ENOMEM;
        h->own = p;
        p->pool = h->shared;
        for (uint32_t i = 0; h->producer && i < BLOCKS; i++) {
                block_name(p->pool->owner, i, name);
                p->blocks[i] = map_named(name, O_RDWR | O_CREAT | O_EXCL, h->size);
                if (!p->blocks[i])
                        return -errno;
                put_free(p->pool, i);
        }
        return 0;
}

static int posix_give(struct handover *h, uint64_t seed, struct digest *ret_written) {
        struct posix *p = h->own;
        uint32_t block;
        int r = get_free(p->pool, &block);

        if (r < 0)
                return r;
        *ret_written = payload_write(p->blocks[block], h->source, h->size, seed);
        return helper_send(h->fd, &block, sizeof(block));
}

static int posix_take(struct handover *h, struct digest *ret_read) {
        struct posix *p = h->own;
        char name[NAME_SIZE];
        uint32_t block;
        int r = helper_receive(h->fd, &block, sizeof(block));

        if (r < 0)
                return r;
        block_name(p->pool->owner, block, name);
        void *memory = map_named(name, O_RDONLY, h->size);
        if (!memory)
                return -errno;
        *ret_read = payload_read(memory, h->size);
        munmap(memory, h->size);
        put_free(p->pool, block);
        return 0;
}

static void posix_close(struct handover *h) {
        struct posix *p = h->own;

        for (size_t i = 0; p && i < BLOCKS; i++)
                if (p->blocks[i])
                        munmap(p->blocks[i], h->size);
        free(p);
        h->own = NULL;
}

static void posix_teardown(struct handover *h) {
        struct pool *pool = h->shared;
        char name[NAME_SIZE];

        if (!pool)
                return;
        for (uint32_t i = 0; i < BLOCKS; i++) {
                block_name(pool->owner, i, name);
                shm_unlink(name);
        }
        pool_name(pool->owner, name);
        shm_unlink(name);
        munmap(pool, sizeof(*pool));
}

const struct way way_posix = {
        .name = "POSIX pool by hand",
        .what = "a block off a free queue under a mutex, write; its number travels; shm_open,\n"
                "                     mmap, read, munmap, and back onto the queue",
        .setup = posix_setup,
        .open = posix_open,
        .give = posix_give,
        .take = posix_take,
        .close = posix_close,
        .teardown = posix_teardown,
};

/* ---- a socket ------------------------------------------------------------------------------ */

enum { SOCKET_BUFFER = 4 << 20 };

struct stream {
        int ends[2]; /* the producer's, the consumer's */
};

/* As much as this user may have: the fewer times both sides sleep, the faster the copy. */
static void widen(int fd) {
        int size = SOCKET_BUFFER;

        if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
                (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

static int socket_setup(struct handover *h) {
        struct stream *s = malloc(sizeof(*s));

        if (!s)
                return -ENOMEM;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s->ends) < 0) {
                free(s);
                return -errno;
        }
        widen(s->ends[0]);
        h->shared = s;
        return 0;
}

/* Each side has a payload of its own, and only its end of the socket. */
static int socket_open(struct handover *h) {
        struct stream *s = h->shared;
        size_t other = h->producer ? 1 : 0;

        s->ends[other] = shmb_close(s->ends[other]);
        h->own = aligned_alloc(4096, h->size);
        return h->own ? 0 : -ENOMEM;
}

static int socket_give(struct handover *h, uint64_t seed, struct digest *ret_written) {
        const struct stream *s = h->shared;
        const char *payload = h->own;

        *ret_written = payload_write(h->own, h->source, h->size, seed);
        for (size_t at = 0; at < h->size;) {
                ssize_t sent = send(s->ends[0], payload + at, h->size - at, MSG_NOSIGNAL);
                if (sent < 0)
                        return -errno;
                at += (size_t)sent;
        }
        return 0;
}

static int socket_take(struct handover *h, struct digest *ret_read) {
        const struct stream *s = h->shared;
        char *payload = h->own;

        for (size_t at = 0; at < h->size;) {
                ssize_t got = recv(s->ends[1], payload + at, h->size - at, 0);
                if (got <= 0)
                        return got < 0 ? -errno : -EPIPE;
                at += (size_t)got;
        }
        *ret_read = payload_read(payload, h->size);
        return 0;
}

static void socket_close(struct handover *h) {
        struct stream *s = h->shared;

        s->ends[0] = shmb_close(s->ends[0]);
        s->ends[1] = shmb_close(s->ends[1]);
        free(h->own);
        h->own = NULL;
}

static void socket_teardown(struct handover *h) {
        free(h->shared);
}

const struct way way_socket = {
        .name = "Unix socket, copied",
        .what = "write to private memory, send all of it through a SOCK_STREAM, receive, read",
        .setup = socket_setup,
        .open = socket_open,
        .give = socket_give,
        .take = socket_take,
        .close = socket_close,
        .teardown = socket_teardown,
};
