/* SPDX-License-Identifier: Apache-2.0 */
#include "log.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#define IDENTIFIER "shmbrokerd"
#define LINE_SIZE 1024u /* a message with its fields; more is cut */
#define FIELD_SIZE 512u /* NAME=value of one field */
#define FIXED_FIELDS 3u /* MESSAGE, PRIORITY, SYSLOG_IDENTIFIER */

static _Atomic(int) current_level = LOG_LEVEL_INFO;
static atomic_bool to_journal;

static pthread_mutex_t rate_lock = PTHREAD_MUTEX_INITIALIZER;
static struct log_rate *rates; /* every site that ever spoke, under rate_lock */

/* ---- levels ----------------------------------------------------------------------- */

static const struct {
        enum log_level level;
        const char *name;
} levels[] = {
        { LOG_LEVEL_ERROR, "error" },
        { LOG_LEVEL_WARNING, "warning" },
        { LOG_LEVEL_INFO, "info" },
        { LOG_LEVEL_DEBUG, "debug" },
};

#define N_LEVELS (sizeof levels / sizeof *levels)

const char *log_level_name(enum log_level level) {
        for (size_t i = 0; i < N_LEVELS; i++)
                if (levels[i].level == level)
                        return levels[i].name;
        return "unknown";
}

int log_level_parse(const char *word) {
        for (size_t i = 0; i < N_LEVELS; i++)
                if (strcmp(levels[i].name, word) == 0)
                        return (int)levels[i].level;
        return -EINVAL;
}

void log_set_level(enum log_level level) {
        atomic_store_explicit(&current_level, (int)level, memory_order_relaxed);
}

bool log_enabled(enum log_level level) {
        return (int)level <= atomic_load_explicit(&current_level, memory_order_relaxed);
}

/* systemd says by device and inode which stream it gave: stderr may since lead elsewhere. */
void log_open(void) {
        const char *stream = getenv("JOURNAL_STREAM");
        struct stat status;
        char *end;
        bool matches = false;

        if (stream && fstat(STDERR_FILENO, &status) == 0) {
                matches = strtoumax(stream, &end, 10) == status.st_dev && *end == ':' &&
                          strtoumax(end + 1, &end, 10) == status.st_ino && *end == '\0';
        }
        atomic_store_explicit(&to_journal, matches, memory_order_relaxed);
}

/* ---- one message ------------------------------------------------------------------ */

struct line {
        char text[LINE_SIZE];
        size_t length; /* without the NUL; always less than LINE_SIZE - 1, for the newline */
};

static void put(struct line *line, const char *text) {
        size_t room = sizeof line->text - 2 - line->length;
        size_t length = strlen(text) < room ? strlen(text) : room;

        memcpy(line->text + line->length, text, length);
        line->length += length;
        line->text[line->length] = '\0';
}

/* What a client chose may not end the line or speak to the terminal. */
static void put_quoted(struct line *line, const char *text) {
        put(line, "\"");
        for (; *text; text++) {
                unsigned char c = (unsigned char)*text;
                char out[5] = { (char)c };

                if (c == '"' || c == '\\')
                        snprintf(out, sizeof out, "\\%c", c);
                else if (iscntrl(c))
                        snprintf(out, sizeof out, "\\x%02x", c);
                put(line, out);
        }
        put(line, "\"");
}

static void put_fields(struct line *line, struct log_fields fields) {
        char number[24];

        for (size_t i = 0; i < fields.n; i++) {
                const struct log_field *field = &fields.fields[i];

                put(line, i == 0 ? " (" : " ");
                put(line, field->name);
                put(line, "=");
                if (field->text) {
                        put_quoted(line, field->text);
                } else {
                        snprintf(number, sizeof number, "%" PRIu64, field->number);
                        put(line, number);
                }
        }
        if (fields.n > 0)
                put(line, ")");
}

static void to_stderr(struct line *line) {
        line->text[line->length] = '\n';
        /* One write, so that lines of several processes do not mix. */
        ssize_t written = write(STDERR_FILENO, line->text, line->length + 1);
        (void)written; /* there is nowhere left to complain */
}

