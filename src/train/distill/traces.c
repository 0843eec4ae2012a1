/* traces.c - a teacher's answers to prompts, as chats to learn from.
 *
 *     prompts -> chat template -> many sequences in one engine -> check -> a line each
 *
 * A prompt is known by the hash of its messages: twice in the inputs, it is answered once. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/failure.h"
#include "base/hash.h"
#include "base/random.h"
#include "model/model.h"
#include "train/distill/answer_check.h"
#include "train/data/document_read.h"
#include "train/reinforce/rollout.h"
#include "train/distill/trace_file.h"

enum { DEFAULT_PARALLEL = 32, DEFAULT_TOKENS = 1024, DEFAULT_CONTEXT = 4096, SEED_STREAM = 79 };
#define MAX_TEXT_BYTES ((size_t)64 << 20)

/* A prompt with samples to be written or under way. */
typedef struct {
    json_t *messages; /* NULL: free */
    json_t *expected; /* a text; NULL: none */
    json_t *task;     /* whose judge `expected` is for; a text; NULL: none */
    r2_prompt *rendered;
    uint64_t hash;
    int32_t next_sample, n_open;
} asked;

typedef struct {
    r2_model *model;
    const r2_traces_options *o;
    r2_traces_result *result;
    r2i_heap *heap;
    r2i_arena arena;
    r2i_rollout *rollout;
    r2i_trace_file file;
    r2i_document_reader *reader;
    int32_t next_input, n_samples, n_context;
    asked *asked; /* [n_asked] one more than sequences */
    int32_t n_asked;
    int32_t current;          /* whose samples come next; -1: none */
    r2_detokenizer *texts[2]; /* answer, thoughts */
    r2i_buffer parts[2], line;
    int64_t start_ns;
} tracing;

/* ---- prompts ---- */

static void forget(asked *a) {
    json_decref(a->messages);
    json_decref(a->expected);
    json_decref(a->task);
    r2_prompt_destroy(a->rendered);
    *a = (asked){ .messages = NULL };
}

static const char *role_of(const json_t *message) {
    const char *role = json_string_value(json_object_get(message, "role"));
    return role != NULL ? role : "";
}

static json_t *text_as_messages(const r2i_document *d) {
    return json_pack("[{s:s, s:s%}]", "role", "user", "content", d->text, d->n_bytes);
}

/* Messages before the assistant's first turn, and what that turn, or "answer", says; with an item of a task what
 * its judge needs. */
static void split_document(const r2i_document *d, r2_answer_check check, asked *out) {
    const char *expected = json_string_value(json_object_get(d->line, "answer"));
    if (d->messages == NULL) {
        out->messages = text_as_messages(d);
    } else {
        out->messages = json_array();
        for (size_t i = 0; i < json_array_size(d->messages); i++) {
            json_t *m = json_array_get(d->messages, i);
            if (strcmp(role_of(m), "assistant") == 0) {
                if (expected == NULL) expected = json_string_value(json_object_get(m, "content"));
                break;
            }
            (void)json_array_append(out->messages, m);
        }
    }
    if (check == R2_CHECK_TASK) {
        out->task = json_incref(json_object_get(d->line, "task"));
        expected = json_string_value(json_object_get(d->line, "expected"));
    }
    if (expected != NULL) out->expected = json_string(expected);
}

/* Whether answers can be judged at all, before one is written; programs too, in the first line. */
static r2_status try_check(const tracing *t, const asked *a, const char *place, r2_error *err) {
    const char *task = json_string_value(a->task), *expected = json_string_value(a->expected);
    const char *none = t->result->n_prompts == 1 ? "```python\n\n```" : "";
    bool is_right;
    if (t->o->check == R2_CHECK_NONE) return R2_OK;
    if (t->o->check == R2_CHECK_TASK && (task == NULL || expected == NULL))
        return r2i_fail(err, R2_E_ARGUMENT,
                        "%s: expected \"task\" and \"expected\", as r2lm tasks make writes them",
                        place);
    if (expected == NULL)
        return r2i_fail(err, R2_E_ARGUMENT, "%s: expected an answer to check by, found none",
                        place);
    const r2_status status =
        r2i_answer_check(&is_right, t->o->check, task, expected, none, &t->model->host, err);
    return status != R2_OK ? r2i_fail_at(err, status, place) : R2_OK;
}

