/* engine.c - creation of an engine and the step that advances all its sequences. */
#define _GNU_SOURCE /* sysconf(_SC_PHYS_PAGES) */
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/failure.h"
#include "engine/engine_state.h"

enum {
    DEFAULT_CONTEXT = 32768,
    DEFAULT_BATCH_TOKENS = 256,
    DEFAULT_SEQUENCES = 64,
    MAX_SEQUENCES = 4096,
    MAX_BATCH_TOKENS = 8192,
    DEFAULT_STEP_MS = 100, /* a stream of ten steps a second still reads as flowing */
    MAX_STEP_MS = 60000,
    ARENA_BLOCK_BYTES = 1 << 20,
    PACK_STEP_BYTES = 48 << 20, /* weights packed for good in a step, at least ... */
    PACK_STEPS = 8              /* ... and so much that this many steps suffice */
};

/* ---- creation ---- */

static int64_t machine_bytes(void) {
    const long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGE_SIZE);
    return pages > 0 && page_bytes > 0 ? (int64_t)pages * page_bytes : (int64_t)4 << 30;
}

static r2_status choose(const char *name, int32_t asked, int32_t standard, int32_t most,
                        int32_t *out, r2_error *err) {
    *out = asked == 0 ? standard : asked;
    if (*out >= 1 && *out <= most) return R2_OK;
    return r2i_fail(err, R2_E_RANGE, "%s: expected 1 to %d, found %d", name, most, asked);
}

/* Pages for the bytes asked for; by default four full sequences, within a quarter of the machine. */
static r2_status choose_pages(const r2_engine *engine, int64_t asked, int32_t *n_pages,
                              r2_error *err) {
    const int64_t page_bytes = (int64_t)engine->cache.page_bytes;
    int64_t n = asked / page_bytes;
    if (asked == 0) {
        const int64_t most = machine_bytes() / 4 / page_bytes;
        n = 4 * (int64_t)engine->cap_pages < most ? 4 * (int64_t)engine->cap_pages : most;
        if (n < engine->cap_pages) n = engine->cap_pages;
    }
    if (n >= 1 && n <= INT32_MAX / 2) {
        *n_pages = (int32_t)n;
        return R2_OK;
    }
    return r2i_fail(err, R2_E_RANGE,
                    "cache: expected room for at least one page of %lld bytes, found %lld bytes",
                    (long long)page_bytes, (long long)asked);
}

static r2_status take_batch_arrays(r2_engine *e, r2_error *err) {
    const size_t sequences = (size_t)e->cap_sequences, rows = (size_t)e->cap_rows,
                 logits = (size_t)e->cap_logits;
    const size_t n_vocab = (size_t)e->model->config.n_vocab;
    e->sequences = R2I_ARENA_ARRAY(&e->arena, r2_sequence *, sequences);
    e->by_age = R2I_ARENA_ARRAY(&e->arena, r2_sequence *, sequences);
    e->batch_tokens = R2I_ARENA_ARRAY(&e->arena, int32_t, rows);
    e->runs = R2I_ARENA_ARRAY(&e->arena, r2i_run, sequences);
    e->scheduled = R2I_ARENA_ARRAY(&e->arena, r2i_scheduled, sequences);
    e->logit_rows = R2I_ARENA_ARRAY(&e->arena, int32_t, logits);
    e->drawings = R2I_ARENA_ARRAY(&e->arena, r2i_drawing, sequences);
    e->logits_bytes = logits * n_vocab * sizeof(float);
    e->logits = r2i_memory_map(&e->model->heap, e->logits_bytes);
    const bool is_complete = e->sequences != NULL && e->by_age != NULL && e->batch_tokens != NULL &&
                             e->runs != NULL && e->scheduled != NULL && e->logit_rows != NULL &&
                             e->drawings != NULL && e->logits != NULL;
    return is_complete
               ? R2_OK
               : r2i_fail(err, R2_E_NOMEM, "no memory for batches of %d tokens", e->cap_rows);
}

static r2_status create_drawers(r2_engine *e, int32_t n, r2_error *err) {
    const int32_t n_vocab = e->model->config.n_vocab;
    e->drawers = R2I_ARENA_ARRAY(&e->arena, r2i_drawer, (size_t)n);
    for (int32_t i = 0; e->drawers != NULL && i < n; i++) {
        R2I_TRY(r2i_sampler_create(&e->drawers[i].sampler, n_vocab, e->model->kernels.softmax,
                                   &e->arena, err));
        e->drawers[i].allowed = R2I_ARENA_ARRAY(&e->arena, uint32_t, (size_t)n_vocab / 32 + 1);
        if (e->drawers[i].allowed == NULL)
            return r2i_fail(err, R2_E_NOMEM, "no memory for a mask of %d tokens", n_vocab);
    }
    return e->drawers != NULL ? R2_OK : r2i_fail(err, R2_E_NOMEM, "no memory for %d samplers", n);
}

