/* routes.c - which path does what, alone and behind /v1 or /beta. */
#include <event2/buffer.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/failure.h"
#include "base/random.h"
#include "server/about.h"
#include "server/reply_head.h"

enum { PATH_BYTES = 1024 };

typedef void (*handler)(r2i_server *s, struct evhttp_request *request, const char *path);

/* ---- what the other threads do ---- */

static bool copy_body(struct evhttp_request *request, r2i_buffer *out) {
    struct evbuffer *input = evhttp_request_get_input_buffer(request);
    const size_t n_bytes = evbuffer_get_length(input);
    if (n_bytes == 0) return true;
    const unsigned char *bytes = evbuffer_pullup(input, -1);
    const bool is_copied = bytes != NULL && r2i_buffer_append(out, bytes, n_bytes, NULL) == R2_OK;
    (void)evbuffer_drain(input, n_bytes);
    return is_copied;
}

/* Prefixes are shared among requests with the same key only. */
int32_t r2i_route_key(const r2i_server *s, struct evhttp_request *request) {
    const struct evkeyvalq *headers = evhttp_request_get_input_headers(request);
    const char *authorization = evhttp_find_header(headers, "Authorization");
    const char *key = evhttp_find_header(headers, "X-Api-Key");
    r2i_wire_head head = { .is_chunked = false };
    if (authorization != NULL)
        head.authorization = (r2i_span){ authorization, strlen(authorization) };
    if (key != NULL) head.api_key = (r2i_span){ key, strlen(key) };
    return r2i_gate_find_key(&s->options->gate, &head);
}

static r2i_pending *make_pending(r2i_server *s, struct evhttp_request *request, r2i_task task,
                                 const char *route, int32_t key) {
    r2i_connection *c = r2i_connection_find(s, request);
    r2i_pending *p = c != NULL ? r2i_heap_take(&s->heap, sizeof *p) : NULL;
    r2i_job *job = p != NULL ? r2i_job_create(&s->heap, task, s->options->body_bytes) : NULL;
    if (job == NULL || !copy_body(request, &job->body)) {
        if (job != NULL) r2i_job_destroy(job, &s->heap);
        r2i_heap_give(&s->heap, p, sizeof *p);
        return NULL;
    }
    *p = (r2i_pending){ .next = s->pendings,
                        .request = request,
                        .connection = c,
                        .job = job,
                        .route = route,
                        .created = r2i_wall_seconds(),
                        .begin_ns = r2i_clock_ns() };
    (void)snprintf(p->request_id, sizeof p->request_id, "%s", r2i_request_id_of(request));
    const uint64_t n = ++s->n_ids;
    (void)snprintf(p->id, sizeof p->id, "%s-%016" PRIx64 "%08" PRIx32,
                   task == R2I_TASK_COMPLETION ? "cmpl" : "chatcmpl",
                   r2i_random_u64(s->id_seed, 0, n), (uint32_t)r2i_random_u64(s->id_seed, 1, n));
    job->owner = p;
    job->key = (uint64_t)key;
    job->connection = c->number;
    job->seed = s->options->has_fixed_seed ? s->options->seed
                                           : r2i_random_u64(s->options->seed, 2, n) >> 11;
    if (p->next != NULL) p->next->before = p;
    s->pendings = p;
    c->pending = p;
    s->n_jobs++;
    return p;
}

/* Of several keys, one that has nothing under way finds a place behind the many of others. */
static bool is_full(const r2i_server *s, uint64_t key) {
    const int32_t most = s->options->n_parallel + s->options->n_queued,
                  n_keys = s->options->gate.n_keys;
    if (s->n_jobs < most) return false;
    if (n_keys < 2 || s->n_jobs >= most + n_keys) return true;
    for (const r2i_pending *p = s->pendings; p != NULL; p = p->next) {
        if (p->job->key == key) return true;
    }
    return false;
}

