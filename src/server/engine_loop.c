#include "server/engine_loop.h"

#include <string.h>

#include "base/clock.h"
#include "base/failure.h"

enum { READ_TOKENS = 64, TOKEN_BYTES = 256 };

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

/* ---- from tokens to text; all under the desk's lock ---- */

static json_t *describe_token(const r2i_engine_loop *l, r2_token token, float logprob) {
    char text[TOKEN_BYTES];
    size_t n = r2_token_bytes(l->options->model, token, text, sizeof text);
    if (n > sizeof text) n = sizeof text;
    json_t *bytes = json_array();
    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(bytes, json_integer((unsigned char)text[i]));
    json_t *shown = json_stringn(text, n);
    return json_pack("{s:o, s:f, s:o}", "token", shown != NULL ? shown : json_string(replacement),
                     "logprob", (double)logprob, "bytes", bytes);
}

static void add_logprobs(const r2i_engine_loop *l, r2i_job *job, const r2_generated *g) {
    r2_top_logprob top[20];
    json_t *list = json_array();
    json_t *token = describe_token(l, g->token, g->logprob);
    const int32_t n = r2_sequence_top_logprobs(job->sequence, top, job->chat.n_top);
    for (int32_t i = 0; i < n; i++)
        (void)json_array_append_new(list, describe_token(l, top[i].token, top[i].logprob));
    (void)json_object_set_new(token, "top_logprobs", list);
    if (job->out.logprobs == NULL) job->out.logprobs = json_array();
    (void)json_array_append_new(job->out.logprobs, token);
}

/* A model leaves blank lines between its thoughts and its answer: they are part of neither. */
static r2_status add_answer(r2i_job *job, const char *text, bool is_last) {
    if (!job->has_answer && job->n_thinking > 0) text += strspn(text, "\n");
    if (text[0] != '\0') job->has_answer = true;
    return r2i_stop_text_feed(&job->stop, text, is_last, &job->out.answer, NULL);
}

static r2_status add_token(const r2i_engine_loop *l, r2i_job *job, const r2_generated *g) {
    const bool is_marker = g->is_thinking && (g->token == l->open || g->token == l->close);
    if (job->n_drawn++ < job->n_skip || job->stop.is_over) return R2_OK;
    if (job->out.first_ns == 0) job->out.first_ns = r2i_clock_ns();
    if (is_marker) {
        if (g->token != l->close) return R2_OK;
        return r2i_buffer_append_text(&job->out.thinking, r2_detokenizer_finish(job->texts[0]),
                                      NULL);
    }
    if (g->is_thinking) {
        job->n_thinking++;
        return r2i_buffer_append_text(&job->out.thinking,
                                      r2_detokenizer_feed(job->texts[0], g->token), NULL);
    }
    if (job->chat.wants_logprobs && !r2_token_is_end(l->options->model, g->token))
        add_logprobs(l, job, g);
    return add_answer(job, r2_detokenizer_feed(job->texts[1], g->token), false);
}

static r2_status read_tokens(const r2i_engine_loop *l, r2i_job *job) {
    r2_generated tokens[READ_TOKENS];
    for (int32_t n; (n = r2_sequence_read(job->sequence, tokens, READ_TOKENS)) > 0;) {
        for (int32_t i = 0; i < n; i++)
            R2I_TRY(add_token(l, job, &tokens[i]));
    }
    return R2_OK;
}

static r2_status add_rest(r2i_job *job) {
    R2I_TRY(r2i_buffer_append_text(&job->out.thinking, r2_detokenizer_finish(job->texts[0]), NULL));
    return add_answer(job, r2_detokenizer_finish(job->texts[1]), true);
}

/* ---- beginning and end ---- */

static void drop_sequence(r2i_job *job) {
    if (job->sequence != NULL) r2_sequence_destroy(job->sequence);
    job->sequence = NULL;
}

static void let_go(r2i_engine_loop *l, r2i_job *job) {
    drop_sequence(job);
    r2_detokenizer_destroy(job->texts[0]);
    r2_detokenizer_destroy(job->texts[1]);
    job->texts[0] = job->texts[1] = NULL;
    r2i_stop_text_destroy(&job->stop);
    job->out.is_done = true;
    r2i_desk_tell(l->desk, job);
}

static void fail(r2i_engine_loop *l, r2i_job *job, int http, const char *code, const char *text) {
    (void)r2i_refuse(&job->out.refusal, http, NULL, code, "%s", text);
    let_go(l, job);
}

static r2_status create_parts(const r2i_engine_loop *l, r2i_job *job, r2_error *err) {
    const r2_model *model = l->options->model;
    R2I_TRY(r2_sequence_create(&job->sequence, l->options->engine, &job->chat.options, err));
    if (job->texts[0] == NULL) {
        r2i_stop_text_init(&job->stop, l->desk->heap, job->chat.stops, job->chat.n_stops);
        R2I_TRY(r2_detokenizer_create(&job->texts[0], model, false, err));
        R2I_TRY(r2_detokenizer_create(&job->texts[1], model, false, err));
    }
    return r2_sequence_append(job->sequence, job->prompt->tokens, job->prompt->n_tokens, err);
}