/* Does anybody still wait for a row of this batch? */
static bool is_wanted(void *engine) {
    const r2_engine *e = engine;
    for (int32_t r = 0; r < e->n_runs; r++) {
        const r2_sequence *s = e->scheduled[r].sequence;
        if (!atomic_load_explicit(&s->is_canceled, memory_order_relaxed)) return true;
    }
    return false;
}

static r2_status create_parts(r2_engine *e, const r2_engine_options *o, r2_error *err) {
    const r2i_config *c = &e->model->config;
    int32_t n_threads, n_pages = 0;
    R2I_TRY(
        choose("threads", o->n_threads, r2i_min_i32(r2i_cpu_count(), 256), 256, &n_threads, err));
    R2I_TRY(choose("context", o->n_context, r2i_min_i32(c->n_context, DEFAULT_CONTEXT), 1 << 24,
                   &e->n_context, err));
    R2I_TRY(choose("batch tokens", o->n_batch_tokens, DEFAULT_BATCH_TOKENS, MAX_BATCH_TOKENS,
                   &e->cap_rows, err));
    R2I_TRY(choose("sequences", o->n_sequences, DEFAULT_SEQUENCES, MAX_SEQUENCES, &e->cap_sequences,
                   err));
    if ((unsigned)o->cache_rows > R2_CACHE_Q8)
        return r2i_fail(err, R2_E_RANGE, "cache rows: expected an r2_cache_rows, found %d",
                        (int)o->cache_rows);
    R2I_TRY(choose("step_ms", o->step_ms, DEFAULT_STEP_MS, MAX_STEP_MS, &e->step_ms, err));
    R2I_TRY(choose("reading tokens", o->n_reading_tokens, MAX_BATCH_TOKENS, MAX_BATCH_TOKENS,
                   &e->most_reading, err));
    e->is_reading_fixed = o->n_reading_tokens > 0;
    e->has_prefix_cache = !o->has_no_prefix_cache;
    r2i_engine_set_drafter(e, NULL);
    e->cap_pages = r2i_div_up_i32(e->n_context, R2I_PAGE_TOKENS);
    e->cap_logits = r2i_max_i32(r2i_min_i32(e->cap_sequences, e->cap_rows),
                                r2i_min_i32(R2I_LOGIT_ROWS, e->cap_rows));
    R2I_TRY(r2i_pool_create(&e->pool, n_threads, &e->model->heap, err));
    R2I_TRY(r2i_cache_layout_create(&e->cache, c, r2i_model_cache_rows(e->model, o->cache_rows),
                                    &e->arena, err));
    R2I_TRY(choose_pages(e, o->cache_bytes, &n_pages, err));
    R2I_TRY(r2i_pages_create(&e->pages, n_pages, e->cache.page_bytes, &e->arena, err));
    const r2i_forward_parts parts = { c,       &e->model->weights, &e->model->kernels,
                                      e->pool, &e->cache,          r2i_model_on_packed,
                                      e->model,
                                      NULL };
    const r2i_forward_limits limits = { e->cap_rows, e->cap_logits, e->n_context,
                                        e->model->is_expanding };
    R2I_TRY(r2i_forward_create(&e->forward, &parts, &limits, &e->arena, err));
    r2i_forward_set_wanted(e->forward, is_wanted, e);
    R2I_TRY(create_drawers(e, n_threads, err));
    R2I_TRY(r2i_module_create(e, err));
    return take_batch_arrays(e, err);
}

