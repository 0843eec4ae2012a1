#include "train/reinforce/grpo_tally.h"

#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "train/ranks/run_ranks.h"

enum {
    SUM_REWARD,
    SUM_RIGHT,
    SUM_LENGTH,
    SUM_CUT,
    SUM_FAILED,
    SUM_MIXED,
    SUM_NEGATIVE_LOGPROB,
    SUM_ANSWERS,
    SUM_QUESTIONS,
    SUM_LOSS,
    SUM_TOKENS,
    SUM_CLIPPED,
    SUM_ROWS,
    SUM_KL,
    SUM_KL_TOKENS,
    SUM_ALL_ROWS,
    N_SUMS
};
_Static_assert((int)N_SUMS == (int)R2I_GRPO_SUMS, "room for all sums");

/* ---- counting ---- */

void r2i_grpo_tally_begin(r2i_grpo_tally *y) {
    memset(y->sums, 0, sizeof y->sums);
    for (int32_t i = 0; i < y->n_tasks; i++)
        y->tasks[i].n_answers = y->tasks[i].n_right = 0;
}

void r2i_grpo_tally_answers(r2i_grpo_tally *y, const r2i_grpo_batch *b) {
    double *s = y->sums;
    for (int32_t i = 0; i < b->n_answers; i++) {
        const r2i_grpo_answer *a = &b->answers[i];
        r2_grpo_task_result *task = &y->tasks[b->questions[a->question].task_index];
        const int32_t n_new = a->n_tokens - a->n_prompt;
        task->n_answers++;
        task->n_right += a->is_right;
        s[SUM_REWARD] += a->reward;
        s[SUM_RIGHT] += a->is_right;
        s[SUM_LENGTH] += n_new;
        s[SUM_CUT] += !a->has_end;
        s[SUM_ALL_ROWS] += a->n_tokens;
        for (int32_t t = 0; t < n_new; t++)
            s[SUM_NEGATIVE_LOGPROB] -= (double)a->logprobs[t];
    }
    for (int32_t q = 0; q < b->n_questions; q++)
        s[SUM_MIXED] += b->questions[q].is_mixed;
    s[SUM_FAILED] = (double)b->n_failed;
    s[SUM_ANSWERS] = b->n_answers;
    s[SUM_QUESTIONS] = b->n_questions;
}

void r2i_grpo_tally_learnt(r2i_grpo_tally *y, const r2i_grpo_sums *learnt) {
    y->sums[SUM_LOSS] = learnt->loss;
    y->sums[SUM_TOKENS] = learnt->n_tokens;
    y->sums[SUM_CLIPPED] = learnt->n_clipped;
    y->sums[SUM_ROWS] = learnt->n_rows;
    y->sums[SUM_KL] = learnt->kl;
    y->sums[SUM_KL_TOKENS] = learnt->n_kl_tokens;
}

static r2_status sum_numbers(r2_ranks *ranks, double *numbers, int32_t n, r2_error *err) {
    for (int32_t i = 0; i < n; i += R2I_MOST_SUMS)
        R2I_TRY(r2i_run_sum(ranks, numbers + i, r2i_min_i32(R2I_MOST_SUMS, n - i), err));
    return R2_OK;
}

r2_status r2i_grpo_tally_sum(r2i_grpo_tally *y, r2_ranks *ranks, r2_error *err) {
    double numbers[2 * (R2_MAX_RUN_TASKS + 1)];
    const int32_t n = y->n_tasks;
    for (int32_t i = 0; i < n; i++) {
        numbers[2 * i] = y->tasks[i].n_answers;
        numbers[2 * i + 1] = y->tasks[i].n_right;
    }
    R2I_TRY(sum_numbers(ranks, y->sums, R2I_GRPO_SUMS, err));
    R2I_TRY(sum_numbers(ranks, numbers, 2 * n, err));
    for (int32_t i = 0; i < n; i++) {
        y->tasks[i].n_answers = (int32_t)numbers[2 * i];
        y->tasks[i].n_right = (int32_t)numbers[2 * i + 1];
    }
    return R2_OK;
}

/* ---- telling ---- */

