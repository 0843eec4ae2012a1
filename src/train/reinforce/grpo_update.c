#include "train/reinforce/grpo_update.h"

#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "model/model.h"
#include "train/distill/teacher.h"
#include "train/reinforce/expert_replay.h"
#include "train/runs/trainer_model.h"

struct r2i_grpo_update {
    r2_trainer *trainer;
    const r2_grpo_options *o;
    r2_teacher *reference; /* NULL: the trainer's model without its adapter, or none */
    bool has_base;
    int32_t cap_rows, cap_documents;
    r2i_arena arena;
    r2i_expert_replay replay; /* where there is one */
    /* The batch that is put together: [cap_rows] each, [cap_documents] lengths and which answers. */
    int32_t *tokens, *targets, *lengths, *parents, *answers;
    float *weights, *advantages, *old, *reference_logprobs, *logprobs, *factors;
    int32_t n_rows, n_documents;
    int32_t question,
        trunk; /* of the last answer put there: whose, and the document it continues */
};

/* ---- opening ---- */

static r2_status take_memory(r2i_grpo_update *u, r2_error *err) {
    r2i_taker t = { &u->arena, false };
    const size_t n = (size_t)u->cap_rows, n_documents = (size_t)u->cap_documents;
    u->tokens = r2i_take(&t, n, sizeof *u->tokens);
    u->targets = r2i_take(&t, n, sizeof *u->targets);
    u->lengths = r2i_take(&t, n_documents, sizeof *u->lengths);
    u->parents = r2i_take(&t, n_documents, sizeof *u->parents);
    u->answers = r2i_take(&t, n_documents, sizeof *u->answers);
    float **const rows[] = { &u->weights,  &u->advantages, &u->old, &u->reference_logprobs,
                             &u->logprobs, &u->factors };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        *rows[i] = r2i_take_floats(&t, 1, n);
    return t.has_failed ? r2i_fail(err, R2_E_NOMEM, "no memory for batches of answers") : R2_OK;
}

bool r2i_grpo_replays(const r2_trainer *trainer, const r2_grpo_options *o) {
    r2_trainer_info info;
    r2_trainer_get_info(trainer, &info);
    return info.n_routes > 0 && o->n_minibatches > 1 && !o->has_free_routes;
}

/* No answer has more rows than a run, its question included. */
static r2_status open_replay(r2i_grpo_update *u, r2_error *err) {
    const r2_grpo_options *o = u->o;
    const size_t n_questions =
        (size_t)r2i_div_up_i32(o->n_questions, r2_ranks_count(o->run.trainer.ranks)) *
        (size_t)(1 + o->n_rounds);
    r2_trainer_info info;
    if (!r2i_grpo_replays(u->trainer, o)) return R2_OK;
    r2_trainer_get_info(u->trainer, &info);
    return r2i_expert_replay_open(
        &u->replay, &r2i_trainer_model(u->trainer)->heap, o->n_minibatches,
        n_questions * (size_t)o->n_samples * (size_t)o->run.run_tokens, info.n_routes, err);
}

static bool has_replay(const r2i_grpo_update *u) {
    return u->replay.experts != NULL;
}

static r2_status open_reference(r2i_grpo_update *u, r2_error *err) {
    const r2_train_options *run = &u->o->run;
    const r2_teacher_options how = { .n_tokens = 1,
                                     .arithmetic = run->trainer.arithmetic,
                                     .cpu = run->trainer.cpu };
    u->has_base = r2i_trainer_lora(u->trainer) != NULL;
    if (u->has_base || u->o->kl == 0) return R2_OK;
    return r2_teacher_open(&u->reference, run->model, u->trainer, &how, err);
}