r2_status r2_engine_create(r2_engine **out, r2_model *model, const r2_engine_options *options,
                           r2_error *err) {
    static const r2_engine_options defaults = { 0 };
    *out = NULL;
    R2I_TRY(r2i_model_check_computes(model, err));
    r2_engine *e = r2i_heap_take(&model->heap, sizeof *e);
    if (e == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for an engine");
    memset(e, 0, sizeof *e);
    e->model = model;
    r2i_arena_init(&e->arena, &model->heap, ARENA_BLOCK_BYTES, 0);
    const r2_status status = create_parts(e, options != NULL ? options : &defaults, err);
    if (status != R2_OK) {
        r2_engine_destroy(e);
        return status;
    }
    *out = e;
    return R2_OK;
}

void r2_engine_destroy(r2_engine *e) {
    if (e == NULL) return;
    R2I_ASSERT(e->n_sequences == 0);
    r2i_pool_destroy(e->pool);
    r2i_pages_destroy(e->pages);
    r2i_memory_unmap(&e->model->heap, e->logits, e->logits_bytes);
    r2i_arena_destroy(&e->arena);
    r2i_heap_give(&e->model->heap, e, sizeof *e);
}

void r2_engine_get_stats(const r2_engine *e, r2_engine_stats *out) {
    *out = e->stats;
    out->n_pages = r2i_pages_total(e->pages);
    out->n_pages_used = r2i_pages_held(e->pages);
    out->n_pages_kept = r2i_pages_kept(e->pages);
    out->n_pages_evicted = r2i_pages_evicted(e->pages);
    out->page_tokens = R2I_PAGE_TOKENS;
    out->page_bytes = (int64_t)e->cache.page_bytes;
    out->cache_bytes_per_token = out->page_bytes / R2I_PAGE_TOKENS;
    out->cache_rows = r2i_row_kind_name(e->cache.rows);
    out->n_threads = r2i_pool_threads(e->pool);
    out->scratch_bytes = (int64_t)(e->arena.used_bytes + e->logits_bytes);
    out->packed_bytes = (int64_t)r2i_model_packed_bytes(e->model);
}

/* ---- putting a batch together ---- */

static void cancel_where_asked(r2_engine *e) {
    for (int32_t i = 0; i < e->cap_sequences; i++) {
        r2_sequence *s = e->sequences[i];
        if (s == NULL || !atomic_load_explicit(&s->is_canceled, memory_order_relaxed)) continue;
        if (s->finish == R2_FINISH_NONE) r2i_sequence_finish(s, R2_FINISH_CANCELED);
    }
}

/* ---- the step ---- */

static void forget_logits(r2_engine *e) {
    for (int32_t i = 0; i < e->cap_sequences; i++) {
        if (e->sequences[i] != NULL) e->sequences[i]->logits = NULL;
    }
}

static int32_t count_active(const r2_engine *e) {
    int32_t n = 0;
    for (int32_t i = 0; i < e->cap_sequences; i++) {
        if (e->sequences[i] != NULL && r2i_sequence_has_work(e->sequences[i])) n++;
    }
    return n;
}

/* The first step, for whose token somebody waits, packs nothing for good. */
static size_t pack_budget(const r2_engine *e) {
    if (e->stats.n_steps == 0) return 0;
    return r2i_max_size(PACK_STEP_BYTES, e->model->weights.packed_bytes / PACK_STEPS);
}

/* Steps in which weights were packed, or prompts read, say nothing about what a draft costs. */
static bool is_typical(const r2_engine *e, size_t budget) {
    int32_t n_logits = 0;
    for (int32_t r = 0; r < e->n_runs; r++)
        n_logits += 1 + e->scheduled[r].n_draft;
    return n_logits == e->n_rows && r2i_forward_pack_budget(e->forward) == budget;
}

/* False: all its sequences were canceled meanwhile, and it was left where it was. */
static bool compute(r2_engine *e) {
    const r2i_batch batch = { e->batch_tokens, e->n_rows, e->runs, e->n_runs };
    const size_t budget = pack_budget(e);
    const int64_t start_ns = r2i_clock_ns();
    r2i_forward_set_pack_budget(e->forward, budget);
    r2i_forward_run(e->forward, &batch);
    if (!r2i_forward_is_complete(e->forward)) return false;
    const int64_t run_ns = r2i_clock_ns() - start_ns;
    r2i_module_keep(e);
    const int64_t logits_ns = r2i_results_use(e);
    r2i_schedule_note(e, run_ns + logits_ns);
    if (is_typical(e, budget)) r2i_step_cost_note(&e->cost, e->n_rows, run_ns + logits_ns);
    r2i_module_draft(e);
    for (int32_t r = 0; r < e->n_runs; r++)
        r2i_sequence_publish(e->scheduled[r].sequence, e->runs[r].first_position);
    return true;
}

r2_status r2_engine_step(r2_engine *e, int32_t *n_active, r2_error *err) {
    const int64_t start_ns = r2i_clock_ns();
    *n_active = 0;
    R2I_TRY(r2i_model_check_intact(e->model, err));
    cancel_where_asked(e);
    forget_logits(e);
    r2i_schedule_batch(e);
    if (e->n_rows == 0) {
        *n_active = count_active(e);
        return R2_OK;
    }
    if (!compute(e)) cancel_where_asked(e);
    e->stats.n_steps++;
    e->stats.step_ns += r2i_clock_ns() - start_ns;
    *n_active = count_active(e);
    return R2_OK;
}
