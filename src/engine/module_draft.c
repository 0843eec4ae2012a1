/* module_draft.c - guesses of the model's own multi-token prediction module.
 *
 * The module's row of position p is made from the model's hidden row of p and the token at p + 1, and
 * lies in slot p of its own stream of the same pages; from it comes a guess of token p + 2.  After
 * each batch it reads the rows that count, with the tokens just drawn; then it goes on from its own
 * rows and guesses, one token a pass for all sequences that can use them.  Slots written while guessing
 * are written again when the true tokens are known.
 *
 * The row of a page's last slot also depends on the first token of the next page.  A sequence that
 * takes a known page therefore finds there what another one went on with: its guesses may be worse
 * for it, its tokens are the same. */
#include <string.h>

#include "base/clock.h"
#include "base/failure.h"
#include "engine/engine_state.h"

static const double share_of_news = 0.1; /* of a measurement in the running mean */

r2_status r2i_module_create(r2_engine *e, r2_error *err) {
    const size_t rows = (size_t)e->cap_rows, sequences = (size_t)e->cap_sequences;
    r2i_module *m = &e->module;
    if (!r2i_mtp_is_there(e->forward)) return R2_OK;
    m->tokens = R2I_ARENA_ARRAY(&e->arena, int32_t, rows);
    m->source_rows = R2I_ARENA_ARRAY(&e->arena, int32_t, rows);
    m->runs = R2I_ARENA_ARRAY(&e->arena, r2i_run, sequences);
    m->chain = R2I_ARENA_ARRAY(&e->arena, r2_sequence *, sequences);
    m->rows = R2I_ARENA_ARRAY(&e->arena, int32_t, sequences);
    m->wanted = R2I_ARENA_ARRAY(&e->arena, int32_t, sequences);
    const bool is_complete = m->tokens != NULL && m->source_rows != NULL && m->runs != NULL &&
                             m->chain != NULL && m->rows != NULL && m->wanted != NULL;
    return is_complete ? R2_OK
                       : r2i_fail(err, R2_E_NOMEM, "no memory for the prediction module's batches");
}

static bool is_followed(const r2_sequence *s) {
    return s->options.n_draft > 0 && !s->options.is_manual;
}

void r2i_module_keep(r2_engine *e) {
    e->module.has_rows = false;
    if (!e->drafter.uses_module || !r2i_mtp_is_there(e->forward)) return;
    for (int32_t r = 0; r < e->n_runs; r++)
        e->module.has_rows |= is_followed(e->scheduled[r].sequence);
    if (e->module.has_rows) r2i_mtp_keep_rows(e->forward);
}

static void run_pass(r2_engine *e, int32_t n_rows, int32_t n_runs, bool is_own) {
    const r2i_module *m = &e->module;
    const r2i_mtp_batch batch = { .batch = { m->tokens, n_rows, m->runs, n_runs },
                                  .source_rows = m->source_rows,
                                  .is_own = is_own };
    r2i_mtp_run(e->forward, &batch);
}

/* The batch's rows that count and whose next token is known.  Returns how many sequences have some;
 * these stand in the chain with the last row of each. */
static int32_t read_rows(r2_engine *e) {
    r2i_module *m = &e->module;
    int32_t n_rows = 0, n_runs = 0;
    for (int32_t r = 0; r < e->n_runs; r++) {
        r2_sequence *s = e->scheduled[r].sequence;
        const r2i_run *run = &e->runs[r];
        const int32_t end = s->n_computed < s->n_tokens ? s->n_computed : s->n_tokens - 1;
        const int32_t n = end - run->first_position;
        if (!is_followed(s) || n < 1) continue;
        m->runs[n_runs] = (r2i_run){ .first_row = n_rows,
                                     .n_rows = n,
                                     .first_position = run->first_position,
                                     .pages = s->page_memory };
        memcpy(m->tokens + n_rows, s->tokens + run->first_position + 1,
               (size_t)n * sizeof *m->tokens);
        for (int32_t i = 0; i < n; i++)
            m->source_rows[n_rows++] = run->first_row + i;
        m->chain[n_runs] = s;
        m->rows[n_runs++] = n_rows - 1;
    }
    if (n_runs > 0) run_pass(e, n_rows, n_runs, false);
    return n_runs;
}

/* Rows of logits behind those that callers of manual sequences may still look at. */
static int32_t first_free_logits(const r2_engine *e) {
    int32_t n = 0, used = 0;
    for (int32_t r = 0; r < e->n_runs; r++) {
        n += 1 + e->scheduled[r].n_draft;
        if (e->scheduled[r].sequence->logits != NULL) used = n;
    }
    return used;
}

/* Leaves in the chain whom guesses can serve, as many as there are rows of logits for. */
static int32_t choose_chain(r2_engine *e, int32_t n_chain, int32_t n_logits) {
    r2i_module *m = &e->module;
    int32_t n = 0;
    r2i_draft_begin(e);
    for (int32_t i = 0; i < n_chain && n < n_logits; i++) {
        const int32_t wanted = r2i_draft_plan_module(e, m->chain[i]);
        if (wanted == 0) continue;
        m->chain[n] = m->chain[i];
        m->rows[n] = m->rows[i];
        m->wanted[n++] = wanted;
    }
    return n;
}

/* A guess for each of the chain; those that want another one stay, with the next row to compute. */
static int32_t guess(r2_engine *e, int32_t n_chain, int32_t depth, float *logits) {
    r2i_module *m = &e->module;
    const size_t n_vocab = (size_t)e->model->config.n_vocab;
    int32_t n = 0;
    r2i_mtp_logits(e->forward, m->rows, n_chain, logits);
    for (int32_t i = 0; i < n_chain; i++) {
        r2_sequence *s = m->chain[i];
        const int32_t token =
            r2i_sequence_guess(s, &e->drawers[0], logits + (size_t)i * n_vocab, depth);
        if (token < 0) continue;
        s->draft[depth] = token;
        s->n_ready = depth + 1;
        s->ready_at = s->n_tokens;
        const int32_t slot = s->n_tokens - 1 + depth; /* of the row made from this guess */
        if (depth + 1 == m->wanted[i] || r2i_sequence_make_room(s, slot + 1) <= slot) continue;
        m->runs[n] = (r2i_run){
            .first_row = n, .n_rows = 1, .first_position = slot, .pages = s->page_memory
        };
        m->tokens[n] = token;
        m->source_rows[n] = m->rows[i];
        m->wanted[n] = m->wanted[i];
        m->chain[n] = s;
        m->rows[n] = n;
        n++;
    }
    return n;
}

void r2i_module_draft(r2_engine *e) {
    r2i_module *m = &e->module;
    if (!m->has_rows) return;
    const int32_t n_read = read_rows(e), first = first_free_logits(e);
    int32_t n = choose_chain(e, n_read, e->cap_logits - first);
    /* A time measured while weights were packed must not end guessing for good. */
    if (n == 0) m->row_ns *= 1 - share_of_news;
    float *logits = e->logits + (size_t)first * (size_t)e->model->config.n_vocab;
    for (int32_t depth = 0; n > 0; depth++) {
        const int64_t start_ns = r2i_clock_ns();
        const int32_t n_before = n;
        n = guess(e, n, depth, logits);
        if (n > 0) run_pass(e, n, n, true);
        const double row_ns = (double)(r2i_clock_ns() - start_ns) / n_before;
        m->row_ns += (row_ns - m->row_ns) * (m->row_ns > 0 ? share_of_news : 1);
    }
    for (int32_t r = 0; r < e->n_runs; r++)
        r2i_sequence_trim_pages(e->scheduled[r].sequence);
}
