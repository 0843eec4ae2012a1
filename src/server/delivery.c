/* delivery.c - replies and streams, written as the other threads bring their parts. */
#define _POSIX_C_SOURCE 200809L /* read */
#include <event2/buffer.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failure.h"
#include "server/json_text.h"
#include "server/reply_head.h"

enum { PING_SECONDS = 10, NO_MEMORY = 503, REPLY_BYTES = 1 << 20 };

static void add_headers(const r2i_server *s, struct evhttp_request *request, const char *type) {
    r2i_header_add(request, "Content-Type", type);
    r2i_header_add(request, "Cache-Control",
                   strcmp(type, "text/event-stream") == 0 ? "no-cache" : "no-store");
    if (s->is_draining) r2i_header_add(request, "Connection", "close");
}

static const char *method_of(const struct evhttp_request *request) {
    switch (evhttp_request_get_command(request)) {
    case EVHTTP_REQ_POST:
        return "POST";
    case EVHTTP_REQ_HEAD:
        return "HEAD";
    default:
        return "GET";
    }
}

/* Identity, method, route, status, time and numbers of tokens: never what was said. */
void r2i_server_note(r2i_server *s, const char *id, const char *method, const char *route, int http,
                     int64_t begin_ns, const r2i_job_out *out) {
    char line[200];
    const double ms = begin_ns > 0 ? (double)(r2i_clock_ns() - begin_ns) * 1e-6 : 0;
    r2i_metrics_note_ending(&s->counters, route, http);
    if (s->options->log == NULL) return;
    if (out != NULL && out->n_prompt > 0)
        (void)snprintf(line, sizeof line, "%s %s %s %d %.1f ms prompt=%d cached=%d answer=%d", id,
                       method, route, http, ms, out->n_prompt, out->n_cached, out->n_generated);
    else
        (void)snprintf(line, sizeof line, "%s %s %s %d %.1f ms", id, method, route, http, ms);
    s->options->log(s->options->user, line);
}

static void send_bytes(r2i_server *s, struct evhttp_request *request, int http, const char *type,
                       const r2i_buffer *body) {
    struct evbuffer *bytes = evbuffer_new();
    char number[24];
    const bool is_head = evhttp_request_get_command(request) == EVHTTP_REQ_HEAD;
    add_headers(s, request, type);
    if (is_head) { /* the library would send the body, and the client take it for the next reply */
        (void)snprintf(number, sizeof number, "%zu", body->n_bytes);
        r2i_header_add(request, "Content-Length", number);
    } else if (bytes != NULL && body->n_bytes > 0) {
        (void)evbuffer_add(bytes, body->bytes, body->n_bytes);
    }
    evhttp_send_reply(request, http, r2i_http_reason(http), bytes);
    if (bytes != NULL) evbuffer_free(bytes);
}

void r2i_reply_send(r2i_server *s, struct evhttp_request *request, int http, const char *route,
                    const char *type, const r2i_buffer *body) {
    r2i_server_note(s, r2i_request_id_of(request), method_of(request), route, http, 0, NULL);
    send_bytes(s, request, http, type, body);
}

static void send_refusal(r2i_server *s, struct evhttp_request *request,
                         const r2i_refusal *refusal) {
    r2i_buffer body;
    r2i_buffer_init(&body, &s->heap, 4096);
    (void)!r2i_refusal_write(refusal, &body);
    r2i_retry_head_put(s, refusal->http, r2i_header_add, request);
    send_bytes(s, request, refusal->http, "application/json", &body);
    r2i_buffer_destroy(&body);
}

void r2i_reply_refuse(r2i_server *s, struct evhttp_request *request, const char *route,
                      const r2i_refusal *refusal) {
    r2i_server_note(s, r2i_request_id_of(request), method_of(request), route, refusal->http, 0,
                    NULL);
    send_refusal(s, request, refusal);
}

void r2i_reply_refuse_text(r2i_server *s, struct evhttp_request *request, const char *route,
                           int http, const char *code, const char *text) {
    r2i_refusal refusal;
    (void)r2i_refuse(&refusal, http, NULL, code, "%s", text);
    r2i_reply_refuse(s, request, route, &refusal);
}

void r2i_reply_json(r2i_server *s, struct evhttp_request *request, const char *route,
                    json_t *value) {
    r2i_buffer body;
    r2i_buffer_init(&body, &s->heap, REPLY_BYTES);
    if (r2i_json_append(&body, value) == R2_OK)
        r2i_reply_send(s, request, 200, route, "application/json", &body);
    else
        r2i_reply_refuse_text(s, request, route, 503, NULL, "no memory for the reply");
    r2i_buffer_destroy(&body);
}

/* ---- jobs ---- */

