#include "train/distill/distill_run.h"

#include "base/failure.h"
#include "base/hash.h"
#include "base/random.h"
#include "train/distill/own_answers.h"
#include "train/distill/teacher.h"
#include "train/runs/trainer_model.h"

enum { OWN_STREAM = 78 };

struct r2i_distill {
    const r2_distill_options *options;
    r2i_heap *heap;
    uint64_t seed;
    r2_teacher *teacher;
    r2i_own_answers *own; /* NULL: never */
    bool is_own;          /* the batch at work */
    r2_soft_targets soft;
};

static r2_status check_options(const r2_distill_options *o, r2_error *err) {
    const bool is_good = o->own_share >= 0 && o->own_share <= 1 && o->own_beta >= 0 &&
                         o->own_beta <= 1 && o->own_temperature >= 0 && o->own_samples >= 0 &&
                         o->own_tokens >= 0 && o->prompt_tokens >= 0;
    if (is_good) return R2_OK;
    return r2i_fail(err, R2_E_ARGUMENT,
                    "distillation: expected shares and betas from 0 to 1, other numbers from 0 on");
}

static r2_status open_own(r2i_distill *d, r2_trainer *trainer, r2_error *err) {
    const r2_distill_options *o = d->options;
    const r2i_trainer_limits caps = r2i_trainer_get_limits(trainer);
    const r2i_own_rules rules = { .n_samples = o->own_samples,
                                  .prompt_tokens = o->prompt_tokens,
                                  .new_tokens = o->own_tokens,
                                  .run_tokens = caps.document_tokens,
                                  .n_threads = r2i_pool_threads(caps.pool),
                                  .temperature = o->own_temperature,
                                  .seed = d->seed };
    if (o->own_share <= 0) return R2_OK;
    return r2i_own_answers_open(&d->own, trainer, &rules, err);
}

r2_status r2i_distill_open(r2i_distill **out, const r2_distill_options *options,
                           r2_trainer *trainer, uint64_t seed, r2i_heap *heap, r2_error *err) {
    *out = NULL;
    R2I_TRY(check_options(options, err));
    r2i_distill *d = r2i_heap_take(heap, sizeof *d);
    if (d == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for a distillation");
    *d = (r2i_distill){ .options = options, .heap = heap, .seed = seed };
    r2_status status = r2_teacher_open(&d->teacher, options->teacher, trainer, &options->how, err);
    if (status == R2_OK) status = open_own(d, trainer, err);
    if (status != R2_OK)
        r2i_distill_close(d);
    else
        *out = d;
    return status;
}

void r2i_distill_close(r2i_distill *d) {
    if (d == NULL) return;
    r2i_own_answers_close(d->own);
    r2_teacher_close(d->teacher);
    r2i_heap_give(d->heap, d, sizeof *d);
}

uint64_t r2i_distill_identity(const r2i_distill *d) {
    if (d == NULL) return 0;
    const r2_distill_options *o = d->options;
    const float numbers[] = { o->how.temperature, o->how.beta, o->how.share,
                              o->own_share,       o->own_beta, o->own_temperature };
    const int32_t counts[] = { o->how.n_tokens, (int32_t)o->how.arithmetic, o->own_samples,
                               o->own_tokens,   o->prompt_tokens,           0 };
    const uint64_t hash =
        r2i_hash_bytes(r2i_teacher_fingerprint(d->teacher), numbers, sizeof numbers);
    return r2i_hash_bytes(hash, counts, sizeof counts);
}

int64_t r2i_distill_bytes(const r2i_distill *d) {
    return d != NULL ? r2i_teacher_bytes(d->teacher) : 0;
}

r2_status r2i_distill_choose(r2i_distill *d, const r2i_batch_data **data, r2_error *err) {
    const uint64_t place = r2i_own_place(*data);
    d->is_own = d->own != NULL &&
                r2i_random_unit(d->seed, OWN_STREAM, place) < (double)d->options->own_share;
    return d->is_own ? r2i_own_answers_write(d->own, *data, data, err) : R2_OK;
}

bool r2i_distill_is_own(const r2i_distill *d) {
    return d != NULL && d->is_own;
}

r2_status r2i_distill_soften(r2i_distill *d, r2_training_batch *batch, r2_error *err) {
    const r2_soft_targets *found;
    R2I_TRY(r2_teacher_score(d->teacher, batch, &found, err));
    d->soft = *found;
    if (d->is_own) {
        d->soft.beta = d->options->own_beta;
        d->soft.share = 1; /* its own tokens are no targets */
    }
    batch->soft = &d->soft;
    return R2_OK;
}
