/* server_state.h - what the event loop knows: connections, requests under way, counters. */
#ifndef R2I_SERVER_STATE_H
#define R2I_SERVER_STATE_H
#include <event2/event.h>
#include <event2/http.h>

#include "server/chat_reply.h"
#include "server/completion_reply.h"
#include "server/engine_loop.h"
#include "server/listeners.h"
#include "server/reader.h"
#include "server/server.h"
#include "server/tls.h"

enum {
    R2I_N_MISSES = R2_MISS_EVICTED + 1,
    R2I_N_ENDINGS = 256,
    R2I_ID_BYTES = 40,
    R2I_REQUEST_ID_BYTES = 32
};

typedef struct r2i_server r2i_server;
typedef struct r2i_pending r2i_pending;
typedef struct r2i_connection r2i_connection;

/* A request that the other threads work on. */
struct r2i_pending {
    r2i_pending *next, *before;
    struct evhttp_request *request;
    r2i_connection *connection; /* NULL: the client is gone */
    r2i_job *job;
    const char *route;
    char id[R2I_ID_BYTES], request_id[R2I_REQUEST_ID_BYTES];
    int64_t created, begin_ns, sent_ns;
    bool is_started; /* a stream's head was sent */
    bool is_overdue; /* ... or shall be, although not all that it tells is known */
    bool is_sent;    /* the whole reply */
    int cut;         /* ... early, with this status; or 0 */
};

struct r2i_connection {
    r2i_connection *next, *before;
    uint64_t number;
    r2i_server *server;
    struct bufferevent *stream;
    struct evhttp_connection *http;
    struct event *timer;
    r2i_wire wire;
    r2i_refusal refusal;
    r2i_pending *pending;
    int64_t body_begin_ns;
    uint64_t n_body_bytes;
    bool is_known;   /* `http` is set */
    bool is_busy;    /* a request is being answered */
    bool is_refused; /* nothing further is read */
    bool is_told;    /* why was sent */
};

/* Requests of a route that ended with a status. */
typedef struct {
    const char *route; /* static text */
    int http;
    int64_t n;
} r2i_ending;

typedef struct {
    r2i_ending endings[R2I_N_ENDINGS];
    int32_t n_endings;
    int64_t n_prompt_tokens, n_generated_tokens, n_thinking_tokens;
    int64_t n_misses[R2I_N_MISSES], n_missed_tokens[R2I_N_MISSES];
    r2i_histogram first_token, whole, service; /* from the request; from when it was begun */
} r2i_counters;

struct r2i_server {
    const r2i_server_options *options;
    r2i_heap heap;
    struct event_base *base;
    struct evhttp *http;
    r2i_listeners listeners;
    r2i_tls *tls; /* NULL: none */
    struct event *wake, *tick, *drain, *signals[2];
    r2i_desk desk;
    r2i_grammar_cache grammars;
    r2i_unknown_fields unknown;
    r2i_reader reader;
    r2i_engine_loop engine_loop;
    pthread_t reader_thread, engine_thread;
    r2i_connection *connections;
    r2i_pending *pendings;
    int32_t n_connections, max_connections, n_busy, n_jobs;
    uint64_t n_ids, id_seed, n_accepted;
    r2i_counters counters;
    int64_t start_seconds;
    int32_t n_signals;
    bool is_draining, is_paused;
};

/* Seconds since 1970. */
int64_t r2i_wall_seconds(void);

/* connection.c: every new connection is watched from its first byte. */
struct bufferevent *r2i_connection_make(struct event_base *base, void *server);
r2i_connection *r2i_connection_find(const r2i_server *server, const struct evhttp_request *request);
/* An answer begins: notice when the client goes away. */
void r2i_connection_set_busy(r2i_connection *connection, struct evhttp_request *request);

/* routes.c: bytes of a path's prefix that means nothing here: "/v1", "/beta" or none. */
size_t r2i_path_prefix(const char *path, size_t n_bytes);
/* Takes a request. */
void r2i_route(struct evhttp_request *request, void *server);
/* Number of a request's API key: 1.., 0 without keys, -1: it has no right one. */
int32_t r2i_route_key(const r2i_server *server, struct evhttp_request *request);
/* control.c */
void r2i_control(r2i_server *server, struct evhttp_request *request, const char *path);

/* delivery.c: from jobs to replies. */
void r2i_reply_send(r2i_server *server, struct evhttp_request *request, int http, const char *route,
                    const char *type, const r2i_buffer *body);
void r2i_reply_refuse(r2i_server *server, struct evhttp_request *request, const char *route,
                      const r2i_refusal *refusal);
/* Takes `value`. */
void r2i_reply_json(r2i_server *server, struct evhttp_request *request, const char *route,
                    json_t *value);
void r2i_reply_refuse_text(r2i_server *server, struct evhttp_request *request, const char *route,
                           int http, const char *code, const char *text);
void r2i_deliver_ready(evutil_socket_t fd, short what, void *server);
void r2i_deliver_pings(r2i_server *server);
/* Ends what takes longer than a request may. */
void r2i_deliver_late(r2i_server *server);
/* Ends what still runs with an error. */
void r2i_deliver_cut(r2i_server *server);
void r2i_server_note(r2i_server *server, const char *id, const char *method, const char *route,
                     int http, int64_t begin_ns, const r2i_job_out *out);
/* Ends the loop when nothing is left to answer. */
void r2i_server_drained(r2i_server *server);

/* "grown" */
const char *r2i_miss_name(r2_cache_miss miss);

/* metrics.c */
void r2i_metrics_note_ending(r2i_counters *counters, const char *route, int http);
/* A request of the engine's has ended that came at begin_ns. */
void r2i_metrics_note_answer(r2i_counters *counters, const r2i_job_out *out, int64_t begin_ns);
R2_CHECKED r2_status r2i_metrics_write(r2i_server *server, r2i_buffer *out);
#endif
