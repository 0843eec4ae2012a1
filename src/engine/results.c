/* results.c - from the rows of a batch to what sequences and callers get.
 *
 * A run's rows are tokens that the sequence has, then its draft.  Tokens are drawn from the row of its
 * last token, and on from the row of each guess as long as the guess is what was drawn.  A guess's row
 * counts as computed once another token was drawn from it: a sequence that finishes inside its draft
 * is left as it would have been without one, its last token not computed. */
#include "base/checked.h"
#include "base/clock.h"
#include "engine/engine_state.h"

static void give_hidden(r2_engine *e, const r2_sequence *s, const r2i_run *run, int32_t first,
                        int32_t n) {
    if (s->options.hidden == NULL) return;
    for (int32_t i = first; i < first + n; i++) {
        s->options.hidden(s->options.user, run->first_position + i,
                          r2i_forward_hidden(e->forward, run->first_row + i),
                          e->model->config.d_model);
    }
}

/* What was known of the token at `position` before it came. */
static void give_prompt_token(const r2_engine *e, r2_sequence *s, const float *logits,
                              int32_t position) {
    const int32_t n_vocab = e->model->config.n_vocab;
    const float total = e->model->kernels.log_sum_exp(logits, n_vocab);
    r2i_candidate best[R2I_MAX_TOP_LOGPROBS];
    r2_top_logprob likeliest[R2I_MAX_TOP_LOGPROBS];
    s->logprobs[position] = logits[s->tokens[position]] - total;
    if (s->options.prompt == NULL) return;
    const int32_t n = r2i_top_logits(logits, n_vocab, best, s->options.sampling.n_top_logprobs);
    for (int32_t i = 0; i < n; i++)
        likeliest[i] = (r2_top_logprob){ best[i].token, best[i].logit - total };
    s->options.prompt(s->options.prompt_user, position, s->logprobs[position], likeliest, n);
}

/* Rows whose next token is known: log-probability of that token. */
static void give_prompt_logprobs(r2_engine *e, r2_sequence *s, const r2i_run *run) {
    const int32_t n_vocab = e->model->config.n_vocab;
    const int32_t n = r2i_min_i32(run->n_rows, s->n_tokens - 1 - run->first_position);
    const int32_t cap = r2i_min_i32(R2I_LOGIT_ROWS, e->cap_logits);
    for (int32_t begin = 0; begin < n; begin += cap) {
        const int32_t n_block = r2i_min_i32(cap, n - begin);
        for (int32_t i = 0; i < n_block; i++)
            e->logit_rows[i] = run->first_row + begin + i;
        r2i_forward_logits(e->forward, e->logit_rows, n_block, e->logits);
        for (int32_t i = 0; i < n_block; i++) {
            give_prompt_token(e, s, e->logits + (size_t)i * (size_t)n_vocab,
                              run->first_position + begin + i + 1);
        }
    }
    s->n_prompt_logprobs = r2i_max_i32(s->n_prompt_logprobs, run->first_position + n);
}

/* A token whose row is no numbers cannot be gone on from.  A manual sequence's caller sees the logits. */
static bool are_numbers(const r2_engine *e, const r2i_run *run, int32_t n_known) {
    for (int32_t i = 0; i < n_known; i++) {
        if (!r2i_forward_is_finite(e->forward, run->first_row + i)) return false;
    }
    return true;
}

static void finish_rows(r2_engine *e) {
    for (int32_t r = 0; r < e->n_runs; r++) {
        r2_sequence *s = e->scheduled[r].sequence;
        const r2i_run *run = &e->runs[r];
        const int32_t n_known = e->scheduled[r].n_known;
        give_hidden(e, s, run, 0, n_known);
        if (s->options.wants_prompt_logprobs) give_prompt_logprobs(e, s, run);
        if (s->state == R2_STATE_READING) e->stats.n_prompt_tokens += n_known;
        s->n_computed += n_known;
        if (!s->options.is_manual && !are_numbers(e, run, n_known))
            r2i_sequence_finish(s, R2_FINISH_ERROR);
    }
}

/* ---- drawing ---- */

/* Sequences that call back while tokens are drawn do so on the caller's thread. */
static bool calls_back(const r2_sequence *s) {
    return s->options.mask != NULL || s->options.hidden != NULL;
}