/* The reply is complete: from here on connection and request are the library's alone, and sending the last
 * byte may free them at once. */
static struct evhttp_request *detach(r2i_pending *p) {
    struct evhttp_request *request = p->request;
    p->connection->pending = NULL;
    p->connection = NULL;
    p->request = NULL;
    p->is_sent = true;
    return request;
}

static void forget(r2i_server *s, r2i_pending *p) {
    if (p->before != NULL)
        p->before->next = p->next;
    else
        s->pendings = p->next;
    if (p->next != NULL) p->next->before = p->before;
    if (p->connection != NULL) p->connection->pending = NULL;
    r2i_job_destroy(p->job, &s->heap);
    r2i_heap_give(&s->heap, p, sizeof *p);
    s->n_jobs--;
    r2i_server_drained(s);
}

static void send_piece(r2i_pending *p, const r2i_buffer *text) {
    if (text->n_bytes == 0) return;
    struct evbuffer *bytes = evbuffer_new();
    if (bytes == NULL) return;
    (void)evbuffer_add(bytes, text->bytes, text->n_bytes);
    evhttp_send_reply_chunk(p->request, bytes);
    evbuffer_free(bytes);
    p->sent_ns = r2i_clock_ns();
}

/* NULL: the task's reply is whole already. */
static const r2i_reply_format *format_of(const r2i_job *job) {
    if (job->task == R2I_TASK_CHAT) return &r2i_chat_format;
    return job->task == R2I_TASK_COMPLETION ? &r2i_completion_format : NULL;
}

static r2i_reply_head head_of(const r2i_server *s, const r2i_pending *p) {
    return (r2i_reply_head){ p->id, s->options->model_id, p->created, s->options->model,
                             s->options->reasoning_field };
}

static void add_warning(const r2i_pending *p) {
    const char *warning = p->job->chat.tools.warning;
    if (warning[0] != '\0') r2i_header_add(p->request, "X-R2-Warning", warning);
}

static r2_status write_stream(r2i_server *s, r2i_pending *p, r2i_buffer *text) {
    const r2i_reply_head head = head_of(s, p);
    r2i_job *job = p->job;
    const r2i_reply_format *format = format_of(job);
    if (!p->is_started) {
        add_headers(s, p->request, "text/event-stream");
        r2i_cache_head_put(&job->out, r2i_header_add, p->request);
        add_warning(p);
        evhttp_send_reply_start(p->request, 200, "OK");
        p->is_started = true;
        R2I_TRY(format->first(&head, job, text));
    }
    R2I_TRY(format->more(&head, job, text));
    if (!job->out.is_done) return R2_OK;
    return job->out.refusal.http != 0 ? r2i_reply_error(&job->out.refusal, text)
                                      : format->end(&head, job, text);
}

static void send_stream(r2i_server *s, r2i_pending *p) {
    r2i_buffer text;
    r2i_buffer_init(&text, &s->heap, SIZE_MAX / 2);
    if (write_stream(s, p, &text) != R2_OK) {
        static const char lost[] = "data: {\"error\":{\"message\":\"no memory\",\"type\":"
                                   "\"server_error\",\"param\":null,\"code\":null}}\n\n";
        r2i_buffer_clear(&text);
        (void)!r2i_buffer_append_text(&text, lost, NULL);
    }
    send_piece(p, &text);
    r2i_buffer_destroy(&text);
    if (p->job->out.is_done) evhttp_send_reply_end(detach(p));
}

static void send_whole(r2i_server *s, r2i_pending *p) {
    const r2i_reply_head head = head_of(s, p);
    r2i_buffer body;
    r2i_job *job = p->job;
    const r2i_reply_format *format = format_of(job);
    r2i_buffer_init(&body, &s->heap, SIZE_MAX / 2);
    if (format != NULL && format->whole(&head, job, &body) != R2_OK) {
        (void)r2i_refuse(&job->out.refusal, NO_MEMORY, NULL, NULL, "no memory for the reply");
        send_refusal(s, detach(p), &job->out.refusal);
    } else {
        r2i_cache_head_put(&job->out, r2i_header_add, p->request);
        add_warning(p);
        send_bytes(s, detach(p), 200, "application/json", format != NULL ? &body : &job->out.reply);
    }
    r2i_buffer_destroy(&body);
}

/* Its head tells how much of the prompt was known: it waits for the first step, or some seconds. */
static bool can_start(const r2i_pending *p) {
    const r2i_job_out *o = &p->job->out;
    return o->is_accepted && p->job->wishes->is_stream && o->refusal.http == 0 &&
           (o->is_looked_up || o->is_done || p->is_overdue);
}

