/* connection.c - watches the bytes of each connection before the HTTP library reads them.
 *
 * A callback on the input buffer feeds them to wire.h.  When a head is complete, Host, Origin, key and
 * content type are checked before a body is read.  What is refused gets its error from here: the library's
 * callbacks are taken off, so it never sees the request; the connection is closed after a short linger. */
#define _POSIX_C_SOURCE 200809L /* shutdown */
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/failure.h"
#include "server/reply_head.h"

enum {
    PIECE_BYTES = 4096,
    LINE_BYTES = 8 << 10,
    HEAD_BYTES = 16 << 10,
    N_FIELDS = 100,
    PIPELINED_BYTES = 64 << 10, /* that may wait behind a request under way */
    HEAD_SECONDS = 10,
    BODY_SECONDS = 30,
    IDLE_SECONDS = 30,
    WRITE_SECONDS = 30,
    LINGER_SECONDS = 1,
    BODY_BYTES_PER_SECOND = 1024
};

static void set_timer(r2i_connection *c, int seconds) {
    const struct timeval after = { .tv_sec = seconds };
    (void)event_add(c->timer, &after);
}

static void forget(r2i_connection *c) {
    r2i_server *s = c->server;
    if (c->before != NULL)
        c->before->next = c->next;
    else
        s->connections = c->next;
    if (c->next != NULL) c->next->before = c->before;
    s->n_connections--;
    if (c->is_busy) s->n_busy--;
    if (s->n_connections < s->max_connections) { /* paused by us, or because descriptors ran out */
        s->is_paused = false;
        r2i_listeners_resume(&s->listeners);
    }
    event_free(c->timer);
    bufferevent_decref(c->stream);
    r2i_wire_destroy(&c->wire);
    r2i_heap_give(&s->heap, c, sizeof *c);
    r2i_server_drained(s);
}

/* The library is about to free its side. */
static void on_close(struct evhttp_connection *http, void *connection) {
    r2i_connection *c = connection;
    (void)http;
    r2i_tls_say_end(c->stream);
    if (c->pending != NULL) {
        c->pending->connection = NULL;
        r2i_desk_abandon(&c->server->desk, c->pending->job);
    }
    forget(c);
}

/* ---- refusals ---- */

static void on_refused_read(struct bufferevent *stream, void *connection) {
    struct evbuffer *input = bufferevent_get_input(stream);
    (void)connection;
    (void)evbuffer_drain(input, evbuffer_get_length(input));
}

static void on_refused_event(struct bufferevent *stream, short what, void *connection) {
    r2i_connection *c = connection;
    (void)stream;
    (void)what;
    evhttp_connection_free(c->http);
}

/* All was sent: wait a little for the client to read it, or a reset would tear it away. */
static void on_refused_sent(struct bufferevent *stream, void *connection) {
    r2i_connection *c = connection;
    r2i_tls_say_end(stream);
    (void)shutdown(bufferevent_getfd(stream), SHUT_WR);
    set_timer(c, LINGER_SECONDS);
}

static void write_header(void *output, const char *name, const char *value) {
    (void)evbuffer_add_printf(output, "%s: %s\r\n", name, value);
}

/* Until a head is complete its texts may still move. */
static r2i_span origin_of(const r2i_connection *c) {
    const r2i_wire_state state = c->wire.state;
    const bool is_whole = state != R2I_WIRE_AT_HEAD && state != R2I_WIRE_REFUSED;
    return is_whole ? c->wire.head.origin : (r2i_span){ NULL, 0 };
}

