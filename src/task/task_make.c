/* task_make.c - items of tasks: an instance of the split asked for, in words of a language. */
#include <string.h>

#include "base/failure.h"
#include "base/hash.h"
#include "task/grade_job.h"
#include "task/task_draft.h"

enum { MAX_TEXT = 1 << 20, MAX_TRIES = 1 << 16, N_BINS = 64, TEST_BIN = 0, DEV_BIN = 1 };

struct r2_task_maker {
    r2i_heap heap;
    r2i_task_draft draft;
};

static const char *const languages[R2I_N_LANGUAGES] = { "en", "zh", "es", "fr", "de" };
/* Behind every question: where the answer is to stand. */
static const char *const forms[R2I_N_LANGUAGES] = {
    "\nPut the answer in <answer> tags.",           "\n请把答案放在 <answer> 标签中。",
    "\nPon la respuesta entre etiquetas <answer>.", "\nMets la réponse entre balises <answer>.",
    "\nSetze die Antwort in <answer>-Tags.",
};

/* ---- the table ---- */

int32_t r2_task_count(void) {
    return r2i_n_tasks;
}

static const r2i_task *task_at(int32_t i) {
    return i >= 0 && i < r2i_n_tasks ? r2i_tasks[i] : NULL;
}

const char *r2_task_name(int32_t i) {
    return task_at(i) != NULL ? task_at(i)->name : NULL;
}

const char *r2_task_about(int32_t i) {
    return task_at(i) != NULL ? task_at(i)->about : NULL;
}

int32_t r2_task_levels(int32_t i) {
    return task_at(i) != NULL ? task_at(i)->n_levels : 0;
}

const r2i_task *r2i_task_find(const char *name) {
    for (int32_t i = 0; name != NULL && i < r2i_n_tasks; i++) {
        if (strcmp(r2i_tasks[i]->name, name) == 0) return r2i_tasks[i];
    }
    return NULL;
}

/* ---- making ---- */

