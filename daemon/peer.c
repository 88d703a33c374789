/* SPDX-License-Identifier: Apache-2.0 */
#include "peer.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <utlist.h>

#include "cleanup.h"
#include "closer.h"
#include "lease-page.h"
#include "listener.h"
#include "log.h"
#include "packet.h"
#include "status.h"

/* One peer's turn in the event loop: whichever comes first. */
#define PACKETS_PER_TURN 32
#define TURN_NS 200000

static void on_readable(evutil_socket_t fd, short what, void *userdata);

static void log_peer(enum log_level level, const struct peer *peer, const char *what,
                     const char *reason) {
        log_limited(level,
                    LOG_FIELDS(LOG_NUMBER("pid", peer->who.pid),
                               LOG_NUMBER("uid", peer->who.uid),
                               LOG_TEXT("client", peer->client ? peer->client->name : "-"),
                               LOG_TEXT("reason", reason)),
                    "%s", what);
}

int peer_new(struct broker *broker, int fd, struct socket_peer *who) {
        struct peer *peer = calloc(1, sizeof(*peer));
        struct timeval hello = {
                .tv_sec = (time_t)(broker->config->hello_timeout_ns / 1000000000u),
                .tv_usec = (suseconds_t)(broker->config->hello_timeout_ns % 1000000000u /
                                         1000u),
        };

        if (!peer) {
                closer_close(broker->closer, fd);
                listener_left(broker, who->uid);
                free(who->gids);
                return -ENOMEM;
        }
        peer->broker = broker;
        peer->fd = fd;
        peer->process = -1;
        peer->who = *who;
        DL_APPEND(broker->peers, peer);
        broker->n_peers++;
        event_assign(&peer->readable, broker->base, fd, EV_READ | EV_PERSIST, on_readable,
                     peer);
        peer_send_init(peer);
        int r = sweep_watch(broker, peer, fd);
        if (r == 0 && event_add(&peer->readable, &hello) < 0)
                r = -ENOMEM;
        if (r < 0)
                peer_free(peer);
        return r;
}

struct peer *peer_free(struct peer *peer) {
        if (!peer)
                return NULL;
        struct broker *broker = peer->broker;

        if (peer->client)
                client_leave(peer->client);
        lease_page_free(peer->words, peer->words_size);
        broker->page_bytes -= peer->words_size;
        event_del(&peer->readable);
        if (event_initialized(&peer->process_exited))
                event_del(&peer->process_exited);
        shmb_close(peer->process);
        sweep_unwatch(broker, peer, peer->fd);
        peer_send_deinit(peer);
        closer_close(broker->closer, peer->fd);
        DL_DELETE(broker->peers, peer);
        broker->n_peers--;
        listener_left(broker, peer->who.uid);
        free(peer->who.gids);
        free(peer);
        return NULL;
}

void peer_doom(struct peer *peer, enum shmb_status status, const char *reason) {
        if (peer->doomed)
                return;
        peer->doomed = true;
        peer->status = status;
        peer->reason = reason;
        peer->next_doomed = peer->broker->doomed;
        peer->broker->doomed = peer;
        event_active(peer->broker->reaper, EV_TIMEOUT, 0);
}

static void say_goodbye(struct peer *peer) {
        struct shmb_goodbye goodbye = { .status = peer->status };
        uint8_t packet[SHMB_PACKET_MAX];

        evutil_snprintf(goodbye.text, sizeof(goodbye.text), "%s", peer->reason);
        size_t size = shmb_encode_goodbye(packet, &goodbye);
        (void)shmb_packet_send(peer->fd, packet, size, -1, MSG_DONTWAIT);
}

static bool is_wanted(enum shmb_status status) {
        return status == SHMB_STATUS_SHUTDOWN || status == SHMB_STATUS_DISCONNECTED;
}

/* Of the client; else it is the broker's. */
static bool is_its_fault(enum shmb_status status) {
        return status >= SHMB_STATUS_MALFORMED && status <= SHMB_STATUS_TOO_MANY_REQUESTS;
}

void peers_reap(struct broker *broker) {
        while (broker->doomed) {
                struct peer *peer = broker->doomed;

                broker->doomed = peer->next_doomed;
                if (peer->status == SHMB_STATUS_OK) {
                        log_peer(LOG_LEVEL_DEBUG, peer, "client left", peer->reason);
                } else {
                        say_goodbye(peer);
                        broker->counts.breaches += is_its_fault(peer->status);
                        log_peer(is_wanted(peer->status) ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING,
                                 peer, "client disconnected", peer->reason);
                }
                peer_free(peer);
        }
}