static void send_refusal(r2i_connection *c) {
    r2i_buffer body;
    char id[R2I_REQUEST_ID_BYTES];
    struct evbuffer *output = bufferevent_get_output(c->stream);
    r2i_request_id_make(c->server, id);
    r2i_buffer_init(&body, &c->server->heap, 4096);
    bufferevent_setcb(c->stream, on_refused_read, on_refused_sent, on_refused_event, c);
    if (r2i_refusal_write(&c->refusal, &body) == R2_OK) {
        (void)evbuffer_add_printf(
            output,
            "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
            "Connection: close\r\n",
            c->refusal.http, r2i_http_reason(c->refusal.http), body.n_bytes);
        r2i_reply_head_put(c->server, id, origin_of(c), write_header, output);
        r2i_retry_head_put(c->server, c->refusal.http, write_header, output);
        (void)evbuffer_add(output, "\r\n", 2);
        (void)evbuffer_add(output, body.bytes, body.n_bytes);
    }
    r2i_buffer_destroy(&body);
    c->is_told = true;
    set_timer(c, WRITE_SECONDS);
    (void)bufferevent_enable(c->stream, EV_READ | EV_WRITE);
    r2i_server_note(c->server, id, "-", "refused", c->refusal.http, 0, NULL);
}

/* The rest happens from the timer, outside of the library's own callbacks. */
static void begin_refusal(r2i_connection *c) {
    if (c->is_refused) return;
    c->is_refused = true;
    if (!c->is_busy) bufferevent_setcb(c->stream, NULL, NULL, NULL, NULL);
    event_active(c->timer, EV_TIMEOUT, 0);
}

static void check_body_rate(r2i_connection *c) {
    const double seconds = (double)(r2i_clock_ns() - c->body_begin_ns) * 1e-9;
    if ((double)c->n_body_bytes >= BODY_BYTES_PER_SECOND * seconds) {
        set_timer(c, HEAD_SECONDS);
        return;
    }
    (void)r2i_refuse(&c->refusal, 408, NULL, NULL, "the body came too slowly");
    begin_refusal(c);
}

/* The library had no memory for its side: it never took the stream, or it let go of it. */
static void give_up(r2i_connection *c) {
    const bool is_ours = bufferevent_getfd(c->stream) < 0;
    struct bufferevent *stream = c->stream;
    forget(c);
    if (is_ours) bufferevent_free(stream);
}

static void get_known(r2i_connection *c) {
    const int at_once = 1; /* tokens do not wait for the client to confirm those before */
    bufferevent_data_cb reads, writes;
    bufferevent_event_cb events;
    void *http;
    bufferevent_getcb(c->stream, &reads, &writes, &events, &http);
    if (http == NULL) {
        give_up(c);
        return;
    }
    c->http = http;
    c->is_known = true;
    (void)setsockopt(bufferevent_getfd(c->stream), IPPROTO_TCP, TCP_NODELAY, &at_once,
                     sizeof at_once);
    evhttp_connection_set_closecb(c->http, on_close, c);
    if (!r2i_tls_is_ready(c->stream)) set_timer(c, HEAD_SECONDS);
}

static void on_timer(evutil_socket_t fd, short what, void *connection) {
    r2i_connection *c = connection;
    (void)fd;
    (void)what;
    if (!c->is_known) { /* first of all: the library has set its callbacks by now */
        get_known(c);
    } else if (c->is_told) {
        evhttp_connection_free(c->http);
    } else if (c->is_refused &&
               c->is_busy) { /* behind a request that is being answered: as if it hung up */
        bufferevent_trigger_event(c->stream, BEV_EVENT_EOF, 0);
    } else if (c->is_refused) {
        send_refusal(c);
    } else if (!r2i_tls_is_ready(c->stream)) { /* a handshake that takes too long */
        evhttp_connection_free(c->http);
    } else if (r2i_wire_is_between(&c->wire)) {
        return; /* it was in time */
    } else if (c->wire.state == R2I_WIRE_AT_HEAD) {
        (void)r2i_refuse(&c->refusal, 408, NULL, NULL, "the header came too slowly");
        begin_refusal(c);
    } else {
        check_body_rate(c);
    }
}

/* ---- what passes by ---- */

static bool span_begins(r2i_span span, const char *text) {
    const size_t n = strlen(text);
    return span.n_bytes >= n && r2i_span_is((r2i_span){ span.text, n }, text);
}

