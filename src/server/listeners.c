#define _GNU_SOURCE /* SOCK_CLOEXEC, struct stat's nodes */
#include "server/listeners.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/failure.h"

enum { BACKLOG = 1024, MAX_TRIES = 16 };

typedef union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un path;
} address;

static socklen_t bytes_of(const address *a) {
    return a->any.sa_family == AF_INET6  ? (socklen_t)sizeof a->v6
           : a->any.sa_family == AF_INET ? (socklen_t)sizeof a->v4
                                         : (socklen_t)sizeof a->path;
}

static bool read_address(const char *text, int32_t port, address *out) {
    memset(out, 0, sizeof *out);
    if (inet_pton(AF_INET, text, &out->v4.sin_addr) == 1) {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons((uint16_t)port);
        return true;
    }
    if (inet_pton(AF_INET6, text, &out->v6.sin6_addr) != 1) return false;
    out->v6.sin6_family = AF_INET6;
    out->v6.sin6_port = htons((uint16_t)port);
    return true;
}

r2_status r2i_address_check(const char *host, r2_error *err) {
    address a;
    if (strcmp(host, "localhost") == 0 || read_address(host, 0, &a)) return R2_OK;
    return r2i_fail(err, R2_E_ARGUMENT,
                    "%.80s: expected an address such as 127.0.0.1, or localhost", host);
}

void r2i_listeners_init(r2i_listeners *l, struct event_base *base, struct evhttp *http) {
    *l = (r2i_listeners){ .base = base, .http = http };
}

/* ---- listening ---- */

/* Out of descriptors or memory: trying at once again would only spin.  The server's tick resumes. */
static void on_accept_failed(struct evconnlistener *listener, void *user) {
    (void)user;
    (void)evconnlistener_disable(listener);
}

/* Takes the descriptor. */
static r2_status add(r2i_listeners *l, int fd, r2_error *err) {
    struct evconnlistener *listener = evconnlistener_new(
        l->base, NULL, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    struct evhttp_bound_socket *socket =
        listener != NULL ? evhttp_bind_listener(l->http, listener) : NULL;
    if (socket == NULL) {
        if (listener != NULL)
            evconnlistener_free(listener);
        else
            (void)close(fd);
        return r2i_fail(err, R2_E_NOMEM, "no memory for the server");
    }
    evconnlistener_set_error_cb(listener, on_accept_failed);
    l->sockets[l->n++] = socket;
    return R2_OK;
}

/* A listening socket, or -1 with errno. */
static int listen_at(const address *a) {
    const int on = 1, family = a->any.sa_family;
    const int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    bool is_good = true;
    if (family == AF_UNIX) /* the mode that the file begins with: no moment in which others may */
        is_good = fchmod(fd, S_IRUSR | S_IWUSR) == 0;
    else
        is_good = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0;
    if (is_good && family == AF_INET6 && !IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr))
        is_good = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0;
    if (is_good && bind(fd, &a->any, bytes_of(a)) == 0 && listen(fd, BACKLOG) == 0) return fd;
    const int why = errno;
    (void)close(fd);
    errno = why;
    return -1;
}

static int32_t port_of(int fd) {
    address name;
    socklen_t n_bytes = sizeof name;
    if (getsockname(fd, &name.any, &n_bytes) != 0) return 0;
    return name.any.sa_family == AF_INET6 ? ntohs(name.v6.sin6_port) : ntohs(name.v4.sin_port);
}

static r2_status fail_at(const char *host, int32_t port, r2_error *err) {
    return r2i_fail(err, R2_E_IO, "%.80s port %d: %s", host, port, strerror(errno));
}

static r2_status open_address(r2i_listeners *l, const char *host, int32_t port, r2_error *err) {
    address a;
    if (!read_address(host, port, &a))
        return r2i_fail(err, R2_E_ARGUMENT, "%.80s: expected an address", host);
    const int fd = listen_at(&a);
    if (fd < 0) return fail_at(host, port, err);
    l->port = port_of(fd);
    return add(l, fd, err);
}

