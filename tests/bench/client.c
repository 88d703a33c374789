/* SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int client_connect(const struct context *context, shmc_client **ret_client) {
        char text[256];
        int r = shmc_connect(ret_client, NULL, NULL);

        if (r < 0) {
                shmc_connect_error(r, NULL, text, sizeof(text));
                fprintf(stderr, "shmbench: %s: %s\n", context->bench->name, text);
        }
        return r < 0 ? r : 0;
}

int client_failed(const struct context *context, shmc_client *client, const char *what,
                  int error) {
        char text[512] = "";

        shmc_last_error(client, text, sizeof(text));
        fprintf(stderr, "shmbench: %s: %s: %s%s%s\n", context->bench->name, what,
                strerror(-error), *text ? ": " : "", text);
        return error;
}

/*
 * The kernel names whoever made the socket listen. Under systemd that is systemd, which is
 * left alone.
 */
pid_t client_broker(const shmc_client *client) {
        static const char broker[] = "shmbrokerd\n";
        struct ucred peer;
        socklen_t size = sizeof(peer);
        char path[64], name[sizeof(broker)] = "";

        if (getsockopt(shmc_get_fd(client), SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
                return -1;
        snprintf(path, sizeof(path), "/proc/%d/comm", peer.pid);
        FILE *stream = fopen(path, "re");
        if (!stream)
                return -1;
        bool is_broker = fgets(name, sizeof(name), stream) && strcmp(name, broker) == 0;
        fclose(stream);
        return is_broker ? peer.pid : -1;
}
