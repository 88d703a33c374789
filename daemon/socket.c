/* SPDX-License-Identifier: Apache-2.0 */
#include "socket.h"

#include <errno.h>
#include <libgen.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "cleanup.h"

/* Linux 6.5. */
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
/* Linux 6.16. */
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

/* What the kernel calls a user it cannot name (user_namespaces(7)), unless told otherwise. */
#define OVERFLOW_UID 65534u

/* Connections the kernel keeps for us while we are busy; it lowers this to its own limit. */
#define BACKLOG 1024

static int fill_address(const char *address, struct sockaddr_un *ret, socklen_t *ret_size) {
        size_t length = strlen(address);

        *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
        if (length == 0 || (address[0] != '/' && address[0] != '@') ||
            (address[0] == '@' && length == 1))
                return -EINVAL;
        if (length >= sizeof(ret->sun_path))
                return -ENAMETOOLONG;
        memcpy(ret->sun_path, address, length);
        *ret_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
        if (address[0] == '@')
                ret->sun_path[0] = '\0';
        else
                (*ret_size)++;
        return 0;
}

/* Is somebody listening there? Any answer but a refusal counts as yes. */
static bool is_stale(const struct sockaddr_un *address, socklen_t size, int type) {
        SHMB_CLOSE int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct stat st;

        return fd >= 0 && lstat(address->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
               connect(fd, (const struct sockaddr *)address, size) < 0 && errno == ECONNREFUSED;
}

static int make_directory(const char *path) {
        SHMB_FREE char *copy = strdup(path);

        if (!copy)
                return -ENOMEM;
        return mkdir(dirname(copy), 0755) < 0 ? -errno : 0;
}

static int bind_path(int fd, const struct sockaddr_un *address, socklen_t size, int type) {
        const struct sockaddr *generic = (const struct sockaddr *)address;

        if (bind(fd, generic, size) == 0)
                return 0;
        if (address->sun_path[0] == '\0')
                return -errno;
        if (errno == ENOENT && make_directory(address->sun_path) == 0)
                return bind(fd, generic, size) < 0 ? -errno : 0;
        if (errno == EADDRINUSE && is_stale(address, size, type) &&
            unlink(address->sun_path) == 0)
                return bind(fd, generic, size) < 0 ? -errno : 0;
        return -errno;
}

static int set_access(const char *path, mode_t mode, gid_t gid) {
        if (gid != (gid_t)-1 && lchown(path, (uid_t)-1, gid) < 0)
                return -errno;
        return chmod(path, mode) < 0 ? -errno : 0;
}

static int fail(int r, const char *what, const char *address, char *error, size_t error_size) {
        const char *why = r == -EADDRINUSE     ? "somebody is listening there already"
                          : r == -ENAMETOOLONG ? "longer than a socket address can be"
                          : r == -EINVAL       ? "neither an absolute path nor @NAME"
                                               : strerror(-r);

        snprintf(error, error_size, "cannot %s %s: %s", what, address, why);
        return r;
}

int socket_listen(const char *address, int type, mode_t mode, gid_t gid, char *error,
                  size_t error_size) {
        struct sockaddr_un sun;
        socklen_t size = 0;
        int r = fill_address(address, &sun, &size);

        if (r < 0)
                return fail(r, "listen at", address, error, error_size);
        SHMB_CLOSE int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return fail(-errno, "make a socket for", address, error, error_size);
        /* Nobody gets in before mode and group are what they shall be. */
        mode_t old_mask = umask(0777);
        r = bind_path(fd, &sun, size, type);
        umask(old_mask);
        if (r < 0)
                return fail(r, "listen at", address, error, error_size);
        if (address[0] == '/') {
                r = set_access(address, mode, gid);
                if (r < 0) {
                        unlink(address);
                        return fail(r, "set mode and group of", address, error, error_size);
                }
        }
        if (listen(fd, BACKLOG) < 0)
                return fail(-errno, "listen at", address, error, error_size);
        return shmb_steal_fd(&fd);
}

void socket_unlink(const char *address) {
        if (address && address[0] == '/')
                unlink(address);
}

void socket_refuse_descriptors(int fd) {
        int off = 0;

        (void)setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off));
}

/* The caller owns the list, which has room for one more; NULL, with errno set, on failure. */
static gid_t *get_groups(int fd, size_t *ret_n) {
        socklen_t size = 0;
        gid_t none;

        /* A first call with no room tells how much is needed. */
        if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, &none, &size) < 0 && errno != ERANGE)
                return NULL;
        gid_t *gids = calloc(1, size + sizeof(gid_t));
        if (!gids)
                return NULL;
        if (size > 0 && getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, gids, &size) < 0) {
                int saved = errno;
                free(gids);
                errno = saved;
                return NULL;
        }
        *ret_n = size / sizeof(gid_t);
        return gids;
}

/*
 * In a user namespace that lacks some users, all of those look like this one: then they
 * cannot be told apart, nor from the one who really is.
 */
static bool is_anybody(uid_t uid) {
        char line[64] = "", *at = line;

        if (uid != OVERFLOW_UID)
                return false;
        FILE *f = fopen("/proc/self/uid_map", "re");
        if (!f)
                return false;
        (void)!fgets(line, sizeof(line), f);
        fclose(f);
        /* The first of its users here, what that one is outside, and how many there are. */
        unsigned long first = strtoul(at, &at, 10);
        (void)strtoul(at, &at, 10);
        return first != 0 || strtoul(at, NULL, 10) != UINT32_MAX;
}

int socket_identify(int fd, struct socket_peer *ret_peer) {
        struct ucred cred;
        socklen_t size = sizeof(cred);
        struct socket_peer peer = { 0 };

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
                return -errno;
        if (is_anybody(cred.uid))
                return -EREMOTE;
        peer.gids = get_groups(fd, &peer.n_gids);
        if (!peer.gids)
                return -errno;
        peer.pid = cred.pid;
        peer.uid = cred.uid;
        /* The primary group is not among the others. */
        peer.gids[peer.n_gids++] = cred.gid;
        *ret_peer = peer;
        return 0;
}

int socket_peer_process(int fd, pid_t pid) {
        socklen_t size = sizeof(int);
        int process = -1;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &process, &size) == 0)
                return process;
        /* 0: of a process this one cannot see, in another pid namespace. */
        if (errno == ENOPROTOOPT && pid > 0)
                process = (int)syscall(SYS_pidfd_open, pid, 0);
        if (process >= 0)
                return process;
        /* Whatever else keeps it from being told, a filter of system calls say, is no reason
           not to serve the client. */
        return errno == ESRCH || errno == EMFILE || errno == ENFILE || errno == ENOMEM
                       ? -errno
                       : -EOPNOTSUPP;
}
