/* generate.c - from logits to the next token: thinking, budget, limits, log-probabilities. */
#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "engine/engine_state.h"

enum { DEFAULT_PENALTY_TOKENS = 64 };

static bool is_marker(const r2_sequence *s, int32_t token) {
    return token == s->engine->model->think_open || token == s->engine->model->think_close;
}

/* A template opens a block by ending the prompt with <think> and at most a newline behind it.  Other
 * places do not count: "<think>" in a user's text is no state of ours.  Tokens drawn in a block that
 * the sequence ends in (rewound or read from a file) leave it open, with what they used of the budget. */
void r2i_sequence_read_markers(r2_sequence *s) {
    const int32_t open = s->engine->model->think_open, n = s->n_tokens;
    int32_t first = n;
    s->is_thinking = false;
    s->n_budget_used = 0;
    if (open < 0 || n == 0) return;
    while (first > 0 && s->is_thought[first - 1] && !is_marker(s, s->tokens[first - 1]))
        first--;
    s->n_budget_used = n - first;
    s->is_thinking = first < n || s->tokens[n - 1] == open ||
                     (n > 1 && s->tokens[n - 2] == open && !is_marker(s, s->tokens[n - 1]));
}

/* Most tokens of thoughts, those there are included; INT32_MAX: no limit. */
static int32_t think_limit(const r2_sequence *s) {
    const int32_t budget = s->options.think_budget;
    if (s->options.think == R2_THINK_OFF || budget < 0) return 0;
    if (atomic_load_explicit(&s->is_think_stopped, memory_order_relaxed)) return 0;
    return budget == 0 ? INT32_MAX : budget;
}

static void forbid(uint32_t *allowed, int32_t token) {
    if (token >= 0) allowed[token / 32] &= ~(1u << token % 32);
}

/* Neither the block nor the text may end here. */
static void forbid_ends(const r2_model *model, uint32_t *allowed) {
    size_t n = 0;
    const int32_t *ends = model->tokenizer != NULL ? r2i_tokenizer_eog(model->tokenizer, &n) : NULL;
    forbid(allowed, model->think_close);
    for (size_t i = 0; i < n; i++)
        forbid(allowed, ends[i]);
}

/* The mask for this draw, or NULL.  With the budget used up no block may be opened any more, and one that
 * is below the minimum goes on. */
static const uint32_t *collect_mask(r2_sequence *s, uint32_t *allowed, r2_mask_callback mask,
                                    void *user) {
    const r2_engine *engine = s->engine;
    const int32_t n_vocab = engine->model->config.n_vocab, open = engine->model->think_open;
    const bool is_open_forbidden = open >= 0 && s->n_budget_used >= think_limit(s);
    const bool must_think = s->is_thinking && s->n_budget_used < s->options.think_minimum;
    if (mask == NULL && !is_open_forbidden && !must_think) return NULL;
    memset(allowed, 0xff, ((size_t)n_vocab / 32 + 1) * sizeof *allowed);
    const bool has_mask = mask != NULL && mask(user, s, allowed, n_vocab);
    if (is_open_forbidden) forbid(allowed, open);
    if (must_think) forbid_ends(engine->model, allowed);
    return has_mask || is_open_forbidden || must_think ? allowed : NULL;
}

static int32_t draw(const r2_sequence *s, const r2i_drawer *drawer, const float *logits,
                    const uint32_t *allowed, int32_t n_ahead) {
    const r2_sampling *p = &s->options.sampling;
    const int32_t look_back =
        p->n_penalty_tokens > 0 ? p->n_penalty_tokens : DEFAULT_PENALTY_TOKENS;
    const int32_t n_recent = r2i_min_i32(look_back, s->n_tokens);
    const r2i_sampling sampling = { .temperature = p->temperature,
                                    .top_k = p->top_k,
                                    .top_p = p->top_p,
                                    .min_p = p->min_p,
                                    .repetition_penalty = p->repetition_penalty,
                                    .presence_penalty = p->presence_penalty,
                                    .frequency_penalty = p->frequency_penalty,
                                    .seed = p->seed,
                                    .biases = s->biases,
                                    .n_biases = s->n_biases };
    const r2i_draw one = { .logits = logits,
                           .recent = s->tokens + (s->n_tokens - n_recent),
                           .n_recent = n_recent,
                           .generated = s->tokens + s->generation_start,
                           .n_generated = s->n_tokens - s->generation_start,
                           .allowed = allowed,
                           .position = (uint64_t)(s->n_tokens + n_ahead) };
    return r2i_sampler_draw(drawer->sampler, &sampling, &one);
}