r2_status r2_task_maker_create(r2_task_maker **out, const r2_host *host, r2_error *err) {
    r2i_heap heap;
    r2i_heap_init_host(&heap, host);
    *out = r2i_heap_take(&heap, sizeof **out);
    if (*out == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for tasks");
    r2_task_maker *m = *out;
    memset(m, 0, sizeof *m);
    m->heap = heap;
    r2i_buffer *const texts[] = { &m->draft.prompt, &m->draft.trace, &m->draft.answer,
                                  &m->draft.expected };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        r2i_buffer_init(texts[i], &m->heap, MAX_TEXT);
    return R2_OK;
}

static void clear(r2_task_maker *m, void (*how)(r2i_buffer *)) {
    how(&m->draft.prompt);
    how(&m->draft.trace);
    how(&m->draft.answer);
    how(&m->draft.expected);
}

void r2_task_maker_destroy(r2_task_maker *maker) {
    if (maker == NULL) return;
    clear(maker, r2i_buffer_destroy);
    r2i_heap heap = maker->heap;
    r2i_heap_give(&heap, maker, sizeof *maker);
}

static int32_t find_language(const char *name) {
    for (int32_t i = 0; name != NULL && i < R2I_N_LANGUAGES; i++) {
        if (strcmp(languages[i], name) == 0) return i;
    }
    return -1;
}

static r2_task_split split_of(uint64_t key) {
    const uint64_t bin = r2i_hash_mix(key) % N_BINS;
    return bin == TEST_BIN ? R2_SPLIT_TEST : bin == DEV_BIN ? R2_SPLIT_DEV : R2_SPLIT_TRAIN;
}

/* Draws until the instance is one of the split; which words it then gets is drawn behind it. */
static r2_status draw_instance(r2_task_maker *m, const r2i_task *task, r2_task_split split) {
    r2i_task_draft *d = &m->draft;
    for (int32_t tries = 0; tries < MAX_TRIES; tries++) {
        clear(m, r2i_buffer_clear);
        d->key = r2i_hash_bytes(R2I_HASH_SEED, task->name, strlen(task->name));
        task->make(d);
        R2I_TRY(d->status);
        if (split_of(d->key) == split) return R2_OK;
    }
    return r2i_fail(d->err, R2_E_LIMIT, "task %s: level %d has no instances for this split",
                    task->name, d->level);
}

static void ask(r2i_task_draft *d, const r2i_task *task, r2_task_shift shift) {
    const int64_t which = shift == R2_SHIFT_PHRASING
                              ? r2i_draw(d, R2I_PHRASINGS, R2I_ALL_PHRASINGS - 1)
                              : r2i_draw(d, 0, R2I_PHRASINGS - 1);
    r2i_say_filled(d, &d->prompt, task->prompts[d->language][which]);
    r2i_say(d, &d->prompt, "%s", forms[d->language]);
}

r2_status r2_task_make(r2_task_maker *maker, r2_task_item *item, const r2_task_choice *choice,
                       uint64_t index, r2_error *err) {
    r2_error own;
    r2i_task_draft *d = &maker->draft;
    const r2i_task *task = r2i_task_find(choice->task);
    *item = (r2_task_item){ 0 };
    d->err = err != NULL ? err : &own;
    d->language = find_language(choice->language);
    if (task == NULL)
        return r2i_fail(err, R2_E_NOT_FOUND, "task: no task is called \"%.60s\"",
                        choice->task != NULL ? choice->task : "");
    if (choice->level < 1 || choice->level > task->n_levels || d->language < 0 ||
        choice->split > R2_SPLIT_TEST || choice->shift > R2_SHIFT_PHRASING)
        return r2i_fail(
            err, R2_E_ARGUMENT,
            "task %s: expected level 1 to %d, and en, zh, es, fr or de; found %d and \"%.10s\"",
            task->name, task->n_levels, choice->level,
            choice->language != NULL ? choice->language : "");
    d->level = choice->shift == R2_SHIFT_LENGTH ? task->n_levels + 1 : choice->level;
    d->seed = choice->seed;
    d->place = r2i_hash_bytes(index, task->name, strlen(task->name)) + (uint64_t)d->level * 131 +
               (uint64_t)d->language;
    d->n_drawn = 0;
    d->status = R2_OK;
    R2I_TRY(draw_instance(maker, task, choice->split));
    ask(d, task, choice->shift);
    R2I_TRY(d->status);
    *item =
        (r2_task_item){ .prompt = d->prompt.bytes,
                        .trace = d->trace.n_bytes > 0 ? d->trace.bytes : "",
                        .answer = d->answer.bytes,
                        .expected = d->expected.n_bytes > 0 ? d->expected.bytes : d->answer.bytes,
                        .key = d->key };
    return R2_OK;
}

/* ---- judging ---- */

static r2_status grade_own(r2_grade *grade, const r2i_task *task, const char *expected,
                           const char *text, size_t n_bytes) {
    r2i_answer_text found;
    *grade = (r2_grade){ 0 };
    r2i_answer_find(&found, text, n_bytes);
    grade->is_finished = found.is_finished;
    grade->has_form = found.has_form;
    grade->is_right = grade->is_found = task->is_right(expected, found.answer.text, found.answer.n);
    return R2_OK;
}

r2_status r2_task_grade(r2_grade *grade, const char *name, const char *expected, const char *text,
                        size_t n_bytes, const r2_host *host, r2_error *err) {
    const r2i_task *task = r2i_task_find(name);
    r2_grade_options options = { .expected = expected };
    if (task == NULL)
        return r2i_fail(err, R2_E_NOT_FOUND, "task: no task is called \"%.60s\"",
                        name != NULL ? name : "");
    if (task->is_right != NULL) return grade_own(grade, task, expected, text, n_bytes);
    options.kind = task->kind;
    if (host != NULL) options.host = *host;
    return r2_grade_answer(grade, text, n_bytes, &options, err);
}
