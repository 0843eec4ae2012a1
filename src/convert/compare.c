/* compare.c - r2_compare: how far the distributions of two models lie apart on a text. */
#include <math.h>

#include "base/checked.h"
#include "base/failure.h"
#include "convert/text_pass.h"
#include "r2lm/convert.h"

enum { DEFAULT_WINDOW = 512 };

typedef struct {
    r2_model *models[2]; /* the model, the base */
    r2i_text_pass *passes[2];
    double nll[2], kl;
    int64_t n_scored, n_same;
} comparison;

static int32_t likeliest(const float *logits, int32_t n) {
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++) {
        if (logits[i] > logits[best]) best = i;
    }
    return best;
}

/* One position: with base probabilities p and logits b, a,
 * KL = sum p (log p - log q) = sum p (b - a) - (log sum exp b - log sum exp a). */
static void add_position(comparison *c, const float *a, float *b, r2_token next) {
    const r2i_kernels *kernels = &c->models[0]->kernels;
    const int32_t n = c->models[0]->config.n_vocab;
    const double all_a = (double)kernels->log_sum_exp(a, n),
                 all_b = (double)kernels->log_sum_exp(b, n);
    double sum = 0;
    c->n_same += likeliest(a, n) == likeliest(b, n);
    c->nll[0] += all_a - (double)a[next];
    c->nll[1] += all_b - (double)b[next];
    for (int32_t i = 0; i < n; i++) {
        const double log_p = (double)b[i] - all_b;
        /* What is less likely than 1e-13 adds nothing. */
        if (log_p > -30) sum += exp(log_p) * (log_p - ((double)a[i] - all_a));
    }
    c->kl += sum;
    c->n_scored++;
}

/* The second half of a window is scored, as r2lm ppl does. */
static r2_status score_window(comparison *c, const r2_token *tokens, int32_t n, r2_error *err) {
    const size_t n_vocab = (size_t)c->models[0]->config.n_vocab;
    for (int m = 0; m < 2; m++)
        R2I_TRY(r2i_text_pass_run(c->passes[m], tokens, n, err));
    for (int32_t first = n / 2; first < n - 1; first += R2I_PASS_LOGITS) {
        const int32_t n_rows = r2i_min_i32(R2I_PASS_LOGITS, n - 1 - first);
        const float *a = r2i_text_pass_logits(c->passes[0], first, n_rows);
        float *b = r2i_text_pass_logits(c->passes[1], first, n_rows);
        for (int32_t i = 0; i < n_rows; i++)
            add_position(c, a + (size_t)i * n_vocab, b + (size_t)i * n_vocab,
                         tokens[first + i + 1]);
    }
    return R2_OK;
}

static r2_status score(comparison *c, const r2_token *tokens, int32_t n_tokens,
                       const r2_compare_options *o, r2_error *err) {
    const int32_t window = o->n_window > 0 ? o->n_window : DEFAULT_WINDOW;
    /* A text shorter than a window is a window. */
    const int32_t n = r2i_min_i32(window, n_tokens);
    if (n_tokens < 4)
        return r2i_fail(err, R2_E_ARGUMENT, "text: expected at least 4 tokens, found %d", n_tokens);
    for (int m = 0; m < 2; m++)
        R2I_TRY(r2i_text_pass_create(&c->passes[m], c->models[m], n, o->n_threads, err));
    for (int32_t begin = 0; begin + n <= n_tokens; begin += n) {
        if (o->progress != NULL && !o->progress(o->user, begin, n_tokens))
            return r2i_fail(err, R2_E_CANCELED, "stopped");
        R2I_TRY(score_window(c, tokens + begin, n, err));
    }
    return R2_OK;
}

r2_status r2_compare(r2_compare_result *out, r2_model *model, r2_model *base,
                     const r2_token *tokens, int32_t n_tokens, const r2_compare_options *options,
                     r2_error *err) {
    static const r2_compare_options defaults = { 0 };
    if (err != NULL) *err = (r2_error){ R2_OK, "" };
    *out = (r2_compare_result){ 0 };
    if (model->config.n_vocab != base->config.n_vocab)
        return r2i_fail(err, R2_E_MISMATCH,
                        "vocabulary: expected %d tokens as in the base, found %d",
                        base->config.n_vocab, model->config.n_vocab);
    comparison c = { .models = { model, base } };
    const r2_status status =
        score(&c, tokens, n_tokens, options != NULL ? options : &defaults, err);
    for (int m = 0; m < 2; m++)
        r2i_text_pass_destroy(c.passes[m]);
    if (status != R2_OK) return status;
    const double n = (double)c.n_scored;
    *out = (r2_compare_result){ .perplexity = exp(c.nll[0] / n),
                                .base_perplexity = exp(c.nll[1] / n),
                                .mean_kl = c.kl / n,
                                .same_top = (double)c.n_same / n,
                                .n_scored = c.n_scored };
    return R2_OK;
}
