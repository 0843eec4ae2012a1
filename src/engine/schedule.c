/* schedule.c - which rows the next step computes.
 *
 * Writers come first, a row each and their drafts: who waits for the next word waits for one step.  Then
 * prompts, as many tokens as the step's length allows.  A row more costs about row_ns, measured; in a
 * step in which somebody writes all rows together shall take about step_ms.
 *
 * Prompts are read in the order in which they would be done if every client that has some to read got an
 * equal share of the rows (weighted fair queueing): a prompt's tag is the virtual time at its arrival,
 * or the tag of its client's latest prompt, plus its length.  So a short prompt passes a long one, equal
 * ones go by age, many of one client do not hold up another's, and since virtual time goes on no prompt
 * is passed for ever.
 *
 * Pages: whoever has none yet begins, the oldest first, when there is room for all its tokens beside what
 * the others are about to need.  When a sequence finds no page for its next row, the youngest one gives
 * up its own.  The oldest never does, so that one gets done; with it go its pages. */
#include <string.h>

#include "base/checked.h"
#include "engine/engine_state.h"

enum { LEAST_READING_ROWS = 32, MEASURED_ROWS = 32, PATIENCE_OF_READERS = 10 };

/* ---- rows ---- */

/* n_known tokens of the sequence, then the first n_draft of its draft, as far as there is room. */
static bool add_run(r2_engine *e, r2_sequence *s, int32_t n_known, int32_t n_draft) {
    if (n_known < 1) return false;
    const int32_t wanted = n_known + n_draft;
    const int32_t n_rows = r2i_sequence_make_room(s, s->n_computed + wanted) - s->n_computed;
    if (n_rows < 1) return false;
    n_known = r2i_min_i32(n_known, n_rows);
    s->n_draft = n_rows - n_known;
    s->batch = e->n_batches;
    const r2_adapter *adapter = s->options.adapter;
    e->runs[e->n_runs] = (r2i_run){ .first_row = e->n_rows,
                                    .n_rows = n_rows,
                                    .first_position = s->n_computed,
                                    .pages = s->page_memory,
                                    .lora = adapter != NULL ? adapter->content.pairs : NULL,
                                    .lora_scale = s->options.adapter_scale };
    e->scheduled[e->n_runs++] = (r2i_scheduled){ s, n_known, s->n_draft };
    int32_t *out = e->batch_tokens + e->n_rows;
    memcpy(out, s->tokens + s->n_computed, (size_t)n_known * sizeof *out);
    memcpy(out + n_known, s->draft, (size_t)s->n_draft * sizeof *out);
    e->n_rows += n_rows;
    return true;
}

/* ---- pages ---- */

/* Callers of the other kinds look at rows or logits as they come: once. */
static bool can_yield(const r2_sequence *s) {
    return !s->options.is_manual && s->options.hidden == NULL && !s->is_foreign;
}

/* Younger than s, without rows in this batch. */
static r2_sequence *find_victim(const r2_engine *e, const r2_sequence *s) {
    for (int32_t i = e->n_sequences - 1; e->by_age[i] != s; i--) {
        r2_sequence *t = e->by_age[i];
        if (t->n_pages > 0 && t->batch != e->n_batches && r2i_sequence_has_work(t) && can_yield(t))
            return t;
    }
    return NULL;
}

static void preempt(r2_engine *e, r2_sequence *s) {
    r2i_sequence_give_pages(s);
    s->state = R2_STATE_READING;
    s->has_tag = false;
    s->n_ready = 0;
    s->n_preempted++;
    e->stats.n_preempted++;
}

/* False: no page is left for it, and nobody younger has any. */
static bool add_run_or_preempt(r2_engine *e, r2_sequence *s, int32_t n_known, int32_t n_draft) {
    while (!add_run(e, s, n_known, n_draft)) {
        r2_sequence *victim = find_victim(e, s);
        if (victim == NULL) return false;
        preempt(e, victim);
        n_draft = 0;
    }
    return true;
}