static void fill_samples(r2_grpo_sample *samples, const r2i_grpo_batch *b) {
    for (int32_t i = 0; i < b->n_answers; i++) {
        const r2i_grpo_answer *a = &b->answers[i];
        const r2i_grpo_question *q = &b->questions[a->question];
        samples[i] = (r2_grpo_sample){ .task = q->task,
                                       .language = q->language,
                                       .prompt = q->text,
                                       .level = q->level,
                                       .question = q->number,
                                       .text = a->text,
                                       .n_bytes = a->n_bytes,
                                       .n_tokens = a->n_tokens - a->n_prompt,
                                       .is_right = a->is_right,
                                       .has_form = a->grade.has_form,
                                       .has_end = a->has_end,
                                       .reward = a->reward,
                                       .advantage = a->advantage,
                                       .why = a->grade.why };
    }
}

void r2i_grpo_tally_report(const r2i_grpo_tally *y, const r2i_grpo_batch *b,
                           r2_grpo_sample *samples, r2_grpo_report *p) {
    const double *s = y->sums, n = fmax(s[SUM_ANSWERS], 1);
    p->reward = s[SUM_REWARD] / n;
    p->pass_rate = s[SUM_RIGHT] / n;
    p->length = s[SUM_LENGTH] / n;
    p->cut_share = s[SUM_CUT] / n;
    p->mixed_share = s[SUM_MIXED] / fmax(s[SUM_QUESTIONS], 1);
    p->clipped_share = s[SUM_TOKENS] > 0 ? s[SUM_CLIPPED] / s[SUM_TOKENS] : 0;
    p->entropy = s[SUM_LENGTH] > 0 ? s[SUM_NEGATIVE_LOGPROB] / s[SUM_LENGTH] : 0;
    p->kl = s[SUM_KL_TOKENS] > 0 ? s[SUM_KL] / s[SUM_KL_TOKENS] : (double)NAN;
    p->rollout_tokens = s[SUM_LENGTH];
    p->update_tokens = s[SUM_ROWS];
    p->rollout_seconds = b->rollout_seconds;
    p->grade_seconds = b->grade_seconds;
    p->n_questions = (int32_t)s[SUM_QUESTIONS];
    p->n_kept = (int32_t)s[SUM_MIXED];
    p->n_answers = (int32_t)s[SUM_ANSWERS];
    p->n_failed = (int32_t)s[SUM_FAILED];
    p->tasks = y->tasks;
    p->n_tasks = y->n_tasks;
    p->run.loss = s[SUM_LOSS];
    p->run.n_step_tokens = (int64_t)s[SUM_ALL_ROWS];
    p->run.n_tokens += (int64_t)s[SUM_ALL_ROWS];
    p->run.n_targets += (int64_t)s[SUM_TOKENS];
    fill_samples(samples, b);
    p->samples = samples;
    p->n_samples = b->n_answers;
}

/* ---- runs that learn nothing ---- */

static void say_idle(const r2i_grpo_tally *y, const r2_grpo_report *p, r2_error *ending) {
    const bool is_easy = p->pass_rate > 0.5;
    (void)r2i_fail(ending, R2_E_STATE, "for %d steps all answers to each question were equally %s",
                   y->n_idle,
                   is_easy ? "good, most of them right: there is nothing left to learn; a higher "
                             "--level or other --tasks"
                           : "bad: nothing can be learnt from them; an easier --level, more "
                             "--answers, or `train sft` on such tasks first");
}

void r2i_grpo_tally_judge(r2i_grpo_tally *y, const r2_grpo_report *p, const r2_grpo_options *o,
                          r2_error *ending) {
    y->n_idle = p->n_kept == 0 ? y->n_idle + 1 : 0;
    /* A judge may find right what never ended: then the length is no fault. */
    y->n_cut = p->cut_share >= 1 && p->pass_rate == 0 ? y->n_cut + 1 : 0;
    y->n_unjudged = p->n_failed >= p->n_answers ? y->n_unjudged + 1 : 0;
    if (y->n_unjudged >= o->patience)
        (void)r2i_fail(ending, R2_E_STATE, "for %d steps no answer could be judged: %.150s",
                       y->n_unjudged, p->n_samples > 0 ? p->samples[0].why : "");
    else if (y->n_cut >= o->patience)
        (void)r2i_fail(ending, R2_E_STATE,
                       "for %d steps every answer was cut off at %d tokens: more of them (-n), a "
                       "thinking --budget, or `train sft` on short answers first",
                       y->n_cut, o->new_tokens);
    else if (y->n_idle >= o->patience)
        say_idle(y, p, ending);
    else if (o->kl_limit > 0 && p->kl > (double)o->kl_limit)
        (void)r2i_fail(ending, R2_E_STATE,
                       "step %lld: the model is %.3g nats per token from where it began, more than "
                       "%.3g (--kl-limit)",
                       (long long)p->run.step, p->kl, (double)o->kl_limit);
}