static bool is_open_to_all(r2i_span target) {
    static const char open[] = "/health";
    const char *end = memchr(target.text, '?', target.n_bytes);
    const size_t n = end != NULL ? (size_t)(end - target.text) : target.n_bytes;
    const size_t n_before = r2i_path_prefix(target.text, n);
    return n - n_before == sizeof open - 1 &&
           memcmp(target.text + n_before, open, sizeof open - 1) == 0;
}

static bool is_json(r2i_span type) {
    static const char json[] = "application/json";
    return span_begins(type, json) &&
           (type.n_bytes == sizeof json - 1 || type.text[sizeof json - 1] == ';' ||
            type.text[sizeof json - 1] == ' ');
}

static r2_status check_head(r2i_connection *c) {
    const r2i_wire_head *h = &c->wire.head;
    const r2i_gate *gate = &c->server->options->gate;
    r2i_refusal *r = &c->refusal;
    const bool is_post = h->method.n_bytes == 4 && memcmp(h->method.text, "POST", 4) == 0;
    /* A page of an added origin asks whether it may ask; it cannot show a key yet. */
    const bool is_preflight = h->method.n_bytes == 7 && memcmp(h->method.text, "OPTIONS", 7) == 0 &&
                              r2i_gate_origin_is_added(gate, h->origin);
    const bool is_get = (h->method.n_bytes == 3 && memcmp(h->method.text, "GET", 3) == 0) ||
                        (h->method.n_bytes == 4 && memcmp(h->method.text, "HEAD", 4) == 0);
    if (!r2i_gate_host_is_ours(gate, h->host))
        return r2i_refuse(r, 403, NULL, "host_not_allowed",
                          "Host: this name is not one of this server's; --allow-host adds one");
    if (!r2i_gate_origin_is_ours(gate, h))
        return r2i_refuse(
            r, 403, NULL, "origin_not_allowed",
            "Origin: pages from elsewhere may not use this server; --allow-origin lets "
            "one in");
    if (!is_post && !is_get && !is_preflight)
        return r2i_refuse(r, 405, NULL, NULL, "expected GET or POST");
    if (!is_preflight && !is_open_to_all(h->target) && r2i_gate_find_key(gate, h) < 0)
        return r2i_refuse(r, 401, NULL, "invalid_api_key",
                          "expected a valid API key, as Authorization: Bearer KEY or x-api-key");
    if (is_post && !is_json(h->content_type))
        return r2i_refuse(r, 415, NULL, NULL, "Content-Type: expected application/json");
    return R2_OK;
}

static void on_head(r2i_connection *c) {
    if (check_head(c) != R2_OK) {
        begin_refusal(c);
        return;
    }
    c->body_begin_ns = r2i_clock_ns();
    c->n_body_bytes = 0;
    set_timer(c, BODY_SECONDS);
}

static void feed(r2i_connection *c, const char *bytes, size_t n_bytes) {
    size_t n_used = 0;
    do {
        size_t n_here;
        if (r2i_wire_is_between(&c->wire) && n_used < n_bytes) set_timer(c, HEAD_SECONDS);
        const r2i_wire_event event =
            r2i_wire_feed(&c->wire, bytes + n_used, n_bytes - n_used, &n_here);
        n_used += n_here;
        c->n_body_bytes += n_here;
        if (event == R2I_WIRE_HEAD) on_head(c);
        if (event == R2I_WIRE_WHOLE) (void)event_del(c->timer);
        if (event == R2I_WIRE_REFUSE) {
            (void)r2i_refuse(&c->refusal, c->wire.http, NULL, NULL, "%s", c->wire.text);
            begin_refusal(c);
        }
    } while (!c->is_refused &&
             (n_used < n_bytes || (c->wire.state == R2I_WIRE_AT_BODY && c->wire.left == 0)));
}

