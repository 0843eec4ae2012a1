/* suite_tasks.c - our own tasks (r2lm/task.h): questions that training never generates, made here. */
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "eval/suite_load.h"
#include "task/grade_job.h"

enum { DEFAULT_ITEMS = 100, GROUP_BYTES = 160 };

typedef struct {
    r2i_eval_load *load;
    r2_task_maker *maker;
    r2_task_choice choice;
    int32_t task;
    bool has_language; /* of those asked for, one in which it is asked */
} making;

static r2_status add_items(making *m, const r2_task_choice *choice, r2_error *err) {
    r2i_eval_load *load = m->load;
    const int32_t n = load->options->limit > 0 ? load->options->limit : DEFAULT_ITEMS;
    char group[GROUP_BYTES], digits[16];
    const bool is_test = choice->split == R2_SPLIT_TEST;
    r2_task_item made;
    R2I_TRY(r2_task_make(m->maker, &made, choice, 0, err));
    (void)snprintf(group, sizeof group, "%.60s level %d %s%s%s", choice->task, made.level,
                   made.language, is_test ? "" : " ",
                   is_test ? "" : r2_task_split_name(choice->split));
    const char *name = r2i_eval_copy(load, group), *task = r2i_eval_copy(load, choice->task);
    for (int32_t i = 0; i < n; i++) {
        R2I_TRY(r2_task_make(m->maker, &made, choice, (uint64_t)i, err));
        (void)snprintf(digits, sizeof digits, "%d", i);
        const r2i_eval_item item = { .id = r2i_eval_join(load, group, " #", digits),
                                     .group = name,
                                     .question = r2i_eval_copy(load, made.prompt),
                                     .expected = r2i_eval_copy(load, made.expected),
                                     .entry = task };
        if (item.expected == NULL || task == NULL || name == NULL)
            return r2i_fail(err, R2_E_NOMEM, "no memory for items");
        R2I_TRY(r2i_eval_add(load, &item, err));
    }
    return R2_OK;
}

static r2_status add_language(void *user, const char *language, r2_error *err) {
    making *m = user;
    m->choice.language = language;
    if (!r2_task_has_language(m->task, language, m->choice.split)) return R2_OK;
    m->has_language = true;
    return add_items(m, &m->choice, err);
}

static r2_status choose_split(making *m, r2_error *err) {
    const char *name = m->load->options->split;
    r2_task_split split = name != NULL ? R2_SPLIT_TRAIN : R2_SPLIT_TEST;
    while (name != NULL && split < R2_N_SPLITS && strcmp(name, r2_task_split_name(split)) != 0)
        split++;
    m->choice.split = split;
    if (split < R2_N_SPLITS) return R2_OK;
    return r2i_fail(err, R2_E_ARGUMENT, "%.60s: no such split of tasks", name);
}

/* One level where the split has one alone, one language where it has. */
static r2_status add_level(making *m, int32_t level, r2_error *err) {
    const r2_eval_options *o = m->load->options;
    m->choice.level = level;
    m->choice.language = NULL;
    if (m->choice.split == R2_SPLIT_OOD_LANGUAGE) return add_items(m, &m->choice, err);
    return r2i_eval_each_word(o->languages != NULL ? o->languages : "en", add_language, m, err);
}

static r2_status add_task(making *m, int32_t task, r2_error *err) {
    const r2_eval_options *o = m->load->options;
    const bool is_long = m->choice.split == R2_SPLIT_OOD_LENGTH;
    const int32_t n_levels = is_long ? 1 : r2_task_levels(task);
    if (o->level > n_levels && o->tasks != NULL && !is_long)
        return r2i_fail(err, R2_E_ARGUMENT, "%s: expected a level of 1 to %d, found %d",
                        r2_task_name(task), n_levels, o->level);
    m->task = task;
    m->has_language = m->choice.split == R2_SPLIT_OOD_LANGUAGE;
    m->choice.task = r2_task_name(task);
    m->choice.seed = o->sampling.seed;
    if (!r2_task_has_split(task, m->choice.split) && o->tasks == NULL) return R2_OK;
    for (int32_t level = 1; level <= n_levels; level++) {
        if (o->level > 0 && o->level != level && !is_long) continue;
        R2I_TRY(add_level(m, level, err));
        m->load->runs_programs |= r2i_grade_runs_programs(r2_task_kind(task));
    }
    if (m->has_language || o->tasks == NULL) return R2_OK;
    return r2i_fail(err, R2_E_ARGUMENT, "%s: asked in %s by split ood-lang alone",
                    r2_task_name(task), r2_task_withheld_language(task));
}

static r2_status add_named(void *user, const char *name, r2_error *err) {
    const int32_t task = r2_task_find(name);
    if (task >= 0) return add_task(user, task, err);
    return r2i_fail(err, R2_E_ARGUMENT, "%.60s: no such task", name);
}

static r2_status load_tasks(r2i_eval_load *load, r2_error *err) {
    making m = { .load = load };
    R2I_TRY(r2_task_maker_create(&m.maker, NULL, err));
    r2_status status = choose_split(&m, err);
    if (status == R2_OK && load->options->tasks != NULL)
        status = r2i_eval_each_word(load->options->tasks, add_named, &m, err);
    for (int32_t i = 0; load->options->tasks == NULL && i < r2_task_count() && status == R2_OK; i++)
        status = add_task(&m, i, err);
    r2_task_maker_destroy(m.maker);
    return status;
}

static r2_status judge(r2_grade *grade, const r2i_eval_item *item, const r2i_eval_text *answer,
                       const r2_host *host, r2_error *err) {
    return r2_task_grade(grade, item->entry, item->expected, answer->text, answer->n_bytes, host,
                         err);
}

const r2i_eval_suite r2i_suite_tasks = {
    .about = { .name = "tasks",
               .about = "our own tasks, questions that training never sees (--tasks, --level)",
               .files = "",
               .origin = "",
               .max_new_tokens = 512,
               .has_lenient = true },
    .load = load_tasks,
    .judge = judge,
    .has_answers = true
};
