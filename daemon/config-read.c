/* SPDX-License-Identifier: Apache-2.0 */
#include "config-read.h"

#include <dirent.h>
#include <errno.h>
#include <ini.h>
#include <string.h>

#include "cleanup.h"
#include "config-keys.h"
#include "token.h"

#define FILE_NAME "shmbrokerd.conf"
#define SUFFIX ".conf"

static const char *const system_directories[] = { "/etc/shmbroker", "/run/shmbroker",
                                                  "/usr/lib/shmbroker" };
const struct config_roots config_system_roots = { system_directories, 3 };

/* ---- one file --------------------------------------------------------------------- */

enum place { PLACE_NOWHERE, PLACE_BROKER, PLACE_POOL, PLACE_UNKNOWN };

struct reading {
        struct config *config;
        FILE *file;
        const char *path;
        char *buffer; /* of getline */
        size_t buffer_size;
        int line;
        enum place place;
        size_t pool; /* index: the array moves when it grows */
        char section[SHMB_NAME_MAX + 16];
        char *error;
        int error_line; /* 0: none so far; later ones are not told */
        int result;
};

/* Keeps the first failure, with what the file has there. */
static void fail(struct reading *reading, int result, const char *key, const char *value,
                 const char *why) {
        if (reading->result < 0)
                return;
        reading->result = result;
        reading->error_line = reading->line;
        if (key)
                snprintf(reading->error, CONFIG_ERROR_SIZE, "%s:%d: [%s] %s=%s: %s",
                         reading->path, reading->line, reading->section, key, value, why);
        else
                snprintf(reading->error, CONFIG_ERROR_SIZE, "%s:%d: %s", reading->path,
                         reading->line, why);
}

static void enter_pool(struct reading *reading, const char *name) {
        if (!shmb_name_is_valid(name)) {
                fail(reading, -EINVAL, NULL, NULL,
                     "the name of a pool is 1 to 63 of A-Z a-z 0-9 . _ : @ -");
                return;
        }
        if (!config_pool(reading->config, name) &&
            reading->config->n_pools >= CONFIG_POOLS_MAX) {
                fail(reading, -EINVAL, NULL, NULL, "more than 64 pools");
                return;
        }
        struct pool_config *pool = config_pool_obtain(reading->config, name);
        if (!pool) {
                fail(reading, -ENOMEM, NULL, NULL, "out of memory");
                return;
        }
        reading->pool = (size_t)(pool - reading->config->pools);
        reading->place = PLACE_POOL;
}

/*
 * A section's line. inih hands its name to the handler too, but cut to 49 bytes, and not at
 * all if the section is empty, as that of a pool of defaults is.
 */
static void enter_section(struct reading *reading, const char *name, size_t length) {
        char why[CONFIG_WHY_SIZE];

        reading->place = PLACE_UNKNOWN;
        if (length < sizeof reading->section) {
                memcpy(reading->section, name, length);
                reading->section[length] = '\0';
                if (strcmp(reading->section, "Broker") == 0) {
                        reading->place = PLACE_BROKER;
                        return;
                }
                if (strncmp(reading->section, "Pool ", 5) == 0) {
                        enter_pool(reading, reading->section + 5);
                        return;
                }
        }
        snprintf(why, sizeof why, "[%.*s]: not a section; there are [Broker] and [Pool NAME]",
                 (int)(length < 60 ? length : 60), name);
        fail(reading, -EINVAL, NULL, NULL, why);
}

static int on_assignment(void *user, const char *section, const char *name, const char *value) {
        struct reading *reading = user;
        const struct config_key *key = NULL;
        char why[CONFIG_WHY_SIZE] = "out of memory";
        void *data = reading->config;

        (void)section;
        if (reading->place == PLACE_UNKNOWN)
                return 0;
        if (reading->place == PLACE_NOWHERE) {
                fail(reading, -EINVAL, NULL, NULL, "a section must come first, as [Broker]");
                return 0;
        }
        if (reading->place == PLACE_POOL)
                data = &reading->config->pools[reading->pool];
        key = config_key_find(reading->place == PLACE_POOL ? CONFIG_POOL : CONFIG_BROKER, name);
        if (!key) {
                fail(reading, -EINVAL, name, value, "no such key in this section");
                return 0;
        }

        int r = config_key_assign(key, data, value, why);
        if (r < 0)
                fail(reading, r, name, value, why);
        else
                *config_key_place(key, data) = *value ? (struct config_place){ reading->path,
                                                                               reading->line }
                                                      : (struct config_place){ 0 };
        return r == 0;
}

/* Blanks before a line would make inih continue the line before. */
static char *start_of(char *line, int number) {
        if (number == 1 && strncmp(line, "\xef\xbb\xbf", 3) == 0)
                line += 3;
        return line + strspn(line, " \t");
}

/* An ini_reader; it counts lines because Debian's inih does not tell them to the handler. */
static char *next_line(char *to, int room, void *stream) {
        struct reading *reading = stream;
        ssize_t length = getline(&reading->buffer, &reading->buffer_size, reading->file);

        if (length < 0) {
                if (ferror(reading->file))
                        fail(reading, -EIO, NULL, NULL, "cannot be read");
                return NULL;
        }
        reading->line++;
        to[0] = '\0';
        if (strlen(reading->buffer) != (size_t)length) {
                fail(reading, -EINVAL, NULL, NULL, "a NUL byte");
                return to;
        }

        char *line = start_of(reading->buffer, reading->line);
        size_t size = strlen(line) + 1;
        if (size > (size_t)room && *line != '#' && *line != ';') {
                char why[CONFIG_WHY_SIZE];

                snprintf(why, sizeof why,
                         "longer than %d bytes; lists may be continued by assigning again",
                         room - 2);
                fail(reading, -EINVAL, NULL, NULL, why);
                return to;
        }
        if (*line == '[' && strchr(line, ']'))
                enter_section(reading, line + 1, strcspn(line + 1, "]"));
        if (*line != '#' && *line != ';')
                memcpy(to, line, size);
        return to;
}

