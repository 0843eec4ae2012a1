/* draft.c - how many drafted tokens a step takes.
 *
 * A step of n rows that yields V tokens on average takes t(n) = a + b n.  One more row whose token
 * comes true with probability q raises V / t exactly if q t > b V.  A row's q is the product of the
 * chances of all before it in its draft, so it falls along the draft and the first row that does not
 * pay ends it.  Alone, b is a few percent of t and long shots pay; beside many streams or a prompt,
 * rows cost what they compute and V is large, so little is drafted. */
#include <string.h>

#include "base/checked.h"
#include "engine/engine_state.h"

enum { MAX_FULL_TRIES = 32, MAX_MEASURED_ROWS = 64 };

/* ---- what came true ---- */

/* Before anything is known: lookups by the length of their match, then a model's own module. */
static const float first_chance[R2I_DRAFT_GRADES] = { 0.25f, 0.4f,  0.5f,  0.6f,
                                                      0.75f, 0.85f, 0.92f, 0.75f };
static const float first_tries = 4; /* as much as this weighs the guess */

float r2i_draft_chance(const r2i_draft_record *r, int32_t grade) {
    return (r->n_true[grade] + first_tries * first_chance[grade]) /
           (r->n_tried[grade] + first_tries);
}

static void fade(r2i_draft_record *r, int32_t grade, float factor) {
    r->n_tried[grade] *= factor;
    r->n_true[grade] *= factor;
}

void r2i_draft_note(r2i_draft_record *r, int32_t grade, int32_t n_drafted, int32_t n_true) {
    r->n_true[grade] += (float)n_true;
    r->n_tried[grade] += (float)(n_true < n_drafted ? n_true + 1 : n_true);
    if (r->n_tried[grade] > MAX_FULL_TRIES) fade(r, grade, 0.5f);
}

void r2i_draft_note_unused(r2i_draft_record *r, int32_t grade) {
    fade(r, grade, 0.99f);
}

/* ---- what rows cost ---- */

static const double memory_of_steps = 0.97;
static const double first_row_share = 0.06; /* of a step of one row, that another row costs */
static const double first_weight = 2; /* squared rows of deviation, as much as this it weighs */

bool r2i_step_cost_get(const r2i_step_cost *c, int32_t n_rows, double *step, double *row) {
    if (c->weight <= 0) return false;
    const double rows = c->rows / c->weight, ns = c->ns / c->weight;
    const double spread = c->rows_rows - c->rows * rows, slope = c->rows_ns - c->rows * ns;
    const double guess = first_row_share * ns / (1 + first_row_share * (rows - 1));
    const double b = (slope + first_weight * guess) / (spread + first_weight);
    *row = b > ns * 1e-3 ? b : ns * 1e-3;
    const double t = ns + *row * (n_rows - rows);
    *step = t > *row ? t : *row;
    return true;
}

void r2i_step_cost_note(r2i_step_cost *c, int32_t n_rows, int64_t measured_ns) {
    double ns = (double)measured_ns, step, row;
    if (n_rows > MAX_MEASURED_ROWS || ns <= 0) return;
    /* Something else had the processor: no property of the step. */
    if (c->weight > 4 && r2i_step_cost_get(c, n_rows, &step, &row) && ns > 2 * step) ns = 2 * step;
    const double n = n_rows;
    c->weight = c->weight * memory_of_steps + 1;
    c->rows = c->rows * memory_of_steps + n;
    c->ns = c->ns * memory_of_steps + ns;
    c->rows_rows = c->rows_rows * memory_of_steps + n * n;
    c->rows_ns = c->rows_ns * memory_of_steps + n * ns;
}

/* ---- one step ---- */

static bool can_draft(const r2_sequence *s) {
    const r2_sequence_options *o = &s->options;
    return o->n_draft > 0 && s->state == R2_STATE_WRITING && s->n_tokens - s->n_computed == 1 &&
           !o->is_manual && o->sampling.n_top_logprobs == 0;
}

