#include "server/reply_head.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/random.h"

enum { ORIGIN_BYTES = 256, NUMBER_BYTES = 24, MAX_RETRY_SECONDS = 30, CACHE_HEAD_BYTES = 96 };

void r2i_request_id_make(r2i_server *s, char out[R2I_REQUEST_ID_BYTES]) {
    const uint64_t n = ++s->n_ids;
    (void)snprintf(out, R2I_REQUEST_ID_BYTES, "req_%016" PRIx64 "%08" PRIx32,
                   r2i_random_u64(s->id_seed, 4, n), (uint32_t)r2i_random_u64(s->id_seed, 5, n));
}

void r2i_reply_head_put(const r2i_server *s, const char *id, r2i_span origin, r2i_header_put put,
                        void *to) {
    char page[ORIGIN_BYTES];
    const r2i_gate *gate = &s->options->gate;
    put(to, "X-Request-Id", id);
    put(to, "Request-Id", id);
    put(to, "X-Content-Type-Options", "nosniff");
    put(to, "Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
    put(to, "Referrer-Policy", "no-referrer");
    if (gate->n_origins == 0) {
        put(to, "Cross-Origin-Resource-Policy", "same-origin");
        return;
    }
    put(to, "Vary", "Origin");
    if (!r2i_gate_origin_is_added(gate, origin) || origin.n_bytes >= sizeof page) return;
    memcpy(page, origin.text, origin.n_bytes);
    page[origin.n_bytes] = '\0';
    put(to, "Access-Control-Allow-Origin", page);
    put(to, "Access-Control-Expose-Headers",
        "X-Request-Id, Request-Id, X-R2-Cache, X-R2-Warning, Retry-After, Retry-After-Ms");
}

/* Until those who wait now are answered, by what answers took so far. */
static int retry_seconds(const r2i_server *s) {
    const r2i_counters *c = &s->counters;
    const double mean = c->service.n > 0 ? c->service.sum / (double)c->service.n : 0;
    const double all = mean * s->n_jobs / s->options->n_parallel;
    return all <= 1 ? 1 : all >= MAX_RETRY_SECONDS ? MAX_RETRY_SECONDS : (int)all + 1;
}

const char *r2i_miss_name(r2_cache_miss miss) {
    static const char *const names[R2I_N_MISSES] = { "none",  "off",      "first_seen",
                                                     "grown", "diverged", "evicted" };
    return names[miss];
}

void r2i_cache_head_put(const r2i_job_out *o, r2i_header_put put, void *to) {
    char text[CACHE_HEAD_BYTES], place[NUMBER_BYTES] = "";
    if (!o->is_looked_up) return;
    if (o->miss >= R2_MISS_GROWN) (void)snprintf(place, sizeof place, "@%d", o->n_matched);
    (void)snprintf(text, sizeof text, "hit=%d; miss=%d; reason=%s%s", o->n_cached,
                   o->n_prompt - o->n_cached, r2i_miss_name(o->miss), place);
    put(to, "X-R2-Cache", text);
}

void r2i_retry_head_put(const r2i_server *s, int http, r2i_header_put put, void *to) {
    char number[NUMBER_BYTES];
    if (http == 429 || http == 503) {
        const int seconds = http == 429 ? retry_seconds(s) : 1;
        (void)snprintf(number, sizeof number, "%d", seconds);
        put(to, "Retry-After", number);
        (void)snprintf(number, sizeof number, "%d000", seconds);
        put(to, "Retry-After-Ms", number);
    }
    if (http == 500 || http == 504) put(to, "X-Should-Retry", "false");
    if (http == 401) put(to, "WWW-Authenticate", "Bearer");
    if (http == 405) put(to, "Allow", "GET, HEAD, POST");
}

void r2i_header_add(void *request, const char *name, const char *value) {
    (void)evhttp_add_header(evhttp_request_get_output_headers(request), name, value);
}

static r2i_span header_of(struct evhttp_request *request, const char *name) {
    const char *text = evhttp_find_header(evhttp_request_get_input_headers(request), name);
    return (r2i_span){ text, text != NULL ? strlen(text) : 0 };
}

void r2i_reply_head_begin(r2i_server *s, struct evhttp_request *request) {
    char id[R2I_REQUEST_ID_BYTES];
    r2i_request_id_make(s, id);
    r2i_reply_head_put(s, id, header_of(request, "Origin"), r2i_header_add, request);
}

const char *r2i_request_id_of(struct evhttp_request *request) {
    const char *id = evhttp_find_header(evhttp_request_get_output_headers(request), "X-Request-Id");
    return id != NULL ? id : "-";
}

void r2i_preflight_send(r2i_server *s, struct evhttp_request *request) {
    const r2i_span fields = header_of(request, "Access-Control-Request-Headers");
    r2i_header_add(request, "Access-Control-Allow-Methods", "GET, HEAD, POST");
    /* Clients in pages send many of their own; reading them does no harm. */
    r2i_header_add(request, "Access-Control-Allow-Headers",
                   fields.n_bytes > 0 ? fields.text : "Authorization, Content-Type, X-Api-Key");
    r2i_header_add(request, "Access-Control-Max-Age", "600");
    if (header_of(request, "Access-Control-Request-Private-Network").n_bytes > 0)
        r2i_header_add(request, "Access-Control-Allow-Private-Network", "true");
    r2i_server_note(s, r2i_request_id_of(request), "OPTIONS", "preflight", 204, 0, NULL);
    evhttp_send_reply(request, 204, "No Content", NULL);
}
