/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "broker.h"
#include "cleanup.h"
#include "hash.h"
#include "log.h"
#include "options.h"
#include "run.h"
#include "sdglue.h"
#include "socket.h"

struct daemon {
        struct options options;
        struct config *config;
        struct run *run; /* --run only */
        struct event_base *base;
        struct event *on_term, *on_int, *on_hangup, *on_run;
        struct broker *broker;
        const char *made_socket, *made_control; /* to be removed at the end */
        int status;
};

/* Sockets that systemd did not pass are made here. */
static int listen_unless_given(int *fd, const char *address, int type, mode_t mode, gid_t gid,
                               const char **ret_made) {
        char error[512];

        if (*fd >= 0)
                return 0;
        int r = socket_listen(address, type, mode, gid, error, sizeof(error));
        if (r < 0) {
                log_error("%s", error);
                return r;
        }
        *fd = r;
        *ret_made = address;
        return 0;
}

static int open_sockets(struct daemon *daemon, struct broker_sockets *ret_sockets) {
        const struct config *config = daemon->config;
        struct sdglue_sockets given = { .broker = -1, .control = -1 };
        const char *data = daemon->options.socket_path, *control = daemon->options.control_path;
        char error[512];
        int r;

        /* A broker for one command leaves the sockets of the service it may run in alone. */
        r = daemon->run ? 0 : sdglue_listen_fds(&given, error, sizeof(error));
        if (r < 0) {
                log_error("%s", error);
                return r;
        }
        if (!data)
                data = daemon->run ? daemon->run->socket_path : config->socket_path;
        if (!control)
                control = daemon->run ? daemon->run->control_path : config->control_path;
        SHMB_CLOSE int data_fd = given.broker;
        SHMB_CLOSE int control_fd = given.control;
        r = listen_unless_given(&data_fd, data, SOCK_SEQPACKET, config->socket_mode,
                                config->socket_gid, &daemon->made_socket);
        if (r == 0)
                r = listen_unless_given(&control_fd, control, SOCK_STREAM, config->control_mode,
                                        config->socket_gid, &daemon->made_control);
        if (r < 0)
                return r;
        socket_refuse_descriptors(control_fd);
        ret_sockets->data = shmb_steal_fd(&data_fd);
        ret_sockets->control = shmb_steal_fd(&control_fd);
        return 0;
}

/* A buffer costs one, a client two and some of its queue: take all that may be had. */
static void raise_descriptor_limit(const struct config *config, enum log_level level) {
        struct rlimit limit;
        rlim_t wanted = (rlim_t)config->buffers_max + 3 * (rlim_t)config->connections_max;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return;
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
                log_warning("cannot raise the limit of descriptors: %s", strerror(errno));
        if (limit.rlim_max < wanted)
                log_with(level, LOG_NO_FIELDS,
                         "%ju descriptors are allowed; BuffersMax= and ConnectionsMax= could "
                         "use %ju",
                         (uintmax_t)limit.rlim_max, (uintmax_t)wanted);
}

static void secure(void) {
        uint64_t key[2];

        /* Readers of /proc/PID/fd could reopen anything granted to anyone. LeakSanitizer
           needs to be let in. */
#ifndef __SANITIZE_ADDRESS__
        prctl(PR_SET_DUMPABLE, 0);
#endif
        if (getrandom(key, sizeof(key), 0) == (ssize_t)sizeof(key))
                hash_set_key(key);
        signal(SIGPIPE, SIG_IGN);
        /* Comes when somebody opens an object that is being proven returned (fcntl(2),
           F_SETLEASE), through an O_PATH descriptor or /proc; and would end the process. */
        signal(SIGIO, SIG_IGN);
}

static void on_signal(evutil_socket_t number, short what, void *userdata) {
        struct daemon *daemon = userdata;

        (void)what;
        log_info("ending on %s", strsignal((int)number));
        sdglue_stopping();
        event_base_loopbreak(daemon->base);
}

static void on_run(evutil_socket_t fd, short what, void *userdata) {
        struct daemon *daemon = userdata;

        (void)fd;
        (void)what;
        int r = run_dispatch(daemon->run, &daemon->status);
        if (r < 0)
                daemon->status = EXIT_FAILURE;
        if (r != 0)
                event_base_loopbreak(daemon->base);
}