/* "SHMB_PID=12" */
static size_t journal_field(const struct log_field *field, char text[FIELD_SIZE]) {
        int length;

        if (field->text)
                length = snprintf(text, FIELD_SIZE, "SHMB_%s=%s", field->name, field->text);
        else
                length = snprintf(text, FIELD_SIZE, "SHMB_%s=%" PRIu64, field->name,
                                  field->number);
        for (char *c = text; *c && *c != '='; c++)
                *c = (char)toupper((unsigned char)*c);
        return length < (int)FIELD_SIZE ? (size_t)length : FIELD_SIZE - 1;
}

static bool send_to_journal(enum log_level level, struct log_fields fields, const char *text) {
        char own[LOG_FIELDS_MAX][FIELD_SIZE];
        char message[LINE_SIZE + sizeof "MESSAGE="], priority[24];
        struct iovec vector[LOG_FIELDS_MAX + FIXED_FIELDS];
        int n = 0;

        snprintf(message, sizeof message, "MESSAGE=%s", text);
        snprintf(priority, sizeof priority, "PRIORITY=%d", (int)level);
        vector[n++] = (struct iovec){ message, strlen(message) };
        vector[n++] = (struct iovec){ priority, strlen(priority) };
        vector[n++] = (struct iovec){ (char[]){ "SYSLOG_IDENTIFIER=" IDENTIFIER },
                                      strlen("SYSLOG_IDENTIFIER=" IDENTIFIER) };
        for (size_t i = 0; i < fields.n; i++)
                vector[n++] = (struct iovec){ own[i],
                                              journal_field(&fields.fields[i], own[i]) };
        return sd_journal_sendv(vector, n) >= 0;
}

__attribute__((format(printf, 3, 0))) static void write_line(enum log_level level,
                                                             struct log_fields fields,
                                                             const char *format,
                                                             va_list arguments) {
        struct line line = { 0 };
        char text[LINE_SIZE / 2];

        if (fields.n > LOG_FIELDS_MAX)
                fields.n = LOG_FIELDS_MAX;
        vsnprintf(text, sizeof text, format, arguments);
        for (char *c = text; *c; c++)
                if (iscntrl((unsigned char)*c))
                        *c = ' ';
        put(&line, IDENTIFIER ": ");
        put(&line, text);
        put_fields(&line, fields);

        /* A journal that is gone must not take the messages with it. */
        if (!atomic_load_explicit(&to_journal, memory_order_relaxed) ||
            !send_to_journal(level, fields, line.text + strlen(IDENTIFIER ": ")))
                to_stderr(&line);
}

void log_write(enum log_level level, struct log_fields fields, const char *format, ...) {
        int saved = errno;
        va_list arguments;

        va_start(arguments, format);
        write_line(level, fields, format, arguments);
        va_end(arguments);
        errno = saved;
}

/* ---- rates ------------------------------------------------------------------------ */

static uint64_t now_ns(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

bool log_rate_step(struct log_rate *rate, uint64_t now, uint32_t *ret_suppressed) {
        *ret_suppressed = 0;
        if (rate->said == 0 || now - rate->since_ns >= LOG_INTERVAL_NS) {
                *ret_suppressed = rate->suppressed;
                rate->since_ns = now;
                rate->said = 0;
                rate->suppressed = 0;
        }
        if (rate->said >= LOG_BURST) {
                rate->suppressed++;
                return false;
        }
        rate->said++;
        return true;
}

static void tell_suppressed(enum log_level level, const struct log_rate *rate,
                            uint32_t suppressed) {
        log_with(level, LOG_FIELDS(LOG_TEXT("site", rate->site)),
                 "%" PRIu32 " messages like it suppressed", suppressed);
}

bool log_rate_allows(struct log_rate *rate, enum log_level level) {
        int saved = errno;
        uint32_t suppressed;

        pthread_mutex_lock(&rate_lock);
        if (!rate->known) {
                rate->known = true;
                rate->next = rates;
                rates = rate;
        }
        bool allowed = log_rate_step(rate, now_ns(), &suppressed);
        pthread_mutex_unlock(&rate_lock);

        if (suppressed > 0)
                tell_suppressed(level, rate, suppressed);
        errno = saved;
        return allowed;
}

void log_flush_suppressed(void) {
        pthread_mutex_lock(&rate_lock);
        for (struct log_rate *rate = rates; rate; rate = rate->next) {
                if (rate->suppressed > 0)
                        tell_suppressed(LOG_LEVEL_WARNING, rate, rate->suppressed);
                rate->suppressed = 0;
        }
        pthread_mutex_unlock(&rate_lock);
}