/* Pages that nobody holds, less those that sequences need for tokens they have, and one for each. */
static int32_t count_spare(const r2_engine *e, int32_t *n_holding) {
    int32_t n = r2i_pages_total(e->pages) - r2i_pages_held(e->pages);
    *n_holding = 0;
    for (int32_t i = 0; i < e->n_sequences; i++) {
        const r2_sequence *s = e->by_age[i];
        if (s->n_pages == 0 || !r2i_sequence_has_work(s)) continue;
        ++*n_holding;
        n -= 1 + r2i_max_i32(r2i_div_up_i32(s->n_tokens + 1, R2I_PAGE_TOKENS) - s->n_pages, 0);
    }
    return n;
}

/* Whoever has no pages may begin, the oldest first, so that the large are not passed for ever. */
static void let_begin(r2_engine *e) {
    int32_t n_holding, n_spare = count_spare(e, &n_holding);
    for (int32_t i = 0; i < e->n_sequences; i++) {
        r2_sequence *s = e->by_age[i];
        if (s->n_pages > 0 || !r2i_sequence_has_work(s)) continue;
        int32_t n_missing = r2i_div_up_i32(s->n_tokens + 1, R2I_PAGE_TOKENS);
        if (n_missing > n_spare) n_missing = r2i_sequence_count_missing(s);
        if (n_missing > n_spare && n_holding > 0) return;
        s->admitted = e->n_batches;
        r2i_sequence_take_prefix(s);
        n_spare -= n_missing + 1;
        n_holding++;
    }
}

/* ---- turns ---- */

static bool is_reader(const r2_engine *e, const r2_sequence *s) {
    return r2i_sequence_has_work(s) && s->state != R2_STATE_WRITING &&
           (s->n_pages > 0 || s->admitted == e->n_batches);
}

static void give_tag(r2_engine *e, r2_sequence *s) {
    double start = e->virtual_time;
    for (int32_t i = 0; i < e->n_sequences; i++) {
        const r2_sequence *t = e->by_age[i];
        if (t != s && t->has_tag && t->options.client == s->options.client && t->tag > start)
            start = t->tag;
    }
    s->tag = start + (s->n_tokens - s->n_computed);
    s->has_tag = true;
}

static r2_sequence *next_reader(r2_engine *e) {
    r2_sequence *best = NULL;
    for (int32_t i = 0; i < e->n_sequences; i++) {
        r2_sequence *s = e->by_age[i];
        if (s->looked_at == e->n_batches || !is_reader(e, s)) continue;
        if (!s->has_tag) give_tag(e, s);
        if (best == NULL || s->tag < best->tag) best = s;
    }
    if (best != NULL) best->looked_at = e->n_batches;
    return best;
}

static int32_t count_reading_clients(const r2_engine *e) {
    int32_t n = 0;
    for (int32_t i = 0; i < e->n_sequences; i++) {
        const uint64_t client = e->by_age[i]->options.client;
        int32_t k = 0;
        if (!is_reader(e, e->by_age[i])) continue;
        while (k < i && (e->by_age[k]->options.client != client || !is_reader(e, e->by_age[k])))
            k++;
        if (k == i) n++;
    }
    return n;
}

/* Is the page that s needs next being computed in this batch?  Then it is there for the taking soon. */
static bool is_read_beside(const r2_engine *e, const r2_sequence *s) {
    const int32_t page = s->n_computed / R2I_PAGE_TOKENS, end = (page + 1) * R2I_PAGE_TOKENS;
    const r2i_page_domain domain = r2i_sequence_domain(s);
    if (!e->has_prefix_cache || s->options.hidden != NULL || s->options.wants_prompt_logprobs ||
        s->n_tokens <= end)
        return false;
    for (int32_t r = 0; r < e->n_runs; r++) {
        const r2_sequence *t = e->scheduled[r].sequence;
        const r2i_page_domain other = r2i_sequence_domain(t);
        if (t->n_tokens < end || t->n_computed / R2I_PAGE_TOKENS != page || t->is_foreign ||
            t->state == R2_STATE_WRITING || other.client != domain.client ||
            other.variant != domain.variant)
            continue;
        if (memcmp(t->tokens, s->tokens, (size_t)end * sizeof *s->tokens) == 0) return true;
    }
    return false;
}