/* The path, for as long as the configuration lives; NULL: out of memory. */
static const char *remember_file(struct config *config, const char *path) {
        char **longer = reallocarray(config->files, config->n_files + 1, sizeof *longer);

        if (!longer)
                return NULL;
        config->files = longer;
        longer[config->n_files] = strdup(path);
        return longer[config->n_files] ? longer[config->n_files++] : NULL;
}

static int read_file(struct config *config, const char *path, char *error) {
        struct reading reading = { .config = config, .error = error };

        reading.path = remember_file(config, path);
        if (!reading.path)
                return -ENOMEM;

        reading.file = fopen(path, "re");
        if (!reading.file) {
                int r = -errno;
                snprintf(error, CONFIG_ERROR_SIZE, "%s: %s", path, strerror(errno));
                return r;
        }
        int wrong = ini_parse_stream(next_line, &reading, on_assignment, &reading);
        fclose(reading.file);
        free(reading.buffer);

        /* Its count includes what on_assignment refused: only an earlier line is its own find. */
        if (wrong > 0 && (reading.error_line == 0 || wrong < reading.error_line)) {
                snprintf(error, CONFIG_ERROR_SIZE, "%s:%d: neither [Section] nor Key=Value",
                         path, wrong);
                return -EINVAL;
        }
        return wrong == -2 ? -ENOMEM : reading.result;
}

/* ---- which files ------------------------------------------------------------------ */

struct drop_in {
        char *path;
        const char *name; /* the end of path */
};

struct drop_ins {
        struct drop_in *list;
        size_t n;
};

static void free_drop_ins(struct drop_ins *drop_ins) {
        for (size_t i = 0; i < drop_ins->n; i++)
                free(drop_ins->list[i].path);
        free(drop_ins->list);
}

static void close_directory(DIR **directory) {
        if (*directory)
                closedir(*directory);
}

static bool is_drop_in(const char *name) {
        size_t length = strlen(name);

        return name[0] != '.' && length > strlen(SUFFIX) &&
               strcmp(name + length - strlen(SUFFIX), SUFFIX) == 0;
}

static int add_drop_in(struct drop_ins *drop_ins, const char *directory, const char *name) {
        for (size_t i = 0; i < drop_ins->n; i++)
                if (strcmp(drop_ins->list[i].name, name) == 0)
                        return 0; /* masked by a stronger directory */

        struct drop_in *longer = reallocarray(drop_ins->list, drop_ins->n + 1,
                                              sizeof *drop_ins->list);
        if (!longer)
                return -ENOMEM;
        drop_ins->list = longer;

        struct drop_in *added = &longer[drop_ins->n];
        if (asprintf(&added->path, "%s/%s", directory, name) < 0)
                return -ENOMEM;
        added->name = added->path + strlen(directory) + 1;
        drop_ins->n++;
        return 0;
}

static int list_drop_ins(struct drop_ins *drop_ins, const char *directory, char *error) {
        SHMB_CLEANUP(close_directory) DIR *stream = opendir(directory);

        if (!stream) {
                if (errno == ENOENT || errno == ENOTDIR)
                        return 0;
                int r = -errno;
                snprintf(error, CONFIG_ERROR_SIZE, "%s: %s", directory, strerror(errno));
                return r;
        }
        for (const struct dirent *entry; (entry = readdir(stream));) {
                if (!is_drop_in(entry->d_name))
                        continue;
                int r = add_drop_in(drop_ins, directory, entry->d_name);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int by_name(const void *a, const void *b) {
        const struct drop_in *x = a, *y = b;

        return strcmp(x->name, y->name);
}

static int read_drop_ins(struct config *config, struct drop_ins *drop_ins, char *error) {
        if (drop_ins->n > 0)
                qsort(drop_ins->list, drop_ins->n, sizeof *drop_ins->list, by_name);
        for (size_t i = 0; i < drop_ins->n; i++) {
                int r = read_file(config, drop_ins->list[i].path, error);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_main(struct config *config, struct config_roots roots, char *error) {
        for (size_t i = 0; i < roots.n; i++) {
                SHMB_FREE char *path = NULL;

                if (asprintf(&path, "%s/" FILE_NAME, roots.directories[i]) < 0) {
                        path = NULL;
                        return -ENOMEM;
                }
                if (access(path, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR))
                        continue;
                return read_file(config, path, error);
        }
        return 0;
}

int config_read(struct config *config, const char *path, struct config_roots roots,
                char *error) {
        SHMB_CLEANUP(free_drop_ins) struct drop_ins drop_ins = { 0 };
        int r = path ? read_file(config, path, error) : read_main(config, roots, error);

        for (size_t i = 0; r == 0 && i < (path ? 1 : roots.n); i++) {
                SHMB_FREE char *directory = NULL;

                if ((path ? asprintf(&directory, "%s.d", path)
                          : asprintf(&directory, "%s/" FILE_NAME ".d", roots.directories[i])) <
                    0) {
                        directory = NULL;
                        return -ENOMEM;
                }
                r = list_drop_ins(&drop_ins, directory, error);
        }
        return r < 0 ? r : read_drop_ins(config, &drop_ins, error);
}
