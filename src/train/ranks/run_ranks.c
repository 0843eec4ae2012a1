#include "train/ranks/run_ranks.h"

#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "base/hash.h"
#include "train/runs/trainer_model.h"

enum { N_FACTS = 7, TEXT_BYTES = 640 };

/* Hashes of what must be equal everywhere. */
typedef struct {
    uint64_t facts[N_FACTS];
} plan;
static const char *const fact_names[N_FACTS] = { "version of r2lm",
                                                 "options",
                                                 "shapes of the model",
                                                 "weights to begin with",
                                                 "data",
                                                 "base and scale of an adapter",
                                                 "teacher, or tasks and rewards" };

static uint64_t hash_text(const char *text) {
    return r2i_hash_bytes(R2I_HASH_SEED, text, strlen(text));
}

/* What decides the numbers of a run; threads and places of files may differ. */
static uint64_t hash_options(const r2_train_options *o) {
    char text[TEXT_BYTES];
    (void)snprintf(
        text, sizeof text,
        "%d %d %d %d %d %d %d %d %d %d %a %a %a %a %a %a %a %a %d %d %a %a %a %d %d %llu %d %d",
        o->n_data, o->n_steps, o->step_batches, o->run_tokens, o->trainer.batch_tokens,
        o->trainer.batch_documents, (int)o->trainer.arithmetic, (int)o->trainer.optimizer,
        o->trainer.is_recomputing, o->trainer.divides_experts, o->step.lr, o->step.beta1,
        o->step.beta2, o->step.eps, o->step.weight_decay, o->step.clip, o->step.momentum,
        o->step.balance_rate, (int)o->schedule, o->warmup_steps, o->mtp_weight, o->mtp_from,
        o->balance_weight, o->validate_every, o->validate_batches, (unsigned long long)o->seed,
        o->out != NULL, o->checkpoint_every);
    uint64_t hash = hash_text(text);
    for (int32_t i = 0; o->shares != NULL && i < o->n_data; i++)
        hash = r2i_hash_bytes(hash, &o->shares[i], sizeof o->shares[i]);
    return hash;
}

static uint64_t hash_data(const r2i_data_set *sets, int32_t n) {
    uint64_t hash = R2I_HASH_SEED;
    for (int32_t i = 0; i < n; i++) {
        const r2i_data_manifest *m = &sets[i].manifest;
        hash = r2i_hash_bytes(hash, &m->tokenizer, sizeof m->tokenizer);
        for (int32_t s = 0; s < m->n_shards; s++) {
            const uint64_t facts[] = { (uint64_t)m->shards[s].split, m->shards[s].n_tokens,
                                       m->shards[s].n_documents, m->shards[s].checksum };
            hash = r2i_hash_bytes(hash, facts, sizeof facts);
        }
    }
    return hash;
}

static r2_status compare(const plan *all, int32_t n, r2_error *err) {
    for (int32_t r = 1; r < n; r++) {
        for (int fact = 0; fact < N_FACTS; fact++) {
            if (all[r].facts[fact] != all[0].facts[fact])
                return r2i_fail(err, R2_E_MISMATCH,
                                "rank %d of %d: expected the same %s as rank 0, found others", r, n,
                                fact_names[fact]);
        }
    }
    return R2_OK;
}

/* The others wait for this rank's numbers: it is lost, and has to end them. */
static r2_status lose_memory(r2_ranks *ranks, r2_error *err) {
    (void)r2i_fail(&ranks->failure, R2_E_NOMEM, "no memory for the numbers of %d ranks", ranks->n);
    return r2i_ranks_check(ranks, err);
}

r2_status r2i_run_check_plan(const r2i_run_identity *id, r2_error *err) {
    const r2_train_options *o = id->options;
    r2_trainer *trainer = id->trainer;
    r2_ranks *ranks = o->trainer.ranks;
    const int32_t n = r2i_ranks_count(ranks), n_batches = o->step_batches > 0 ? o->step_batches : 1;
    if (n == 1) return R2_OK;
    if (n_batches < n)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "training: expected at least as many batches per step as ranks (%d), found "
                        "%d",
                        n, n_batches);
    const plan own = { { hash_text(R2LM_VERSION), hash_options(o), r2i_trainer_hash_layout(trainer),
                         r2i_trainer_hash_values(trainer), hash_data(id->sets, o->n_data),
                         r2i_run_identity_hash_adapter(r2i_trainer_adamw(trainer)->parameters),
                         id->teacher ^ r2i_run_identity_hash_more(id) } };
    plan *all = r2i_heap_take(&ranks->heap, (size_t)n * sizeof *all);
    if (all == NULL) return lose_memory(ranks, err);
    r2i_ranks_gather(ranks, &own, sizeof own, all);
    r2_status status = r2i_ranks_check(ranks, err);
    if (status == R2_OK) status = compare(all, n, err);
    r2i_heap_give(&ranks->heap, all, (size_t)n * sizeof *all);
    return status;
}

r2_status r2i_run_sum(r2_ranks *ranks, double *numbers, int32_t n, r2_error *err) {
    double own[R2I_MOST_SUMS];
    const size_t n_bytes = (size_t)n * sizeof *numbers;
    if (r2i_ranks_count(ranks) == 1) return R2_OK;
    R2I_ASSERT(n <= R2I_MOST_SUMS);
    double *all = r2i_heap_take(&ranks->heap, n_bytes * (size_t)ranks->n);
    if (all == NULL) return lose_memory(ranks, err);
    memcpy(own, numbers, n_bytes);
    r2i_ranks_gather(ranks, own, n_bytes, all);
    memset(numbers, 0, n_bytes);
    for (int32_t r = 0; r < ranks->n; r++) {
        for (int32_t i = 0; i < n; i++)
            numbers[i] += all[r * n + i];
    }
    r2i_heap_give(&ranks->heap, all, n_bytes * (size_t)ranks->n);
    return r2i_ranks_check(ranks, err);
}