/* ---- the batch ---- */

static int32_t choose_reading_budget(const r2_engine *e, int32_t n_writers) {
    const int32_t n_free = r2i_max_i32(e->cap_rows - n_writers, 0);
    if (e->is_reading_fixed) return n_writers > 0 ? r2i_min_i32(e->most_reading, n_free) : n_free;
    if (e->row_ns <= 0 || e->cap_sequences == 1) return n_free;
    const double ns = 1e6 * e->step_ms * (n_writers > 0 ? 1 : PATIENCE_OF_READERS);
    const double rows = ns / e->row_ns - n_writers;
    if (rows >= n_free) return n_free;
    const int32_t n = (int32_t)rows / LEAST_READING_ROWS * LEAST_READING_ROWS;
    return r2i_min_i32(r2i_max_i32(n, LEAST_READING_ROWS), n_free);
}

static int32_t count_writers(const r2_engine *e) {
    int32_t n = 0;
    for (int32_t i = 0; i < e->n_sequences; i++)
        n += r2i_sequence_has_work(e->by_age[i]) && e->by_age[i]->state == R2_STATE_WRITING;
    return n;
}

static r2_sequence *add_writers(r2_engine *e) {
    r2_sequence *starved = NULL;
    for (int32_t i = 0; i < e->n_sequences && e->n_rows < e->cap_rows; i++) {
        r2_sequence *s = e->by_age[i];
        if (!r2i_sequence_has_work(s) || s->state != R2_STATE_WRITING) continue;
        const int32_t n = r2i_min_i32(s->n_tokens - s->n_computed, e->cap_rows - e->n_rows);
        if (!add_run_or_preempt(e, s, n, r2i_draft_collect(e, s))) starved = s;
    }
    return starved;
}

static r2_sequence *add_readers(r2_engine *e) {
    r2_sequence *starved = NULL, *s;
    const int32_t n_clients = count_reading_clients(e);
    int32_t n_left = r2i_min_i32(e->reading_budget, e->cap_rows - e->n_rows);
    while (n_left > 0 && (s = next_reader(e)) != NULL) {
        const int32_t n_before = e->n_rows;
        if (s->n_pages > 0) r2i_sequence_take_known(s);
        if (is_read_beside(e, s)) continue;
        const int32_t n = r2i_min_i32(s->n_tokens - s->n_computed, n_left);
        if (!add_run_or_preempt(e, s, n, 0)) starved = s;
        n_left -= e->n_rows - n_before;
        e->virtual_time += (double)(e->n_rows - n_before) / r2i_max_i32(n_clients, 1);
    }
    return starved;
}

void r2i_schedule_batch(r2_engine *e) {
    e->n_rows = 0;
    e->n_runs = 0;
    e->n_batches++;
    let_begin(e);
    e->reading_budget = choose_reading_budget(e, count_writers(e));
    r2i_draft_begin(e);
    r2_sequence *starved = add_writers(e), *reader = add_readers(e);
    if (reader != NULL) starved = reader;
    if (e->n_rows > 0 || starved == NULL) return;
    /* Nobody can go on: this one is larger than what the others leave. */
    r2i_sequence_finish(starved, R2_FINISH_MEMORY);
    r2i_sequence_give_pages(starved);
}

void r2i_schedule_note(r2_engine *e, int64_t ns) {
    if (e->n_rows < MEASURED_ROWS || ns <= 0) return;
    const double row_ns = (double)ns / e->n_rows;
    e->row_ns += (row_ns - e->row_ns) * (e->row_ns > 0 ? 0.25 : 1);
}