static int watch_signals(struct daemon *daemon) {
        struct event_base *base = daemon->base;

        if (daemon->run) {
                daemon->on_run = event_new(base, daemon->run->signal_fd, EV_READ | EV_PERSIST,
                                           on_run, daemon);
                return daemon->on_run && event_add(daemon->on_run, NULL) == 0 ? 0 : -ENOMEM;
        }
        daemon->on_term = evsignal_new(base, SIGTERM, on_signal, daemon);
        daemon->on_int = evsignal_new(base, SIGINT, on_signal, daemon);
        daemon->on_hangup = evsignal_new(base, SIGHUP, on_signal, daemon);
        if (!daemon->on_term || !daemon->on_int || !daemon->on_hangup ||
            event_add(daemon->on_term, NULL) < 0 || event_add(daemon->on_int, NULL) < 0 ||
            event_add(daemon->on_hangup, NULL) < 0)
                return -ENOMEM;
        return 0;
}

static int start(struct daemon *daemon) {
        struct broker_sockets sockets = { -1, -1 };
        int r = open_sockets(daemon, &sockets);

        if (r < 0)
                return r;
        daemon->base = event_base_new();
        if (!daemon->base) {
                shmb_close(sockets.data);
                shmb_close(sockets.control);
                return -ENOMEM;
        }
        r = broker_new(&daemon->broker, daemon->config, daemon->base, sockets);
        if (r < 0)
                return r;
        r = watch_signals(daemon);
        if (r < 0)
                return r;
        if (daemon->run)
                return run_start(daemon->run, daemon->options.run_argv, &daemon->status);
        sdglue_ready("Serving up to %ju MiB in %zu pools",
                     (uintmax_t)(daemon->config->memory_max >> 20), daemon->config->n_pools);
        log_info("serving %s", daemon->made_socket ? daemon->made_socket : "passed sockets");
        return 0;
}

static void end(struct daemon *daemon) {
        /* While they are still listened at: a broker that finds them dead makes its own. */
        socket_unlink(daemon->made_socket);
        socket_unlink(daemon->made_control);
        broker_free(daemon->broker);
        if (daemon->on_term)
                event_free(daemon->on_term);
        if (daemon->on_int)
                event_free(daemon->on_int);
        if (daemon->on_hangup)
                event_free(daemon->on_hangup);
        if (daemon->on_run)
                event_free(daemon->on_run);
        if (daemon->base)
                event_base_free(daemon->base);
        run_free(daemon->run);
        config_free(daemon->config);
        log_flush_suppressed();
        libevent_global_shutdown();
}

static int configure(struct daemon *daemon) {
        char error[CONFIG_ERROR_SIZE] = "";
        int r = config_new(&daemon->config);

        if (r == 0)
                r = config_load(daemon->config, daemon->options.config_path, error);
        if (r < 0) {
                log_error("%s", error[0] ? error : strerror(-r));
                return r;
        }
        log_set_level(daemon->options.log_level >= 0
                              ? (enum log_level)daemon->options.log_level
                              : (enum log_level)daemon->config->log_level);
        return 0;
}

int main(int argc, char **argv) {
        struct daemon daemon = { .status = EXIT_SUCCESS };
        int status;

        if (options_parse(argc, argv, &daemon.options, &status) != OPTIONS_GO)
                return status;
        log_open();
        if (daemon.options.check_config)
                return options_check_config(&daemon.options);
        if (configure(&daemon) < 0) {
                config_free(daemon.config);
                return EXIT_FAILURE;
        }
        if (daemon.options.run_argv && run_prepare(&daemon.run) < 0) {
                config_free(daemon.config);
                return EXIT_FAILURE;
        }
        /* The one command of --run will hardly notice. */
        raise_descriptor_limit(daemon.config, daemon.run ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
        secure();
        if ((start(&daemon) < 0 || event_base_dispatch(daemon.base) != 0) &&
            daemon.status == EXIT_SUCCESS)
                daemon.status = EXIT_FAILURE;
        end(&daemon);
        return daemon.status;
}
