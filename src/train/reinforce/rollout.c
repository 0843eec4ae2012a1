#include "train/reinforce/rollout.h"

#include <string.h>

#include "base/failure.h"
#include "model/adapter.h"
#include "model/model.h"
#include "train/lora/lora_parameters.h"
#include "train/runs/trainer_model.h"

enum { PANEL_ALIGN = 64, READ_TOKENS = 64 };

typedef struct {
    r2_sequence *sequence; /* NULL: free */
    r2i_rollout_job job;
} slot;

struct r2i_rollout {
    r2_model *model;
    r2_engine *engine;
    r2i_arena arena;
    slot *slots; /* [n_slots] */
    int32_t n_slots;
    r2_sequence *shared; /* a prompt that n_alike answers more begin with; or NULL */
    int32_t n_alike;
    float *logprobs; /* [n_context] */
    bool *is_thinking;
    int32_t n_context;
    uint64_t n_runs; /* what one run left in the cache is not the next one's */
    /* Live models. */
    bool is_live;
    r2_adapter adapter; /* of a trainer that trains low-rank pairs alone */
    bool has_adapter;
    uint8_t *panel_memory;
    size_t panel_bytes;
};

/* ---- panels of weights that change ---- */

/* Matrices that have no room for panels of their own: a trainer's. */
static void add_panels(void *user, r2i_matrix *m) {
    r2i_rollout *r = user;
    if (m->panels != NULL) return;
    r->panel_bytes +=
        ((size_t)m->n_panels * m->panel_bytes + PANEL_ALIGN - 1) & ~(size_t)(PANEL_ALIGN - 1);
}

typedef struct {
    uint8_t *base, *next;
    size_t n_bytes;
} panel_places;

static void lend_panels(void *user, r2i_matrix *m) {
    panel_places *places = user;
    if (m->panels != NULL) return;
    m->panels = places->next;
    places->next +=
        ((size_t)m->n_panels * m->panel_bytes + PANEL_ALIGN - 1) & ~(size_t)(PANEL_ALIGN - 1);
}

static void take_panels_back(void *user, r2i_matrix *m) {
    const panel_places *places = user;
    if (m->panels < places->base || m->panels >= places->base + places->n_bytes) return;
    m->panels = NULL;
    atomic_store(&m->pack_state, R2I_PACK_NONE);
}

static void begin_panels(r2i_rollout *r) {
    panel_places places = { r->panel_memory, r->panel_memory, r->panel_bytes };
    if (r->panel_memory != NULL)
        r2i_weights_visit(&r->model->weights, &r->model->config, lend_panels, &places);
}

static void end_panels(r2i_rollout *r) {
    panel_places places = { r->panel_memory, r->panel_memory, r->panel_bytes };
    if (r->panel_memory != NULL)
        r2i_weights_visit(&r->model->weights, &r->model->config, take_panels_back, &places);
}

/* ---- opening ---- */

static r2_status open_parts(r2i_rollout *r, const r2_engine_options *options, r2_error *err) {
    const int32_t made_for = r->model->config.n_context;
    r2_engine_options with_shared = *options;
    with_shared.n_sequences++;
    r->n_slots = options->n_sequences;
    r->n_context = options->n_context > 0 ? options->n_context : made_for;
    r2i_taker t = { &r->arena, false };
    r->slots = r2i_take(&t, (size_t)r->n_slots, sizeof *r->slots);
    r->logprobs = r2i_take_floats(&t, 1, (size_t)r->n_context);
    r->is_thinking = r2i_take(&t, (size_t)r->n_context, sizeof *r->is_thinking);
    if (t.has_failed) return r2i_fail(err, R2_E_NOMEM, "no memory for %d answers", r->n_slots);
    return r2_engine_create(&r->engine, r->model, &with_shared, err);
}

