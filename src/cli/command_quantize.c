/* command_quantize.c - `r2lm quantize`: a model's matrices in smaller types, and what that cost. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "cli/measure_text.h"
#include "cli/model_find.h"
#include "cli/session.h"
#include "cli/text_input.h"
#include "r2lm/convert.h"

typedef struct {
    r2i_program *program;
    const char *in, *out;
    const char *doing; /* for the progress line */
    r2_importance *importance;
    r2_quantize_result result;
    r2_compare_result quality;
    bool has_quality;
} quantizing;

static bool on_bytes(void *user, int64_t n_done, int64_t n_all) {
    r2i_program *p = user;
    r2i_terminal_progress(&p->terminal, "quantizing MB", n_done / 1000000, n_all / 1000000);
    return r2i_signals_pending() == 0;
}

static bool on_tokens(void *user, int64_t n_done, int64_t n_all) {
    quantizing *q = user;
    r2i_terminal_progress(&q->program->terminal, q->doing, n_done, n_all);
    return r2i_signals_pending() == 0;
}

static r2_status find_paths(quantizing *q, r2_error *err) {
    r2i_program *p = q->program;
    const int n_model = p->arguments.has_model_flag ? 0 : 1;
    if (p->arguments.n_words != n_model + 1)
        return r2i_fail(err, R2_E_ARGUMENT, "quantize: expected %s and OUTPUT, found %d word%s",
                        n_model == 1 ? "MODEL" : "-m MODEL", p->arguments.n_words,
                        p->arguments.n_words == 1 ? "" : "s");
    q->out = p->arguments.words[n_model];
    return r2i_model_resolve(&q->in, p, n_model == 1 ? p->arguments.words[0] : p->options->model,
                             err);
}

/* ---- texts ---- */

/* Tokens of a file's text, or of the text that is built in. */
static r2_status tokens_of(r2i_session *s, const char *path, r2_token **tokens, int32_t *n_tokens,
                           r2_error *err) {
    r2i_buffer text;
    r2i_prompt_buffer_init(&text, s->program);
    r2_status status = R2_OK;
    if (path != NULL) {
        status = r2i_file_append(&text, path, err);
    } else {
        for (size_t i = 0; status == R2_OK && r2i_measure_text[i] != NULL; i++)
            status = r2i_buffer_append_text(&text, r2i_measure_text[i], err);
    }
    if (status == R2_OK)
        status = r2i_session_tokenize(s, text.bytes != NULL ? text.bytes : "", text.n_bytes, 0,
                                      tokens, n_tokens, err);
    r2i_buffer_destroy(&text);
    return status;
}

static r2_status collect_importance(quantizing *q, r2_error *err) {
    const r2i_options *o = q->program->options;
    r2i_session s = { .program = q->program };
    r2_token *tokens;
    int32_t n_tokens;
    const r2_compare_options how = { .n_threads = o->threads, .progress = on_tokens, .user = q };
    q->doing = "reading for importance";
    r2_status status = r2i_session_open_model(&s, q->program, q->in, err);
    if (status == R2_OK) status = tokens_of(&s, o->imatrix_text, &tokens, &n_tokens, err);
    if (status == R2_OK)
        status = r2_importance_collect(&q->importance, s.model, tokens, n_tokens, &how, err);
    r2i_session_close(&s);
    r2i_terminal_clear_progress(&q->program->terminal);
    return status;
}

static r2_status get_importance(quantizing *q, r2_error *err) {
    const r2i_options *o = q->program->options;
    if (o->imatrix != NULL && o->imatrix_text != NULL)
        return r2i_fail(err, R2_E_ARGUMENT, "expected --imatrix or --imatrix-text, found both");
    if (o->imatrix_out != NULL && o->imatrix_text == NULL)
        return r2i_fail(err, R2_E_ARGUMENT, "--imatrix-out: expected --imatrix-text beside it");
    if (o->imatrix != NULL) return r2_importance_load(&q->importance, o->imatrix, err);
    if (o->imatrix_text != NULL) R2I_TRY(collect_importance(q, err));
    if (o->imatrix_out != NULL) return r2_importance_save(q->importance, o->imatrix_out, err);
    return R2_OK;
}

/* Without a tokenizer no text can be read. */
static bool has_tokenizer(const r2i_session *s) {
    int32_t n_tokens;
    r2_error unused;
    return r2_tokenize(s->model, "a", 1, 0, NULL, 0, &n_tokens, &unused) != R2_E_UNSUPPORTED;
}

/* A text that is not there is said before the work. */
static r2_status check_text(const quantizing *q, r2_error *err) {
    r2i_buffer text;
    const r2i_options *o = q->program->options;
    if (!o->measures || o->text == NULL || strcmp(o->text, "-") == 0) return R2_OK;
    r2i_prompt_buffer_init(&text, q->program);
    const r2_status status = r2i_file_append(&text, o->text, err);
    const bool is_empty = status == R2_OK && text.n_bytes == 0;
    r2i_buffer_destroy(&text);
    return is_empty ? r2i_fail(err, R2_E_FORMAT, "%.150s: expected text, found none", o->text)
                    : status;
}