/* Rows that come anyway, and places for others. */
void r2i_draft_begin(r2_engine *e) {
    int32_t n_active = 0, n_writing = 0;
    int64_t n_reading = 0;
    for (int32_t i = 0; i < e->cap_sequences; i++) {
        const r2_sequence *s = e->sequences[i];
        if (s == NULL || !r2i_sequence_has_work(s)) continue;
        n_active++;
        if (s->state == R2_STATE_WRITING)
            n_writing++;
        else
            n_reading += s->n_tokens - s->n_computed;
    }
    const int32_t n_free = r2i_max_i32(e->cap_rows - n_writing, 0);
    const int32_t most_prompt = r2i_min_i32(n_free, e->reading_budget);
    const int32_t n_prompt = n_reading < most_prompt ? (int32_t)n_reading : most_prompt;
    /* Prompts must go on, even beside drafts that always come true. */
    const int32_t most = n_prompt > 0 ? n_free / 4 : n_free;
    e->plan.n_free = r2i_max_i32(r2i_min_i32(most, e->cap_logits - n_active), 0);
    e->plan.n_rows = n_writing + n_prompt;
    e->plan.n_expected = e->plan.n_rows;
    e->plan.is_short_of_pages = r2i_pages_total(e->pages) - r2i_pages_held(e->pages) < n_active;
}

/* Most tokens that could be of use. */
static int32_t most_of_use(const r2_engine *e, const r2_sequence *s) {
    const r2_sequence_options *o = &s->options;
    int32_t n = r2i_min_i32(r2i_min_i32(o->n_draft, R2I_MAX_DRAFT), e->plan.n_free);
    n = r2i_min_i32(n, e->n_context - s->n_tokens - 1);
    if (o->max_new_tokens > 0) n = r2i_min_i32(n, o->max_new_tokens - s->n_generated - 1);
    /* A guess must not take the last page from a sequence that needs it. */
    if (e->plan.is_short_of_pages) n = r2i_min_i32(n, s->n_pages * R2I_PAGE_TOKENS - s->n_tokens);
    return n;
}

/* Of n guesses of a grade that take extra_ns each to make. */
static int32_t most_that_pay(r2_engine *e, r2_sequence *s, int32_t grade, int32_t n,
                             double extra_ns) {
    r2i_draft_plan *plan = &e->plan;
    const double chance = (double)r2i_draft_chance(&s->record, grade);
    double q = 1, step, row;
    int32_t i = 0;
    for (; i < n && !e->drafter.is_eager; i++) {
        q *= chance;
        if (!r2i_step_cost_get(&e->cost, plan->n_rows, &step, &row)) break;
        if (q * step <= (row + extra_ns) * plan->n_expected) break;
        plan->n_rows++;
        plan->n_expected += q;
    }
    if (e->drafter.is_eager) i = n;
    if (i == 0) r2i_draft_note_unused(&s->record, grade);
    plan->n_free -= i;
    return i;
}

int32_t r2i_draft_plan_module(r2_engine *e, r2_sequence *s) {
    const int32_t cap = can_draft(s) ? most_of_use(e, s) : 0;
    return cap > 0 ? most_that_pay(e, s, R2I_GRADE_MODULE, cap, e->module.row_ns) : 0;
}

int32_t r2i_draft_collect(r2_engine *e, r2_sequence *s) {
    int32_t looked_up[R2I_MAX_DRAFT], grade = 0;
    const int32_t cap = can_draft(s) ? most_of_use(e, s) : 0;
    if (cap <= 0) return 0;
    const int32_t n_ready = s->ready_at == s->n_tokens ? r2i_min_i32(s->n_ready, cap) : 0;
    int32_t n = 0;
    if (e->drafter.propose != NULL)
        n = e->drafter.propose(e->drafter.user, s, cap, looked_up, &grade);
    s->draft_grade = grade;
    if (n_ready > 0 && (n <= 0 || r2i_draft_chance(&s->record, grade) <
                                      r2i_draft_chance(&s->record, R2I_GRADE_MODULE))) {
        s->draft_grade = R2I_GRADE_MODULE;
        n = n_ready;
    } else if (n > 0) {
        memcpy(s->draft, looked_up, (size_t)n * sizeof *looked_up);
    }
    s->n_ready = 0;
    return n > 0 ? most_that_pay(e, s, s->draft_grade, n, 0) : 0;
}

static int32_t propose_lookup(void *user, r2_sequence *s, int32_t cap, int32_t *out,
                              int32_t *grade) {
    (void)user;
    return r2i_lookup_propose(&s->lookup, s->tokens, s->n_tokens, cap, out, grade);
}

void r2i_engine_set_drafter(r2_engine *e, const r2i_drafter *drafter) {
    static const r2i_drafter standard = { .propose = propose_lookup, .uses_module = true };
    e->drafter = drafter != NULL ? *drafter : standard;
}
