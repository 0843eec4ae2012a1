#define _POSIX_C_SOURCE 200809L /* getpid, clock_gettime */
#include "cli/session.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failure.h"
#include "base/random.h"
#include "cli/adapter_choice.h"

enum { READ_TOKENS = 32, PROGRESS_TOKENS = 512 };

enum { WANTS_TEXT = R2I_FOR_TOKENIZE | R2I_FOR_DATA }; /* they compute nothing with the model */

static void on_log(void *user, const char *line) {
    const r2i_program *program = user;
    if (program->options->is_verbose) fprintf(stderr, "%s\n", line);
}

r2_status r2i_session_open_model(r2i_session *s, r2i_program *program, const char *path,
                                 r2_error *err) {
    const r2i_options *o = program->options;
    const bool is_fast = o->latent != NULL && strcmp(o->latent, "fast") == 0;
    const bool is_f32 = o->arithmetic != NULL && strcmp(o->arithmetic, "f32") == 0;
    const r2_model_options options = { .host = { .log = on_log, .user = program },
                                       .cpu = o->cpu,
                                       .arithmetic =
                                           is_f32 ? R2_ARITHMETIC_F32 : R2_ARITHMETIC_FAST,
                                       .latent_form = is_fast ? R2_LATENT_FAST : R2_LATENT_EXACT,
                                       .is_unpacked = !o->is_packed,
                                       .is_text_only = (program->command->bit & WANTS_TEXT) != 0 };
    const int64_t start_ns = r2i_clock_ns();
    *s = (r2i_session){ .program = program, .path = path };
    r2i_signals_hold();
    const r2_status status = r2_model_open(&s->model, path, &options, err);
    r2i_signals_release();
    if (status != R2_OK) return status;
    r2_model_get_info(s->model, &s->info);
    s->open_ns = r2i_clock_ns() - start_ns;
    return r2i_session_choose_adapter(s, o->lora, err);
}

r2_cache_rows r2i_session_cache_rows(const r2i_session *session) {
    const char *type = session->program->options->cache_type;
    if (type != NULL && strcmp(type, "f16") == 0) return R2_CACHE_F16;
    return type != NULL && strcmp(type, "q8") == 0 ? R2_CACHE_Q8 : R2_CACHE_BF16;
}

r2_status r2i_session_open_engine(r2i_session *s, const r2_engine_options *options, r2_error *err) {
    r2_engine_options all = *options;
    all.n_threads = s->program->options->threads;
    all.cache_rows = r2i_session_cache_rows(s);
    if (all.n_context > s->info.n_context) {
        r2i_program_note(s->program,
                         "a context of %d tokens: the model was made for %d, expect less beyond",
                         all.n_context, s->info.n_context);
    }
    r2i_signals_hold();
    const r2_status status = r2_engine_create(&s->engine, s->model, &all, err);
    r2i_signals_release();
    return status;
}

void r2i_session_close(r2i_session *s) {
    r2_engine_destroy(s->engine);
    r2i_session_close_adapter(s);
    r2_model_close(s->model);
    s->engine = NULL;
    s->model = NULL;
}

