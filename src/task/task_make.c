/* task_make.c - items of tasks: an instance of the split asked for, in words of a language. */
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "base/hash.h"
#include "task/grade_job.h"
#include "task/task_split.h"

enum { MAX_TEXT = 1 << 20, MAX_TRIES = 1 << 16 };

struct r2_task_maker {
    r2i_heap heap;
    r2i_task_draft draft;
};
enum { N_TEXTS = 6 };
#define TEXTS_OF(d) \
    { &(d)->prompt, &(d)->trace, &(d)->answer, &(d)->reply, &(d)->body, &(d)->expected }

/* Behind every question: where the answer is to stand.  Of code nothing else is wanted: a model that is rewarded
 * while its explanations are cut off learns above all to be short, elsewhere too. */
static const char *const forms[R2I_N_LANGUAGES] = {
    "\nPut the answer in <answer> tags.",           "\n请把答案放在 <answer> 标签中。",
    "\nPon la respuesta entre etiquetas <answer>.", "\nMets la réponse entre balises <answer>.",
    "\nSetze die Antwort in <answer>-Tags.",
};
static const char *const code_forms[R2I_N_LANGUAGES] = {
    "\nAnswer with one ```python block and nothing else.",
    "\n只用一个 ```python 代码块回答，不写别的。",
    "\nResponde con un solo bloque ```python y nada más.",
    "\nRéponds par un seul bloc ```python et rien d'autre.",
    "\nAntworte mit einem ```python-Block und sonst nichts.",
};
/* What may stand before a question; the last two are not taught. */
static const char *const frames[R2I_N_LANGUAGES][R2I_TAUGHT_FRAMES + R2I_WITHHELD_FRAMES] = {
    { "", "Question: ", "Think first. ", "Here is a task. ", "Can you help me? ",
      "A friend asks: " },
    { "", "问题：", "请先想一想。", "有一道题。", "能帮帮我吗？", "朋友问：" },
    { "", "Pregunta: ", "Piensa primero. ", "Aquí va una tarea. ", "¿Me ayudas? ",
      "Una amiga pregunta: " },
    { "", "Question : ", "Réfléchis d'abord. ", "Voici un exercice. ", "Peux-tu m'aider ? ",
      "Un ami demande : " },
    { "", "Frage: ", "Denke zuerst nach. ", "Hier ist eine Aufgabe. ", "Kannst du mir helfen? ",
      "Ein Freund fragt: " },
};

/* ---- the table ---- */

int32_t r2_task_count(void) {
    return r2i_n_tasks;
}

const r2i_task *r2i_task_at(int32_t i) {
    return i >= 0 && i < r2i_n_tasks ? r2i_tasks[i] : NULL;
}

const char *r2_task_name(int32_t i) {
    return r2i_task_at(i) != NULL ? r2i_task_at(i)->name : NULL;
}

const char *r2_task_about(int32_t i) {
    return r2i_task_at(i) != NULL ? r2i_task_at(i)->about : NULL;
}

int32_t r2_task_levels(int32_t i) {
    return r2i_task_at(i) != NULL ? r2i_task_at(i)->n_levels : 0;
}

r2_grade_kind r2_task_kind(int32_t i) {
    return r2i_task_at(i) != NULL ? r2i_task_at(i)->kind : R2_GRADE_EXACT;
}

int32_t r2_task_find(const char *name) {
    for (int32_t i = 0; name != NULL && i < r2i_n_tasks; i++) {
        if (strcmp(r2i_tasks[i]->name, name) == 0) return i;
    }
    return -1;
}

const r2i_task *r2i_task_find(const char *name) {
    return r2i_task_at(r2_task_find(name));
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
    r2i_buffer *const texts[] = TEXTS_OF(&m->draft);
    for (int i = 0; i < N_TEXTS; i++)
        r2i_buffer_init(texts[i], &m->heap, MAX_TEXT);
    return R2_OK;
}

static void clear(r2_task_maker *m, void (*how)(r2i_buffer *)) {
    r2i_buffer *const texts[] = TEXTS_OF(&m->draft);
    for (int i = 0; i < N_TEXTS; i++)
        how(texts[i]);
}

void r2_task_maker_destroy(r2_task_maker *maker) {
    if (maker == NULL) return;
    clear(maker, r2i_buffer_destroy);
    r2i_heap heap = maker->heap;
    r2i_heap_give(&heap, maker, sizeof *maker);
}

/* Draws until the instance is one of the split; which words it then gets is drawn behind it. */
static r2_status draw_instance(r2_task_maker *m, const r2i_task *task) {
    r2i_task_draft *d = &m->draft;
    for (int32_t tries = 0; tries < MAX_TRIES; tries++) {
        clear(m, r2i_buffer_clear);
        d->key = r2i_hash_bytes(R2I_HASH_SEED, task->name, strlen(task->name));
        d->has_withheld = false;
        r2i_begin_doubt(d);
        task->make(d);
        R2I_TRY(d->status);
        if (r2i_split_has(d)) return R2_OK;
    }
    return r2i_fail(d->err, R2_E_LIMIT, "task %s: level %d has no instances for split %s",
                    task->name, d->level, r2_task_split_name(d->split));
}