/* Under the desk's lock. */
static void send_parts(r2i_server *s, r2i_pending *p) {
    const r2i_job_out *o = &p->job->out;
    if (p->is_started || can_start(p))
        send_stream(s, p);
    else if (o->is_done && o->refusal.http != 0)
        send_refusal(s, detach(p), &o->refusal);
    else if (o->is_done)
        send_whole(s, p);
}

/* "stream" requests count as 200 even if they end with an error event. */
static void finish(r2i_server *s, r2i_pending *p) {
    enum { CLIENT_GONE = 499 };
    const r2i_job_out *o = &p->job->out;
    const int http = p->cut != 0                              ? p->cut
                     : !p->is_sent                            ? CLIENT_GONE
                     : o->refusal.http != 0 && !p->is_started ? o->refusal.http
                                                              : 200;
    r2i_metrics_note_answer(&s->counters, o, p->begin_ns);
    r2i_server_note(s, p->request_id, "POST", p->route, http, p->begin_ns, o);
    forget(s, p);
}

static void deliver(r2i_server *s, r2i_job *job) {
    r2i_pending *p = job->owner;
    (void)pthread_mutex_lock(&s->desk.lock);
    if (p->connection != NULL) send_parts(s, p);
    const bool is_done = job->out.is_done;
    const bool is_told_again = job->out.is_told; /* while we sent: it comes back by itself */
    (void)pthread_mutex_unlock(&s->desk.lock);
    if (!is_done || is_told_again) return;
    if (p->request != NULL) evhttp_request_free(p->request); /* the client left, it became ours */
    finish(s, p);
}

void r2i_deliver_ready(evutil_socket_t fd, short what, void *server) {
    r2i_server *s = server;
    uint64_t n;
    (void)what;
    (void)!read(fd, &n, sizeof n);
    const r2i_job *last = r2i_desk_last_ready(&s->desk);
    for (bool is_last = last == NULL; !is_last;) {
        r2i_job *job = r2i_desk_take_ready(&s->desk);
        is_last = job == NULL || job == last;
        if (job != NULL) deliver(s, job);
    }
    r2i_desk_wake(&s->desk);
}

/* A comment now and then, so that nothing on the way takes the silence for the end. */
void r2i_deliver_pings(r2i_server *s) {
    const int64_t now = r2i_clock_ns();
    for (r2i_pending *p = s->pendings; p != NULL; p = p->next) {
        const int64_t since_ns = p->is_started ? p->sent_ns : p->begin_ns;
        if (p->connection == NULL || now - since_ns < (int64_t)PING_SECONDS * 1000000000) continue;
        if (!p->is_started) {
            p->is_overdue = true;
            (void)pthread_mutex_lock(&s->desk.lock);
            if (can_start(p) && !p->job->out.is_done) send_stream(s, p);
            (void)pthread_mutex_unlock(&s->desk.lock);
            continue;
        }
        r2i_buffer text;
        r2i_buffer_init(&text, &s->heap, 64);
        if (r2i_buffer_append_text(&text, ": ping\n\n", NULL) == R2_OK) send_piece(p, &text);
        r2i_buffer_destroy(&text);
    }
}

/* Its end is an error: of a stream the last event. */
static void cut(r2i_server *s, r2i_pending *p, const r2i_refusal *refusal) {
    (void)pthread_mutex_lock(&s->desk.lock);
    if (p->is_started) {
        r2i_buffer text;
        r2i_buffer_init(&text, &s->heap, 4096);
        (void)!r2i_reply_error(refusal, &text);
        send_piece(p, &text);
        r2i_buffer_destroy(&text);
        evhttp_send_reply_end(detach(p));
    } else {
        send_refusal(s, detach(p), refusal);
    }
    p->cut = refusal->http;
    (void)pthread_mutex_unlock(&s->desk.lock);
    r2i_desk_abandon(&s->desk, p->job);
}

void r2i_deliver_late(r2i_server *s) {
    const int64_t limit_ns = (int64_t)s->options->request_ms * 1000000, now = r2i_clock_ns();
    r2i_refusal refusal;
    (void)r2i_refuse(&refusal, 504, NULL, "timeout", "the request took longer than %d s",
                     s->options->request_ms / 1000);
    for (r2i_pending *p = s->pendings; limit_ns > 0 && p != NULL; p = p->next) {
        if (p->connection != NULL && now - p->begin_ns > limit_ns) cut(s, p, &refusal);
    }
}

void r2i_deliver_cut(r2i_server *s) {
    r2i_refusal refusal;
    (void)r2i_refuse(&refusal, 503, NULL, "server_stops", "the server stops");
    for (r2i_pending *p = s->pendings; p != NULL; p = p->next) {
        if (p->connection != NULL) cut(s, p, &refusal);
    }
}