static uint64_t fresh_seed(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return r2i_random_u64((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
                          (uint64_t)getpid(), 0) >>
           11;
}

int32_t r2i_think_budget(r2i_effort effort, int32_t budget) {
    enum { LOW_TOKENS = 1024, HIGH_TOKENS = 8192 };
    if (budget > 0) return budget;
    return effort == R2I_EFFORT_LOW ? LOW_TOKENS : effort == R2I_EFFORT_HIGH ? HIGH_TOKENS : 0;
}

const char *r2i_effort_json(r2i_effort effort) {
    switch (effort) {
    case R2I_EFFORT_LOW:
        return "{\"reasoning_effort\": \"low\"}";
    case R2I_EFFORT_HIGH:
        return "{\"reasoning_effort\": \"high\"}";
    case R2I_EFFORT_MAX:
        return "{\"reasoning_effort\": \"max\"}";
    case R2I_EFFORT_OFF:
    case R2I_EFFORT_MODEL:
        break;
    }
    return NULL;
}

void r2i_session_sequence_options(const r2i_session *s, r2_sequence_options *out) {
    const r2i_options *o = s->program->options;
    *out = (r2_sequence_options){ .sampling = { .temperature = (float)o->temp,
                                                .top_k = o->top_k,
                                                .top_p = (float)o->top_p,
                                                .min_p = (float)o->min_p,
                                                .repetition_penalty = (float)o->repeat_penalty,
                                                .presence_penalty = (float)o->presence_penalty,
                                                .frequency_penalty = (float)o->frequency_penalty,
                                                .n_penalty_tokens = o->repeat_last_n,
                                                .seed = o->seed >= 0 ? (uint64_t)o->seed
                                                                     : fresh_seed() },
                                  .max_new_tokens = o->predict,
                                  .think = o->think ? R2_THINK_AUTO : R2_THINK_OFF,
                                  .think_budget = r2i_think_budget((r2i_effort)o->think, o->budget),
                                  .ignores_end = o->ignores_end,
                                  .n_draft = o->draft };
    r2i_session_use_adapter(s, out);
}

r2_status r2i_session_tokenize(r2i_session *s, const char *text, size_t n_bytes, int flags,
                               r2_token **tokens, int32_t *n_tokens, r2_error *err) {
    R2I_TRY(r2_tokenize(s->model, text, n_bytes, flags, NULL, 0, n_tokens, err));
    const int32_t cap = *n_tokens;
    *tokens = R2I_ARENA_ARRAY(&s->program->arena, r2_token, (size_t)cap + 1);
    if (*tokens == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for %d tokens", cap);
    if (cap == 0) return R2_OK;
    return r2_tokenize(s->model, text, n_bytes, flags, *tokens, cap, n_tokens, err);
}

const char *r2i_finish_name(r2_finish finish) {
    switch (finish) {
    case R2_FINISH_END:
        return "stop";
    case R2_FINISH_LENGTH:
        return "length";
    case R2_FINISH_CANCELED:
        return "canceled";
    case R2_FINISH_MEMORY:
        return "memory";
    case R2_FINISH_ERROR:
        return "error";
    case R2_FINISH_NONE:
        break;
    }
    return "none";
}

/* ---- one answer ---- */

typedef struct {
    r2i_session *session;
    r2_sequence *sequence;
    r2_detokenizer *texts[2]; /* thinking, answer */
    r2_token open, close;
    bool has_thoughts, skips_newlines;
    bool has_answer; /* something but blank lines was written */
    r2i_text_sink sink;
    void *user;
    r2i_answer *out;
    int64_t think_start_ns;
} writing;

/* A model leaves blank lines between its thoughts and its answer: they are not part of either. */
static void write_text(writing *w, r2i_part part, const char *text) {
    if (part == R2I_PART_ANSWER && !w->has_answer && w->has_thoughts && w->skips_newlines)
        text += strspn(text, "\n");
    if (text[0] == '\0') return;
    if (part == R2I_PART_ANSWER) w->has_answer = true;
    w->sink(w->user, part, text);
}

static void write_token(writing *w, const r2_generated *g) {
    const bool is_marker = g->is_thinking && (g->token == w->open || g->token == w->close);
    const int64_t now = r2i_clock_ns();
    if (g->is_thinking && w->think_start_ns == 0) w->think_start_ns = now;
    if (g->is_thinking) w->out->think_s = (double)(now - w->think_start_ns) * 1e-9;
    if (g->is_thinking && !is_marker) w->out->n_thinking++;
    w->has_thoughts |= g->is_thinking;
    if (is_marker) {
        if (g->token == w->close)
            write_text(w, R2I_PART_THINKING, r2_detokenizer_finish(w->texts[0]));
        return;
    }
    const r2i_part part = g->is_thinking ? R2I_PART_THINKING : R2I_PART_ANSWER;
    write_text(w, part, r2_detokenizer_feed(w->texts[part], g->token));
}

static void read_tokens(writing *w) {
    r2_generated tokens[READ_TOKENS];
    for (int32_t n; (n = r2_sequence_read(w->sequence, tokens, READ_TOKENS)) > 0;) {
        for (int32_t i = 0; i < n; i++)
            write_token(w, &tokens[i]);
    }
}

/* Ctrl-T: the block is closed with the next token, and the answer begins. */
static void end_thinking(const writing *w, const r2_sequence_status *status) {
    if (!r2i_think_key_pressed() || !status->is_thinking || status->finish != R2_FINISH_NONE)
        return;
    r2_sequence_stop_thinking(w->sequence);
}

static r2_status step_to_end(writing *w, r2_error *err) {
    r2i_terminal *terminal = &w->session->program->terminal;
    r2_sequence_status status;
    const int64_t start_ns = r2i_clock_ns();
    int64_t first_ns = 0;
    for (int32_t n_active = 1; n_active > 0;) {
        if (r2i_signals_pending() != 0) r2_sequence_cancel(w->sequence);
        R2I_TRY(r2_engine_step(w->session->engine, &n_active, err));
        r2_sequence_get_status(w->sequence, &status);
        if (status.n_generated == 0 && status.n_tokens >= PROGRESS_TOKENS) {
            r2i_terminal_progress(terminal, "reading", status.n_computed, status.n_tokens);
        }
        if (status.n_generated > 0 && first_ns == 0) {
            first_ns = r2i_clock_ns();
            r2i_terminal_clear_progress(terminal);
        }
        read_tokens(w);
        end_thinking(w, &status);
    }
    const int64_t end_ns = r2i_clock_ns();
    r2_sequence_get_status(w->sequence, &status);
    if (first_ns == 0) first_ns = end_ns;
    w->out->prompt_s = (double)(first_ns - start_ns) * 1e-9;
    w->out->decode_s = (double)(end_ns - first_ns) * 1e-9;
    w->out->n_cached = status.n_cached;
    w->out->n_generated = status.n_generated;
    w->out->n_drafted = status.n_drafted;
    w->out->n_accepted = status.n_accepted;
    w->out->is_think_cut = status.is_think_cut;
    w->out->finish = status.finish;
    w->out->was_stopped = status.finish == R2_FINISH_CANCELED;
    return R2_OK;
}

static r2_status create_parts(writing *w, const r2_token *tokens, int32_t n_tokens,
                              const r2_sequence_options *options, r2_error *err) {
    R2I_TRY(r2_sequence_create(&w->sequence, w->session->engine, options, err));
    R2I_TRY(r2_sequence_append(w->sequence, tokens, n_tokens, err));
    R2I_TRY(r2_detokenizer_create(&w->texts[0], w->session->model, false, err));
    return r2_detokenizer_create(&w->texts[1], w->session->model, false, err);
}

r2_status r2i_session_answer(r2i_session *s, const r2_token *tokens, int32_t n_tokens,
                             const r2_sequence_options *options, r2i_text_sink sink, void *user,
                             r2i_answer *out, r2_error *err) {
    *out = (r2i_answer){ .n_prompt = n_tokens };
    writing w = { .session = s,
                  .open = r2_token_find(s->model, "<think>"),
                  .close = r2_token_find(s->model, "</think>"),
                  .sink = sink,
                  .user = user,
                  .out = out,
                  .skips_newlines = options->mask != r2_grammar_mask ||
                                    r2_grammar_matcher_skips_newlines(options->user) };
    r2i_think_key_watch(s->program->terminal.is_in_tty);
    r2_status status = create_parts(&w, tokens, n_tokens, options, err);
    if (status == R2_OK) status = step_to_end(&w, err);
    r2i_think_key_watch(false);
    r2i_terminal_clear_progress(&s->program->terminal);
    for (int part = 0; part < 2; part++) {
        if (w.texts[part] != NULL && status == R2_OK)
            write_text(&w, (r2i_part)part, r2_detokenizer_finish(w.texts[part]));
        r2_detokenizer_destroy(w.texts[part]);
    }
    if (w.sequence != NULL) r2_sequence_destroy(w.sequence);
    if (status != R2_OK) return status;
    if (out->finish == R2_FINISH_MEMORY)
        return r2i_fail(err, R2_E_FULL, "the cache is full after %d tokens",
                        n_tokens + out->n_generated);
    if (out->finish == R2_FINISH_ERROR)
        return r2i_fail(err, R2_E_STATE, "%s",
                        options->mask != NULL ? "no token of the model fits the grammar here"
                                              : "the model's logits are not numbers");
    return R2_OK;
}

static double rate(int32_t n, double seconds) {
    return n > 0 && seconds > 0 ? n / seconds : 0;
}

json_t *r2i_answer_timings(const r2i_answer *a) {
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:i, s:i}", "prompt_ms", a->prompt_s * 1e3,
                     "prompt_tok_s", rate(a->n_prompt - a->n_cached, a->prompt_s), "decode_ms",
                     a->decode_s * 1e3, "decode_tok_s", rate(a->n_generated - 1, a->decode_s),
                     "think_ms", a->think_s * 1e3, "drafted_tokens", a->n_drafted,
                     "accepted_tokens", a->n_accepted);
}

void r2i_answer_print_timings(const r2i_program *program, const r2i_answer *a) {
    const char *dim = r2i_terminal_dim(&program->terminal),
               *plain = r2i_terminal_plain(&program->terminal);
    fprintf(stderr, "%sprompt %d tokens (%d cached), %.1f tok/s; answer %d tokens, %.1f tok/s", dim,
            a->n_prompt, a->n_cached, rate(a->n_prompt - a->n_cached, a->prompt_s), a->n_generated,
            rate(a->n_generated - 1, a->decode_s));
    if (a->n_drafted > 0) fprintf(stderr, "; %d of %d guesses right", a->n_accepted, a->n_drafted);
    fprintf(stderr, "%s\n", plain);
}
