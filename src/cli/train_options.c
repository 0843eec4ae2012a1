#include "cli/train_options.h"

#include <math.h>
#include <string.h>

#include "base/failure.h"
#include "cli/option_groups.h"

enum { PRETRAIN_STEPS = 100, PRETRAIN_RUN_TOKENS = 512, SFT_EPOCHS = 2, WARMUP_PERCENT = 3 };
#define PRETRAIN_RATE 1e-3
#define TRAINED_RATE 1e-4 /* pretraining goes on with a model that is no beginner */
#define SFT_RATE 2e-5
#define DISTILL_RATE 1e-4
#define LORA_RATE 2e-4
#define GRPO_RATE 5e-6 /* of an adapter ten times as much */
#define DPO_RATE 1e-6
#define JUDGED_BETA2 0.99 /* of grpo and dpo; of others the trainer's own */

const char *r2i_train_kind_name(r2i_train_kind kind) {
    static const char *const names[] = { "pretrain", "sft", "distill", "grpo", "dpo" };
    return names[kind];
}

r2i_train_kind r2i_train_kind_find(const char *name) {
    int kind = 0;
    while (kind < R2I_TRAIN_KINDS && strcmp(name, r2i_train_kind_name((r2i_train_kind)kind)) != 0)
        kind++;
    return (r2i_train_kind)kind;
}

void r2i_train_resolve_shape(r2i_options *o, r2i_train_kind kind) {
    const bool is_pretrain = kind == R2I_TRAIN_PRETRAIN;
    const bool is_short = is_pretrain || kind == R2I_TRAIN_GRPO;
    if (o->run_tokens == 0) o->run_tokens = is_short ? PRETRAIN_RUN_TOKENS : o->batch_tokens;
    if (o->run_tokens > o->batch_tokens) o->run_tokens = o->batch_tokens;
    if (strcmp(o->schedule, "auto") == 0) o->schedule = is_pretrain ? "wsd" : "cosine";
}

static double rate_of(r2i_train_kind kind, bool is_adapter, bool is_initial) {
    static const double rates[] = { PRETRAIN_RATE, SFT_RATE, DISTILL_RATE, GRPO_RATE, DPO_RATE };
    if (is_adapter) return r2i_train_is_judged(kind) ? 10 * rates[kind] : LORA_RATE;
    return kind == R2I_TRAIN_PRETRAIN && !is_initial ? TRAINED_RATE : rates[kind];
}

void r2i_train_set_steps(r2i_options *o, int64_t n) {
    o->steps = n < 1 ? 1 : n > INT32_MAX ? INT32_MAX : (int32_t)n;
    if (o->warmup < 0) o->warmup = (int32_t)((int64_t)o->steps * WARMUP_PERCENT / 100);
}

/* Of several flags that say how long, R2_E_ARGUMENT; what a judged run reads is not known before. */
static r2_status check_lengths(const r2i_options *o, r2i_train_kind kind, r2_error *err) {
    if (r2i_train_is_judged(kind) && (o->tokens > 0 || o->epochs > 0))
        return r2i_fail(err, R2_E_ARGUMENT, "train %s: expected --steps or --minutes, found %s",
                        r2i_train_kind_name(kind), o->tokens > 0 ? "--tokens" : "--epochs");
    const int n = (o->steps > 0) + (o->tokens > 0) + (o->epochs > 0) + (o->minutes > 0);
    if (n <= 1) return R2_OK;
    return r2i_fail(err, R2_E_ARGUMENT,
                    "train: expected one of --steps, --tokens, --epochs and --minutes, found %d "
                    "(0 takes one back)",
                    n);
}

