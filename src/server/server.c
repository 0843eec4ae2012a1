/* server.c - begins and ends: socket, threads, signals. */
#define _GNU_SOURCE /* getrlimit, sigaction */
#include "server/server.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/failure.h"
#include "base/random.h"
#include "server/server_state.h"

enum {
    IDLE_SECONDS = 30,
    TICK_SECONDS = 2,
    SPARE_FILES = 32,
    MAX_CONNECTIONS = 4096,
    MAX_TOKENS = 1 << 30,
    HEAD_ROOM_BYTES = 32 << 10, /* our own limits come first */
    BODY_ROOM_BYTES = 64 << 10,
    URL_BYTES = 256
};

int64_t r2i_wall_seconds(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec;
}

/* ---- the end ---- */

void r2i_server_drained(r2i_server *s) {
    if (s->is_draining && s->n_busy == 0 && s->n_jobs == 0) (void)event_base_loopbreak(s->base);
}

static void on_drain_over(evutil_socket_t fd, short what, void *server) {
    r2i_server *s = server;
    const struct timeval second = { .tv_sec = 1 };
    (void)fd;
    (void)what;
    r2i_deliver_cut(s);
    (void)event_base_loopexit(s->base, &second); /* time for the last bytes */
}

static void on_signal(evutil_socket_t number, short what, void *server) {
    r2i_server *s = server;
    const struct timeval patience = { .tv_sec = s->options->drain_ms / 1000,
                                      .tv_usec = s->options->drain_ms % 1000 * 1000 };
    (void)number;
    (void)what;
    if (++s->n_signals > 1) {
        (void)event_base_loopbreak(s->base);
        return;
    }
    s->is_draining = true;
    r2i_listeners_close(&s->listeners);
    (void)event_add(s->drain, &patience);
    if (s->options->on_stopping != NULL) s->options->on_stopping(s->options->user, s->n_jobs);
    r2i_server_drained(s);
}

static void on_tick(evutil_socket_t fd, short what, void *server) {
    r2i_server *s = server;
    (void)fd;
    (void)what;
    r2i_deliver_pings(s);
    r2i_deliver_late(s);
    if (!s->is_paused) r2i_listeners_resume(&s->listeners); /* descriptors may be free again */
}

/* ---- the beginning ---- */

/* One descriptor per connection; what is beyond waits in the kernel. */
static int32_t count_connections(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 256;
    if (limit.rlim_cur < limit.rlim_max) { /* as many as we may have */
        const struct rlimit more = { limit.rlim_max, limit.rlim_max };
        if (setrlimit(RLIMIT_NOFILE, &more) == 0) limit = more;
    }
    if (limit.rlim_cur > MAX_CONNECTIONS + SPARE_FILES) return MAX_CONNECTIONS;
    return limit.rlim_cur > 2 * SPARE_FILES ? (int32_t)limit.rlim_cur - SPARE_FILES : SPARE_FILES;
}

static void ignore_log(int severity, const char *text) {
    (void)severity;
    (void)text;
}

static r2_status listen_on(r2i_server *s, r2_error *err) {
    const r2i_server_options *o = s->options;
    enum { METHODS = EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST | EVHTTP_REQ_OPTIONS };
    evhttp_set_bevcb(s->http, r2i_connection_make, s);
    evhttp_set_gencb(s->http, r2i_route, s);
    evhttp_set_allowed_methods(s->http, METHODS);
    evhttp_set_timeout(s->http, IDLE_SECONDS);
    evhttp_set_max_headers_size(s->http, HEAD_ROOM_BYTES);
    evhttp_set_max_body_size(s->http, (ev_ssize_t)o->body_bytes + BODY_ROOM_BYTES);
    evhttp_set_default_content_type(s->http, NULL);
    r2i_listeners_init(&s->listeners, s->base, s->http);
    return o->socket_path != NULL ? r2i_listeners_open_path(&s->listeners, o->socket_path, err)
                                  : r2i_listeners_open(&s->listeners, o->host, o->port, err);
}

