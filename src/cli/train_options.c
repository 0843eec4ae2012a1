#include "cli/train_options.h"

#include <string.h>

enum { PRETRAIN_STEPS = 100, PRETRAIN_RUN_TOKENS = 512, SFT_EPOCHS = 2, WARMUP_PERCENT = 3 };
#define PRETRAIN_RATE 1e-3
#define SFT_RATE 2e-5
#define DISTILL_RATE 1e-4
#define LORA_RATE 2e-4

static r2_schedule schedule_of(const char *name, r2i_train_kind kind) {
    const bool is_auto = strcmp(name, "auto") == 0;
    if (strcmp(name, "cosine") == 0 || (is_auto && kind != R2I_TRAIN_PRETRAIN))
        return R2_SCHEDULE_COSINE;
    return strcmp(name, "constant") == 0 ? R2_SCHEDULE_CONSTANT : R2_SCHEDULE_WSD;
}

static int32_t steps_of(const r2i_options *o, r2i_train_kind kind, int64_t n_tokens) {
    if (o->steps > 0) return o->steps;
    if (kind == R2I_TRAIN_PRETRAIN) return PRETRAIN_STEPS;
    const int64_t per_step = (int64_t)o->batch_tokens * o->accumulate,
                  n = (SFT_EPOCHS * n_tokens + per_step - 1) / per_step;
    return n < 1 ? 1 : n > INT32_MAX ? INT32_MAX : (int32_t)n;
}

static int32_t run_tokens_of(const r2i_options *o, r2i_train_kind kind) {
    if (o->run_tokens > 0) return o->run_tokens;
    return kind == R2I_TRAIN_PRETRAIN ? PRETRAIN_RUN_TOKENS : o->batch_tokens;
}

/* What flags leave open suits random weights (pretrain) or a trained model (sft). */
void r2i_train_options_read(r2_train_options *out, r2i_train_kind kind, const r2i_options *o,
                            int64_t n_train_tokens) {
    const int32_t n_steps = steps_of(o, kind, n_train_tokens);
    const int32_t warmup = (int32_t)((int64_t)n_steps * WARMUP_PERCENT / 100);
    static const double rates[] = { PRETRAIN_RATE, SFT_RATE, DISTILL_RATE };
    const bool is_adapter = o->lora_rank > 0;
    *out = (r2_train_options){
        .n_steps = n_steps,
        .step_batches = o->accumulate,
        .run_tokens = run_tokens_of(o, kind),
        .trainer = { .n_threads = o->threads,
                     .batch_tokens = o->batch_tokens,
                     .arithmetic =
                         strcmp(o->arithmetic, "f32") == 0 ? R2_ARITHMETIC_F32 : R2_ARITHMETIC_FAST,
                     .is_recomputing = o->recomputes,
                     .optimizer =
                         strcmp(o->optimizer, "muon") == 0 ? R2_OPTIMIZER_MUON : R2_OPTIMIZER_ADAMW,
                     .lora = { .rank = o->lora_rank,
                               .alpha = (float)o->lora_alpha,
                               .targets = o->lora_targets,
                               .seed = (uint64_t)o->seed },
                     .cpu = o->cpu },
        .step = { .lr = o->lr > 0 ? o->lr : is_adapter ? LORA_RATE : rates[kind],
                  .weight_decay = o->weight_decay,
                  .clip = o->clip,
                  .balance_rate = o->balance_rate },
        .schedule = schedule_of(o->schedule, kind),
        .warmup_steps = o->warmup >= 0 ? o->warmup : warmup,
        .mtp_weight = o->mtp_weight,
        .balance_weight = o->balance,
        .validate_every = o->validate_every,
        .validate_batches = o->validate_batches,
        .checkpoint_every = o->checkpoint_every,
        .keep_last = o->keep_last,
        .is_resuming = o->is_resuming,
        .seed = (uint64_t)o->seed,
        .is_forced = o->is_forced,
        .saves_f32 = strcmp(o->type, "f32") == 0
    };
}

void r2i_distill_options_read(r2_distill_options *out, const r2i_options *o, const char *teacher) {
    *out = (r2_distill_options){ .teacher = teacher,
                                 .how = { .n_tokens = o->teacher_tokens,
                                          .temperature = (float)o->teacher_temp,
                                          .beta = o->beta < 0 ? 0 : (float)o->beta,
                                          .share = (float)o->teacher_share,
                                          .arithmetic = strcmp(o->arithmetic, "f32") == 0
                                                            ? R2_ARITHMETIC_F32
                                                            : R2_ARITHMETIC_FAST,
                                          .cpu = o->cpu },
                                 .own_share = (float)o->own_share,
                                 .own_beta = o->beta < 0 ? 1 : (float)o->beta,
                                 .own_temperature = (float)o->own_temp,
                                 .own_samples = o->own_samples,
                                 .own_tokens = o->own_tokens,
                                 .prompt_tokens = o->prompt_part };
}