/* Whoever resolves "localhost" may try ::1 first: if somebody else listened there, prompts and keys would
 * be theirs.  So both are ours, or only the first where the machine has no ::1. */
static r2_status open_loopback(r2i_listeners *l, int32_t port, r2_error *err) {
    for (int i = 0; i < MAX_TRIES; i++) {
        address first, second;
        (void)read_address("127.0.0.1", port, &first);
        const int fd = listen_at(&first);
        if (fd < 0) return fail_at("127.0.0.1", port, err);
        l->port = port_of(fd);
        (void)read_address("::1", l->port, &second);
        const int other = listen_at(&second);
        const bool is_taken = other < 0 && errno != EADDRNOTAVAIL && errno != EAFNOSUPPORT;
        if (!is_taken) {
            const r2_status status = add(l, fd, err);
            if (other < 0 || status == R2_OK) return other < 0 ? status : add(l, other, err);
            (void)close(other);
            return status;
        }
        const int why = errno;
        (void)close(fd);
        errno = why;
        if (port != 0) return fail_at("::1", port, err);
    }
    return r2i_fail(err, R2_E_IO, "localhost: no port is free at both 127.0.0.1 and ::1");
}

r2_status r2i_listeners_open(r2i_listeners *l, const char *host, int32_t port, r2_error *err) {
    const r2_status status = strcmp(host, "localhost") == 0 ? open_loopback(l, port, err)
                                                            : open_address(l, host, port, err);
    if (status != R2_OK) r2i_listeners_close(l);
    return status;
}

/* ---- a path ---- */

/* Is there a socket that nobody listens at?  0: there is nothing at all; -1: with errno. */
static int is_stale(const address *a) {
    struct stat node;
    if (lstat(a->path.sun_path, &node) != 0) return errno == ENOENT ? 0 : -1;
    errno = EEXIST;
    if (!S_ISSOCK(node.st_mode)) return -1;
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    const bool is_refused = connect(fd, &a->any, bytes_of(a)) != 0 && errno == ECONNREFUSED;
    (void)close(fd);
    errno = EADDRINUSE;
    return is_refused ? 1 : -1;
}

r2_status r2i_listeners_open_path(r2i_listeners *l, const char *path, r2_error *err) {
    address a;
    struct stat node;
    memset(&a, 0, sizeof a);
    a.path.sun_family = AF_UNIX;
    if (path[0] == '\0' || strlen(path) >= sizeof a.path.sun_path)
        return r2i_fail(err, R2_E_ARGUMENT, "socket %.120s: expected a path of 1 to %zu bytes",
                        path, sizeof a.path.sun_path - 1);
    memcpy(a.path.sun_path, path, strlen(path));
    const int stale = is_stale(&a);
    int fd = -1;
    if (stale >= 0 && (stale == 0 || unlink(path) == 0)) fd = listen_at(&a);
    if (fd < 0) return r2i_fail(err, R2_E_IO, "socket %.120s: %s", path, strerror(errno));
    if (lstat(path, &node) == 0) {
        l->path = path;
        l->device = node.st_dev;
        l->node = node.st_ino;
    }
    const r2_status status = add(l, fd, err);
    if (status != R2_OK) r2i_listeners_close(l);
    return status;
}

/* ---- afterwards ---- */

void r2i_listeners_pause(r2i_listeners *l) {
    for (int32_t i = 0; i < l->n; i++)
        (void)evconnlistener_disable(evhttp_bound_socket_get_listener(l->sockets[i]));
}

void r2i_listeners_resume(r2i_listeners *l) {
    for (int32_t i = 0; i < l->n; i++)
        (void)evconnlistener_enable(evhttp_bound_socket_get_listener(l->sockets[i]));
}

void r2i_listeners_close(r2i_listeners *l) {
    struct stat node;
    for (int32_t i = 0; i < l->n; i++)
        evhttp_del_accept_socket(l->http, l->sockets[i]);
    l->n = 0;
    if (l->path != NULL && lstat(l->path, &node) == 0 && node.st_dev == l->device &&
        node.st_ino == l->node) /* still ours */
        (void)unlink(l->path);
    l->path = NULL;
}