static r2_status create_events(r2i_server *s, r2_error *err) {
    const struct timeval period = { .tv_sec = TICK_SECONDS };
    s->base = event_base_new();
    s->http = s->base != NULL ? evhttp_new(s->base) : NULL;
    if (s->http == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for the server");
    s->wake = event_new(s->base, s->desk.wake_fd, EV_READ | EV_PERSIST, r2i_deliver_ready, s);
    s->tick = event_new(s->base, -1, EV_PERSIST, on_tick, s);
    s->drain = event_new(s->base, -1, 0, on_drain_over, s);
    s->signals[0] = evsignal_new(s->base, SIGTERM, on_signal, s);
    s->signals[1] = evsignal_new(s->base, SIGINT, on_signal, s);
    if (s->wake == NULL || s->tick == NULL || s->drain == NULL || s->signals[0] == NULL ||
        s->signals[1] == NULL)
        return r2i_fail(err, R2_E_NOMEM, "no memory for the server");
    if (event_add(s->wake, NULL) != 0 || event_add(s->tick, &period) != 0 ||
        event_add(s->signals[0], NULL) != 0 || event_add(s->signals[1], NULL) != 0)
        return r2i_fail(err, R2_E_NOMEM, "no memory for the server");
    return listen_on(s, err);
}

/* Signals are the event loop's: the other threads never see them. */
static r2_status start_threads(r2i_server *s, r2_error *err) {
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    r2_engine_stats stats;
    r2_engine_get_stats(s->options->engine, &stats);
    const int64_t n_cache = (int64_t)stats.n_pages * stats.page_tokens;
    s->reader =
        (r2i_reader){ .desk = &s->desk,
                      .options = s->options,
                      .n_cache_tokens = n_cache < MAX_TOKENS ? (int32_t)n_cache : MAX_TOKENS,
                      .grammars = &s->grammars,
                      .unknown = &s->unknown };
    r2i_client_salt_make(&s->reader.salt);
    s->engine_loop = (r2i_engine_loop){
        .desk = &s->desk,
        .options = s->options,
        .context = { .engine = s->options->engine,
                     .model = s->options->model,
                     .heap = &s->heap,
                     .open = r2_token_find(s->options->model, "<think>"),
                     .close = r2_token_find(s->options->model, "</think>") },
    };
    int failed = pthread_create(&s->reader_thread, NULL, r2i_reader_run, &s->reader);
    if (failed == 0) {
        failed = pthread_create(&s->engine_thread, NULL, r2i_engine_loop_run, &s->engine_loop);
        if (failed != 0) {
            r2i_desk_close(&s->desk);
            (void)pthread_join(s->reader_thread, NULL);
        }
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed == 0 ? R2_OK : r2i_fail(err, R2_E_IO, "thread: %s", strerror(failed));
}

static void free_event(struct event *event) {
    if (event != NULL) event_free(event);
}

static void release(r2i_server *s) {
    while (s->pendings != NULL) {
        r2i_pending *p = s->pendings;
        s->pendings = p->next;
        if (p->connection != NULL) p->connection->pending = NULL;
        /* A request whose client left is ours; of the others the library takes care. */
        if (p->connection == NULL && p->request != NULL) evhttp_request_free(p->request);
        r2i_job_destroy(p->job, &s->heap);
        r2i_heap_give(&s->heap, p, sizeof *p);
    }
    r2i_listeners_close(&s->listeners);
    if (s->http != NULL) evhttp_free(s->http);
    free_event(s->wake);
    free_event(s->tick);
    free_event(s->drain);
    free_event(s->signals[0]);
    free_event(s->signals[1]);
    if (s->base != NULL) event_base_free(s->base);
    r2i_grammar_cache_destroy(&s->grammars);
    r2i_desk_destroy(&s->desk);
}

static void tell_ready(const r2i_server *s) {
    char where[URL_BYTES];
    const r2i_server_options *o = s->options;
    const char *scheme = s->tls != NULL ? "https" : "http";
    const char *host = strcmp(o->host, "localhost") == 0 ? "127.0.0.1" : o->host;
    const bool is_v6 = strchr(host, ':') != NULL;
    if (o->socket_path != NULL)
        (void)snprintf(where, sizeof where, "%s://localhost/v1 over %s", scheme, o->socket_path);
    else
        (void)snprintf(where, sizeof where, "%s://%s%s%s:%d/v1", scheme, is_v6 ? "[" : "", host,
                       is_v6 ? "]" : "", s->listeners.port);
    o->on_ready(o->user, where);
}

static r2_status serve(r2i_server *s, r2_error *err) {
    R2I_TRY(create_events(s, err));
    R2I_TRY(start_threads(s, err));
    if (s->options->on_ready != NULL) tell_ready(s);
    (void)event_base_dispatch(s->base);
    for (r2i_pending *p = s->pendings; p != NULL; p = p->next)
        r2i_desk_abandon(&s->desk, p->job); /* a step under way ends early */
    r2i_desk_close(&s->desk);
    (void)pthread_join(s->reader_thread, NULL);
    (void)pthread_join(s->engine_thread, NULL);
    return R2_OK;
}

/* Only who may use this machine reaches it. */
static bool is_private(const r2i_server_options *o) {
    return o->socket_path != NULL || r2i_host_is_loopback(o->host);
}

/* What is said here must not end up in a file when the program crashes. */
static void forbid_core(void) {
    const struct rlimit none = { 0, 0 };
    (void)setrlimit(RLIMIT_CORE, &none);
}

r2_status r2i_server_run(const r2i_server_options *options, int32_t *n_signals, r2_error *err) {
    struct sigaction ignore = { .sa_handler = SIG_IGN }, before;
    r2i_server s = { .options = options,
                     .max_connections = count_connections(),
                     .start_seconds = r2i_wall_seconds() };
    *n_signals = 0;
    if (options->socket_path == NULL) R2I_TRY(r2i_address_check(options->host, err));
    if (options->gate.n_keys == 0 && !is_private(options))
        return r2i_fail(err, R2_E_ARGUMENT, "%.80s: without an API key only 127.0.0.1 is served",
                        options->host);
    if (options->cert_path != NULL)
        R2I_TRY(r2i_tls_open(&s.tls, options->cert_path, options->key_path, err));
    forbid_core();
    r2i_heap_init(&s.heap);
    s.id_seed = r2i_random_u64(options->seed, (uint64_t)s.start_seconds, 3);
    r2_status status = r2i_desk_init(&s.desk, &s.heap, err);
    if (status == R2_OK) {
        r2i_grammar_cache_init(&s.grammars, &s.heap, options->model);
        event_set_log_callback(ignore_log);
        json_object_seed(0);
        (void)sigaction(SIGPIPE, &ignore, &before); /* a client that left is no reason to end */
        status = serve(&s, err);
        release(&s);
        (void)sigaction(SIGPIPE, &before, NULL);
    }
    r2i_tls_close(s.tls);
    *n_signals = s.n_signals;
    return status;
}
