/* SPDX-License-Identifier: Apache-2.0 */
#include "top.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "cleanup.h"
#include "human.h"
#include "reply.h"
#include "show.h"
#include "terminal.h"

#define KEY_INTERRUPT 3 /* ^C, where it raises no signal */
#define KEY_END 4       /* ^D */

struct top {
        const struct options *options;
        struct call *call;
        struct call_error *error;
        struct terminal terminal;
        bool on_terminal;
        int timer, signals;
        uint64_t grants, refused, at_ns; /* of the sample before */
        uint64_t shown;
};

static void json_putp(struct json_object **object) {
        json_object_put(*object);
}

static int failed(struct top *top, int r, const char *what) {
        snprintf(top->error->text, sizeof(top->error->text), "%s: %s", what, strerror(-r));
        return r;
}

/* How much one lives on memory: what it writes, reads and has put aside. */
static uint64_t weight(struct json_object *client) {
        static const char *const amounts[] = { "held", "cached", "shared", "reading" };
        uint64_t sum = 0;

        for (size_t i = 0; i < sizeof amounts / sizeof *amounts; i++)
                sum += reply_int(reply_at(client, amounts[i]), "bytes");
        return sum;
}

static int heavier_first(const void *a, const void *b) {
        struct json_object *const *x = a;
        struct json_object *const *y = b;
        uint64_t wx = weight(*x), wy = weight(*y);

        if (wx != wy)
                return wx < wy ? 1 : -1;
        uint64_t ix = reply_int(*x, "client"), iy = reply_int(*y, "client");
        return ix < iy ? -1 : ix > iy;
}

/* "12.0 grants/s": against the sample before. */
static void print_rates(struct top *top, struct json_object *status, FILE *to) {
        struct json_object *counters = reply_at(status, "counters");
        uint64_t at = reply_int(status, "uptime_ns");
        uint64_t grants = reply_int(counters, "grants");
        uint64_t refused = reply_int(counters, "refused");

        if (top->shown > 0 && at > top->at_ns) {
                double seconds = (double)(at - top->at_ns) / 1e9;
                fprintf(to, "%.1f grants/s, %.1f refused/s\n",
                        (double)(grants - top->grants) / seconds,
                        (double)(refused - top->refused) / seconds);
        } else {
                fprintf(to, "%" PRIu64 " grants, %" PRIu64 " refused since the start\n", grants,
                        refused);
        }
        top->grants = grants;
        top->refused = refused;
        top->at_ns = at;
}

/* "held 20.0M  cached 0  free 4.0K ..." */
static void print_memory(struct json_object *status, FILE *to) {
        struct json_object *memory = reply_at(status, "memory");
        const char *gap = "";

        if (!memory)
                return;
        json_object_object_foreach(memory, state, amount) {
                char bytes[HUMAN_SIZE];

                human_bytes(bytes, reply_int(amount, "bytes"));
                fprintf(to, "%s%s %s", gap, state, bytes);
                gap = "  ";
        }
        fputc('\n', to);
}

static int print_sample(struct top *top, struct json_object *status,
                        struct json_object *clients, const struct view *view) {
        int r = show_status_heading(status, view);

        print_memory(status, view->to);
        print_rates(top, status, view->to);
        fputc('\n', view->to);
        json_object_array_sort(reply_at(clients, "clients"), heavier_first);
        return r < 0 ? r : show_clients(clients, view);
}

/* As much of the text as fits, in place of what is on the screen. */
static void paint(const char *text, unsigned width, unsigned height) {
        unsigned line = 0;

        fputs("\033[H", stdout);
        while (*text && (height == 0 || line < height)) {
                size_t length = strcspn(text, "\n");
                int shown = (int)(width && length > width ? width : length);

                fprintf(stdout, "%s%.*s\033[K", line ? "\r\n" : "", shown, text);
                text += length + (text[length] == '\n');
                line++;
        }
        fputs("\033[J", stdout);
}

static int draw(struct top *top, struct json_object *status, struct json_object *clients) {
        unsigned width = terminal_width(STDOUT_FILENO);
        SHMB_FREE char *text = NULL;
        size_t size = 0;
        FILE *to = open_memstream(&text, &size);
        struct view view = { .to = to, .width = width, .header = !top->options->no_header };

        if (!to)
                return -errno;
        int r = print_sample(top, status, clients, &view);
        if (fclose(to) != 0 && r == 0)
                r = -ENOMEM;
        if (r == 0)
                paint(text, width, terminal_height(STDOUT_FILENO));
        return r;
}

