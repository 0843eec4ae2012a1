/* sequence.c - life of a sequence: tokens, pages, options. */
#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "engine/engine_state.h"

/* ---- memory: one block per sequence, mapped fresh so that only used parts are touched ---- */

enum { ALIGN = 64 };

static size_t place(size_t *used, size_t n_bytes) {
    const size_t at = *used;
    *used = (at + n_bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    return at;
}

static r2_sequence *take_sequence(r2_engine *engine, int32_t n_biases) {
    const size_t n = (size_t)engine->n_context, pages = (size_t)engine->cap_pages;
    size_t used = 0;
    const size_t self = place(&used, sizeof(r2_sequence)),
                 tokens = place(&used, n * sizeof(int32_t));
    const size_t logprobs = place(&used, n * sizeof(float)), thought = place(&used, n);
    const size_t ids = place(&used, pages * sizeof(int32_t)),
                 memory = place(&used, pages * sizeof(uint8_t *));
    const uint32_t n_slots = r2i_lookup_slots(engine->n_context);
    const size_t slots = place(&used, n_slots * sizeof(int32_t)),
                 before = place(&used, n * sizeof(int32_t));
    uint8_t *block = r2i_memory_map(&engine->model->heap, used);
    if (block == NULL) return NULL;
    r2_sequence *s = (void *)(block + self);
    s->n_bytes = used;
    s->engine = engine;
    s->tokens = (void *)(block + tokens);
    s->logprobs = (void *)(block + logprobs);
    s->is_thought = block + thought;
    s->pages = (void *)(block + ids);
    s->page_memory = (void *)(block + memory);
    s->lookup = (r2i_lookup){ .last = (void *)(block + slots),
                              .before = (void *)(block + before),
                              .n_slots = n_slots };
    if (n_biases == 0) return s;
    s->biases = r2i_heap_take(&engine->model->heap, (size_t)n_biases * sizeof *s->biases);
    if (s->biases != NULL) return s;
    r2i_memory_unmap(&engine->model->heap, block, used);
    return NULL;
}

static void give_biases(r2_sequence *s) {
    r2i_heap_give(&s->engine->model->heap, s->biases, (size_t)s->n_biases * sizeof *s->biases);
    s->biases = NULL;
    s->n_biases = 0;
}

/* ---- options ---- */

static bool is_in(float x, float low, float high) {
    return x >= low && x <= high; /* false for NaN */
}

/* Checks options against the engine's model. */
static r2_status check_options(const r2_engine *engine, const r2_sequence_options *o,
                               r2_error *err) {
    const r2_sampling *p = &o->sampling;
    const struct {
        const char *name;
        float found, low, high;
    } ranges[] = {
        { "temperature", p->temperature, 0, 100 },
        { "top_p", p->top_p, 0, 1 },
        { "min_p", p->min_p, 0, 1 },
        { "repetition_penalty", p->repetition_penalty, 0, 100 },
        { "presence_penalty", p->presence_penalty, -100, 100 },
        { "frequency_penalty", p->frequency_penalty, -100, 100 },
        { "top_k", (float)p->top_k, 0, 1e9f },
        { "n_top_logprobs", (float)p->n_top_logprobs, 0, R2I_MAX_TOP_LOGPROBS },
        { "n_penalty_tokens", (float)p->n_penalty_tokens, 0, 1e9f },
        { "max_new_tokens", (float)o->max_new_tokens, 0, 1e9f },
        { "n_draft", (float)o->n_draft, 0, R2I_MAX_DRAFT },
        { "think_minimum", (float)o->think_minimum, 0, 1e9f },
        { "adapter_scale", o->adapter_scale, -1000, 1000 },
        { "n_biases", (float)p->n_biases, 0, (float)engine->model->config.n_vocab },
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        if (is_in(ranges[i].found, ranges[i].low, ranges[i].high)) continue;
        return r2i_fail(err, R2_E_RANGE, "%s: expected %g to %g, found %g", ranges[i].name,
                        (double)ranges[i].low, (double)ranges[i].high, (double)ranges[i].found);
    }
    if (o->adapter != NULL && o->adapter->model != engine->model)
        return r2i_fail(err, R2_E_ARGUMENT, "adapter %s: opened for another model",
                        o->adapter->name);
    for (int32_t i = 0; i < p->n_biases; i++) {
        const r2_logit_bias *b = &p->biases[i];
        if (b->token >= 0 && b->token < engine->model->config.n_vocab && !isnan(b->bias) &&
            b->bias < INFINITY)
            continue;
        return r2i_fail(err, R2_E_RANGE, "logit bias %d: token %d or its bias is out of range", i,
                        b->token);
    }
    return R2_OK;
}

r2i_page_domain r2i_sequence_domain(const r2_sequence *s) {
    const r2_adapter *adapter = s->options.adapter;
    uint32_t scale;
    memcpy(&scale, &s->options.adapter_scale, sizeof scale);
    return (r2i_page_domain){ s->options.cache_domain,
                              adapter != NULL ? (uint64_t)adapter->id << 32 | scale : 0 };
}

/* What was computed with another adapter is of no use any more. */
static void read_again(r2_sequence *s) {
    r2i_sequence_give_pages(s);
    s->n_cached = 0;
    s->has_looked = false;
    s->n_prompt_logprobs = 0;
    s->logits = NULL;
    if (s->finish == R2_FINISH_NONE && s->n_tokens > 0) s->state = R2_STATE_READING;
}

static void set_options(r2_sequence *s, const r2_sequence_options *options) {
    const uint64_t domain = s->options.cache_domain, variant = r2i_sequence_domain(s).variant;
    const bool is_new = s->n_tokens == 0 && s->n_pages == 0 && !s->has_started;
    s->options = *options;
    s->options.sampling.biases = NULL;
    if (!is_new) s->options.cache_domain = domain;
    if (s->options.adapter == NULL || s->options.adapter_scale == 0) s->options.adapter_scale = 1;
    if (r2i_sequence_domain(s).variant != variant) read_again(s);
    s->has_started = true;
    s->n_biases = options->sampling.n_biases;
    for (int32_t i = 0; i < s->n_biases; i++) {
        s->biases[i] =
            (r2i_token_bias){ options->sampling.biases[i].token, options->sampling.biases[i].bias };
    }
    s->generation_start = s->n_tokens;
    s->n_generated = 0;
    s->n_thinking = 0;
    s->n_budget_used = 0;
    s->is_think_cut = false;
    atomic_store(&s->is_think_stopped, false);
    s->n_drafted = 0;
    s->n_accepted = 0;
    if (s->finish == R2_FINISH_LENGTH && s->n_tokens < s->engine->n_context) {
        s->finish = R2_FINISH_NONE;
        s->state = R2_STATE_READING;
    }
}

r2_status r2_sequence_set_options(r2_sequence *s, const r2_sequence_options *options,
                                  r2_error *err) {
    static const r2_sequence_options greedy = { 0 };
    if (options == NULL) options = &greedy;
    R2I_TRY(check_options(s->engine, options, err));
    r2i_token_bias *biases = NULL;
    const int32_t n = options->sampling.n_biases;
    if (n > 0) {
        biases = r2i_heap_take(&s->engine->model->heap, (size_t)n * sizeof *biases);
        if (biases == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for %d logit biases", n);
    }
    give_biases(s);
    s->biases = biases;
    set_options(s, options);
    return R2_OK;
}

/* ---- creation ---- */

static int32_t free_slot(const r2_engine *engine) {
    for (int32_t i = 0; i < engine->cap_sequences; i++) {
        if (engine->sequences[i] == NULL) return i;
    }
    return -1;
}

r2_status r2_sequence_create(r2_sequence **out, r2_engine *engine,
                             const r2_sequence_options *options, r2_error *err) {
    static const r2_sequence_options greedy = { 0 };
    *out = NULL;
    if (options == NULL) options = &greedy;
    R2I_TRY(check_options(engine, options, err));
    const int32_t slot = free_slot(engine);
    if (slot < 0)
        return r2i_fail(err, R2_E_FULL, "all %d sequences are in use", engine->cap_sequences);
    r2_sequence *s = take_sequence(engine, options->sampling.n_biases);
    if (s == NULL)
        return r2i_fail(err, R2_E_NOMEM, "no memory for a sequence of %d tokens",
                        engine->n_context);
    s->slot = slot;
    set_options(s, options);
    engine->sequences[slot] = s;
    engine->by_age[engine->n_sequences++] = s;
    *out = s;
    return R2_OK;
}

static void forget_age(const r2_sequence *s) {
    r2_engine *e = s->engine;
    int32_t i = 0;
    while (e->by_age[i] != s)
        i++;
    memmove(e->by_age + i, e->by_age + i + 1, (size_t)(e->n_sequences - 1 - i) * sizeof *e->by_age);
}

void r2_sequence_destroy(r2_sequence *s) {
    if (s == NULL) return;
    r2_engine *engine = s->engine;
    r2i_sequence_release_pages(s, 0);
    engine->sequences[s->slot] = NULL;
    forget_age(s);
    engine->n_sequences--;
    give_biases(s);
    r2i_memory_unmap(&engine->model->heap, s, s->n_bytes);
}

/* ---- tokens ---- */

r2_status r2_sequence_append(r2_sequence *s, const r2_token *tokens, int32_t n, r2_error *err) {
    const int32_t n_vocab = s->engine->model->config.n_vocab;
    if (n < 0 || n > s->engine->n_context - s->n_tokens) {
        return r2i_fail(err, R2_E_FULL, "context of %d tokens: %d in use, no room for %d more",
                        s->engine->n_context, s->n_tokens, n);
    }
    for (int32_t i = 0; i < n; i++) {
        if (tokens[i] >= 0 && tokens[i] < n_vocab) continue;
        return r2i_fail(err, R2_E_RANGE, "token %d of the text: expected 0 to %d, found %d", i,
                        n_vocab - 1, tokens[i]);
    }
    if (n == 0) return R2_OK;
    memcpy(s->tokens + s->n_tokens, tokens, (size_t)n * sizeof *tokens);
    memset(s->is_thought + s->n_tokens, 0, (size_t)n);
    s->n_tokens += n;
    s->n_read = s->n_tokens;
    s->generation_start = s->n_tokens;
    s->state = R2_STATE_READING;
    s->has_tag = false;
    s->finish = R2_FINISH_NONE;
    atomic_store(&s->is_canceled, false);
    atomic_store(&s->is_think_stopped, false);
    r2i_sequence_read_markers(s);
    return R2_OK;
}

void r2_sequence_cancel(r2_sequence *s) {
    atomic_store(&s->is_canceled, true);
}

void r2_sequence_stop_thinking(r2_sequence *s) {
    atomic_store(&s->is_think_stopped, true);
}

bool r2i_sequence_has_work(const r2_sequence *s) {
    return s->finish == R2_FINISH_NONE && s->n_computed < s->n_tokens;
}

void r2i_sequence_finish(r2_sequence *s, r2_finish finish) {
    s->finish = finish;
    s->state = R2_STATE_FINISHED;
}

/* ---- fork, rewind ---- */

r2_status r2_sequence_fork(r2_sequence **out, r2_sequence *s, const r2_sequence_options *options,
                           r2_error *err) {
    R2I_TRY(r2_sequence_create(out, s->engine, options, err));
    r2_sequence *copy = *out;
    const size_t n = (size_t)s->n_tokens;
    copy->options.cache_domain = s->options.cache_domain;
    memcpy(copy->tokens, s->tokens, n * sizeof *s->tokens);
    memcpy(copy->logprobs, s->logprobs, n * sizeof *s->logprobs);
    memcpy(copy->is_thought, s->is_thought, n);
    memcpy(copy->pages, s->pages, (size_t)s->n_pages * sizeof *s->pages);
    memcpy(copy->page_memory, s->page_memory, (size_t)s->n_pages * sizeof *s->page_memory);
    for (int32_t i = 0; i < s->n_pages; i++)
        r2i_pages_hold(s->engine->pages, s->pages[i]);
    copy->n_pages = s->n_pages;
    copy->n_tokens = s->n_tokens;
    copy->n_read = s->n_tokens;
    copy->generation_start = s->n_tokens;
    /* All computed: the last token is computed again, to have its logits. */
    copy->n_computed = r2i_min_i32(s->n_computed, r2i_max_i32(s->n_tokens - 1, 0));
    copy->n_cached = copy->n_computed;
    copy->n_prompt_logprobs = s->n_prompt_logprobs;
    copy->is_thinking = s->is_thinking;
    copy->n_budget_used = s->n_budget_used;
    copy->state = copy->n_tokens > 0 ? R2_STATE_READING : R2_STATE_IDLE;
    if (r2i_sequence_domain(copy).variant != r2i_sequence_domain(s).variant) read_again(copy);
    return R2_OK;
}

r2_status r2_sequence_rewind(r2_sequence *s, int32_t n_tokens, r2_error *err) {
    if (n_tokens < 0 || n_tokens > s->n_tokens) {
        return r2i_fail(err, R2_E_RANGE, "rewind: expected 0 to %d tokens, found %d", s->n_tokens,
                        n_tokens);
    }
    const int32_t n_computed = r2i_min_i32(s->n_computed, r2i_max_i32(n_tokens - 1, 0));
    r2i_lookup_rewind(&s->lookup, s->tokens, n_tokens);
    r2i_sequence_release_pages(s, r2i_div_up_i32(n_computed, R2I_PAGE_TOKENS));
    s->n_tokens = n_tokens;
    s->n_computed = n_computed;
    s->n_cached = r2i_min_i32(s->n_cached, s->n_computed);
    s->n_read = r2i_min_i32(s->n_read, n_tokens);
    s->n_prompt_logprobs = r2i_min_i32(s->n_prompt_logprobs, r2i_max_i32(n_tokens - 1, 0));
    s->generation_start = n_tokens;
    s->n_generated = 0;
    s->n_thinking = 0;
    s->n_top = 0;
    s->logits = NULL;
    s->has_tag = false;
    s->state = n_tokens > 0 ? R2_STATE_READING : R2_STATE_IDLE;
    s->finish = R2_FINISH_NONE;
    atomic_store(&s->is_canceled, false);
    atomic_store(&s->is_think_stopped, false);
    r2i_sequence_read_markers(s);
    return R2_OK;
}

/* ---- what the caller sees ---- */

void r2_sequence_get_status(const r2_sequence *s, r2_sequence_status *out) {
    *out = (r2_sequence_status){ .state = s->state,
                                 .finish = s->finish,
                                 .n_tokens = s->n_tokens,
                                 .n_computed = s->n_computed,
                                 .n_cached = s->n_cached,
                                 .n_generated = s->n_generated,
                                 .n_thinking = s->n_thinking,
                                 .is_thinking = s->is_thinking,
                                 .is_think_cut = s->is_think_cut,
                                 .n_drafted = s->n_drafted,
                                 .n_accepted = s->n_accepted,
                                 .miss = s->miss,
                                 .n_matched = s->n_matched,
                                 .n_preempted = s->n_preempted };
}

int32_t r2_sequence_read(r2_sequence *s, r2_generated *out, int32_t cap) {
    int32_t n = 0;
    for (; n < cap && s->n_read < s->n_tokens; n++, s->n_read++) {
        out[n] = (r2_generated){ s->tokens[s->n_read], s->is_thought[s->n_read] != 0,
                                 s->logprobs[s->n_read] };
    }
    return n;
}

const r2_token *r2_sequence_tokens(const r2_sequence *s, int32_t *n_tokens) {
    *n_tokens = s->n_tokens;
    return s->tokens;
}

int32_t r2_sequence_top_logprobs(const r2_sequence *s, r2_top_logprob *out, int32_t cap) {
    const int32_t n = r2i_min_i32(s->n_top, cap);
    if (n > 0) memcpy(out, s->top, (size_t)n * sizeof *out);
    return n;
}

int32_t r2_sequence_prompt_logprobs(const r2_sequence *s, float *out, int32_t cap) {
    const int32_t n = r2i_min_i32(s->n_prompt_logprobs, cap);
    if (n > 0) memcpy(out, s->logprobs + 1, (size_t)n * sizeof *out);
    return n;
}

const float *r2_sequence_logits(const r2_sequence *s) {
    return s->n_computed == s->n_tokens ? s->logits : NULL;
}

r2_status r2_sequence_sample(r2_sequence *s, r2_mask_callback mask, void *user, r2_token *out,
                             r2_error *err) {
    const float *logits = r2_sequence_logits(s);
    *out = -1;
    if (logits == NULL)
        return r2i_fail(err, R2_E_STATE,
                        "no logits: step the engine until all tokens are computed");
    *out = r2i_sequence_draw(s, &s->engine->drawers[0], logits, mask, user);
    return *out >= 0 ? R2_OK
                     : r2i_fail(err, R2_E_NOT_FOUND, "mask, biases and logits leave no token");
}
