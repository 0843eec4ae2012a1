/* task_split.c - which instances are taught, and the ways in which the other splits go beyond them.
 *
 * Of 64 instances one is for development and one for tests, whatever their words.  Four splits go beyond
 * what is taught in one way each: the language is one that the task is never taught in, a number is of a
 * band that no taught instance has, the words are others, or the instance is longer than any. */
#include "task/task_split.h"

#include <stdlib.h>
#include <string.h>

#include "base/failure.h"
#include "base/hash.h"

enum { N_BINS = 64, TEST_BIN = 0, DEV_BIN = 1, MAX_DRAWS = 64 };

const char *const r2i_language_names[R2I_N_LANGUAGES] = { "en", "zh", "es", "fr", "de" };

/* ---- the table, seen from outside ---- */

const char *r2_task_split_name(r2_task_split split) {
    static const char *const names[R2_N_SPLITS] = { "train",     "dev",        "test",
                                                    "ood-lang",  "ood-values", "ood-phrasing",
                                                    "ood-length" };
    return (unsigned)split < R2_N_SPLITS ? names[split] : NULL;
}

static bool has_split(const r2i_task *task, r2_task_split split) {
    if (split == R2_SPLIT_OOD_LANGUAGE) return task->withheld_language != R2I_EN;
    return split != R2_SPLIT_OOD_VALUES || task->has_values;
}

bool r2_task_has_split(int32_t i, r2_task_split split) {
    return r2i_task_at(i) != NULL && has_split(r2i_task_at(i), split);
}

bool r2_task_has_language(int32_t i, const char *language, r2_task_split split) {
    const r2i_task *task = r2i_task_at(i);
    if (task == NULL || language == NULL) return false;
    const bool is_withheld = task->withheld_language != R2I_EN &&
                             strcmp(language, r2i_language_names[task->withheld_language]) == 0;
    return is_withheld == (split == R2_SPLIT_OOD_LANGUAGE);
}

const char *r2_task_language(int32_t i) {
    return i >= 0 && i < R2I_N_LANGUAGES ? r2i_language_names[i] : NULL;
}

const char *r2_task_withheld_language(int32_t i) {
    const r2i_task *task = r2i_task_at(i);
    return task != NULL && task->withheld_language != R2I_EN
               ? r2i_language_names[task->withheld_language]
               : NULL;
}

/* ---- values ---- */

/* Every thirteenth number above nine, whatever its length: those that begin with 11, 37, 38, 39, 64, 65, 66. */
static bool is_withheld_value(int64_t x) {
    uint64_t rest = x < 0 ? 0 - (uint64_t)x : (uint64_t)x;
    while (rest >= 100)
        rest /= 10;
    return rest == 11 || (rest >= 37 && rest <= 39) || (rest >= 64 && rest <= 66);
}

void r2i_note_withheld(r2i_task_draft *d, bool is_withheld) {
    d->has_withheld = d->has_withheld || is_withheld;
}

void r2i_note_operand(r2i_task_draft *d, int64_t value) {
    r2i_note_withheld(d, is_withheld_value(value));
}

int64_t r2i_draw_operand(r2i_task_draft *d, int64_t low, int64_t high) {
    int64_t value = r2i_draw(d, low, high);
    for (int i = 0; i < MAX_DRAWS && d->split != R2_SPLIT_OOD_VALUES && is_withheld_value(value);
         i++)
        value = r2i_draw(d, low, high);
    r2i_note_operand(d, value);
    return value;
}

/* ---- one choice ---- */

static int32_t find_language(const char *name) {
    for (int32_t i = 0; name != NULL && i < R2I_N_LANGUAGES; i++) {
        if (strcmp(r2i_language_names[i], name) == 0) return i;
    }
    return -1;
}

static r2_status check(const r2i_task_draft *d, const r2i_task *task,
                       const r2_task_choice *choice) {
    const char *split = r2_task_split_name(choice->split);
    if (split == NULL || !has_split(task, choice->split))
        return r2i_fail(d->err, R2_E_ARGUMENT, "task %s: it has nothing for split %s", task->name,
                        split != NULL ? split : "outside the list");
    if (d->level < 1 || d->level > task->n_levels + (choice->split == R2_SPLIT_OOD_LENGTH) ||
        d->language < 0)
        return r2i_fail(
            d->err, R2_E_ARGUMENT,
            "task %s: expected level 1 to %d, and en, zh, es, fr or de; found %d and \"%.10s\"",
            task->name, task->n_levels, choice->level,
            choice->language != NULL ? choice->language : "");
    const bool is_withheld =
        task->withheld_language != R2I_EN && d->language == task->withheld_language;
    if (is_withheld == (choice->split == R2_SPLIT_OOD_LANGUAGE)) return R2_OK;
    return r2i_fail(d->err, R2_E_ARGUMENT,
                    "task %s: questions in %s are for split ood-lang alone, found split %s and %s",
                    task->name, r2i_language_names[task->withheld_language], split,
                    r2i_language_names[d->language]);
}

r2_status r2i_split_begin(r2i_task_draft *d, const r2i_task **out, const r2_task_choice *choice) {
    const r2i_task *task = *out = r2i_task_find(choice->task);
    if (task == NULL)
        return r2i_fail(d->err, R2_E_NOT_FOUND, "task: no task is called \"%.60s\"",
                        choice->task != NULL ? choice->task : "");
    d->split = choice->split;
    d->level = choice->split == R2_SPLIT_OOD_LENGTH ? task->n_levels + 1 : choice->level;
    d->language = choice->split == R2_SPLIT_OOD_LANGUAGE && choice->language == NULL
                      ? task->withheld_language
                      : find_language(choice->language);
    return check(d, task, choice);
}

/* Values that are never taught make an instance new whatever its hash; other words or another language do not. */
bool r2i_split_has(const r2i_task_draft *d) {
    const uint64_t bin = r2i_hash_mix(d->key) % N_BINS;
    if (d->has_withheld != (d->split == R2_SPLIT_OOD_VALUES)) return false;
    if (d->split == R2_SPLIT_OOD_VALUES) return true;
    if (d->split == R2_SPLIT_TRAIN) return bin != TEST_BIN && bin != DEV_BIN;
    return bin == (d->split == R2_SPLIT_DEV ? DEV_BIN : TEST_BIN);
}