r2_status r2i_grpo_update_open(r2i_grpo_update **out, r2_trainer *trainer,
                               const r2_grpo_options *options, r2_error *err) {
    r2i_heap *heap = &r2i_trainer_model(trainer)->heap;
    const r2i_trainer_limits caps = r2i_trainer_get_limits(trainer);
    *out = NULL;
    r2i_grpo_update *u = r2i_heap_take(heap, sizeof *u);
    if (u == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for batches of answers");
    *u = (r2i_grpo_update){ .trainer = trainer,
                            .o = options,
                            .cap_rows = caps.batch_tokens,
                            .cap_documents = caps.batch_documents };
    r2i_arena_init(&u->arena, heap, 1 << 16, 0);
    r2_status status = take_memory(u, err);
    if (status == R2_OK) status = open_replay(u, err);
    if (status == R2_OK) status = open_reference(u, err);
    if (status != R2_OK)
        r2i_grpo_update_close(u);
    else
        *out = u;
    return status;
}

void r2i_grpo_update_close(r2i_grpo_update *u) {
    if (u == NULL) return;
    r2_teacher_close(u->reference);
    r2i_expert_replay_close(&u->replay);
    r2i_arena_destroy(&u->arena);
    r2i_heap_give(&r2i_trainer_model(u->trainer)->heap, u, sizeof *u);
}

/* ---- a batch ---- */

static int32_t learnt_tokens(const r2i_grpo_answer *a) {
    return a->n_tokens - a->n_prompt - (a->n_forced >= 0);
}

int64_t r2i_grpo_count(const r2i_grpo_batch *b, const r2_grpo_options *o,
                       const r2i_grpo_part *part) {
    int64_t n = 0;
    for (int32_t q = part->first; q < part->end; q++) {
        for (int32_t i = 0; b->questions[q].is_mixed && i < o->n_samples; i++)
            n += learnt_tokens(&b->answers[b->questions[q].first + i]);
    }
    return n;
}

/* Tokens of the question that all its answers go on from; the last one predicts each answer's first. */
static int32_t shared_tokens(const r2i_grpo_answer *a) {
    return a->n_prompt - 1;
}

/* The answer's own; its last token predicts nothing and is left out. */
static int32_t own_rows(const r2i_grpo_answer *a) {
    return a->n_tokens - 1 - shared_tokens(a);
}

static bool needs_trunk(const r2i_grpo_update *u, const r2i_grpo_answer *a, int32_t question) {
    return shared_tokens(a) > 0 && (u->n_documents == 0 || u->question != question);
}

static bool has_room(const r2i_grpo_update *u, const r2i_grpo_answer *a, int32_t question) {
    const bool has_trunk = needs_trunk(u, a, question);
    const int32_t n_rows = own_rows(a) + (has_trunk ? shared_tokens(a) : 0);
    return u->n_documents + 1 + has_trunk <= u->cap_documents && u->n_rows + n_rows <= u->cap_rows;
}

static void end_document(r2i_grpo_update *u, int32_t n_rows, int32_t parent, int32_t answer) {
    u->lengths[u->n_documents] = n_rows;
    u->parents[u->n_documents] = parent;
    u->answers[u->n_documents++] = answer;
    u->n_rows += n_rows;
}

static void put_question(r2i_grpo_update *u, const r2i_grpo_answer *a) {
    const int32_t n = shared_tokens(a);
    const size_t first = (size_t)u->n_rows;
    memcpy(u->tokens + first, a->tokens, (size_t)n * sizeof *u->tokens);
    for (size_t row = first; row < first + (size_t)n; row++) {
        u->targets[row] = -1;
        u->weights[row] = u->advantages[row] = u->old[row] = 0;
    }
    u->trunk = u->n_documents;
    end_document(u, n, -1, -1);
}

static void put_answer(r2i_grpo_update *u, const r2i_grpo_answer *a, int32_t index) {
    const int32_t n_shared = shared_tokens(a), end = a->n_tokens - 1, n_learnt = learnt_tokens(a);
    const size_t first = (size_t)u->n_rows;
    const float weight = u->o->norm == R2_NORM_ANSWERS && n_learnt > 0 ? 1.0f / (float)n_learnt : 1;
    for (int32_t i = n_shared; i < end; i++) {
        const size_t row = first + (size_t)(i - n_shared);
        const bool is_learnt = i + 1 >= a->n_prompt && i + 1 != a->n_forced;
        u->tokens[row] = a->tokens[i];
        u->targets[row] = is_learnt ? a->tokens[i + 1] : -1;
        u->weights[row] = is_learnt ? weight : 0;
        u->advantages[row] = (float)a->advantage;
        u->old[row] = is_learnt ? a->logprobs[i + 1 - a->n_prompt] : 0;
    }
    end_document(u, end - n_shared, n_shared > 0 ? u->trunk : -1, index);
}

static r2_training_batch batch_of(const r2i_grpo_update *u, const r2_policy_targets *policy) {
    return (r2_training_batch){ .tokens = u->tokens,
                                .targets = u->targets,
                                .weights = u->weights,
                                .n_tokens = u->n_rows,
                                .lengths = u->lengths,
                                .parents = u->parents,
                                .n_documents = u->n_documents,
                                .policy = policy };
}

/* Log-probabilities of the model as it was. */
static r2_status read_reference(r2i_grpo_update *u, r2_error *err) {
    const r2_policy_targets reads = { .form = R2_POLICY_READ,
                                      .logprobs = u->reference_logprobs,
                                      .factors = u->factors };
    const r2_training_batch batch = batch_of(u, &reads);
    return u->reference != NULL ? r2i_teacher_read(u->reference, &batch, u->reference_logprobs, err)
                                : r2i_trainer_read(u->trainer, &batch, true, err);
}

static r2_status check_bits(const r2i_grpo_update *u, r2_error *err) {
    int32_t row = 0;
    for (int32_t d = 0; d < u->n_documents; d++) {
        for (int32_t i = 0; i < u->lengths[d]; i++, row++) {
            const float now = u->logprobs[row], then = u->old[row];
            if (u->weights[row] == 0 || memcmp(&now, &then, sizeof now) == 0) continue;
            return r2i_fail(
                err, R2_E_STATE,
                "answer %d, its token %d: log p is %.9g in the rollout, %.9g in the update: "
                "they must be equal before the first optimizer step; this is a fault of "
                "the program",
                u->answers[d], i, (double)then, (double)now);
        }
    }
    return R2_OK;
}

/* Mean of log p - log p_ref over tokens that the model drew: its divergence from the reference. */
static void count(const r2i_grpo_update *u, const r2_policy_targets *policy, bool has_reference,
                  r2i_grpo_sums *s) {
    for (int32_t row = 0; row < u->n_rows; row++) {
        if (u->weights[row] == 0) continue;
        const double ratio = exp((double)u->logprobs[row] - (double)u->old[row]);
        const bool is_off = policy->form == R2_POLICY_SEQUENCE
                                ? u->factors[row] == 0 && u->advantages[row] != 0
                                : r2_policy_is_clipped(policy, ratio, (double)u->advantages[row]);
        s->n_tokens++;
        s->n_clipped += is_off;
        if (!has_reference) continue;
        s->n_kl_tokens++;
        s->kl += (double)u->logprobs[row] - (double)u->reference_logprobs[row];
    }
    s->n_rows += u->n_rows;
}

static r2_status add_batch(r2i_grpo_update *u, const r2i_grpo_part *part, r2i_grpo_sums *sums,
                           r2_error *err) {
    const r2_grpo_options *o = u->o;
    const bool can_refer = u->has_base || u->reference != NULL,
               has_reference =
                   can_refer && (o->kl > 0 || (part->measures_kl && sums->n_kl_tokens == 0));
    const r2_policy_targets policy = { .form = o->has_sequence_ratio ? R2_POLICY_SEQUENCE
                                                                     : R2_POLICY_TOKEN,
                                       .advantages = u->advantages,
                                       .old_logprobs = u->old,
                                       .reference = has_reference ? u->reference_logprobs : NULL,
                                       .clip_low = o->clip_low,
                                       .clip_high = o->clip_high,
                                       .kl = o->kl,
                                       .logprobs = u->logprobs,
                                       .factors = u->factors };
    r2_training_batch batch = batch_of(u, &policy);
    const r2_loss_weights weights = { .scale = (float)part->scale };
    r2_training_loss loss;
    if (u->n_documents == 0) return R2_OK;
    if (has_reference) R2I_TRY(read_reference(u, err));
    if (has_replay(u) && !part->is_first)
        R2I_TRY(r2i_expert_replay_next(&u->replay, u->n_rows, &batch.routes, err));
    R2I_TRY(r2_trainer_add(u->trainer, &batch, &weights, &loss, err));
    if (part->is_first) R2I_TRY(check_bits(u, err));
    sums->loss += loss.loss * part->scale;
    count(u, &policy, has_reference, sums);
    u->n_rows = u->n_documents = 0;
    return R2_OK;
}

/* The model is as it was when the answers were drawn: the same bits, the same experts. */
static r2_status keep_batch(r2i_grpo_update *u, const r2i_grpo_part *part, r2i_grpo_sums *sums,
                            r2_error *err) {
    const r2_policy_targets reads = { .form = R2_POLICY_READ,
                                      .logprobs = u->logprobs,
                                      .factors = u->factors };
    r2_training_batch batch = batch_of(u, &reads);
    (void)part;
    (void)sums;
    if (u->n_documents == 0) return R2_OK;
    R2I_TRY(r2i_expert_replay_next(&u->replay, u->n_rows, &batch.routes, err));
    R2I_TRY(r2i_trainer_read(u->trainer, &batch, false, err));
    R2I_TRY(check_bits(u, err));
    u->n_rows = u->n_documents = 0;
    return R2_OK;
}

typedef r2_status (*batch_work)(r2i_grpo_update *u, const r2i_grpo_part *part, r2i_grpo_sums *sums,
                                r2_error *err);

/* A part's answers, as many at once as fit. */
static r2_status run_part(r2i_grpo_update *u, const r2i_grpo_batch *b, const r2i_grpo_part *part,
                          r2i_grpo_sums *sums, batch_work work, r2_error *err) {
    u->n_rows = u->n_documents = 0;
    for (int32_t q = part->first; q < part->end; q++) {
        const r2i_grpo_question *question = &b->questions[q];
        for (int32_t i = 0; question->is_mixed && i < u->o->n_samples; i++) {
            const r2i_grpo_answer *a = &b->answers[question->first + i];
            if (!has_room(u, a, q)) R2I_TRY(work(u, part, sums, err));
            if (needs_trunk(u, a, q)) put_question(u, a);
            u->question = q;
            put_answer(u, a, question->first + i);
        }
    }
    return work(u, part, sums, err);
}

r2i_grpo_part r2i_grpo_part_of(const r2i_grpo_batch *b, const r2_grpo_options *o, int32_t index) {
    const int64_t n = b->n_questions;
    return (r2i_grpo_part){ .index = index,
                            .first = (int32_t)(n * index / o->n_minibatches),
                            .end = (int32_t)(n * (index + 1) / o->n_minibatches) };
}

r2_status r2i_grpo_keep_routes(r2i_grpo_update *u, const r2i_grpo_batch *b, int32_t first,
                               r2_error *err) {
    if (!has_replay(u)) return R2_OK;
    r2i_expert_replay_clear(&u->replay);
    for (int32_t i = first; i < u->o->n_minibatches; i++) {
        const r2i_grpo_part part = r2i_grpo_part_of(b, u->o, i);
        r2i_expert_replay_begin(&u->replay, i, false);
        R2I_TRY(run_part(u, b, &part, NULL, keep_batch, err));
    }
    return R2_OK;
}

r2_status r2i_grpo_add(r2i_grpo_update *u, const r2i_grpo_batch *b, const r2i_grpo_part *part,
                       r2i_grpo_sums *sums, r2_error *err) {
    if (has_replay(u) && !part->is_first) r2i_expert_replay_begin(&u->replay, part->index, true);
    return run_part(u, b, part, sums, add_batch, err);
}
