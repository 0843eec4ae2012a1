#include "server/reader.h"

#include <string.h>

#include "base/failure.h"
#include "server/client_id.h"
#include "server/completion_prompt.h"
#include "server/json_text.h"
#include "server/prompt_limits.h"
#include "server/reasoning.h"
#include "server/request_fields.h"

enum { MOST_TOKENIZED_BYTES = 4 << 20 };

/* What the library says about a prompt, as an answer to the client. */
static r2_status refuse_status(r2i_refusal *refusal, const char *param, r2_status status,
                               const r2_error *err) {
    switch (status) {
    case R2_E_ARGUMENT:
    case R2_E_RANGE:
    case R2_E_FORMAT:
    case R2_E_LIMIT:
    case R2_E_UNSUPPORTED:
        return r2i_refuse(refusal, 400, param, "invalid_value", "%s: %s", param, err->text);
    case R2_E_NOMEM:
        return r2i_refuse_memory(refusal);
    default:
        return r2i_refuse(refusal, 500, NULL, NULL, "the request could not be read");
    }
}

/* What the answer is to begin with, or NULL. */
static const char *prefix_text(const r2i_chat_request *q, const char *key) {
    return q->prefix != NULL ? json_string_value(json_object_get(q->prefix, key)) : NULL;
}

static r2_status make_prompt(const r2i_reader *reader, r2i_job *job, bool is_for_answer) {
    r2_error err = { R2_OK, "" };
    r2i_buffer messages, extra;
    r2i_chat_request *q = &job->chat;
    r2i_buffer_init(&messages, reader->desk->heap, SIZE_MAX / 2);
    r2i_buffer_init(&extra, reader->desk->heap, SIZE_MAX / 2);
    r2_status status = r2i_json_append(&messages, json_incref(q->messages));
    if (status == R2_OK) status = r2i_json_append(&extra, json_incref(q->extra));
    const r2_chat_options options = { .think = q->wishes.options.think,
                                      .has_no_answer_prompt = !is_for_answer,
                                      .messages_json = messages.bytes,
                                      .tools_json = q->wishes.tools_json,
                                      .extra_json = extra.bytes,
                                      .answer = prefix_text(q, "content"),
                                      .answer_thoughts = prefix_text(q, "reasoning_content") };
    if (status == R2_OK)
        status = r2_chat_render(&job->prompt, reader->options->model, NULL, 0, &options, &err);
    r2i_buffer_destroy(&messages);
    r2i_buffer_destroy(&extra);
    return status == R2_OK ? R2_OK : refuse_status(&job->refusal, "messages", status, &err);
}

/* ---- chat ---- */

static r2i_prompt_limits limits_of(const r2i_reader *reader) {
    return (r2i_prompt_limits){ reader->options->n_context, reader->n_cache_tokens };
}

static r2_status make_choices(const r2i_reader *reader, r2i_job *job) {
    if (r2i_job_make_choices(job, reader->desk->heap, &job->chat.wishes, 1) != R2_OK)
        return r2i_refuse_memory(&job->refusal);
    job->prompts[0].tokens = job->prompt->tokens;
    job->prompts[0].n_tokens = job->prompt->n_tokens;
    job->out.n_prompt = job->prompt->n_tokens;
    return R2_OK;
}

static int32_t n_vocab(const r2i_reader *reader) {
    r2_model_info info;
    r2_model_get_info(reader->options->model, &info);
    return info.n_vocab;
}

static r2_status take_grammar(const r2i_reader *reader, r2i_job *job, r2i_wishes *wishes) {
    if (wishes->form.kind == R2I_FORM_FREE) return R2_OK;
    const uint64_t domain = r2i_client_domain(&reader->salt, job->key, wishes->user);
    R2I_TRY(r2i_grammar_cache_take(reader->grammars, domain, &wishes->form, &job->grammar,
                                   &job->refusal));
    wishes->grammar = r2i_kept_grammar_get(job->grammar);
    return R2_OK;
}

