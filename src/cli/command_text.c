/* command_text.c - `r2lm tokenize` and `r2lm ppl`: what a model makes of a given text. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/failure.h"
#include "cli/adapter_choice.h"
#include "cli/model_find.h"
#include "cli/session.h"
#include "cli/text_input.h"

typedef struct {
    r2i_session session;
    r2i_buffer text;
    r2_token *tokens;
    int32_t n_tokens;
} text_work;

/* Opens the model named by a word or -m and reads the text; words behind the model are text too. */
static r2_status open_text(text_work *w, r2i_program *p, int flags, r2_error *err) {
    const char *path, *name = p->options->model;
    int first_word = 0;
    if (p->arguments.n_words > 0 && !p->arguments.has_model_flag)
        name = p->arguments.words[first_word++];
    R2I_TRY(r2i_prompt_collect(&w->text, p, first_word, err));
    R2I_TRY(r2i_model_resolve(&path, p, name, err));
    R2I_TRY(r2i_session_open_model(&w->session, p, path, err));
    const char *bytes = w->text.bytes != NULL ? w->text.bytes : "";
    return r2i_session_tokenize(&w->session, bytes, w->text.n_bytes, flags, &w->tokens,
                                &w->n_tokens, err);
}

static void init_work(text_work *w, r2i_program *p) {
    *w = (text_work){ .session = { .program = p } };
    r2i_prompt_buffer_init(&w->text, p);
}

static int end_work(text_work *w, r2_status status, const r2_error *err, int code) {
    if (status != R2_OK) {
        code = r2i_program_fail(w->session.program, status, err);
        if (status == R2_E_NOT_FOUND) r2i_models_hint(w->session.program);
    }
    r2i_session_close(&w->session);
    r2i_buffer_destroy(&w->text);
    return code;
}

/* ---- tokenize ---- */

/* A token may be part of a character: bytes that are no UTF-8 become U+FFFD. */
static json_t *token_text(const r2_model *model, r2_token token) {
    char bytes[512], shown[1024] = "";
    size_t n_shown = 0;
    size_t n = r2_token_bytes(model, token, bytes, sizeof bytes);
    if (n > sizeof bytes) n = sizeof bytes;
    json_t *whole = json_stringn(bytes, n);
    if (whole != NULL) return whole;
    for (size_t i = 0; i < n && n_shown + 4 < sizeof shown; i++) {
        const bool is_ascii = (unsigned char)bytes[i] < 0x80;
        n_shown += (size_t)snprintf(shown + n_shown, sizeof shown - n_shown,
                                    is_ascii ? "%c" : "\xef\xbf\xbd", bytes[i]);
    }
    return json_string(shown);
}

static int print_tokens(const text_work *w) {
    const r2i_program *p = w->session.program;
    json_t *ids = json_array(), *texts = json_array();
    for (int32_t i = 0; i < w->n_tokens; i++) {
        if (!p->options->wants_json) {
            printf("%s%d", i > 0 ? " " : "", w->tokens[i]);
            continue;
        }
        (void)json_array_append_new(ids, json_integer(w->tokens[i]));
        (void)json_array_append_new(texts, token_text(w->session.model, w->tokens[i]));
    }
    if (p->options->wants_json) {
        return r2i_program_print_json(
            w->session.program,
            json_pack("{s:i, s:o, s:o}", "n_tokens", w->n_tokens, "tokens", ids, "texts", texts));
    }
    json_decref(ids);
    json_decref(texts);
    printf("\n");
    return R2I_EXIT_OK;
}

int r2i_tokenize_command(r2i_program *p) {
    text_work w;
    r2_error err = { R2_OK, "" };
    init_work(&w, p);
    const r2_status status =
        open_text(&w, p, p->options->has_special ? R2_TOKENIZE_SPECIAL : 0, &err);
    return end_work(&w, status, &err, status == R2_OK ? print_tokens(&w) : 0);
}

/* ---- perplexity ---- */

typedef struct {
    double nll; /* sum of -log p */
    int32_t n_scored, n_windows;
    int64_t n_bytes; /* of the text that was scored */
    double seconds;
} score;

