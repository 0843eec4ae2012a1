#include "train/reinforce/grpo_options.h"

#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "train/runs/run_schedule.h"

enum {
    DEFAULT_QUESTIONS = 8,
    DEFAULT_SAMPLES = 8,
    DEFAULT_NEW_TOKENS = 256,
    DEFAULT_PARALLEL = 64,
    DEFAULT_PATIENCE = 10,
    IDENTITY_BYTES = 512,
    MOST_ANSWERS = 1 << 26, /* with which nothing that counts them overflows */
    MOST_NEW_TOKENS = 1 << 24
};

static r2_status check_tasks(const r2_grpo_options *o, r2_error *err) {
    if (o->n_tasks < 0 || o->n_tasks + (o->verifier != NULL) < 1 || o->n_tasks > R2_MAX_RUN_TASKS ||
        o->n_languages < 0 || o->n_languages > R2_MAX_RUN_LANGUAGES)
        return r2i_fail(err, R2_E_ARGUMENT, "GRPO: expected 1 to %d tasks, or a verifier, found %d",
                        R2_MAX_RUN_TASKS, o->n_tasks);
    for (int32_t i = 0; i < o->n_tasks; i++) {
        const int32_t k = r2_task_find(o->tasks[i]);
        if (k < 0) return r2i_fail(err, R2_E_ARGUMENT, "no task is called \"%.60s\"", o->tasks[i]);
        if (o->level > r2_task_levels(k))
            return r2i_fail(err, R2_E_ARGUMENT, "task %s: expected a level up to %d, found %d",
                            o->tasks[i], r2_task_levels(k), o->level);
        int32_t l = 0;
        while (l < o->n_languages && !r2_task_has_language(k, o->languages[l], R2_SPLIT_TRAIN))
            l++;
        if (o->n_languages > 0 && l == o->n_languages)
            return r2i_fail(err, R2_E_ARGUMENT,
                            "task %s: it is never taught in %s (split ood-lang)", o->tasks[i],
                            r2_task_withheld_language(k));
    }
    return R2_OK;
}

r2_status r2i_grpo_options_check(const r2_grpo_options *o, r2_error *err) {
    const r2_train_options *run = &o->run;
    R2I_TRY(check_tasks(o, err));
    R2I_TRY(r2i_run_schedule_check(run, err));
    if (o->n_samples < 2 || o->n_questions < 1 || o->new_tokens < 1 || o->level < 0 ||
        o->n_rounds < 0 || o->n_minibatches < 1 || o->n_minibatches > o->n_questions)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "GRPO: expected questions, two answers to each at least, and no more parts "
                        "(%d) than questions (%d)",
                        o->n_minibatches, o->n_questions);
    if (o->new_tokens > MOST_NEW_TOKENS || o->n_parallel < 0 ||
        (double)o->n_questions * (1.0 + o->n_rounds) * o->n_samples > MOST_ANSWERS)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "GRPO: expected at most %d answers in a step of %d tokens each, found %d "
                        "questions in %d rounds, %d answers to each, of %d tokens",
                        MOST_ANSWERS, MOST_NEW_TOKENS, o->n_questions, o->n_rounds, o->n_samples,
                        o->new_tokens);
    if (!(o->temperature > 0) || !(o->kl >= 0) || !(o->kl_limit >= 0) || !(o->overlong >= 0) ||
        !(o->overlong < 1) || !(o->language_weight >= 0) || !(o->sft_share >= 0))
        return r2i_fail(err, R2_E_ARGUMENT, "GRPO: expected weights from 0 on and a temperature");
    if (run->checkpoints == NULL && (run->is_resuming || run->checkpoint_every > 0))
        return r2i_fail(err, R2_E_ARGUMENT, "GRPO: expected a folder for checkpoints");
    if (run->distill != NULL || run->trainer.divides_experts)
        return r2i_fail(err, R2_E_UNSUPPORTED, "GRPO: no teacher, and experts are not divided");
    if ((o->sft_share > 0) != (run->n_data > 0))
        return r2i_fail(err, R2_E_ARGUMENT, "GRPO: expected data and their share, or neither");
    return R2_OK;
}

void r2i_grpo_options_fill(r2_grpo_options *o) {
    if (o->n_languages == 0) o->languages[o->n_languages++] = "en";
    if (o->n_questions == 0) o->n_questions = DEFAULT_QUESTIONS;
    if (o->n_samples == 0) o->n_samples = DEFAULT_SAMPLES;
    if (o->new_tokens == 0) o->new_tokens = DEFAULT_NEW_TOKENS;
    if (o->n_parallel == 0) o->n_parallel = DEFAULT_PARALLEL;
    if (o->n_minibatches == 0) o->n_minibatches = 1;
    if (o->patience == 0) o->patience = DEFAULT_PATIENCE;
    if (o->temperature == 0) o->temperature = 1;
    if (o->clip_low == 0) o->clip_low = 0.2f;
    if (o->clip_high == 0) o->clip_high = 0.28f;
}

static json_t *names_of(const char *const *names, int32_t n) {
    char text[IDENTITY_BYTES] = "";
    for (int32_t i = 0; i < n; i++) {
        const size_t used = strlen(text);
        (void)snprintf(text + used, sizeof text - used, "%s%s", i > 0 ? "," : "", names[i]);
    }
    return json_string(text);
}

json_t *r2i_grpo_options_describe(const r2_grpo_options *o, bool is_replaying) {
    char text[IDENTITY_BYTES];
    (void)snprintf(text, sizeof text,
                   "%s%d x %d, %d tokens to their end, T %g, think %d %d, %d rounds, %d parts",
                   is_replaying ? "kept experts, " : "", o->n_questions, o->n_samples,
                   o->new_tokens, (double)o->temperature, (int)o->think, o->think_budget,
                   o->n_rounds, o->n_minibatches);
    json_t *answers = json_string(text);
    (void)snprintf(
        text, sizeof text, "clip %g %g, norm %d, %s%s, kl %g, overlong %g, lang %g, sft %g",
        (double)o->clip_low, (double)o->clip_high, (int)o->norm,
        o->has_sequence_ratio ? "sequence" : "token", o->divides_by_deviation ? "/std" : "",
        (double)o->kl, (double)o->overlong, (double)o->language_weight, (double)o->sft_share);
    return json_pack("{s:s, s:o, s:o, s:i, s:o, s:s}", "verifier",
                     o->verifier != NULL ? o->verifier : "", "tasks",
                     names_of(o->tasks, o->n_tasks), "languages",
                     names_of(o->languages, o->n_languages), "level", o->level,
                     "questions and answers", answers, "loss and rewards", text);
}