static r2_status open_model(r2i_rollout **out, r2_model *model, const r2_engine_options *options,
                            r2_error *err) {
    *out = NULL;
    r2i_rollout *r = r2i_heap_take(&model->heap, sizeof *r);
    if (r == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for answers");
    memset(r, 0, sizeof *r);
    r->model = model;
    r2i_arena_init(&r->arena, &model->heap, 1 << 16, 0);
    const r2_status status = open_parts(r, options, err);
    if (status != R2_OK)
        r2i_rollout_close(r);
    else
        *out = r;
    return status;
}

r2_status r2i_rollout_open(r2i_rollout **out, r2_model *model, const r2_engine_options *options,
                           r2_error *err) {
    return open_model(out, model, options, err);
}

r2_status r2i_rollout_open_live(r2i_rollout **out, r2_trainer *trainer,
                                const r2_engine_options *options, r2_error *err) {
    r2_model *model = r2i_trainer_model(trainer);
    const r2i_lora_parameters *lora = r2i_trainer_lora(trainer);
    R2I_TRY(open_model(out, model, options, err));
    r2i_rollout *r = *out;
    r->is_live = true;
    r->has_adapter = lora != NULL;
    if (lora != NULL) {
        r->adapter.model = model;
        r->adapter.id = UINT32_MAX; /* none that is opened */
        r->adapter.content.pairs = lora->pairs;
    }
    r2i_weights_visit(&model->weights, &model->config, add_panels, r);
    /* Without room for panels they are made for each use: slower, the same bits. */
    if (r->panel_bytes > 0) r->panel_memory = r2i_memory_map(&model->heap, r->panel_bytes);
    return R2_OK;
}

void r2i_rollout_close(r2i_rollout *r) {
    if (r == NULL) return;
    r2i_heap *heap = &r->model->heap;
    r2_engine_destroy(r->engine);
    end_panels(r);
    if (r->panel_memory != NULL) r2i_memory_unmap(heap, r->panel_memory, r->panel_bytes);
    r2i_arena_destroy(&r->arena);
    r2i_heap_give(heap, r, sizeof *r);
}

/* ---- answering ---- */

static void drop_shared(r2i_rollout *r) {
    r2_sequence_destroy(r->shared);
    r->shared = NULL;
    r->n_alike = 0;
}

static void read_answer(r2i_rollout *r, const slot *s) {
    r2_generated some[READ_TOKENS];
    int32_t n_read = 0;
    for (;;) {
        const int32_t n = r2_sequence_read(s->sequence, some, READ_TOKENS);
        if (n == 0) return;
        for (int32_t i = 0; i < n; i++, n_read++) {
            r->logprobs[n_read] = some[i].logprob;
            r->is_thinking[n_read] = some[i].is_thinking;
        }
    }
}

static r2_status end_answer(r2i_rollout *r, slot *s, const r2i_rollout_work *work, r2_error *err) {
    r2i_rollout_answer answer = { .job = s->job,
                                  .logprobs = r->logprobs,
                                  .is_thinking = r->is_thinking };
    r2_sequence_get_status(s->sequence, &answer.status);
    if (answer.status.state != R2_STATE_FINISHED) return R2_OK;
    read_answer(r, s);
    answer.tokens = r2_sequence_tokens(s->sequence, &answer.n_tokens);
    const r2_status status = work->answered(work->user, &answer, err);
    r2_sequence_destroy(s->sequence);
    s->sequence = NULL;
    return status;
}

/* Reads a job's prompt for those behind it, while the answers at work go on.  Whole pages would be shared
 * without this; questions are often shorter than one. */
static r2_status share_prompt(r2i_rollout *r, const r2i_rollout_job *job,
                              const r2_sequence_options *how, r2_error *err) {
    r2_sequence_options reading = *how;
    r2_sequence_status state;
    int32_t n_active = 1;
    reading.is_manual = true;
    drop_shared(r);
    R2I_TRY(r2_sequence_create(&r->shared, r->engine, &reading, err));
    R2I_TRY(r2_sequence_append(r->shared, job->prompt, job->n_prompt, err));
    while (r2_sequence_logits(r->shared) == NULL) {
        r2_sequence_get_status(r->shared, &state);
        if (n_active == 0 || state.state == R2_STATE_FINISHED) { /* out of memory: each by itself */
            drop_shared(r);
            return R2_OK;
        }
        R2I_TRY(r2_engine_step(r->engine, &n_active, err));
    }
    r->n_alike = job->n_alike + 1;
    return R2_OK;
}

static r2_status begin_answer(r2i_rollout *r, slot *s, const r2i_rollout_work *work,
                              r2_error *err) {
    r2_sequence_options how = work->how;
    how.cache_domain = r->n_runs; /* samples of a prompt share its pages */
    if (r->has_adapter) how.adapter = &r->adapter;
    if (r->n_alike == 0 && s->job.n_alike > 0) R2I_TRY(share_prompt(r, &s->job, &how, err));
    how.sampling.seed = s->job.seed;
    if (r->n_alike == 0) {
        R2I_TRY(r2_sequence_create(&s->sequence, r->engine, &how, err));
        return r2_sequence_append(s->sequence, s->job.prompt, s->job.n_prompt, err);
    }
    R2I_TRY(r2_sequence_fork(&s->sequence, r->shared, &how, err));
    if (--r->n_alike == 0) drop_shared(r);
    return R2_OK;
}

static r2_status fill_slots(r2i_rollout *r, const r2i_rollout_work *work, bool *has_more,
                            r2_error *err) {
    for (int32_t i = 0; *has_more && i < r->n_slots; i++) {
        if (r->slots[i].sequence != NULL) continue;
        R2I_TRY(work->next(work->user, &r->slots[i].job, has_more, err));
        if (*has_more) R2I_TRY(begin_answer(r, &r->slots[i], work, err));
    }
    return R2_OK;
}

static r2_status answer_all(r2i_rollout *r, const r2i_rollout_work *work, r2_error *err) {
    bool has_more = true;
    int32_t n_active;
    for (;;) {
        R2I_TRY(fill_slots(r, work, &has_more, err));
        R2I_TRY(r2_engine_step(r->engine, &n_active, err));
        int32_t n_open = 0;
        for (int32_t i = 0; i < r->n_slots; i++) {
            if (r->slots[i].sequence != NULL) R2I_TRY(end_answer(r, &r->slots[i], work, err));
            n_open += r->slots[i].sequence != NULL;
        }
        if (n_open == 0 && !has_more) return R2_OK;
    }
}

int32_t r2i_rollout_find_forced(const r2i_rollout_answer *a, r2_token think_close) {
    const int32_t n_prompt = a->job.n_prompt;
    int32_t forced = -1;
    for (int32_t i = n_prompt; a->status.is_think_cut && i < a->n_tokens; i++) {
        if (a->tokens[i] == think_close && a->is_thinking[i - n_prompt]) forced = i;
    }
    return forced;
}

r2_status r2i_rollout_run(r2i_rollout *r, const r2i_rollout_work *work, r2_error *err) {
    r->n_runs++;
    begin_panels(r);
    const r2_status status = answer_all(r, work, err);
    drop_shared(r);
    for (int32_t i = 0; i < r->n_slots; i++) {
        r2_sequence_destroy(r->slots[i].sequence); /* those an error left */
        r->slots[i].sequence = NULL;
    }
    if (!r->has_adapter) end_panels(r); /* a base that an adapter is trained for stays as it is */
    return status;
}