r2_status r2i_train_resolve_length(r2i_options *o, r2i_train_kind kind,
                                   const r2_train_plan_result *plan, r2_error *err) {
    R2I_TRY(check_lengths(o, kind, err));
    if (o->lr <= 0) o->lr = rate_of(kind, o->lora_rank > 0, plan->trainer.is_initial);
    if (o->beta2 <= 0 && r2i_train_is_judged(kind)) o->beta2 = JUDGED_BETA2;
    if (o->minutes > 0) return R2_OK;
    double tokens = o->tokens;
    if (o->epochs > 0) tokens = o->epochs * (double)plan->n_train_tokens;
    if (tokens <= 0 && (kind == R2I_TRAIN_SFT || kind == R2I_TRAIN_DISTILL))
        tokens = SFT_EPOCHS * (double)plan->n_train_tokens;
    const double steps = ceil(tokens / (double)plan->step_tokens);
    const int64_t by_tokens = steps < INT32_MAX ? (int64_t)steps : INT32_MAX;
    o->tokens = o->epochs = 0; /* from here on the number of steps says it */
    r2i_train_set_steps(o, o->steps > 0 ? o->steps : tokens > 0 ? by_tokens : PRETRAIN_STEPS);
    return R2_OK;
}

void r2i_train_note_ignored(const r2i_program *p, r2i_train_kind kind, int32_t n_processes) {
    const r2i_options *o = p->options;
    const bool is_lora = o->lora_rank > 0;
    const struct {
        const char *flag;
        bool is_ignored;
        const char *why;
    } list[] = { { "--own-share", kind == R2I_TRAIN_DISTILL && o->own_share > 0 && o->has_traces,
                   "`train distill` without --traces takes it" },
                 { "--lora-alpha", !is_lora && o->lora_alpha != 0, "it belongs to --lora-rank" },
                 { "--lora-targets", !is_lora && strcmp(o->lora_targets, "all-linear") != 0,
                   "it belongs to --lora-rank" },
                 { "--expert-parallel", o->divides_experts && n_processes == 1,
                   "all experts are in this one process" } };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        if (list[i].is_ignored)
            r2i_program_note(p, "%s changes nothing here: %s", list[i].flag, list[i].why);
    }
    for (int i = 0; i < p->arguments.n_given; i++) {
        const r2i_option *given = p->arguments.given[i];
        const r2i_option_group *g = r2i_option_group_find(R2I_FOR_TRAIN, given);
        if (g != NULL && !r2i_option_group_is_for(g, R2I_FOR_TRAIN, r2i_train_kind_name(kind)))
            r2i_program_note(p, "--%s changes nothing here: it is for `train` %s", given->name,
                             g->subcommands);
    }
}

static r2_schedule schedule_of(const char *name) {
    if (strcmp(name, "cosine") == 0) return R2_SCHEDULE_COSINE;
    return strcmp(name, "constant") == 0 ? R2_SCHEDULE_CONSTANT : R2_SCHEDULE_WSD;
}

void r2i_train_options_read(r2_train_options *out, const r2i_options *o) {
    *out = (r2_train_options){
        .n_steps = o->steps,
        .step_batches = o->accumulate,
        .run_tokens = o->run_tokens,
        .trainer = { .n_threads = o->threads,
                     .batch_tokens = o->batch_tokens,
                     .arithmetic =
                         strcmp(o->arithmetic, "f32") == 0 ? R2_ARITHMETIC_F32 : R2_ARITHMETIC_FAST,
                     .is_recomputing = o->recomputes,
                     .divides_experts = o->divides_experts,
                     .optimizer =
                         strcmp(o->optimizer, "muon") == 0 ? R2_OPTIMIZER_MUON : R2_OPTIMIZER_ADAMW,
                     .lora = { .rank = o->lora_rank,
                               .alpha = (float)o->lora_alpha,
                               .targets = o->lora_targets,
                               .seed = (uint64_t)o->seed },
                     .cpu = o->cpu },
        .step = { .lr = o->lr,
                  .beta2 = o->beta2,
                  .weight_decay = o->weight_decay,
                  .clip = o->clip,
                  .balance_rate = o->balance_rate },
        .schedule = schedule_of(o->schedule),
        .warmup_steps = o->warmup > 0 ? o->warmup : 0,
        .mtp_weight = o->mtp_weight,
        .mtp_from = o->mtp_from,
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
                                 .own_samples = o->samples,
                                 .own_tokens = o->predict,
                                 .prompt_tokens = o->prompt_part };
}