static void note_unknown(const r2i_reader *reader, const json_t *body,
                         bool (*has_field)(const char *name)) {
    const r2i_server_options *o = reader->options;
    r2i_unknown_fields_note(reader->unknown, body, has_field, o->log, o->user);
}

static r2_status read_chat(const r2i_reader *reader, r2i_job *job) {
    const r2i_prompt_limits limits = limits_of(reader);
    r2_sequence_options defaults = reader->options->defaults;
    defaults.sampling.seed = job->seed;
    R2I_TRY(r2i_chat_request_read(&job->chat, job->body.bytes, job->body.n_bytes, &defaults,
                                  &job->refusal));
    note_unknown(reader, job->chat.body, r2i_chat_has_field);
    R2I_TRY(r2i_wishes_check(&job->chat.wishes, n_vocab(reader), &job->refusal));
    R2I_TRY(take_grammar(reader, job, &job->chat.wishes));
    R2I_TRY(make_prompt(reader, job, true));
    R2I_TRY(r2i_prompt_check_length(&limits, "messages", job->prompt->n_tokens, &job->refusal));
    r2i_prompt_limit_answer(&limits, job->prompt->n_tokens, &job->chat.wishes.options);
    r2i_reasoning_cap(&job->chat.wishes, job->prompt->n_tokens, r2i_prompt_most_tokens(&limits));
    return make_choices(reader, job);
}

/* ---- completions ---- */

static r2_status read_completion(const r2i_reader *reader, r2i_job *job) {
    const r2i_prompt_limits limits = limits_of(reader);
    r2i_completion_request *q = &job->completion;
    int32_t n_longest;
    r2_sequence_options defaults = reader->options->defaults;
    defaults.sampling.seed = job->seed;
    R2I_TRY(r2i_completion_request_read(q, job->body.bytes, job->body.n_bytes, &defaults,
                                        &job->refusal));
    note_unknown(reader, q->body, r2i_completion_has_field);
    R2I_TRY(r2i_wishes_check(&q->wishes, n_vocab(reader), &job->refusal));
    R2I_TRY(take_grammar(reader, job, &q->wishes));
    if (r2i_job_make_choices(job, reader->desk->heap, &q->wishes, q->n_prompts) != R2_OK)
        return r2i_refuse_memory(&job->refusal);
    R2I_TRY(r2i_completion_prompts_read(job, reader->desk->heap, reader->options->model, &limits,
                                        &n_longest));
    r2i_prompt_limit_answer(&limits, n_longest, &q->wishes.options);
    return R2_OK;
}

/* ---- what needs no engine ---- */

/* {"tokens": [...]}, without a tree: there may be millions. */
static r2_status write_tokens(r2i_job *job, const r2_token *tokens, int32_t n_tokens) {
    r2i_buffer *out = &job->out.reply;
    r2_status status = r2i_buffer_append_text(out, "{\"tokens\":[", NULL);
    for (int32_t i = 0; status == R2_OK && i < n_tokens; i++)
        status = r2i_buffer_append_format(out, NULL, i > 0 ? ",%d" : "%d", tokens[i]);
    if (status == R2_OK) status = r2i_buffer_append_text(out, "]}", NULL);
    return status == R2_OK ? R2_OK : r2i_refuse_memory(&job->refusal);
}

static r2_status write_reply(r2i_job *job, json_t *reply) {
    return r2i_json_append(&job->out.reply, reply) == R2_OK ? R2_OK
                                                            : r2i_refuse_memory(&job->refusal);
}

static r2_status read_flag(const json_t *body, const char *name, bool *out, r2i_refusal *refusal) {
    const json_t *value = json_object_get(body, name);
    if (value == NULL || json_is_null(value)) return R2_OK;
    if (!json_is_boolean(value))
        return r2i_refuse(refusal, 400, name, "invalid_type", "%s: expected true or false", name);
    *out = json_is_true(value);
    return R2_OK;
}

