/* tasks_make.c - `r2lm tasks make`: items as chats, which `r2lm data prep` and `r2lm train sft` read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/failure.h"
#include "cli/task_lines.h"
#include "cli/text_write.h"

enum { N_LANGUAGES = 5, MAX_FILE_BYTES = 1 << 30, FILE_MODE = 0666 & ~022, VERIFIER_LEVEL = 1 };

typedef struct {
    r2i_program *program;
    r2_task_maker *maker;
    r2_verifier *verifier; /* NULL: own tasks */
    int32_t tasks[R2I_MAX_WORDS], n_tasks;
    const char *languages[N_LANGUAGES];
    int32_t n_languages;
    r2_task_split split;
    const char *file; /* NULL: standard output */
    r2i_buffer lines; /* for the file */
} making;

/* ---- what is made ---- */

static r2_status choose_tasks(making *m, r2_error *err) {
    const r2i_arguments *a = &m->program->arguments;
    const bool is_all = a->n_words == 2 && strcmp(a->words[1], "all") == 0;
    if (m->verifier != NULL) {
        if (a->n_words == 1) return R2_OK;
        return r2i_fail(err, R2_E_ARGUMENT, "tasks make: expected names or --verifier, found both");
    }
    for (int32_t i = 0; is_all && i < r2_task_count(); i++)
        m->tasks[m->n_tasks++] = i;
    for (int i = 1; !is_all && i < a->n_words; i++) {
        const int32_t task = r2_task_find(a->words[i]);
        if (task < 0)
            return r2i_fail(err, R2_E_ARGUMENT,
                            "tasks make: no task is called \"%.60s\"; `r2lm tasks` lists them",
                            a->words[i]);
        m->tasks[m->n_tasks++] = task;
    }
    if (m->n_tasks > 0) return R2_OK;
    return r2i_fail(err, R2_E_ARGUMENT, "tasks make: expected names of tasks, or all");
}

/* "en,de" or "all". */
static r2_status choose_languages(making *m, r2_error *err) {
    const char *at = m->program->options->languages;
    const bool is_all = strcmp(at, "all") == 0;
    for (int32_t i = 0; is_all && i < N_LANGUAGES; i++)
        m->languages[m->n_languages++] = r2_task_language(i);
    while (!is_all && *at != '\0') {
        const size_t n = strcspn(at, ",");
        int32_t i = 0;
        while (i < N_LANGUAGES && (n != 2 || strncmp(at, r2_task_language(i), n) != 0))
            i++;
        if (i == N_LANGUAGES || m->n_languages == N_LANGUAGES)
            return r2i_fail(
                err, R2_E_ARGUMENT,
                "--languages: expected all, or en, zh, es, fr, de parted by commas; found %.60s",
                m->program->options->languages);
        m->languages[m->n_languages++] = r2_task_language(i);
        at += n + (at[n] == ',');
    }
    if (m->n_languages > 0) return R2_OK;
    return r2i_fail(err, R2_E_ARGUMENT, "--languages: expected a language, found none");
}

/* The languages of those asked for that a task has in this split; how many. */
static int32_t languages_of(const making *m, int32_t task, const char *out[N_LANGUAGES]) {
    int32_t n = 0;
    if (m->split == R2_SPLIT_OOD_LANGUAGE) out[n++] = NULL;
    for (int32_t i = 0; i < m->n_languages && m->split != R2_SPLIT_OOD_LANGUAGE; i++) {
        if (r2_task_has_language(task, m->languages[i], m->split)) out[n++] = m->languages[i];
    }
    return n;
}

/* Of all tasks those stay that the split has; of named ones each must. */
static r2_status choose_split(making *m, r2_error *err) {
    const r2i_options *o = m->program->options;
    const bool is_all = m->n_tasks == r2_task_count();
    const char *unused[N_LANGUAGES];
    int32_t n = 0;
    m->split = R2_SPLIT_TRAIN;
    while (strcmp(r2_task_split_name(m->split), o->split) != 0)
        m->split++;
    if (m->verifier != NULL && m->split != R2_SPLIT_TRAIN)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "tasks make: expected no --split with --verifier, whose "
                        "questions are not parted; found %s",
                        o->split);
    for (int32_t i = 0; i < m->n_tasks; i++) {
        const int32_t task = m->tasks[i];
        if (r2_task_has_split(task, m->split) && languages_of(m, task, unused) > 0)
            m->tasks[n++] = task;
        else if (!is_all)
            return r2i_fail(err, R2_E_ARGUMENT,
                            "tasks make: %s has nothing for --split %s in --languages %s",
                            r2_task_name(task), o->split, o->languages);
    }
    m->n_tasks = n;
    return n > 0 || m->verifier != NULL
               ? R2_OK
               : r2i_fail(err, R2_E_ARGUMENT, "tasks make: no task is left");
}