/* Taught are eight phrasings: two questions in four frames; of those withheld the question is another
 * one or the frame is. */
static void ask(r2i_task_draft *d, const r2i_task *task) {
    int64_t frame = r2i_draw(d, 0, R2I_TAUGHT_FRAMES - 1),
            question = r2i_draw(d, 0, R2I_QUESTIONS - 2);
    if (d->split == R2_SPLIT_OOD_PHRASING) {
        frame = r2i_draw(d, R2I_TAUGHT_FRAMES - 1, R2I_TAUGHT_FRAMES + R2I_WITHHELD_FRAMES - 1);
        if (frame < R2I_TAUGHT_FRAMES) {
            frame = 0;
            question = R2I_QUESTIONS - 1;
        }
    }
    r2i_say(d, &d->prompt, "%s", frames[d->language][frame]);
    if (d->trace.n_bytes > 0 && d->trace.bytes[d->trace.n_bytes - 1] == '\n')
        d->trace.bytes[--d->trace.n_bytes] = '\0'; /* behind the last step */
    r2i_say_filled(d, &d->prompt, task->questions[d->language][question]);
    if (d->body.n_bytes > 0) {
        r2i_say(d, &d->prompt, "\n");
        r2i_say_all(d, &d->prompt, &d->body);
    }
    r2i_say(d, &d->prompt, "%s",
            (r2i_grade_runs_programs(task->kind) ? code_forms : forms)[d->language]);
    r2i_say(d, &d->reply, "%s", r2i_grade_runs_programs(task->kind) ? "```python\n" : "<answer>");
    r2i_say_all(d, &d->reply, &d->answer);
    r2i_say(d, &d->reply, "%s", r2i_grade_runs_programs(task->kind) ? "\n```" : "</answer>");
}

r2_status r2_task_make(r2_task_maker *maker, r2_task_item *item, const r2_task_choice *choice,
                       uint64_t index, r2_error *err) {
    r2_error own;
    const r2i_task *task;
    r2i_task_draft *d = &maker->draft;
    *item = (r2_task_item){ 0 };
    d->err = err != NULL ? err : &own;
    R2I_TRY(r2i_split_begin(d, &task, choice));
    d->seed = choice->seed;
    d->place = r2i_hash_bytes(index, task->name, strlen(task->name)) + (uint64_t)d->level * 131 +
               (uint64_t)d->language;
    d->n_drawn = 0;
    d->status = R2_OK;
    R2I_TRY(draw_instance(maker, task));
    r2i_settle_doubt(d);
    ask(d, task);
    R2I_TRY(d->status);
    *item =
        (r2_task_item){ .prompt = d->prompt.bytes,
                        .trace = d->trace.n_bytes > 0 ? d->trace.bytes : "",
                        .answer = d->answer.bytes,
                        .reply = d->reply.bytes,
                        .expected = d->expected.n_bytes > 0 ? d->expected.bytes : d->answer.bytes,
                        .level = d->level,
                        .language = r2i_language_names[d->language],
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
    grade->score = grade->is_right ? 1 : 0;
    return R2_OK;
}

/* Other ways to write the same that a task knows of. */
static void grade_again(r2_grade *grade, const r2i_task *task, const char *expected,
                        const char *text, size_t n_bytes) {
    r2i_answer_text found;
    r2i_answer_find(&found, text, n_bytes);
    if (!task->is_also_right(expected, found.answer.text, found.answer.n)) return;
    grade->is_right = grade->is_found = true;
    grade->score = 1;
    grade->why[0] = '\0';
}

static r2_status grade_kind(r2_grade *grade, const r2i_task *task, const char *expected,
                            const char *text, size_t n_bytes, const r2_host *host, r2_error *err) {
    r2_grade_options options = { .kind = task->kind, .expected = expected };
    if (host != NULL) options.host = *host;
    R2I_TRY(r2_grade_answer(grade, text, n_bytes, &options, err));
    if (!grade->is_right && task->is_also_right != NULL)
        grade_again(grade, task, expected, text, n_bytes);
    return R2_OK;
}

/* Every question says in which form its answer is wanted; what is right without it is found, no more. */
static void want_form(r2_grade *grade) {
    if (!grade->is_right || grade->has_form) return;
    grade->is_right = false;
    grade->score = 0;
    (void)snprintf(grade->why, sizeof grade->why, "right, but not in the form asked for");
}

r2_status r2_task_grade(r2_grade *grade, const char *name, const char *expected, const char *text,
                        size_t n_bytes, const r2_host *host, r2_error *err) {
    const r2i_task *task = r2i_task_find(name);
    if (task == NULL)
        return r2i_fail(err, R2_E_NOT_FOUND, "task: no task is called \"%.60s\"",
                        name != NULL ? name : "");
    if (task->is_right != NULL)
        R2I_TRY(grade_own(grade, task, expected, text, n_bytes));
    else
        R2I_TRY(grade_kind(grade, task, expected, text, n_bytes, host, err));
    want_form(grade);
    return R2_OK;
}
