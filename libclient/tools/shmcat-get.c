/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "shmcat.h"

/* 0 or -errno; *ret_done says how much was written in either case. */
static int write_all(int fd, const uint8_t *data, size_t size, size_t *ret_done) {
        *ret_done = 0;
        while (*ret_done < size) {
                ssize_t n = write(fd, data + *ret_done, size - *ret_done);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                *ret_done += (size_t)n;
        }
        return 0;
}

static int write_out(const struct options *options, const shmc_buffer *buffer) {
        const char *name = options->output ? options->output : "standard output";
        int fd = STDOUT_FILENO;
        size_t done = 0;

        if (options->output)
                fd = open(options->output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (fd < 0)
                return failed("%s: cannot open for writing: %s", name, strerror(errno));
        int r = write_all(fd, shmc_buffer_data(buffer), shmc_buffer_size(buffer), &done);
        /* Some file systems tell of a full disk only now. */
        if (close(fd) < 0 && r == 0)
                r = -errno;
        if (r < 0)
                return failed("%s: cannot write, %zu of %zu bytes were written: %s", name, done,
                              shmc_buffer_size(buffer), strerror(-r));
        return STATUS_OK;
}

int shmcat_get(shmc_client *client, const struct options *options, const char *operand) {
        SHMB_CLEANUP(buffer_done) shmc_buffer *buffer = NULL;
        struct shmc_token token;

        if (shmc_token_from_string(operand, &token) < 0) {
                failed("get: not a token: %s: a token has 32 hexadecimal digits", operand);
                return STATUS_USAGE;
        }
        /* Before the file is opened: a token that is no good must not empty it. */
        int r = shmc_import(client, &token, NULL, &buffer);
        if (r < 0)
                return library_failed(client, "get", r);
        return write_out(options, buffer);
}