/* Scores positions n/2+1 .. n-1 of one window, the same ones as llama.cpp's tool. */
static r2_status score_window(text_work *w, const r2_token *tokens, int32_t n, float *logprobs,
                              score *out, r2_error *err) {
    r2_sequence_options options = { .wants_prompt_logprobs = true,
                                    .max_new_tokens = 1,
                                    .is_manual = true };
    r2_sequence *s;
    r2i_session_use_adapter(&w->session, &options);
    R2I_TRY(r2_sequence_create(&s, w->session.engine, &options, err));
    r2_status status = r2_sequence_append(s, tokens, n, err);
    int32_t n_active = 1;
    while (status == R2_OK && n_active > 0)
        status = r2_engine_step(w->session.engine, &n_active, err);
    const int32_t n_known = status == R2_OK ? r2_sequence_prompt_logprobs(s, logprobs, n) : 0;
    r2_sequence_destroy(s);
    if (status != R2_OK) return status;
    if (n_known != n - 1)
        return r2i_fail(err, R2_E_STATE, "window: expected %d log-probabilities, found %d", n - 1,
                        n_known);
    for (int32_t i = n / 2 + 1; i < n; i++) {
        out->nll -= (double)logprobs[i - 1];
        if (!r2_token_is_control(w->session.model, tokens[i]))
            out->n_bytes += (int64_t)r2_token_bytes(w->session.model, tokens[i], NULL, 0);
    }
    out->n_scored += n - n / 2 - 1;
    out->n_windows++;
    return R2_OK;
}

static r2_status score_text(text_work *w, score *out, r2_error *err) {
    r2i_program *p = w->session.program;
    const int32_t n = p->options->ctx_size;
    const r2_engine_options options = { .n_context = n,
                                        .n_sequences = 1,
                                        .has_no_prefix_cache = true };
    float *logprobs = R2I_ARENA_ARRAY(&p->arena, float, (size_t)n);
    if (logprobs == NULL)
        return r2i_fail(err, R2_E_NOMEM, "no memory for a window of %d tokens", n);
    if (w->n_tokens < n)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "text: expected at least one window of %d tokens, found %d; see -c", n,
                        w->n_tokens);
    R2I_TRY(r2i_session_open_engine(&w->session, &options, err));
    const int64_t start = r2i_clock_ns();
    for (int32_t begin = 0; begin + n <= w->n_tokens; begin += n) {
        if (r2i_signals_pending() != 0) return r2i_fail(err, R2_E_CANCELED, "stopped");
        R2I_TRY(score_window(w, w->tokens + begin, n, logprobs, out, err));
        r2i_terminal_progress(&p->terminal, "scoring", begin + n, w->n_tokens);
    }
    r2i_terminal_clear_progress(&p->terminal);
    out->seconds = (double)(r2i_clock_ns() - start) * 1e-9;
    return R2_OK;
}

static int print_score(const text_work *w, const score *s) {
    r2i_program *p = w->session.program;
    const double ppl = exp(s->nll / s->n_scored),
                 bpb = s->nll / log(2) / (double)(s->n_bytes > 0 ? s->n_bytes : 1),
                 rate = (double)s->n_windows * p->options->ctx_size / s->seconds;
    if (p->options->wants_json) {
        return r2i_program_print_json(
            p, json_pack("{s:f, s:f, s:i, s:i, s:i, s:i, s:f, s:s, s:s}", "perplexity", ppl,
                         "bits_per_byte", bpb, "n_tokens", w->n_tokens, "n_scored", s->n_scored,
                         "n_windows", s->n_windows, "window", p->options->ctx_size, "tok_s", rate,
                         "arithmetic", p->options->arithmetic, "cpu_level",
                         w->session.info.cpu_level));
    }
    printf("perplexity %.5f\nbits per byte %.5f\n", ppl, bpb);
    r2i_program_note(p, "%d tokens, %d windows of %d, %d scored, %.1f tok/s", w->n_tokens,
                     s->n_windows, p->options->ctx_size, s->n_scored, rate);
    return R2I_EXIT_OK;
}

int r2i_ppl_command(r2i_program *p) {
    text_work w;
    score total = { 0 };
    r2_error err = { R2_OK, "" };
    init_work(&w, p);
    r2i_signals_catch();
    r2_status status = open_text(&w, p, 0, &err);
    if (status == R2_OK) status = score_text(&w, &total, &err);
    return end_work(&w, status, &err, status == R2_OK ? print_score(&w, &total) : 0);
}