static const char *outcome_reason(int outcome, enum shmb_status *ret_status) {
        switch (outcome) {
        case SHMB_PACKET_END:
                *ret_status = SHMB_STATUS_OK;
                return "closed its end";
        case SHMB_PACKET_TRUNCATED:
                *ret_status = SHMB_STATUS_OVERSIZE;
                return "sent a packet longer than 2048 bytes";
        case SHMB_PACKET_LOST_FDS:
        case SHMB_PACKET_MANY_FDS:
                *ret_status = SHMB_STATUS_UNEXPECTED_FD;
                return "sent descriptors";
        default:
                *ret_status = SHMB_STATUS_OK;
                return "connection lost";
        }
}

/* Is there a packet? Descriptors stay in the socket, where closer.h sees to their end. */
static int look(struct peer *peer) {
        int r = shmb_packet_peek(peer->fd, MSG_DONTWAIT);

        /* It closed with replies unread. That is told once, before what it sent until then. */
        return r == -ECONNRESET ? shmb_packet_peek(peer->fd, MSG_DONTWAIT) : r;
}

/* The one that was looked at; its sender may have closed since. */
static int take(struct peer *peer, uint8_t *packet, size_t *ret_size, int *ret_fd) {
        int r = shmb_packet_receive(peer->fd, packet, SHMB_PACKET_MAX, MSG_DONTWAIT, ret_size,
                                    ret_fd);

        return r == -ECONNRESET ? shmb_packet_receive(peer->fd, packet, SHMB_PACKET_MAX,
                                                      MSG_DONTWAIT, ret_size, ret_fd)
                                : r;
}

/* What lay in the socket when that mattered has been read, or there will be no more of it. */
static void caught_up(struct peer *peer) {
        peer->owed = 0;
        if (peer->swept)
                sweep_caught_up(peer);
        if (peer->exited)
                peer_doom(peer, SHMB_STATUS_OK, "its process ended");
}

/* One packet; false when there is nothing more to read. */
static bool read_one(struct peer *peer) {
        uint8_t packet[SHMB_PACKET_MAX];
        size_t size = 0;
        SHMB_CLOSE int fd = -1;
        enum shmb_status status;

        int r = look(peer);
        if (r == SHMB_PACKET_OK)
                r = take(peer, packet, &size, &fd);
        if (r == -EAGAIN) {
                if (peer->owed > 0)
                        caught_up(peer);
                return false;
        }
        if (r != SHMB_PACKET_OK) {
                const char *reason = outcome_reason(r, &status);
                peer_doom(peer, status, reason);
                return false;
        }
        request_handle(peer, packet, size);
        if (peer->owed > size)
                peer->owed -= size;
        else if (peer->owed > 0)
                caught_up(peer);
        return !peer->doomed;
}

static void on_readable(evutil_socket_t fd, short what, void *userdata) {
        struct peer *peer = userdata;

        (void)fd;
        if (peer->doomed)
                return;
        broker_enter(peer->broker);
        for (int i = 0; i < PACKETS_PER_TURN; i++)
                if (!read_one(peer) || broker_clock() - peer->broker->ledger->now > TURN_NS)
                        break;
        if ((what & EV_TIMEOUT) && !peer->client)
                peer_doom(peer, SHMB_STATUS_OUT_OF_ORDER, "no HELLO within HelloTimeout=");
        if (peer->client && !peer->greeted) {
                /* It introduced itself: from here on it may be silent as long as it likes. */
                peer->greeted = true;
                event_del(&peer->readable);
                if (event_add(&peer->readable, NULL) < 0)
                        peer_doom(peer, SHMB_STATUS_NO_MEMORY, "no memory for its event");
        }
        broker_leave(peer->broker);
}

bool peer_owe(struct peer *peer) {
        int bytes = 0;

        /* For SOCK_SEQPACKET the sum over all packets (unix(7), SIOCINQ). */
        if (peer->doomed || ioctl(peer->fd, SIOCINQ, &bytes) < 0 || bytes <= 0)
                return false;
        peer->owed = (size_t)bytes;
        return true;
}

/* ---- its process ---- */

/* A child of it can have inherited the socket, which then does not end with it. */
static void on_exited(evutil_socket_t fd, short what, void *userdata) {
        struct peer *peer = userdata;

        (void)fd;
        (void)what;
        if (peer->doomed)
                return;
        broker_enter(peer->broker);
        peer->exited = true;
        if (!peer_owe(peer))
                caught_up(peer);
        broker_leave(peer->broker);
}

int peer_watch_process(struct peer *peer) {
        int fd = socket_peer_process(peer->fd, peer->who.pid);

        if (fd == -EOPNOTSUPP)
                return 0;
        if (fd < 0 && fd != -ESRCH)
                return fd;
        peer->process = fd < 0 ? -1 : fd;
        event_assign(&peer->process_exited, peer->broker->base, peer->process, EV_READ,
                     on_exited, peer);
        if (fd == -ESRCH)
                event_active(&peer->process_exited, EV_READ, 0);
        else if (event_add(&peer->process_exited, NULL) < 0)
                return -ENOMEM;
        return 0;
}
