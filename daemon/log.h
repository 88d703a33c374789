/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's log: structured in the journal when stderr is a journal stream, else one line
 * on stderr. Levels are syslog's, so that they pass to the journal unchanged.
 *
 *     log_info("listening on %s", path);
 *     log_with(LOG_LEVEL_WARNING, LOG_FIELDS(LOG_NUMBER("pid", pid), LOG_TEXT("reason", why)),
 *              "client disconnected");
 *
 * The second reads `client disconnected (pid=12 reason="...")`, and has the fields SHMB_PID
 * and SHMB_REASON in the journal. Whatever a client can cause is logged through log_limited,
 * which lets a call site speak LOG_BURST times in LOG_INTERVAL_NS and then counts: a hostile
 * client must not fill the journal. Every function may be called from any thread, and keeps
 * errno.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level {
        LOG_LEVEL_ERROR = 3,
        LOG_LEVEL_WARNING = 4,
        LOG_LEVEL_INFO = 6,
        LOG_LEVEL_DEBUG = 7,
};

#define LOG_BURST 10u
#define LOG_INTERVAL_NS (UINT64_C(5) * 1000 * 1000 * 1000)
#define LOG_FIELDS_MAX 16u /* more are left out */

/* `name` in lower case: "pid" is SHMB_PID in the journal. */
struct log_field {
        const char *name;
        const char *text; /* NULL: the number; borrowed for the call */
        uint64_t number;
};

struct log_fields {
        const struct log_field *fields;
        size_t n;
};

#define LOG_NUMBER(name_, value) ((struct log_field){ (name_), NULL, (uint64_t)(value) })
#define LOG_TEXT(name_, value) ((struct log_field){ (name_), (value), 0 })
#define LOG_FIELDS(...)                                                                        \
        ((struct log_fields){ (const struct log_field[]){ __VA_ARGS__ },                       \
                              sizeof((const struct log_field[]){ __VA_ARGS__ }) /              \
                                      sizeof(struct log_field) })
#define LOG_NO_FIELDS ((struct log_fields){ NULL, 0 })

/* Finds out where stderr leads. Before it, everything goes to stderr as lines. */
void log_open(void);

/* Messages above the level are dropped. LOG_LEVEL_INFO at first. */
void log_set_level(enum log_level level);

bool log_enabled(enum log_level level);

/* "error", "warning", "info", "debug"; log_level_parse returns -EINVAL for another word. */
const char *log_level_name(enum log_level level);
int log_level_parse(const char *word);

void log_write(enum log_level level, struct log_fields fields, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

#define log_with(level, ...)                                                                   \
        do {                                                                                   \
                if (log_enabled(level))                                                        \
                        log_write((level), __VA_ARGS__);                                       \
        } while (0)

#define log_error(...) log_with(LOG_LEVEL_ERROR, LOG_NO_FIELDS, __VA_ARGS__)
#define log_warning(...) log_with(LOG_LEVEL_WARNING, LOG_NO_FIELDS, __VA_ARGS__)
#define log_info(...) log_with(LOG_LEVEL_INFO, LOG_NO_FIELDS, __VA_ARGS__)
#define log_debug(...) log_with(LOG_LEVEL_DEBUG, LOG_NO_FIELDS, __VA_ARGS__)

/* What one call site may still say. Zero-initialised, and never freed: the log keeps it. */
struct log_rate {
        uint64_t since_ns;
        uint32_t said, suppressed;
        const char *site; /* "file.c:12" */
        struct log_rate *next;
        bool known;
};

#define LOG_SITE_TEXT_(line) #line
#define LOG_SITE_TEXT(line) LOG_SITE_TEXT_(line)

/* log_with, for what clients cause. */
#define log_limited(level, ...)                                                                \
        do {                                                                                   \
                static struct log_rate log_rate_ = { .site = __FILE_NAME__                     \
                                                     ":" LOG_SITE_TEXT(__LINE__) };            \
                if (log_enabled(level) && log_rate_allows(&log_rate_, (level)))                \
                        log_write((level), __VA_ARGS__);                                       \
        } while (0)

bool log_rate_allows(struct log_rate *rate, enum log_level level);

/*
 * The rule alone: may this site speak at `now_ns`? When a new interval begins,
 * *ret_suppressed is how many the one before swallowed; else 0.
 */
bool log_rate_step(struct log_rate *rate, uint64_t now_ns, uint32_t *ret_suppressed);

/* Tells of what is suppressed and not yet told. Call it at the end, and now and then. */
void log_flush_suppressed(void);