static void on_input(struct evbuffer *input, const struct evbuffer_cb_info *info,
                     void *connection) {
    r2i_connection *c = connection;
    char piece[PIECE_BYTES];
    size_t n_left = info->n_added;
    struct evbuffer_ptr at;
    const size_t n_all = evbuffer_get_length(input);
    if (n_left == 0 || c->is_refused) return;
    if (c->is_busy && n_all > PIPELINED_BYTES) {
        begin_refusal(c);
        return;
    }
    while (n_left > 0 && !c->is_refused) {
        if (evbuffer_ptr_set(input, &at, n_all - n_left, EVBUFFER_PTR_SET) != 0) return;
        const ev_ssize_t n =
            evbuffer_copyout_from(input, &at, piece, n_left < sizeof piece ? n_left : sizeof piece);
        if (n <= 0) return;
        feed(c, piece, (size_t)n);
        n_left -= (size_t)n;
    }
}

/* ---- life ---- */

struct bufferevent *r2i_connection_make(struct event_base *base, void *server) {
    r2i_server *s = server;
    const r2i_wire_limits limits = { .line_bytes = LINE_BYTES,
                                     .head_bytes = HEAD_BYTES,
                                     .body_bytes = s->options->body_bytes,
                                     .n_fields = N_FIELDS };
    struct bufferevent *stream = s->tls != NULL
                                     ? r2i_tls_stream(s->tls, base)
                                     : bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    r2i_connection *c = r2i_heap_take(&s->heap, sizeof *c);
    struct event *timer = c != NULL ? event_new(base, -1, 0, on_timer, c) : NULL;
    if (stream == NULL || timer == NULL ||
        evbuffer_add_cb(bufferevent_get_input(stream), on_input, c) == NULL) {
        if (stream != NULL) bufferevent_free(stream);
        if (timer != NULL) event_free(timer);
        r2i_heap_give(&s->heap, c, sizeof *c);
        return NULL; /* the library makes its own then: r2i_route answers nothing there */
    }
    *c = (r2i_connection){ .server = s,
                           .stream = stream,
                           .timer = timer,
                           .next = s->connections,
                           .number = ++s->n_accepted };
    bufferevent_incref(stream);
    r2i_wire_init(&c->wire, &s->heap, &limits);
    if (c->next != NULL) c->next->before = c;
    s->connections = c;
    if (++s->n_connections >= s->max_connections) {
        s->is_paused = true;
        r2i_listeners_pause(&s->listeners);
    }
    event_active(c->timer, EV_TIMEOUT, 0); /* before any input: the library knows the stream then */
    return stream;
}

r2i_connection *r2i_connection_find(const r2i_server *s, const struct evhttp_request *request) {
    const struct evhttp_connection *http =
        evhttp_request_get_connection((struct evhttp_request *)(uintptr_t)request);
    for (r2i_connection *c = s->connections; c != NULL; c = c->next) {
        if (c->http == http) return c;
    }
    return NULL;
}

static void on_answered(struct evhttp_request *request, void *connection) {
    const struct timeval idle = { .tv_sec = IDLE_SECONDS }, stall = { .tv_sec = WRITE_SECONDS };
    r2i_connection *c = connection;
    (void)request;
    if (c->is_busy) c->server->n_busy--;
    c->is_busy = false;
    bufferevent_set_timeouts(c->stream, &idle, &stall);
    r2i_server_drained(c->server);
}

void r2i_connection_set_busy(r2i_connection *c, struct evhttp_request *request) {
    const struct timeval stall = { .tv_sec = WRITE_SECONDS };
    bufferevent_data_cb reads, writes;
    bufferevent_event_cb events;
    void *http;
    c->is_busy = true;
    c->server->n_busy++;
    evhttp_request_set_on_complete_cb(request, on_answered, c);
    /* The library stops reading here.  We go on, without its callback, to notice a client that leaves;
     * what else comes waits in the buffer. */
    bufferevent_getcb(c->stream, &reads, &writes, &events, &http);
    bufferevent_setcb(c->stream, NULL, writes, events, http);
    bufferevent_set_timeouts(c->stream, NULL, &stall);
    (void)bufferevent_enable(c->stream, EV_READ);
}
