/* SPDX-License-Identifier: Apache-2.0 */
#include "config-kinds.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/un.h>

#include "cleanup.h"
#include "config-host.h"
#include "config-value.h"
#include "log.h"

static int refuse(char *why, const char *text) {
        snprintf(why, CONFIG_WHY_SIZE, "%s", text);
        return -EINVAL;
}

/* -EINVAL and the bounds in the words of the key's kind, unless min <= number <= max. */
static int check_range(const struct config_key *key, uint64_t number,
                       void (*format)(uint64_t number, char text[CONFIG_TEXT_SIZE]),
                       char *why) {
        char least[CONFIG_TEXT_SIZE], most[CONFIG_TEXT_SIZE];

        if (number >= key->min && number <= key->max)
                return 0;
        format(key->min, least);
        format(key->max, most);
        snprintf(why, CONFIG_WHY_SIZE, "out of range: from %s to %s", least, most);
        return -EINVAL;
}

static void format_number(uint64_t number, char text[CONFIG_TEXT_SIZE]) {
        snprintf(text, CONFIG_TEXT_SIZE, "%" PRIu64, number);
}

static bool is_infinity(const struct config_key *key, const char *value) {
        return key->infinity && strcmp(value, "infinity") == 0;
}

/* ---- sizes ------------------------------------------------------------------------ */

static int put_size(const struct config_key *key, void *section, int parsed, uint64_t bytes,
                    const char *refusal, char *why) {
        if (parsed == -EINVAL)
                return refuse(why, refusal);
        if (parsed < 0)
                bytes = UINT64_MAX;

        int r = check_range(key, bytes, config_format_size, why);
        if (r < 0)
                return r;
        *(uint64_t *)config_field(key, section) = bytes;
        return 0;
}

static int parse_size(const struct config_key *key, void *section, const char *value,
                      char *why) {
        uint64_t bytes = 0;
        int r = config_parse_size(value, &bytes);

        return put_size(key, section, r, bytes, "not a size (bytes, or with K, M, G, T)", why);
}

static int parse_memory(const struct config_key *key, void *section, const char *value,
                        char *why) {
        unsigned percent;
        uint64_t bytes = 0;

        if (is_infinity(key, value)) {
                *(uint64_t *)config_field(key, section) = UINT64_MAX;
                return 0;
        }

        int r = config_parse_percent(value, &percent);
        if (r == 0)
                bytes = config_host_ram() / 100 * percent;
        else
                r = config_parse_size(value, &bytes);
        return put_size(key, section, r, bytes,
                        key->infinity
                                ? "not a size (bytes, or with K, M, G, T, or a percentage "
                                  "of RAM from 1% to 100%, or infinity)"
                                : "not a size (bytes, or with K, M, G, T, or a percentage "
                                  "of RAM from 1% to 100%)",
                        why);
}

static void format_size(const struct config_key *key, const void *section, FILE *to) {
        char text[CONFIG_TEXT_SIZE];

        config_format_size(*(const uint64_t *)config_field_of(key, section), text);
        fprintf(to, "%s", text);
}

const struct config_kind config_kind_size = { "bytes", parse_size, format_size, NULL, false };
const struct config_kind config_kind_memory = { "bytes", parse_memory, format_size, NULL,
                                                false };

/* ---- other numbers ---------------------------------------------------------------- */

static int parse_duration(const struct config_key *key, void *section, const char *value,
                          char *why) {
        uint64_t ns = UINT64_MAX;

        if (!is_infinity(key, value)) {
                int r = config_parse_duration(value, &ns);
                if (r == -EINVAL)
                        return refuse(why, key->infinity
                                                   ? "not a duration (seconds, or with ns, us, "
                                                     "ms, s, min, h, d, or infinity)"
                                                   : "not a duration (seconds, or with ns, us, "
                                                     "ms, s, min, h, d)");
                r = check_range(key, r < 0 ? UINT64_MAX : ns, config_format_duration, why);
                if (r < 0)
                        return r;
        }
        *(uint64_t *)config_field(key, section) = ns;
        return 0;
}

static void format_duration(const struct config_key *key, const void *section, FILE *to) {
        char text[CONFIG_TEXT_SIZE];

        config_format_duration(*(const uint64_t *)config_field_of(key, section), text);
        fprintf(to, "%s", text);
}

static int parse_count(const struct config_key *key, void *section, const char *value,
                       char *why) {
        uint64_t number = UINT32_MAX;

        if (!is_infinity(key, value)) {
                int r = config_parse_number(value, &number);
                if (r == -EINVAL)
                        return refuse(why, key->infinity ? "not a number, or infinity"
                                                         : "not a number");
                r = check_range(key, r < 0 ? UINT64_MAX : number, format_number, why);
                if (r < 0)
                        return r;
        }
        *(uint32_t *)config_field(key, section) = (uint32_t)number;
        return 0;
}

static void format_count(const struct config_key *key, const void *section, FILE *to) {
        fprintf(to, "%" PRIu32, *(const uint32_t *)config_field_of(key, section));
}

