/* SPDX-License-Identifier: Apache-2.0 */
/* The kinds of values that are lists of words. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "cleanup.h"
#include "config-kinds.h"
#include "config-value.h"

/* A dumped line must be shorter than inih's 200 bytes: go on in another assignment. */
#define WORDS_PER_LINE 10u
#define LIST_MAX 1024u

/* One word of a list into one element. 0, or -EINVAL with `why`. */
typedef int (*element_fn)(const struct config_key *key, const char *word, void *element,
                          char *why);

/* The list's pointer goes through memcpy because each kind has its own element type. */
static void *list_get(const struct config_key *key, const void *section, size_t *ret_n) {
        void *list;

        memcpy(&list, config_field_of(key, section), sizeof list);
        memcpy(ret_n, (const char *)section + key->count_offset, sizeof *ret_n);
        return list;
}

static void list_set(const struct config_key *key, void *section, void *list, size_t n) {
        memcpy(config_field(key, section), &list, sizeof list);
        memcpy((char *)section + key->count_offset, &n, sizeof n);
}

static int append(const struct config_key *key, void *section, const void *element,
                  size_t element_size, char *why) {
        size_t n;
        void *list = list_get(key, section, &n);

        if (n >= LIST_MAX) {
                snprintf(why, CONFIG_WHY_SIZE, "more than %u elements", LIST_MAX);
                return -EINVAL;
        }
        void *longer = reallocarray(list, n + 1, element_size);
        if (!longer)
                return -ENOMEM;
        memcpy((char *)longer + n * element_size, element, element_size);
        list_set(key, section, longer, n + 1);
        return 0;
}

static int parse_words(const struct config_key *key, void *section, const char *value,
                       element_fn element_parse, size_t element_size, char *why) {
        SHMB_FREE char *copy = strdup(value);
        char *rest = NULL;
        max_align_t element[2] = { 0 };

        if (!copy)
                return -ENOMEM;
        for (char *word = strtok_r(copy, " \t,", &rest); word;
             word = strtok_r(NULL, " \t,", &rest)) {
                int r = element_parse(key, word, element, why);
                if (r == 0)
                        r = append(key, section, element, element_size, why);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void clear_list(const struct config_key *key, void *section) {
        size_t n;

        free(list_get(key, section, &n));
        list_set(key, section, NULL, 0);
}

/* Between elements: a blank, or a new assignment. */
static void separate(const struct config_key *key, size_t index, FILE *to) {
        if (index == 0)
                return;
        if (index % WORDS_PER_LINE == 0)
                fprintf(to, "\n%s=", key->name);
        else
                fputc(' ', to);
}

static int size_in_range(const struct config_key *key, const char *word, const char *text,
                         uint64_t *ret_bytes, char *why) {
        uint64_t bytes = 0;
        int r = config_parse_size(text, &bytes);

        if (r == 0 && bytes >= key->min && bytes <= key->max) {
                *ret_bytes = bytes;
                return 0;
        }
        snprintf(why, CONFIG_WHY_SIZE, "%.40s is not a size %s", word,
                 r == -EINVAL ? "(bytes, or with K, M, G, T)" : "from 1 byte to 1024T");
        return -EINVAL;
}

static int size_element(const struct config_key *key, const char *word, void *element,
                        char *why) {
        return size_in_range(key, word, word, element, why);
}

static int parse_sizes(const struct config_key *key, void *section, const char *value,
                       char *why) {
        return parse_words(key, section, value, size_element, sizeof(uint64_t), why);
}

static void format_sizes(const struct config_key *key, const void *section, FILE *to) {
        size_t n;
        const uint64_t *sizes = list_get(key, section, &n);
        char text[CONFIG_TEXT_SIZE];

        for (size_t i = 0; i < n; i++) {
                separate(key, i, to);
                config_format_size(sizes[i], text);
                fprintf(to, "%s", text);
        }
}

/* "4x20M" */
static int prealloc_element(const struct config_key *key, const char *word, void *element,
                            char *why) {
        struct config_prealloc *prealloc = element;
        const char *times = strchr(word, 'x');
        char count_text[12] = "";
        uint64_t count = 0;

        if (times && (size_t)(times - word) < sizeof count_text)
                memcpy(count_text, word, (size_t)(times - word));
        if (!times || config_parse_number(count_text, &count) < 0 || count == 0 ||
            count > UINT32_MAX) {
                snprintf(why, CONFIG_WHY_SIZE, "%.40s is not COUNTxSIZE, as in 4x20M", word);
                return -EINVAL;
        }
        prealloc->count = (uint32_t)count;
        return size_in_range(key, word, times + 1, &prealloc->capacity, why);
}

static int parse_prealloc(const struct config_key *key, void *section, const char *value,
                          char *why) {
        return parse_words(key, section, value, prealloc_element,
                           sizeof(struct config_prealloc), why);
}

static void format_prealloc(const struct config_key *key, const void *section, FILE *to) {
        size_t n;
        const struct config_prealloc *list = list_get(key, section, &n);
        char text[CONFIG_TEXT_SIZE];

        for (size_t i = 0; i < n; i++) {
                separate(key, i, to);
                config_format_size(list[i].capacity, text);
                fprintf(to, "%" PRIu32 "x%s", list[i].count, text);
        }
}

static int user_element(const struct config_key *key, const char *word, void *element,
                        char *why) {
        (void)key;
        if (config_parse_user(word, element) == 0)
                return 0;
        snprintf(why, CONFIG_WHY_SIZE, "no such user: %.40s", word);
        return -EINVAL;
}

static int parse_users(const struct config_key *key, void *section, const char *value,
                       char *why) {
        return parse_words(key, section, value, user_element, sizeof(uid_t), why);
}

static int group_element(const struct config_key *key, const char *word, void *element,
                         char *why) {
        (void)key;
        if (config_parse_group(word, element) == 0)
                return 0;
        snprintf(why, CONFIG_WHY_SIZE, "no such group: %.40s", word);
        return -EINVAL;
}

static int parse_groups(const struct config_key *key, void *section, const char *value,
                        char *why) {
        return parse_words(key, section, value, group_element, sizeof(gid_t), why);
}

_Static_assert(sizeof(uid_t) == sizeof(gid_t), "format_ids serves both");

static void format_ids(const struct config_key *key, const void *section, FILE *to) {
        size_t n;
        const uid_t *ids = list_get(key, section, &n);

        for (size_t i = 0; i < n; i++) {
                separate(key, i, to);
                fprintf(to, "%u", ids[i]);
        }
}

const struct config_kind config_kind_sizes = { "list of bytes", parse_sizes, format_sizes,
                                               clear_list, true };
const struct config_kind config_kind_prealloc = { "list of COUNTxSIZE", parse_prealloc,
                                                  format_prealloc, clear_list, true };
const struct config_kind config_kind_users = { "list of users", parse_users, format_ids,
                                               clear_list, true };
const struct config_kind config_kind_groups = { "list of groups", parse_groups, format_ids,
                                                clear_list, true };
