/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "shmcat.h"

/* Of input whose size is not known, so much to begin with. */
static const size_t first_size = (size_t)1 << 20;

struct input {
        int fd;
        const char *name;
        size_t size; /* 0: not known */
};

/* Reads until `size` bytes or the end; how many came, or -errno. */
static ssize_t read_all(int fd, uint8_t *data, size_t size) {
        size_t done = 0;

        while (done < size) {
                ssize_t n = read(fd, data + done, size - done);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                done += (size_t)n;
        }
        return (ssize_t)done;
}

static int allocate(shmc_client *client, const struct options *options,
                    const struct input *input, size_t size, shmc_buffer **ret_buffer) {
        struct shmc_alloc_options alloc = SHMC_ALLOC_OPTIONS_INIT;

        alloc.pool = options->pool;
        alloc.timeout_ns = options->timeout_ns;
        int r = shmc_alloc(client, size, &alloc, ret_buffer);
        return r < 0 ? library_failed(client, input->name, r) : STATUS_OK;
}

static int read_failed(const struct input *input, ssize_t error) {
        return failed("%s: cannot read: %s", input->name, strerror((int)-error));
}

/* A file whose size is known: it must still be that when it has been read. */
static int read_known(shmc_client *client, const struct options *options,
                      const struct input *input, shmc_buffer **ret_buffer) {
        SHMB_CLEANUP(buffer_done) shmc_buffer *buffer = NULL;
        uint8_t more;
        int r = allocate(client, options, input, input->size, &buffer);

        if (r != STATUS_OK)
                return r;
        ssize_t n = read_all(input->fd, shmc_buffer_data(buffer), input->size);
        ssize_t beyond = n < 0 ? n : read_all(input->fd, &more, 1);
        if (beyond < 0)
                return read_failed(input, beyond);
        if ((size_t)n < input->size)
                return failed("%s: the file shrank while it was being read, from %zu bytes to "
                              "%zd",
                              input->name, input->size, n);
        if (beyond > 0)
                return failed("%s: the file grew while it was being read, beyond its %zu bytes",
                              input->name, input->size);
        *ret_buffer = shmb_steal_ptr(buffer);
        return STATUS_OK;
}

/* One twice as large, with what the full one has. */
static int grow(shmc_client *client, const struct options *options, const struct input *input,
                shmc_buffer **buffer) {
        shmc_buffer *larger = NULL;
        size_t size = shmc_buffer_size(*buffer);
        int r = allocate(client, options, input, 2 * size, &larger);

        if (r != STATUS_OK)
                return r;
        memcpy(shmc_buffer_data(larger), shmc_buffer_data(*buffer), size);
        shmc_buffer_unref(*buffer);
        *buffer = larger;
        return STATUS_OK;
}

/* A pipe, a terminal, a file that has no size to show: reads until the end. */
static int read_unknown(shmc_client *client, const struct options *options,
                        const struct input *input, shmc_buffer **ret_buffer) {
        SHMB_CLEANUP(buffer_done) shmc_buffer *buffer = NULL;
        size_t done = 0;
        int r = allocate(client, options, input, first_size, &buffer);

        while (r == STATUS_OK) {
                /* All of the class's capacity, not only what was asked for. */
                shmc_buffer_resize(buffer, shmc_buffer_capacity(buffer));
                size_t room = shmc_buffer_size(buffer) - done;
                ssize_t n = read_all(input->fd, (uint8_t *)shmc_buffer_data(buffer) + done,
                                     room);
                if (n < 0)
                        return read_failed(input, n);
                done += (size_t)n;
                if ((size_t)n < room)
                        break;
                r = grow(client, options, input, &buffer);
        }
        if (r != STATUS_OK)
                return r;
        if (done == 0)
                return failed("%s is empty: nothing to put", input->name);
        shmc_buffer_resize(buffer, done);
        *ret_buffer = shmb_steal_ptr(buffer);
        return STATUS_OK;
}

static int open_input(const char *operand, struct input *input) {
        bool is_stdin = strcmp(operand, "-") == 0;
        struct stat st;
        off_t at = 0;

        input->name = is_stdin ? "standard input" : operand;
        input->fd = is_stdin ? STDIN_FILENO : open(operand, O_RDONLY | O_CLOEXEC);
        if (input->fd < 0 || fstat(input->fd, &st) < 0)
                return failed("%s: cannot open: %s", input->name, strerror(errno));
        if (!S_ISREG(st.st_mode))
                return STATUS_OK;
        /* Standard input may have been read from before. */
        at = lseek(input->fd, 0, SEEK_CUR);
        if (at >= 0 && st.st_size > at)
                input->size = (size_t)(st.st_size - at);
        return STATUS_OK;
}

static int export(shmc_client *client, const struct options *options, const struct input *input,
                  shmc_buffer *buffer) {
        struct shmc_export_options export = SHMC_EXPORT_OPTIONS_INIT;
        char text[SHMC_TOKEN_STRING_SIZE];
        struct shmc_token token;

        export.ttl_ns = options->ttl_ns;
        /* Without an answer, exit status 0 would be a guess. */
        export.flags = SHMC_EXPORT_CONFIRM | (options->once ? SHMC_EXPORT_ONCE : 0) |
                       (options->same_user ? SHMC_EXPORT_SAME_UID : 0);
        int r = shmc_buffer_export(buffer, &export, &token);
        if (r < 0)
                return library_failed(client, input->name, r);
        shmc_token_to_string(&token, text);
        if (printf("%s\n", text) < 0 || fflush(stdout) != 0) {
                r = errno;
                shmc_revoke(client, &token); /* nobody knows it: it would only hold memory */
                return failed("standard output: cannot write the token: %s", strerror(r));
        }
        return STATUS_OK;
}

int shmcat_put(shmc_client *client, const struct options *options, const char *operand) {
        SHMB_CLEANUP(buffer_done) shmc_buffer *buffer = NULL;
        struct input input = { .fd = -1 };
        int r = open_input(operand, &input);

        if (r == STATUS_OK)
                r = input.size > 0 ? read_known(client, options, &input, &buffer)
                                   : read_unknown(client, options, &input, &buffer);
        if (input.fd > STDIN_FILENO)
                shmb_close(input.fd);
        return r == STATUS_OK ? export(client, options, &input, buffer) : r;
}