static void begin(r2i_engine_loop *l, r2i_job *job) {
    r2_error err = { R2_OK, "" };
    if (atomic_load(&job->is_gone)) {
        let_go(l, job);
    } else if (create_parts(l, job, &err) == R2_OK) {
        r2i_queue_add(&l->running, job);
    } else if (err.code == R2_E_NOMEM || err.code == R2_E_FULL) {
        fail(l, job, 503, NULL, "no memory for the request");
    } else {
        fail(l, job, 500, NULL, "the engine did not take the request");
    }
}

/* Its pages were taken for others: it begins anew when one of them is done.  The same seed gives the same
 * tokens, so those that were sent are skipped. */
static void put_back(r2i_engine_loop *l, r2i_job *job) {
    if (job->n_drawn > job->n_skip) job->n_skip = job->n_drawn;
    job->n_drawn = 0;
    drop_sequence(job);
    job->next = l->desk->to_write.first;
    l->desk->to_write.first = job;
    if (l->desk->to_write.last == NULL) l->desk->to_write.last = job;
    l->desk->to_write.n++;
    l->desk->n_restarts++;
    l->n_allowed = l->running.n;
}

static void end(r2i_engine_loop *l, r2i_job *job, const r2_sequence_status *status) {
    r2i_job_out *out = &job->out;
    (void)r2i_queue_remove(&l->running, job);
    out->finish = job->stop.is_over ? R2_FINISH_END : status->finish;
    out->n_generated = status->n_generated;
    out->n_thinking = job->n_thinking;
    out->is_think_cut = status->is_think_cut;
    if (out->finish == R2_FINISH_MEMORY && l->running.n > 0) {
        put_back(l, job);
        return;
    }
    if (l->n_allowed < l->options->n_parallel) l->n_allowed++;
    if (out->finish == R2_FINISH_MEMORY && out->n_generated > 0) out->finish = R2_FINISH_LENGTH;
    if (out->finish == R2_FINISH_MEMORY) {
        fail(l, job, 503, "cache_full", "the cache has no room for this prompt");
    } else if (out->finish == R2_FINISH_ERROR) {
        fail(l, job, 500, NULL, "the model's logits are not numbers");
    } else if (add_rest(job) != R2_OK) {
        fail(l, job, 503, NULL, "no memory for the answer");
    } else {
        let_go(l, job);
    }
}

/* ---- the thread ---- */

static void collect(r2i_engine_loop *l) {
    for (r2i_job *job = l->running.first, *next; job != NULL; job = next) {
        r2_sequence_status status;
        next = job->next;
        const size_t n_before =
            job->out.answer.n_bytes + job->out.thinking.n_bytes + (job->out.logprobs != NULL);
        const r2_status read = read_tokens(l, job);
        r2_sequence_get_status(job->sequence, &status);
        if (job->n_skip == 0) job->out.n_cached = status.n_cached;
        const size_t n_after =
            job->out.answer.n_bytes + job->out.thinking.n_bytes + (job->out.logprobs != NULL);
        if (read != R2_OK) {
            (void)r2i_queue_remove(&l->running, job);
            fail(l, job, 503, NULL, "no memory for the answer");
        } else if (status.finish != R2_FINISH_NONE || job->stop.is_over) {
            end(l, job, &status);
        } else if (n_after != n_before && job->chat.is_stream) {
            r2i_desk_tell(l->desk, job);
        }
    }
}

static void fail_all(r2i_engine_loop *l, int http, const char *text) {
    for (r2i_job *job; (job = r2i_queue_take(&l->running)) != NULL;)
        fail(l, job, http, NULL, text);
}

static void admit(r2i_engine_loop *l) {
    r2i_desk *d = l->desk;
    while (d->to_write.n > 0 && (l->running.n == 0 || l->running.n < l->n_allowed))
        begin(l, r2i_queue_take(&d->to_write));
    d->n_running = l->running.n;
    d->n_waiting = d->to_write.n;
}

void *r2i_engine_loop_run(void *argument) {
    r2i_engine_loop *l = argument;
    r2i_desk *d = l->desk;
    l->n_allowed = l->options->n_parallel;
    (void)pthread_mutex_lock(&d->lock);
    while (!d->is_over) {
        r2_error err = { R2_OK, "" };
        int32_t n_active;
        admit(l);
        if (l->running.n == 0) {
            if (d->to_write.n == 0) (void)pthread_cond_wait(&d->has_writing, &d->lock);
            continue;
        }
        (void)pthread_mutex_unlock(&d->lock);
        const r2_status status = r2_engine_step(l->options->engine, &n_active, &err);
        (void)pthread_mutex_lock(&d->lock);
        r2_engine_get_stats(l->options->engine, &d->stats);
        if (status == R2_OK)
            collect(l);
        else
            fail_all(l, 500, "the engine failed");
    }
    fail_all(l, 503, "the server stops");
    for (r2i_job *job; (job = r2i_queue_take(&d->to_write)) != NULL;)
        fail(l, job, 503, NULL, "the server stops");
    (void)pthread_mutex_unlock(&d->lock);
    return NULL;
}