static int print_plain(struct top *top, struct json_object *status,
                       struct json_object *clients) {
        struct view view = { .to = stdout, .header = !top->options->no_header };

        view.width = terminal_width(STDOUT_FILENO);
        if (top->shown > 0)
                fputc('\n', stdout);
        return print_sample(top, status, clients, &view);
}

/* One document a line: {"status": ..., "clients": [...]} */
static int print_json(struct json_object *status, struct json_object *clients) {
        struct json_object *sample = json_object_new_object();
        int r = -ENOMEM;

        if (sample) {
                json_object_object_add(sample, "status", json_object_get(status));
                json_object_object_add(sample, "clients",
                                       json_object_get(reply_at(clients, "clients")));
                const char *text = json_object_to_json_string_ext(
                        sample, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
                if (text)
                        r = puts(text) < 0 ? -errno : 0;
        }
        json_object_put(sample);
        return r;
}

static int show_sample(struct top *top) {
        SHMB_CLEANUP(json_putp) struct json_object *status = NULL;
        SHMB_CLEANUP(json_putp) struct json_object *clients = NULL;
        int r = call_method(top->call, "io.shmbroker.Status", NULL, &status, top->error);

        if (r == 0)
                r = call_list(top->call, "io.shmbroker.Clients", "clients", NULL, &clients,
                              top->error);
        if (r < 0)
                return r;
        if (top->on_terminal)
                r = draw(top, status, clients);
        else if (top->options->json)
                r = print_json(status, clients);
        else
                r = print_plain(top, status, clients);
        if (r == 0 && fflush(stdout) != 0)
                r = -errno;
        top->shown++;
        return r < 0 ? failed(top, r, "cannot write") : 0;
}

/* Did a key end it? */
static bool key_ends(void) {
        char key = 0;
        ssize_t n = read(STDIN_FILENO, &key, 1);

        if (n < 0)
                return errno != EINTR && errno != EAGAIN;
        return n == 0 || key == 'q' || key == 'Q' || key == KEY_INTERRUPT || key == KEY_END;
}

/* Waits for the next sample: 1, or 0 to end, or -errno. */
static int wait_next(struct top *top) {
        struct pollfd fds[] = {
                { .fd = top->timer, .events = POLLIN },
                { .fd = top->signals, .events = POLLIN },
                { .fd = top->on_terminal ? STDIN_FILENO : -1, .events = POLLIN },
        };
        struct signalfd_siginfo signal_info;
        uint64_t ticks;

        for (;;) {
                if (poll(fds, sizeof fds / sizeof *fds, -1) < 0) {
                        if (errno == EINTR)
                                continue;
                        return failed(top, -errno, "cannot wait");
                }
                if (fds[2].revents && key_ends())
                        return 0;
                if (fds[1].revents && read(top->signals, &signal_info, sizeof(signal_info)) ==
                                              (ssize_t)sizeof(signal_info))
                        return signal_info.ssi_signo == SIGWINCH;
                if (fds[0].revents && read(top->timer, &ticks, sizeof(ticks)) > 0)
                        return 1;
        }
}

/* Signals come as events, so that the terminal is given back before the end. */
static int prepare(struct top *top) {
        struct itimerspec second = { .it_interval = { .tv_sec = 1 },
                                     .it_value = { .tv_sec = 1 } };
        sigset_t mask;

        sigemptyset(&mask);
        sigaddset(&mask, SIGINT);
        sigaddset(&mask, SIGTERM);
        sigaddset(&mask, SIGHUP);
        if (top->on_terminal)
                sigaddset(&mask, SIGWINCH);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;
        top->signals = signalfd(-1, &mask, SFD_CLOEXEC);
        top->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
        if (top->signals < 0 || top->timer < 0 ||
            timerfd_settime(top->timer, 0, &second, NULL) < 0)
                return -errno;
        return top->on_terminal ? terminal_take(&top->terminal) : 0;
}

int top_run(const struct options *options, struct call *call, struct call_error *error) {
        struct top top = {
                .options = options,
                .call = call,
                .error = error,
                .on_terminal = options->count == 0 && !options->json && terminal_is_there(),
                .timer = -1,
                .signals = -1,
        };
        int r = prepare(&top);

        if (r < 0)
                failed(&top, r, "cannot prepare");
        while (r == 0) {
                r = show_sample(&top);
                if (r < 0 || (options->count && top.shown >= options->count))
                        break;
                r = wait_next(&top);
                if (r <= 0)
                        break;
                r = 0;
        }
        terminal_give_back(&top.terminal);
        shmb_close(top.timer);
        shmb_close(top.signals);
        return r;
}
