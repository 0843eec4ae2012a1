/* predict.c - drafts of the model's own prediction module (model/mtp.c).
 *
 * After the tokens of a step are drawn, the module runs over the rows that count, each beside the
 * token that came after it, so that its own cache rows are complete; what it says behind the last row
 * of a writing sequence is a draft.  Going on from its own rows it guesses further, as far as guesses
 * have come true.  A cache row of the module may lack behind a prefix that another sequence computed
 * without drafting: drafts are worse then, tokens are the same. */
#include "base/checked.h"
#include "base/failure.h"
#include "engine/engine_state.h"

enum { LOGIT_ROWS = 8 };

r2_status r2i_predictor_create(r2i_predictor *p, r2_engine *e, r2_error *err) {
    const size_t rows = (size_t)e->cap_rows, sequences = (size_t)e->cap_sequences;
    *p = (r2i_predictor){ .is_there = r2i_mtp_is_there(e->forward) };
    if (!p->is_there) return R2_OK;
    p->tokens = R2I_ARENA_ARRAY(&e->arena, int32_t, rows);
    p->sources = R2I_ARENA_ARRAY(&e->arena, int32_t, rows);
    p->runs = R2I_ARENA_ARRAY(&e->arena, r2i_run, sequences);
    p->owners = R2I_ARENA_ARRAY(&e->arena, r2_sequence *, sequences);
    p->owner_rows = R2I_ARENA_ARRAY(&e->arena, int32_t, sequences);
    p->cap_logits = r2i_min_i32(LOGIT_ROWS, e->cap_logits);
    p->logits =
        R2I_ARENA_ARRAY(&e->arena, float, (size_t)p->cap_logits *(size_t)e->model->config.n_vocab);
    const bool is_complete = p->tokens != NULL && p->sources != NULL && p->runs != NULL &&
                             p->owners != NULL && p->owner_rows != NULL && p->logits != NULL;
    return is_complete ? R2_OK : r2i_fail(err, R2_E_NOMEM, "no memory for the prediction module");
}

static bool wants_module(const r2_sequence *s) {
    return s->options.n_draft > 0 && !s->options.is_manual && s->finish == R2_FINISH_NONE;
}

bool r2i_predictor_is_wanted(const r2_engine *e) {
    for (int32_t r = 0; e->predictor.is_there && r < e->n_runs; r++) {
        if (wants_module(e->scheduled[r].sequence)) return true;
    }
    return false;
}

/* Rows of a run that count and whose next token is known. */
static int32_t rows_of_run(const r2_sequence *s, const r2i_run *run) {
    const int32_t n_known = r2i_min_i32(s->n_computed, s->n_tokens - 1) - run->first_position;
    return r2i_min_i32(run->n_rows, n_known);
}

static bool is_writing_on(const r2_sequence *s) {
    return s->state == R2_STATE_WRITING && s->n_tokens - s->n_computed == 1;
}

/* Puts the rows of the last batch together; returns how many. */
static int32_t collect_rows(r2_engine *e, int32_t *n_runs) {
    r2i_predictor *p = &e->predictor;
    int32_t n_rows = 0;
    *n_runs = 0;
    p->n_owners = 0;
    for (int32_t r = 0; r < e->n_runs; r++) {
        r2_sequence *s = e->scheduled[r].sequence;
        const r2i_run *run = &e->runs[r];
        const int32_t n = wants_module(s) ? rows_of_run(s, run) : 0;
        if (n <= 0) continue;
        p->runs[(*n_runs)++] = (r2i_run){ .first_row = n_rows,
                                          .n_rows = n,
                                          .first_position = run->first_position,
                                          .pages = s->page_memory };
        for (int32_t i = 0; i < n; i++) {
            p->tokens[n_rows + i] = s->tokens[run->first_position + i + 1];
            p->sources[n_rows + i] = run->first_row + i;
        }
        n_rows += n;
        if (!is_writing_on(s)) continue;
        s->n_module_draft = 0;
        s->module_draft_at = s->n_tokens;
        p->owners[p->n_owners] = s;
        p->owner_rows[p->n_owners++] = n_rows - 1;
    }
    return n_rows;
}

static int32_t likeliest(const float *logits, int32_t n) {
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++) {
        if (logits[i] > logits[best]) best = i;
    }
    return best;
}

static void guess(r2_engine *e) {
    r2i_predictor *p = &e->predictor;
    const int32_t n_vocab = e->model->config.n_vocab;
    for (int32_t begin = 0; begin < p->n_owners; begin += p->cap_logits) {
        const int32_t n = r2i_min_i32(p->cap_logits, p->n_owners - begin);
        r2i_mtp_logits(e->forward, p->owner_rows + begin, n, p->logits);
        for (int32_t i = 0; i < n; i++) {
            r2_sequence *s = p->owners[begin + i];
            s->module_draft[s->n_module_draft++] =
                likeliest(p->logits + (size_t)i * (size_t)n_vocab, n_vocab);
        }
    }
}

/* Whether a guess more is likelier than not to be reached, and has a place for its row. */
static bool goes_further(const r2_engine *e, const r2_sequence *s) {
    const int32_t n = s->n_module_draft, slot = s->n_tokens - 2 + n;
    if (n >= R2I_MAX_MODULE_DRAFT || n >= s->options.n_draft) return false;
    if (slot / R2I_PAGE_TOKENS >= s->n_pages ||
        !r2i_pages_is_writable(e->pages, s->pages[slot / R2I_PAGE_TOKENS]))
        return false;
    const float chance = r2i_draft_chance(&s->record, R2I_MODULE_GRADE);
    float reached = chance;
    for (int32_t i = 0; i < n; i++)
        reached *= chance;
    return reached > 0.5f;
}

/* Rows made of the guesses themselves; they are computed again from the tokens that come. */
static int32_t collect_guesses(r2_engine *e) {
    r2i_predictor *p = &e->predictor;
    int32_t n = 0;
    for (int32_t i = 0; i < p->n_owners; i++) {
        r2_sequence *s = p->owners[i];
        if (!goes_further(e, s)) continue;
        p->tokens[n] = s->module_draft[s->n_module_draft - 1];
        p->sources[n] = p->owner_rows[i];
        p->runs[n] = (r2i_run){ .first_row = n,
                                .n_rows = 1,
                                .first_position = s->n_tokens - 2 + s->n_module_draft,
                                .pages = s->page_memory };
        p->owners[n++] = s;
    }
    for (int32_t i = 0; i < n; i++)
        p->owner_rows[i] = i;
    p->n_owners = n;
    return n;
}

void r2i_predictor_run(r2_engine *e) {
    r2i_predictor *p = &e->predictor;
    int32_t n_runs, n_rows = collect_rows(e, &n_runs);
    for (bool is_own = false; n_rows > 0; is_own = true) {
        const r2i_mtp_batch batch = { .batch = { p->tokens, n_rows, p->runs, n_runs },
                                      .source_rows = p->sources,
                                      .is_own = is_own };
        r2i_mtp_run(e->forward, &batch);
        guess(e);
        n_rows = n_runs = collect_guesses(e);
    }
}

int32_t r2i_predictor_propose(const r2_sequence *s, int32_t cap, int32_t *out) {
    const int32_t n = s->module_draft_at == s->n_tokens ? r2i_min_i32(cap, s->n_module_draft) : 0;
    for (int32_t i = 0; i < n; i++)
        out[i] = s->module_draft[i];
    return n;
}
