#include "train/reinforce/grpo_reward.h"

#include <math.h>
#include <stdio.h>

#include "base/failure.h"
#include "base/utf8_valid.h"
#include "task/grade_job.h"

static const double least_deviation = 1e-6, equal_rewards = 1e-9;

/* ---- judges ---- */

/* Before anything is asked: a machine without a sandbox cannot learn from programs. */
static r2_status try_programs(const r2_grpo_options *o, const r2_host *host, r2_error *err) {
    for (int32_t i = 0; i < o->n_tasks; i++) {
        if (r2i_grade_runs_programs(r2_task_kind(r2_task_find(o->tasks[i]))))
            return r2i_grade_try_programs(host, err);
    }
    return R2_OK;
}

r2_status r2i_grpo_judges_open(r2i_grpo_judges *j, const r2_grpo_options *options, r2i_pool *pool,
                               const r2_host *host, r2i_arena *arena, r2_error *err) {
    const r2_verifier_options how = { .command = options->verifier,
                                      .reply_seconds = options->verifier_seconds,
                                      .host = *host };
    const int32_t n = r2i_pool_threads(pool);
    *j = (r2i_grpo_judges){ .options = options, .host = host, .pool = pool };
    R2I_TRY(try_programs(options, host, err));
    if (options->verifier == NULL) return R2_OK;
    j->verifiers = R2I_ARENA_ARRAY(arena, r2_verifier *, (size_t)n);
    if (j->verifiers == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for verifiers");
    for (; j->n < n; j->n++)
        R2I_TRY(r2_verifier_open(&j->verifiers[j->n], &how, err));
    const int32_t n_levels = r2_verifier_levels(j->verifiers[0]);
    if (n_levels < 1)
        return r2i_fail(err, R2_E_ARGUMENT, "%.150s: a verifier that asks no questions",
                        options->verifier);
    if (options->level <= n_levels) return R2_OK;
    return r2i_fail(err, R2_E_ARGUMENT, "verifier %.60s: expected a level of 1 to %d, found %d",
                    r2_verifier_name(j->verifiers[0]), n_levels, options->level);
}

void r2i_grpo_judges_close(r2i_grpo_judges *j) {
    for (int32_t i = 0; i < j->n; i++)
        r2_verifier_close(j->verifiers[i]);
    j->n = 0;
}

typedef struct {
    const r2i_grpo_judges *judges;
    r2i_grpo_batch *batch;
    int32_t first; /* answer */
} judge_region;

static r2_status judge_one(const judge_region *region, r2i_grpo_answer *a, int32_t worker,
                           r2_error *err) {
    const r2i_grpo_question *q = &region->batch->questions[a->question];
    const r2i_grpo_judges *j = region->judges;
    if (q->is_verified)
        return r2_verifier_grade(j->verifiers[worker], &a->grade, q->text, q->expected, a->text,
                                 a->n_bytes, err);
    return r2_task_grade(&a->grade, q->task, q->expected, a->text, a->n_bytes, j->host, err);
}

/* Programs run in processes of their own, as many at once as there are threads. */
static void judge_answers(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const judge_region *region = argument;
    for (int32_t i = begin; i < end; i++) {
        r2i_grpo_answer *a = &region->batch->answers[region->first + i];
        r2_error own = { R2_OK, "" };
        a->judged = judge_one(region, a, worker, &own);
        a->is_right = a->judged == R2_OK && a->grade.is_right;
        if (a->judged == R2_OK) continue;
        a->grade = (r2_grade){ .is_unjudged = true };
        (void)snprintf(a->grade.why, sizeof a->grade.why, "%.200s", own.text);
        r2i_utf8_make_line(a->grade.why);
    }
}

/* ---- rewards ---- */

/* 0 up to the last share of the length, then to 1 at its end (DAPO, arXiv:2503.14476, eq. 13). */
static double overlong(const r2_grpo_options *o, int32_t n_new) {
    const double margin = (double)o->overlong * o->new_tokens, left = o->new_tokens - n_new;
    return margin > 0 && left < margin ? (margin - left) / margin : 0;
}

static double reward_of(const r2_grpo_options *o, const r2i_grpo_answer *a,
                        const r2i_grpo_question *q) {
    double reward = a->grade.score;
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

r2_status r2i_grpo_judge(const r2i_grpo_judges *j, r2i_grpo_batch *b, int32_t first,
                         r2_error *err) {
    const r2_grpo_options *o = j->options;
    judge_region region = { j, b, first * o->n_samples };
    const int32_t n = (b->n_questions - first) * o->n_samples;
    if (n == 0) return R2_OK;
    r2i_pool_run(j->pool, n, 1, judge_answers, &region);
    for (int32_t i = region.first; i < region.first + n; i++) {
        const r2i_grpo_answer *a = &b->answers[i];
        if (a->judged == R2_E_SANDBOX) return r2i_fail(err, R2_E_SANDBOX, "%s", a->grade.why);
        b->n_failed += a->grade.is_unjudged;
    }
    for (int32_t i = first; i < b->n_questions; i++)
        compare_answers(b, o, &b->questions[i]);
    return R2_OK;
}