/* {"content": "...", "add_special": false, "parse_special": false} -> {"tokens": [...]} */
static r2_status tokenize(const r2i_reader *reader, r2i_job *job, const json_t *body) {
    r2_error err = { R2_OK, "" };
    bool has_start = false, has_special = false;
    int32_t n_tokens = 0;
    const json_t *content = json_object_get(body, "content");
    if (!json_is_string(content))
        return r2i_refuse(&job->refusal, 400, "content", "invalid_type",
                          "content: expected a text");
    const size_t n_bytes = json_string_length(content);
    if (n_bytes > MOST_TOKENIZED_BYTES) /* the others wait meanwhile */
        return r2i_refuse(&job->refusal, 400, "content", "out_of_range",
                          "content: expected at most %d bytes, found %zu", MOST_TOKENIZED_BYTES,
                          n_bytes);
    R2I_TRY(read_flag(body, "add_special", &has_start, &job->refusal));
    R2I_TRY(read_flag(body, "parse_special", &has_special, &job->refusal));
    const int flags = (has_start ? R2_TOKENIZE_START : 0) | (has_special ? R2_TOKENIZE_SPECIAL : 0);
    const size_t cap_bytes =
        (n_bytes + 16) * sizeof(r2_token); /* no token is shorter than a byte */
    r2_token *tokens = r2i_heap_take(reader->desk->heap, cap_bytes);
    if (tokens == NULL) return r2i_refuse_memory(&job->refusal);
    r2_status status = r2_tokenize(reader->options->model, json_string_value(content), n_bytes,
                                   flags, tokens, (int32_t)(n_bytes + 16), &n_tokens, &err);
    status = status == R2_OK ? write_tokens(job, tokens, n_tokens)
                             : refuse_status(&job->refusal, "content", status, &err);
    r2i_heap_give(reader->desk->heap, tokens, cap_bytes);
    return status;
}

static r2_status add_token(const r2i_reader *reader, const json_t *item, r2_detokenizer *texts,
                           r2i_buffer *out, r2i_refusal *refusal) {
    const int32_t last = n_vocab(reader) - 1;
    const json_int_t token = json_integer_value(item);
    if (!json_is_integer(item) || token < 0 || token > last)
        return r2i_refuse(refusal, 400, "tokens", "out_of_range",
                          "tokens: expected whole numbers of 0 to %d", last);
    return r2i_buffer_append_text(out, r2_detokenizer_feed(texts, (r2_token)token), NULL) == R2_OK
               ? R2_OK
               : r2i_refuse_memory(refusal);
}

/* {"tokens": [...]} -> {"content": "..."} */
static r2_status detokenize(const r2i_reader *reader, r2i_job *job, const json_t *body) {
    r2_error err = { R2_OK, "" };
    const json_t *tokens = json_object_get(body, "tokens");
    r2_detokenizer *texts = NULL;
    r2i_buffer out;
    if (!json_is_array(tokens))
        return r2i_refuse(&job->refusal, 400, "tokens", "invalid_type",
                          "tokens: expected an array");
    r2_status status = r2_detokenizer_create(&texts, reader->options->model, true, &err);
    if (status != R2_OK) return refuse_status(&job->refusal, "tokens", status, &err);
    r2i_buffer_init(&out, reader->desk->heap, SIZE_MAX / 2);
    for (size_t i = 0; status == R2_OK && i < json_array_size(tokens); i++)
        status = add_token(reader, json_array_get(tokens, i), texts, &out, &job->refusal);
    if (status == R2_OK)
        status = r2i_buffer_append_text(&out, r2_detokenizer_finish(texts), NULL) == R2_OK
                     ? write_reply(job, json_pack("{s:s}", "content", out.bytes))
                     : r2i_refuse_memory(&job->refusal);
    r2_detokenizer_destroy(texts);
    r2i_buffer_destroy(&out);
    return status;
}

