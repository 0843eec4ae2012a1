/* listeners.h - where the server is reached: one or two addresses, or a UNIX socket. */
#ifndef R2I_LISTENERS_H
#define R2I_LISTENERS_H
#include <event2/http.h>
#include <sys/types.h>

#include "r2lm/status.h"

enum { R2I_MAX_LISTENERS = 2 };

typedef struct {
    struct event_base *base;
    struct evhttp *http; /* whose connections they become */
    struct evhttp_bound_socket *sockets[R2I_MAX_LISTENERS];
    int32_t n, port;
    const char *path; /* of the UNIX socket that we made, or NULL */
    dev_t device;
    ino_t node;
} r2i_listeners;

void r2i_listeners_init(r2i_listeners *listeners, struct event_base *base, struct evhttp *http);
/* R2_E_ARGUMENT: neither an address nor localhost. */
R2_CHECKED r2_status r2i_address_check(const char *host, r2_error *err);
/* Listens at `host` and `port`; localhost: at 127.0.0.1 and, where the machine has it, at ::1 on the same
 * port.  Port 0: a free one.  R2_E_IO: it cannot be used, nothing listens then. */
R2_CHECKED r2_status r2i_listeners_open(r2i_listeners *listeners, const char *host, int32_t port,
                                        r2_error *err);
/* Listens at a UNIX socket that its owner alone may use.  One that nobody listens at is replaced; anything
 * else at `path` (borrowed) is R2_E_IO. */
R2_CHECKED r2_status r2i_listeners_open_path(r2i_listeners *listeners, const char *path,
                                             r2_error *err);
/* What comes meanwhile waits in the kernel. */
void r2i_listeners_pause(r2i_listeners *listeners);
void r2i_listeners_resume(r2i_listeners *listeners);
/* Nobody is taken any more; the UNIX socket is removed. */
void r2i_listeners_close(r2i_listeners *listeners);
#endif