static int parse_mode(const struct config_key *key, void *section, const char *value,
                      char *why) {
        uint64_t mode;

        if (config_parse_octal(value, &mode) < 0 || mode > key->max)
                return refuse(why, "not an access mode (octal, from 0 to 0777)");
        *(mode_t *)config_field(key, section) = (mode_t)mode;
        return 0;
}

static void format_mode(const struct config_key *key, const void *section, FILE *to) {
        fprintf(to, "%04o", *(const mode_t *)config_field_of(key, section));
}

static int parse_node(const struct config_key *key, void *section, const char *value,
                      char *why) {
        uint64_t node;
        int chosen = -1;

        if (strcmp(value, "none") != 0) {
                if (config_parse_number(value, &node) < 0 || node > key->max)
                        return refuse(why, "not a NUMA node's number, or none");
                chosen = (int)node;
        }
        *(int *)config_field(key, section) = chosen;
        return 0;
}

static void format_node(const struct config_key *key, const void *section, FILE *to) {
        int node = *(const int *)config_field_of(key, section);

        if (node < 0)
                fprintf(to, "none");
        else
                fprintf(to, "%d", node);
}

const struct config_kind config_kind_duration = { "time", parse_duration, format_duration, NULL,
                                                  false };
const struct config_kind config_kind_count = { "count", parse_count, format_count, NULL,
                                               false };
const struct config_kind config_kind_mode = { "mode", parse_mode, format_mode, NULL, false };
const struct config_kind config_kind_node = { "node", parse_node, format_node, NULL, false };

/* ---- words ------------------------------------------------------------------------ */

static int parse_socket(const struct config_key *key, void *section, const char *value,
                        char *why) {
        char **field = config_field(key, section);
        SHMB_FREE char *path = NULL;

        if (value[0] == '/' || value[0] == '@') {
                path = strdup(value);
        } else {
                const char *directory = config_host_runtime_directory(
                        geteuid(), getenv("XDG_RUNTIME_DIR"));
                if (asprintf(&path, "%s/%s", directory, value) < 0)
                        path = NULL;
        }
        if (!path)
                return -ENOMEM;
        if (strlen(path) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
                return refuse(why, "longer than a socket's path may be (107 bytes)");

        free(*field);
        *field = shmb_steal_ptr(path);
        return 0;
}

static void format_socket(const struct config_key *key, const void *section, FILE *to) {
        fprintf(to, "%s", *(char *const *)config_field_of(key, section));
}

static void clear_socket(const struct config_key *key, void *section) {
        char **field = config_field(key, section);

        free(*field);
        *field = NULL;
}

static int parse_group(const struct config_key *key, void *section, const char *value,
                       char *why) {
        gid_t gid = (gid_t)-1;

        if (*value != '\0' && config_parse_group(value, &gid) < 0)
                return refuse(why, "no such group");
        *(gid_t *)config_field(key, section) = gid;
        return 0;
}

static void format_group(const struct config_key *key, const void *section, FILE *to) {
        gid_t gid = *(const gid_t *)config_field_of(key, section);

        if (gid != (gid_t)-1)
                fprintf(to, "%u", gid);
}

static int parse_level(const struct config_key *key, void *section, const char *value,
                       char *why) {
        int level = log_level_parse(value);

        if (level < 0)
                return refuse(why, "not one of error, warning, info, debug");
        *(int *)config_field(key, section) = level;
        return 0;
}

static void format_level(const struct config_key *key, const void *section, FILE *to) {
        int level = *(const int *)config_field_of(key, section);

        fprintf(to, "%s", log_level_name((enum log_level)level));
}

static int word_index(const char *const *words, const char *value) {
        for (int i = 0; words[i]; i++)
                if (strcmp(words[i], value) == 0)
                        return i;
        return -1;
}

/* In the order of the enums. */
static const char *const share_words[] = { "any", "same-uid", NULL };
static const char *const huge_words[] = { "no", "thp", "2M", NULL };

static int parse_share(const struct config_key *key, void *section, const char *value,
                       char *why) {
        int share = word_index(share_words, value);

        if (share < 0)
                return refuse(why, "not any or same-uid");
        *(enum config_share *)config_field(key, section) = (enum config_share)share;
        return 0;
}

static void format_share(const struct config_key *key, const void *section, FILE *to) {
        fprintf(to, "%s",
                share_words[*(const enum config_share *)config_field_of(key, section)]);
}

static int parse_huge(const struct config_key *key, void *section, const char *value,
                      char *why) {
        int huge = word_index(huge_words, value);

        if (huge < 0)
                return refuse(why, "not one of no, thp, 2M");
        *(enum config_huge *)config_field(key, section) = (enum config_huge)huge;
        return 0;
}

static void format_huge(const struct config_key *key, const void *section, FILE *to) {
        fprintf(to, "%s", huge_words[*(const enum config_huge *)config_field_of(key, section)]);
}

const struct config_kind config_kind_socket = { "path", parse_socket, format_socket,
                                                clear_socket, false };
const struct config_kind config_kind_group = { "group", parse_group, format_group, NULL,
                                               false };
const struct config_kind config_kind_level = { "level", parse_level, format_level, NULL,
                                               false };
const struct config_kind config_kind_share = { "word", parse_share, format_share, NULL, false };
const struct config_kind config_kind_huge = { "word", parse_huge, format_huge, NULL, false };