static r2_status apply_template(const r2i_reader *reader, r2i_job *job) {
    R2I_TRY(r2i_chat_request_read(&job->chat, job->body.bytes, job->body.n_bytes,
                                  &reader->options->defaults, &job->refusal));
    R2I_TRY(make_prompt(reader, job, true));
    return write_reply(job, json_pack("{s:s%, s:i}", "prompt", job->prompt->text,
                                      job->prompt->n_bytes, "n_tokens", job->prompt->n_tokens));
}

static r2_status read_text_task(const r2i_reader *reader, r2i_job *job) {
    r2_error err = { R2_OK, "" };
    json_t *body;
    if (job->task == R2I_TASK_TEMPLATE) return apply_template(reader, job);
    if (r2i_json_parse(&body, job->body.bytes, job->body.n_bytes, &err) != R2_OK)
        return r2i_refuse(&job->refusal, 400, NULL, "invalid_json", "%s", err.text);
    const r2_status status = job->task == R2I_TASK_TOKENIZE ? tokenize(reader, job, body)
                                                            : detokenize(reader, job, body);
    json_decref(body);
    return status;
}

/* ---- the thread ---- */

static void finish(const r2i_reader *reader, r2i_job *job, bool is_for_engine) {
    r2i_desk *d = reader->desk;
    const char *user = is_for_engine ? job->wishes->user : NULL;
    const uint64_t domain = r2i_client_domain(&reader->salt, job->key, user),
                   line = r2i_client_line(&reader->salt, job->key, user, job->connection);
    (void)pthread_mutex_lock(&d->lock);
    if (is_for_engine) {
        job->out.is_accepted = true;
        for (int32_t i = 0; i < job->n_choices; i++) {
            job->choices[i].domain = domain;
            job->choices[i].client = line;
            job->choices[i].is_think_stopped = job->is_think_stopped;
            if (atomic_load(&job->is_gone)) /* while it was read: it need not wait for its turn */
                r2i_desk_end_choice(d, &job->choices[i]);
            else
                r2i_turns_add(&d->to_write, &job->choices[i]);
        }
        (void)pthread_cond_signal(&d->has_writing);
        if (job->wishes->is_stream) r2i_desk_tell(d, job);
    } else {
        job->out.is_done = true;
        r2i_desk_tell(d, job);
    }
    (void)pthread_mutex_unlock(&d->lock);
}

static r2_status read_task(const r2i_reader *reader, r2i_job *job) {
    switch (job->task) {
    case R2I_TASK_CHAT:
        return read_chat(reader, job);
    case R2I_TASK_COMPLETION:
        return read_completion(reader, job);
    case R2I_TASK_TOKENIZE:
    case R2I_TASK_DETOKENIZE:
    case R2I_TASK_TEMPLATE:
        break;
    }
    return read_text_task(reader, job);
}

static void read_one(const r2i_reader *reader, r2i_job *job) {
    r2_status status;
    if (atomic_load(&job->is_gone))
        status = r2i_refuse(&job->refusal, 503, NULL, NULL, "the client is gone");
    else
        status = read_task(reader, job);
    r2i_buffer_destroy(&job->body); /* gives the memory back while the answer is written */
    if (status != R2_OK)
        r2i_desk_refuse(reader->desk, job, &job->refusal);
    else
        finish(reader, job, job->n_choices > 0);
}

void *r2i_reader_run(void *argument) {
    const r2i_reader *reader = argument;
    r2i_desk *d = reader->desk;
    (void)pthread_mutex_lock(&d->lock);
    while (!d->is_over) {
        r2i_job *job = r2i_desk_take_reading(d);
        if (job == NULL) {
            (void)pthread_cond_wait(&d->has_reading, &d->lock);
            continue;
        }
        (void)pthread_mutex_unlock(&d->lock);
        read_one(reader, job);
        (void)pthread_mutex_lock(&d->lock);
    }
    (void)pthread_mutex_unlock(&d->lock);
    return NULL;
}