int32_t r2i_sequence_draw(r2_sequence *s, const r2i_drawer *drawer, const float *logits,
                          r2_mask_callback mask, void *user) {
    return draw(s, drawer, logits, collect_mask(s, drawer->allowed, mask, user), 0);
}

int32_t r2i_sequence_guess(r2_sequence *s, const r2i_drawer *drawer, const float *logits,
                           int32_t n_ahead) {
    return draw(s, drawer, logits, collect_mask(s, drawer->allowed, NULL, NULL), n_ahead);
}

static void record_logprobs(r2_sequence *s, const float *logits, int32_t token) {
    const r2_engine *engine = s->engine;
    const int32_t n_vocab = engine->model->config.n_vocab;
    const float total = engine->model->kernels.log_sum_exp(logits, n_vocab);
    s->logprobs[s->n_tokens] = logits[token] - total;
    s->n_top = 0;
    if (s->options.sampling.n_top_logprobs == 0) return;
    r2i_candidate best[R2I_MAX_TOP_LOGPROBS];
    s->n_top = r2i_top_logits(logits, n_vocab, best, s->options.sampling.n_top_logprobs);
    for (int32_t i = 0; i < s->n_top; i++)
        s->top[i] = (r2_top_logprob){ best[i].token, best[i].logit - total };
}

/* Follows the markers.  Both count as thought, but not against the budget. */
static void track_thinking(r2_sequence *s, int32_t token) {
    const r2_model *model = s->engine->model;
    const bool is_open = token == model->think_open && model->think_open >= 0;
    const bool is_close = s->is_thinking && token == model->think_close;
    s->is_thought[s->n_tokens] = s->is_thinking || is_open;
    if (s->is_thinking && !is_close) {
        s->n_thinking++;
        s->n_budget_used++;
    }
    if (is_open) s->is_thinking = true;
    if (is_close) s->is_thinking = false;
}

static bool is_end(const r2_sequence *s, int32_t token) {
    const r2_model *model = s->engine->model;
    return !s->options.ignores_end && model->tokenizer != NULL &&
           r2i_tokenizer_is_eog(model->tokenizer, token);
}

/* A context that is full already, by a prompt or a fork, has no place for a token. */
static bool is_full(const r2_sequence *s) {
    return s->n_tokens >= s->engine->n_context;
}

void r2i_sequence_choose(r2_sequence *s, const r2i_drawer *drawer, const float *logits) {
    s->chosen = -1;
    if (is_full(s)) return;
    s->is_cut = s->is_thinking && s->n_budget_used >= think_limit(s);
    s->chosen = s->is_cut ? s->engine->model->think_close
                          : r2i_sequence_draw(s, drawer, logits, s->options.mask, s->options.user);
    if (s->chosen >= 0) record_logprobs(s, logits, s->chosen);
}

void r2i_sequence_write(r2_sequence *s) {
    const int32_t token = s->chosen;
    if (token < 0) {
        r2i_sequence_finish(s, is_full(s) ? R2_FINISH_LENGTH : R2_FINISH_ERROR);
        return;
    }
    s->is_think_cut |= s->is_cut;
    track_thinking(s, token);
    s->tokens[s->n_tokens++] = token;
    s->n_generated++;
    s->state = R2_STATE_WRITING;
    const bool is_long =
        s->options.max_new_tokens > 0 && s->n_generated >= s->options.max_new_tokens;
    if (is_end(s, token))
        r2i_sequence_finish(s, R2_FINISH_END);
    else if (is_full(s) || is_long)
        r2i_sequence_finish(s, R2_FINISH_LENGTH);
}