static void hand_in(r2i_server *s, struct evhttp_request *request, r2i_task task,
                    const char *route) {
    const int32_t key = r2i_route_key(s, request);
    if (key < 0) {
        r2i_reply_refuse_text(s, request, route, 401, "invalid_api_key",
                              "expected a valid API key");
    } else if (s->is_draining) {
        r2i_reply_refuse_text(s, request, route, 503, NULL, "the server stops");
    } else if (is_full(s, (uint64_t)key)) {
        r2i_reply_refuse_text(s, request, route, 429, "queue_full",
                              "too many requests are waiting");
    } else {
        r2i_pending *p = make_pending(s, request, task, route, key);
        if (p == NULL)
            r2i_reply_refuse_text(s, request, route, 503, NULL, "no memory for the request");
        else
            r2i_desk_hand_in(&s->desk, p->job);
    }
}

static void chat(r2i_server *s, struct evhttp_request *request, const char *path) {
    (void)path;
    hand_in(s, request, R2I_TASK_CHAT, "/v1/chat/completions");
}

static void complete(r2i_server *s, struct evhttp_request *request, const char *path) {
    (void)path;
    hand_in(s, request, R2I_TASK_COMPLETION, "/v1/completions");
}

static void tokenize(r2i_server *s, struct evhttp_request *request, const char *path) {
    (void)path;
    hand_in(s, request, R2I_TASK_TOKENIZE, "/tokenize");
}

static void detokenize(r2i_server *s, struct evhttp_request *request, const char *path) {
    (void)path;
    hand_in(s, request, R2I_TASK_DETOKENIZE, "/detokenize");
}

static void apply_template(r2i_server *s, struct evhttp_request *request, const char *path) {
    (void)path;
    hand_in(s, request, R2I_TASK_TEMPLATE, "/apply-template");
}

/* ---- the table ---- */

static const struct {
    const char *path; /* without its prefix; with a * at its end: what begins so */
    bool is_post;
    handler handle;
} routes[] = {
    { "/health", false, r2i_show_health },
    { "/version", false, r2i_show_version },
    { "/metrics", false, r2i_show_metrics },
    { "/props", false, r2i_show_props },
    { "/slots", false, r2i_show_slots },
    { "/models", false, r2i_list_models },
    { "/models/*", false, r2i_show_model },
    { "/chat/completions", true, chat },
    { "/chat/completions/control", true, r2i_control },
    { "/completions", true, complete },
    { "/tokenize", true, tokenize },
    { "/detokenize", true, detokenize },
    { "/apply-template", true, apply_template },
};

size_t r2i_path_prefix(const char *path, size_t n_bytes) {
    static const char *const prefixes[] = { "/v1", "/beta" };
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        const size_t n = strlen(prefixes[i]);
        if (n_bytes > n && memcmp(path, prefixes[i], n) == 0 && path[n] == '/') return n;
    }
    return 0;
}

static bool is_route(const char *route, const char *path) {
    const size_t n = strlen(route);
    if (route[n - 1] != '*') return strcmp(route, path) == 0;
    return strncmp(route, path, n - 1) == 0 && path[n - 1] != '\0';
}

void r2i_route(struct evhttp_request *request, void *server) {
    r2i_server *s = server;
    char path[PATH_BYTES];
    const char *target = evhttp_request_get_uri(request);
    const size_t n = target != NULL ? strcspn(target, "?") : 0;
    const bool is_post = evhttp_request_get_command(request) == EVHTTP_REQ_POST;
    r2i_connection *c = r2i_connection_find(s, request);
    r2i_reply_head_begin(s, request);
    if (c == NULL) { /* there was no memory to watch it: nothing was checked */
        r2i_reply_refuse_text(s, request, "-", 503, NULL, "no memory for the connection");
        return;
    }
    r2i_connection_set_busy(c, request);
    if (evhttp_request_get_command(request) == EVHTTP_REQ_OPTIONS) {
        r2i_preflight_send(s, request);
        return;
    }
    if (n == 0 || n >= sizeof path) {
        r2i_reply_refuse_text(s, request, "-", 404, "unknown_path", "there is no such path");
        return;
    }
    memcpy(path, target, n);
    path[n] = '\0';
    const char *at = path + r2i_path_prefix(path, n);
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        if (!is_route(routes[i].path, at)) continue;
        if (routes[i].is_post == is_post)
            routes[i].handle(s, request, at);
        else
            r2i_reply_refuse_text(s, request, routes[i].path, 405, NULL,
                                  routes[i].is_post ? "expected POST" : "expected GET");
        return;
    }
    r2i_reply_refuse_text(s, request, "-", 404, "unknown_path", "there is no such path");
}
