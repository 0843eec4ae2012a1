#include "train/grpo_reward.h"

#include <math.h>
#include <stdio.h>

#include "base/failure.h"

static const double least_deviation = 1e-6, equal_rewards = 1e-9;

typedef struct {
    r2i_grpo_batch *batch;
    const r2_host *host;
    int32_t first; /* answer */
} judge_region;

/* Programs run in processes of their own, as many at once as there are threads. */
static void judge_answers(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const judge_region *region = argument;
    (void)worker;
    for (int32_t i = begin; i < end; i++) {
        r2i_grpo_answer *a = &region->batch->answers[region->first + i];
        const r2i_grpo_question *q = &region->batch->questions[a->question];
        r2_error own;
        a->judged =
            r2_task_grade(&a->grade, q->task, q->expected, a->text, a->n_bytes, region->host, &own);
        if (a->judged != R2_OK)
            (void)snprintf(a->grade.why, sizeof a->grade.why, "%.200s", own.text);
        a->is_right = a->judged == R2_OK && a->grade.is_right && a->grade.has_form;
    }
}

/* 0 up to the last share of the length, then to 1 at its end (DAPO, arXiv:2503.14476, eq. 13). */
static double overlong(const r2_grpo_options *o, int32_t n_new) {
    const double margin = (double)o->overlong * o->new_tokens, left = o->new_tokens - n_new;
    return margin > 0 && left < margin ? (margin - left) / margin : 0;
}

static double reward_of(const r2_grpo_options *o, const r2i_grpo_answer *a,
                        const r2i_grpo_question *q) {
    double reward = a->is_right;
    if (a->is_right && o->language_weight > 0)
        reward += (double)o->language_weight * r2_language_share(a->text, a->n_bytes, q->language);
    return reward - overlong(o, a->n_tokens - a->n_prompt);
}

static void compare_answers(r2i_grpo_batch *b, const r2_grpo_options *o, r2i_grpo_question *q) {
    r2i_grpo_answer *answers = b->answers + q->first;
    const int32_t n = o->n_samples;
    double sum = 0, squares = 0, low = INFINITY, high = -INFINITY;
    for (int32_t i = 0; i < n; i++) {
        answers[i].reward = reward_of(o, &answers[i], q);
        sum += answers[i].reward;
        low = fmin(low, answers[i].reward);
        high = fmax(high, answers[i].reward);
    }
    for (int32_t i = 0; i < n; i++) {
        answers[i].advantage = answers[i].reward - sum / n;
        squares += answers[i].advantage * answers[i].advantage;
    }
    q->is_mixed = high - low > equal_rewards;
    const double deviation = sqrt(squares / n) + least_deviation;
    for (int32_t i = 0; i < n && o->divides_by_deviation; i++)
        answers[i].advantage /= deviation;
}

r2_status r2i_grpo_judge(r2i_grpo_batch *b, const r2_grpo_options *o, int32_t first, r2i_pool *pool,
                         const r2_host *host, r2_error *err) {
    judge_region region = { b, host, first * o->n_samples };
    const int32_t n = (b->n_questions - first) * o->n_samples;
    if (n == 0) return R2_OK;
    r2i_pool_run(pool, n, 1, judge_answers, &region);
    for (int32_t i = region.first; i < region.first + n; i++) {
        const r2i_grpo_answer *a = &b->answers[i];
        if (a->judged == R2_E_UNSUPPORTED)
            return r2i_fail(err, R2_E_UNSUPPORTED, "%s", a->grade.why);
    }
    for (int32_t i = first; i < b->n_questions; i++)
        compare_answers(b, o, &b->questions[i]);
    return R2_OK;
}