/* Guess number i is what was drawn: its row is one of the sequence's. */
static void accept_row(r2_engine *e, const r2i_drawing *d, int32_t i) {
    r2_sequence *s = d->sequence;
    s->n_computed++;
    give_hidden(e, s, d->run, d->run->n_rows - s->n_draft + i, 1);
}

static void draw_tokens(r2_engine *e, r2i_drawing *d, const r2i_drawer *drawer) {
    r2_sequence *s = d->sequence;
    const size_t n_vocab = (size_t)e->model->config.n_vocab;
    for (int32_t i = 0; i < d->n_rows; i++) {
        const int32_t n_before = s->n_tokens;
        r2i_sequence_choose(s, drawer, e->logits + (size_t)(d->first_logits + i) * n_vocab);
        r2i_sequence_write(s);
        d->n_drawn += s->n_tokens - n_before;
        if (i == s->n_draft || s->n_tokens == n_before) return;
        if (s->tokens[n_before] != s->draft[i]) return;
        d->n_true++;
        if (s->finish != R2_FINISH_NONE) return;
        accept_row(e, d, i);
    }
}

static void draw_in_worker(void *argument, int32_t begin, int32_t end, int32_t worker) {
    r2_engine *e = argument;
    for (int32_t i = begin; i < end; i++) {
        const r2_sequence *s = e->drawings[i].sequence;
        if (!s->options.is_manual && !calls_back(s))
            draw_tokens(e, &e->drawings[i], &e->drawers[worker]);
    }
}

static void note_draft(r2_engine *e, const r2i_drawing *d) {
    r2_sequence *s = d->sequence;
    if (s->n_draft == 0) return;
    /* What a finished sequence would have drawn is not known. */
    const int32_t n_tried = s->finish != R2_FINISH_NONE ? d->n_true : s->n_draft;
    r2i_draft_note(&s->record, s->draft_grade, n_tried, d->n_true);
    s->n_drafted += s->n_draft;
    s->n_accepted += d->n_true;
    e->stats.n_drafted_tokens += s->n_draft;
    e->stats.n_accepted_tokens += d->n_true;
    r2i_sequence_trim_pages(s);
}

static void finish_drawing(r2_engine *e, r2i_drawing *d) {
    r2_sequence *s = d->sequence;
    if (s->options.is_manual) {
        s->logits = e->logits + (size_t)d->first_logits * (size_t)e->model->config.n_vocab;
        s->state = R2_STATE_IDLE;
        return;
    }
    if (calls_back(s)) draw_tokens(e, d, &e->drawers[0]);
    if (s->options.wants_prompt_logprobs)
        s->n_prompt_logprobs = r2i_max_i32(s->n_prompt_logprobs, s->n_computed - 1);
    e->stats.n_generated_tokens += d->n_drawn;
    note_draft(e, d);
}

/* Sequences that have read all their tokens, and the rows that tokens are drawn from. */
static int32_t collect_drawings(r2_engine *e, int32_t *n_logits) {
    int32_t n = 0;
    *n_logits = 0;
    for (int32_t r = 0; r < e->n_runs; r++) {
        const r2i_scheduled *scheduled = &e->scheduled[r];
        const r2i_run *run = &e->runs[r];
        const r2_sequence *s = scheduled->sequence;
        if (s->n_computed < s->n_tokens || s->finish != R2_FINISH_NONE) continue;
        e->drawings[n++] = (r2i_drawing){ .sequence = scheduled->sequence,
                                          .run = run,
                                          .first_logits = *n_logits,
                                          .n_rows = 1 + scheduled->n_draft };
        for (int32_t i = scheduled->n_known - 1; i < run->n_rows; i++)
            e->logit_rows[(*n_logits)++] = run->first_row + i;
    }
    return n;
}

int64_t r2i_results_use(r2_engine *e) {
    int32_t n_logits;
    finish_rows(e);
    const int32_t n = collect_drawings(e, &n_logits);
    if (n == 0) return 0;
    const int64_t start_ns = r2i_clock_ns();
    r2i_forward_logits(e->forward, e->logit_rows, n_logits, e->logits);
    const int64_t logits_ns = r2i_clock_ns() - start_ns;
    r2i_pool_run(e->pool, n, 1, draw_in_worker, e);
    for (int32_t i = 0; i < n; i++)
        finish_drawing(e, &e->drawings[i]);
    return logits_ns;
}