/* The new file beside its source on a text. */
static r2_status measure(quantizing *q, r2_error *err) {
    const r2i_options *o = q->program->options;
    r2i_session now = { .program = q->program }, before = now;
    r2_token *tokens;
    int32_t n_tokens;
    const r2_compare_options how = { .n_threads = o->threads, .progress = on_tokens, .user = q };
    q->doing = "measuring";
    r2_status status = r2i_session_open_model(&before, q->program, q->in, err);
    if (status == R2_OK && o->text == NULL && !has_tokenizer(&before)) {
        r2i_session_close(&before);
        r2i_program_note(q->program, "note: not measured: the model has no tokenizer");
        return R2_OK;
    }
    if (status == R2_OK) status = r2i_session_open_model(&now, q->program, q->out, err);
    if (status == R2_OK) status = tokens_of(&before, o->text, &tokens, &n_tokens, err);
    if (status == R2_OK)
        status = r2_compare(&q->quality, now.model, before.model, tokens, n_tokens, &how, err);
    r2i_session_close(&now);
    r2i_session_close(&before);
    r2i_terminal_clear_progress(&q->program->terminal);
    q->has_quality = status == R2_OK;
    return status;
}

/* ---- what came out ---- */

static int print_json(const quantizing *q) {
    const r2_quantize_result *r = &q->result;
    json_t *o = json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:I, s:f, s:f, s:f, s:i, s:i, s:i}", "input", q->in, "output",
        q->out, "type", q->program->options->type, "parameters", (json_int_t)r->n_parameters,
        "source_bytes", (json_int_t)r->source_bytes, "written_bytes", (json_int_t)r->written_bytes,
        "bits_per_weight", r->bits_per_weight, "seconds", r->seconds, "mb_s",
        (double)r->source_bytes * 1e-6 / r->seconds, "requantized_tensors", r->n_requantized,
        "fallback_tensors", r->n_fallbacks, "weighted_tensors", r->n_weighted);
    if (q->has_quality) {
        (void)json_object_set_new(o, "perplexity", json_real(q->quality.perplexity));
        (void)json_object_set_new(o, "source_perplexity", json_real(q->quality.base_perplexity));
        (void)json_object_set_new(o, "mean_kl", json_real(q->quality.mean_kl));
        (void)json_object_set_new(o, "same_top", json_real(q->quality.same_top));
        (void)json_object_set_new(o, "n_scored", json_integer(q->quality.n_scored));
    }
    return r2i_program_print_json(q->program, o);
}

static int print_result(const quantizing *q) {
    const r2_quantize_result *r = &q->result;
    const r2_compare_result *c = &q->quality;
    r2i_program *p = q->program;
    if (r->n_requantized > 0) {
        r2i_program_note(p,
                         "note: %d tensor%s of the source %s quantized before; what that lost "
                         "stays lost",
                         r->n_requantized, r->n_requantized == 1 ? "" : "s",
                         r->n_requantized == 1 ? "was" : "were");
    }
    if (r->n_fallbacks > 0) {
        r2i_program_note(p,
                         "note: %d tensor%s: blocks of the wanted type do not divide the rows; "
                         "the next type was taken",
                         r->n_fallbacks, r->n_fallbacks == 1 ? "" : "s");
    }
    if (p->options->wants_json) return print_json(q);
    printf("%s: %.1f MB from %.1f MB, %.2f bits per weight, %.1f s, %.0f MB/s\n", q->out,
           (double)r->written_bytes * 1e-6, (double)r->source_bytes * 1e-6, r->bits_per_weight,
           r->seconds, (double)r->source_bytes * 1e-6 / r->seconds);
    if (!q->has_quality) return R2I_EXIT_OK;
    printf("perplexity %.4f, source %.4f (%+.2f %%); mean KL %.5f; same likeliest token %.1f %%; "
           "%lld tokens scored\n",
           c->perplexity, c->base_perplexity, 100 * (c->perplexity / c->base_perplexity - 1),
           c->mean_kl, 100 * c->same_top, (long long)c->n_scored);
    return R2I_EXIT_OK;
}

static r2_status work(quantizing *q, r2_error *err) {
    r2i_program *p = q->program;
    const r2i_options *o = p->options;
    R2I_TRY(find_paths(q, err));
    R2I_TRY(check_text(q, err));
    R2I_TRY(get_importance(q, err));
    const r2_quantize_options options = { .type = o->type,
                                          .roles = o->roles.texts,
                                          .n_roles = o->roles.n,
                                          .importance = q->importance,
                                          .n_threads = o->threads,
                                          .is_forced = o->is_forced,
                                          .progress = on_bytes,
                                          .host = { .user = p } };
    R2I_TRY(r2_quantize(q->in, q->out, &options, &q->result, err));
    r2i_terminal_clear_progress(&p->terminal);
    return o->measures ? measure(q, err) : R2_OK;
}

int r2i_quantize_command(r2i_program *p) {
    quantizing q = { .program = p };
    r2_error err = { R2_OK, "" };
    r2i_signals_catch();
    const r2_status status = work(&q, &err);
    r2_importance_destroy(q.importance);
    if (status == R2_OK) return print_result(&q);
    /* The file is there all the same when only the measuring failed. */
    if (q.result.n_tensors > 0)
        r2i_program_note(p, "%s is written; measuring it failed (--no-measure leaves that out)",
                         q.out);
    const int code = r2i_program_fail(p, status, &err);
    if (status == R2_E_NOT_FOUND) r2i_models_hint(p);
    if (status == R2_E_NOT_FOUND && strstr(err.text, "of the prediction module") != NULL)
        r2i_program_hint(p, "      `r2lm convert --no-mtp` makes a file without it");
    return code;
}