/* Item i: tasks, languages and levels in turn. */
static r2_status make_item(making *m, r2_task_choice *c, r2_task_item *item, int32_t i,
                           r2_error *err) {
    const r2i_options *o = m->program->options;
    const uint64_t seed = (uint64_t)o->seed;
    if (m->verifier != NULL) {
        const int32_t n_levels = r2_verifier_levels(m->verifier);
        *c = (r2_task_choice){ .task = r2_verifier_name(m->verifier),
                               .level = o->level > 0   ? o->level
                                        : n_levels > 0 ? i % n_levels + VERIFIER_LEVEL
                                                       : VERIFIER_LEVEL,
                               .seed = seed };
        return r2_verifier_make(m->verifier, item, c->level, seed, (uint64_t)i, err);
    }
    const char *names[N_LANGUAGES];
    const int32_t task = m->tasks[i % m->n_tasks], turn = i / m->n_tasks,
                  n_languages = languages_of(m, task, names);
    *c = (r2_task_choice){ .task = r2_task_name(task),
                           .level = o->level > 0 ? o->level
                                                 : turn / n_languages % r2_task_levels(task) + 1,
                           .language = names[turn % n_languages],
                           .split = m->split,
                           .seed = seed };
    R2I_TRY(r2_task_make(m->maker, item, c, (uint64_t)i, err));
    c->level = item->level;
    c->language = item->language;
    return R2_OK;
}

/* ---- how it is written ---- */

static json_t *messages_of(const r2_task_item *item, bool has_trace) {
    json_t *list = json_pack("[{s:s, s:s}]", "role", "user", "content", item->prompt);
    if (item->reply[0] == '\0') return list;
    json_t *said = has_trace && item->trace[0] != '\0'
                       ? json_sprintf("<think>%s</think>\n%s", item->trace, item->reply)
                       : json_string(item->reply);
    (void)json_array_append_new(list,
                                json_pack("{s:s, s:o}", "role", "assistant", "content", said));
    return list;
}

static r2_status write_item(making *m, const r2_task_choice *c, const r2_task_item *item,
                            r2_error *err) {
    const r2i_options *o = m->program->options;
    json_t *line = json_pack("{s:s, s:i, s:s, s:s, s:o}", "task", c->task, "level", (int)c->level,
                             "language", c->language != NULL ? c->language : "", "expected",
                             item->expected, "messages", messages_of(item, o->has_trace));
    char *text = line != NULL ? json_dumps(line, JSON_COMPACT) : NULL;
    json_decref(line);
    if (text == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for an item");
    r2_status status = R2_OK;
    if (m->file == NULL) {
        if (puts(text) < 0)
            status = r2i_fail(err, R2_E_IO, "tasks make: standard output cannot be written");
    } else {
        status = r2i_buffer_append_text(&m->lines, text, err);
        if (status == R2_OK) status = r2i_buffer_append(&m->lines, "\n", 1, err);
    }
    free(text);
    return status;
}

static r2_status write_all(making *m, r2_error *err) {
    const r2i_options *o = m->program->options;
    R2I_TRY(r2_task_maker_create(&m->maker, NULL, err));
    R2I_TRY(r2i_verifier_choose(&m->verifier, m->program, err));
    R2I_TRY(choose_tasks(m, err));
    R2I_TRY(choose_languages(m, err));
    R2I_TRY(choose_split(m, err));
    for (int32_t i = 0; i < o->count; i++) {
        r2_task_choice choice;
        r2_task_item item;
        R2I_TRY(make_item(m, &choice, &item, i, err));
        R2I_TRY(write_item(m, &choice, &item, err));
    }
    if (m->file != NULL) {
        R2I_TRY(r2i_text_write(m->file, m->lines.n_bytes > 0 ? m->lines.bytes : "",
                               m->lines.n_bytes, FILE_MODE, err));
        r2i_program_note(m->program, "%s: %d items", m->file, (int)o->count);
        return R2_OK;
    }
    return fflush(stdout) == 0
               ? R2_OK
               : r2i_fail(err, R2_E_IO, "tasks make: standard output cannot be written");
}

r2_status r2i_tasks_make(r2i_program *p, r2_error *err) {
    const char *output = p->options->output;
    making m = { .program = p, .file = output != NULL && strcmp(output, "-") != 0 ? output : NULL };
    r2i_buffer_init(&m.lines, &p->heap, MAX_FILE_BYTES);
    const r2_status status = write_all(&m, err);
    r2i_verifier_note(p, m.verifier);
    r2_verifier_close(m.verifier);
    r2_task_maker_destroy(m.maker);
    r2i_buffer_destroy(&m.lines);
    return status;
}