static r2_status render(const tracing *t, asked *a, const char *place, r2_error *err) {
    json_free_t release;
    json_get_alloc_funcs(NULL, &release);
    char *text = json_dumps(a->messages, JSON_COMPACT | JSON_SORT_KEYS);
    if (text == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for a prompt");
    a->hash = r2i_hash_mix(r2i_hash_bytes(R2I_HASH_SEED, text, strlen(text)));
    const r2_chat_options options = { .think = t->o->think, .messages_json = text };
    const r2_status status = r2_chat_render(&a->rendered, t->model, NULL, 0, &options, err);
    release(text);
    return status != R2_OK ? r2i_fail_at(err, status, place) : R2_OK;
}

static r2_status next_document(tracing *t, r2i_document *d, bool *has, r2_error *err) {
    for (*has = false;;) {
        if (t->reader != NULL) {
            R2I_TRY(r2i_document_next(t->reader, d, has, err));
            if (*has) return R2_OK;
        }
        r2i_document_reader_close(t->reader);
        t->reader = NULL;
        if (t->next_input == t->o->n_inputs) return R2_OK;
        R2I_TRY(r2i_document_reader_open(&t->reader, t->o->inputs[t->next_input++], t->o->mark,
                                         t->heap, err));
        r2i_document_allow_questions(t->reader);
    }
}

/* Reads a document into a free place; its samples may all be done or under way already. */
static r2_status take_document(tracing *t, const r2i_document *d, r2_error *err) {
    int32_t i = 0;
    while (t->asked[i].messages != NULL)
        i++;
    asked *a = &t->asked[i];
    t->result->n_prompts++;
    split_document(d, t->o->check, a);
    if (json_array_size(a->messages) == 0)
        return r2i_fail(err, R2_E_FORMAT, "%s: expected a question before the assistant's turn",
                        d->place);
    R2I_TRY(try_check(t, a, d->place, err));
    R2I_TRY(render(t, a, d->place, err));
    bool is_known = false;
    for (int32_t j = 0; j < t->n_asked; j++)
        is_known |= j != i && t->asked[j].messages != NULL && t->asked[j].hash == a->hash;
    const bool is_long = a->rendered->n_tokens + 1 >= t->n_context;
    t->result->n_too_long += is_long;
    t->current = i;
    if (is_known || is_long) {
        forget(a);
        t->current = -1;
    }
    return R2_OK;
}

/* The next sample that is not done of the prompt at work; false: it has no more. */
static bool next_sample(tracing *t, r2i_rollout_job *job) {
    asked *a = &t->asked[t->current];
    while (a->next_sample < t->n_samples && r2i_trace_file_has(&t->file, a->hash, a->next_sample))
        a->next_sample++;
    if (a->next_sample == t->n_samples) return false;
    *job = (r2i_rollout_job){ .prompt = a->rendered->tokens,
                              .n_prompt = a->rendered->n_tokens,
                              .seed = r2i_random_u64(t->o->sampling.seed + a->hash, SEED_STREAM,
                                                     (uint64_t)a->next_sample),
                              .id = t->current + (int64_t)a->next_sample * t->n_asked };
    a->next_sample++;
    a->n_open++;
    return true;
}

static r2_status next_job(void *user, r2i_rollout_job *job, bool *has, r2_error *err) {
    tracing *t = user;
    for (*has = true;;) {
        r2i_document d;
        if (t->current >= 0 && next_sample(t, job)) return R2_OK;
        if (t->current >= 0 && t->asked[t->current].n_open == 0) forget(&t->asked[t->current]);
        t->current = -1;
        R2I_TRY(next_document(t, &d, has, err));
        if (!*has) return R2_OK;
        R2I_TRY(take_document(t, &d, err));
    }
}

/* ---- answers ---- */

static bool is_marker(const r2_model *m, r2_token token) {
    return token == m->think_open || token == m->think_close;
}

static r2_status append_trimmed(r2i_buffer *out, const r2i_buffer *text, r2_error *err) {
    const char *begin = text->bytes != NULL ? text->bytes : "";
    size_t n = text->n_bytes;
    while (n > 0 && strchr(" \n", begin[0]) != NULL)
        begin++, n--;
    while (n > 0 && strchr(" \n", begin[n - 1]) != NULL)
        n--;
    return r2i_buffer_append(out, begin, n, err);
}

/* Thoughts and answer of the tokens, each as text. */
static r2_status decode(tracing *t, const r2i_rollout_answer *a, r2_error *err) {
    r2i_buffer_clear(&t->parts[0]);
    r2i_buffer_clear(&t->parts[1]);
    const int32_t n_new = a->n_tokens - a->job.n_prompt;
    for (int32_t i = 0; i < n_new; i++) {
        const r2_token token = a->tokens[a->job.n_prompt + i];
        const int part = a->is_thinking[i];
        if (is_marker(t->model, token) || r2_token_is_end(t->model, token)) continue;
        R2I_TRY(r2i_buffer_append_text(&t->parts[part], r2_detokenizer_feed(t->texts[part], token),
                                       err));
    }
    for (int part = 0; part < 2; part++)
        R2I_TRY(
            r2i_buffer_append_text(&t->parts[part], r2_detokenizer_finish(t->texts[part]), err));
    t->result->n_tokens += n_new;
    t->result->n_thinking += a->status.n_thinking;
    return R2_OK;
}

/* "<think>\nthoughts\n</think>\n\nanswer": what `r2lm data prep` and other trainers read. */
static r2_status put_together(tracing *t, r2_error *err) {
    r2i_buffer_clear(&t->line);
    if (t->parts[1].n_bytes > 0) {
        R2I_TRY(r2i_buffer_append_text(&t->line, "<think>\n", err));
        R2I_TRY(append_trimmed(&t->line, &t->parts[1], err));
        R2I_TRY(r2i_buffer_append_text(&t->line, "\n</think>\n\n", err));
    }
    return append_trimmed(&t->line, &t->parts[0], err);
}

static r2_status write_line(tracing *t, const asked *a, int32_t sample, bool has_end,
                            r2_error *err) {
    char hash[24];
    (void)snprintf(hash, sizeof hash, "%016" PRIx64, a->hash);
    R2I_TRY(put_together(t, err));
    json_t *messages = json_copy(a->messages);
    json_t *answer = json_pack("{s:s, s:s%}", "role", "assistant", "content",
                               t->line.bytes != NULL ? t->line.bytes : "", t->line.n_bytes);
    json_t *line = NULL;
    if (messages != NULL && answer != NULL && json_array_append(messages, answer) == 0)
        line =
            json_pack("{s:O, s:s, s:i, s:s, s:s}", "messages", messages, "prompt", hash, "sample",
                      sample, "teacher", t->model->name, "finish", has_end ? "end" : "length");
    json_decref(messages);
    json_decref(answer);
    r2i_buffer_clear(&t->line);
    const bool is_written = line != NULL && json_dump_callback(line, r2i_buffer_append_chunk,
                                                               &t->line, JSON_COMPACT) == 0;
    json_decref(line);
    if (!is_written) return r2i_fail(err, R2_E_NOMEM, "no memory for an answer");
    R2I_TRY(r2i_buffer_append_text(&t->line, "\n", err));
    return r2i_trace_file_add(&t->file, a->hash, sample, R2I_TRACE_KEPT, t->line.bytes,
                              t->line.n_bytes, err);
}

static r2_status judge(r2i_trace_verdict *verdict, const tracing *t, const asked *a, bool has_end,
                       r2_error *err) {
    const char *answer = t->parts[0].bytes != NULL ? t->parts[0].bytes : "";
    const bool is_whole = has_end && answer[strspn(answer, " \n")] != '\0';
    bool is_right;
    *verdict = R2I_TRACE_CUT;
    if (!is_whole && !t->o->keeps_cut) return R2_OK;
    R2I_TRY(r2i_answer_check(&is_right, t->o->check, json_string_value(a->task),
                             json_string_value(a->expected), answer, &t->model->host, err));
    *verdict = is_right ? R2I_TRACE_KEPT : R2I_TRACE_WRONG;
    return R2_OK;
}

static void count(tracing *t) {
    r2_traces_result *r = t->result;
    r->n_kept = t->file.counts[R2I_TRACE_KEPT];
    r->n_wrong = t->file.counts[R2I_TRACE_WRONG];
    r->n_cut = t->file.counts[R2I_TRACE_CUT];
    r->n_samples = r->n_kept + r->n_wrong + r->n_cut;
    r->seconds = (double)(r2i_clock_ns() - t->start_ns) * 1e-9;
}

static r2_status keep_answer(void *user, const r2i_rollout_answer *answer, r2_error *err) {
    tracing *t = user;
    const int32_t at = (int32_t)(answer->job.id % t->n_asked),
                  sample = (int32_t)(answer->job.id / t->n_asked);
    asked *a = &t->asked[at];
    const bool has_end = answer->status.finish == R2_FINISH_END;
    if (answer->status.finish == R2_FINISH_ERROR)
        return r2i_fail(err, R2_E_RANGE, "%.80s: its numbers are none", t->model->name);
    R2I_TRY(decode(t, answer, err));
    r2i_trace_verdict verdict;
    R2I_TRY(judge(&verdict, t, a, has_end, err));
    R2I_TRY(verdict == R2I_TRACE_KEPT
                ? write_line(t, a, sample, has_end, err)
                : r2i_trace_file_add(&t->file, a->hash, sample, verdict, NULL, 0, err));
    if (--a->n_open == 0 && at != t->current) forget(a);
    count(t);
    if (t->o->progress == NULL || t->o->progress(t->o->user, t->result)) return R2_OK;
    return r2i_fail(err, R2_E_CANCELED, "canceled");
}

/* ---- a call ---- */

/* What decides about answers, but the prompts. */
static uint64_t settings_of(const tracing *t) {
    const r2_traces_options *o = t->o;
    const r2_sampling *s = &o->sampling;
    const float numbers[] = {
        s->temperature,      s->top_p, s->min_p, s->repetition_penalty, s->presence_penalty,
        s->frequency_penalty
    };
    const int64_t counts[] = {
        s->top_k,        s->n_penalty_tokens, (int64_t)s->seed, o->think,
        o->think_budget, o->max_new_tokens,   o->check,         o->keeps_cut
    };
    uint64_t hash = r2i_hash_bytes(t->model->fingerprint, numbers, sizeof numbers);
    hash = r2i_hash_bytes(hash, counts, sizeof counts);
    return r2i_hash_mix(hash);
}

static r2_status open_parts(tracing *t, const char *out, r2_error *err) {
    const r2_traces_options *o = t->o;
    r2_engine_options engine = o->engine;
    if (engine.n_sequences == 0) engine.n_sequences = DEFAULT_PARALLEL;
    if (engine.n_context == 0)
        engine.n_context = t->model->config.n_context < DEFAULT_CONTEXT ? t->model->config.n_context
                                                                        : DEFAULT_CONTEXT;
    t->n_context = engine.n_context;
    t->n_asked = engine.n_sequences + 1;
    t->n_samples = o->n_samples > 0 ? o->n_samples : 1;
    t->asked = R2I_ARENA_ARRAY(&t->arena, asked, (size_t)t->n_asked);
    if (t->asked == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for prompts");
    for (int part = 0; part < 2; part++)
        R2I_TRY(r2_detokenizer_create(&t->texts[part], t->model, false, err));
    R2I_TRY(r2i_rollout_open(&t->rollout, t->model, &engine, err));
    return r2i_trace_file_open(&t->file, out, settings_of(t), o->is_forced, t->heap, err);
}

static r2_status run(tracing *t, const char *out, r2_error *err) {
    const r2_traces_options *o = t->o;
    const r2i_rollout_work work = {
        .how = { .sampling = o->sampling,
                 .max_new_tokens = o->max_new_tokens > 0 ? o->max_new_tokens : DEFAULT_TOKENS,
                 .think = o->think,
                 .think_budget = o->think_budget },
        .next = next_job,
        .answered = keep_answer,
        .user = t
    };
    if (t->model->tokenizer == NULL || t->model->chat_template == NULL)
        return r2i_fail(err, R2_E_UNSUPPORTED, "%.80s: expected a chat template, found none",
                        t->model->name);
    R2I_TRY(open_parts(t, out, err));
    count(t);
    t->result->n_before = t->result->n_samples;
    const r2_status status = r2i_rollout_run(t->rollout, &work, err);
    count(t);
    if (status != R2_OK) return status;
    if (t->result->n_prompts == 0)
        return r2i_fail(err, R2_E_ARGUMENT, "%.150s: expected prompts, found none", o->inputs[0]);
    if (t->result->n_kept > 0) return R2_OK;
    return r2i_fail(err, R2_E_ARGUMENT,
                    "%.150s: no answer is left: %lld wrong, %lld came to no end, %lld prompts too "
                    "long",
                    out, (long long)t->result->n_wrong, (long long)t->result->n_cut,
                    (long long)t->result->n_too_long);
}

r2_status r2_traces_write(r2_traces_result *result, r2_model *model, const char *out,
                          const r2_traces_options *options, r2_error *err) {
    tracing t = { .model = model,
                  .o = options,
                  .result = result,
                  .heap = &model->heap,
                  .file = { .fd = -1, .done_fd = -1 },
                  .current = -1,
                  .start_ns = r2i_clock_ns() };
    if (err != NULL) *err = (r2_error){ R2_OK, "" };
    *result = (r2_traces_result){ 0 };
    if (options->n_inputs < 1)
        return r2i_fail(err, R2_E_ARGUMENT, "traces: expected prompts, found none");
    r2i_arena_init(&t.arena, t.heap, 1 << 16, 0);
    r2i_buffer_init(&t.parts[0], t.heap, MAX_TEXT_BYTES);
    r2i_buffer_init(&t.parts[1], t.heap, MAX_TEXT_BYTES);
    r2i_buffer_init(&t.line, t.heap, MAX_TEXT_BYTES);
    const r2_status status = run(&t, out, err);
    for (int32_t i = 0; t.asked != NULL && i < t.n_asked; i++)
        forget(&t.asked[i]);
    r2i_document_reader_close(t.reader);
    if (status != R2_OK) r2i_trace_file_withdraw(&t.file, out);
    r2i_trace_file_close(&t.file);
    r2i_rollout_close(t.rollout);
    for (int part = 0; part < 2; part++) {
        if (t.texts[part] != NULL) r2_detokenizer_destroy(t.texts[part]);
        r2i_buffer_destroy(&t.parts[part]);
    }
    r2i_buffer_destroy(&t.line);
    r2i_arena_destroy(&t.arena);
    return status;
}
