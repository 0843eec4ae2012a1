/* task_lists.c - a list taken through up to four steps, the list told after each. */
#include <stdio.h>

#include "task/list_steps.h"

static const char *const questions[R2I_N_LANGUAGES][R2I_QUESTIONS] = {
    { "What becomes of this list?", "Carry out these steps.", "Which result do these steps have?" },
    { "这个列表会变成什么？", "执行这些步骤。", "这些步骤的结果是什么？" },
    { "¿En qué se convierte esta lista?", "Ejecuta estos pasos.",
      "¿Qué resultado dan estos pasos?" },
    { "Que devient cette liste ?", "Exécute ces étapes.", "Quel est le résultat de ces étapes ?" },
    { "Was wird aus dieser Liste?", "Führe diese Schritte aus.",
      "Welches Ergebnis haben diese Schritte?" },
};

/* Its first number one too high. */
static void doubt_list(r2i_task_draft *d, const r2i_list *list) {
    enum { LIST_BYTES = 400 };
    char wrong[LIST_BYTES] = "";
    size_t used = 0;
    for (int32_t i = 0; i < list->n && used < sizeof wrong; i++)
        used += (size_t)snprintf(wrong + used, sizeof wrong - used, "%s%lld", i > 0 ? ", " : "",
                                 (long long)list->numbers[i] + (i == 0));
    r2i_doubt(d, list->is_number ? "%s" : "[%s]", list->n > 0 ? wrong : "0");
}

static void make(r2i_task_draft *d) {
    r2i_list_program p;
    r2i_list list;
    r2i_list_program_draw(d, &p);
    r2i_list_draw(d, &list, (int32_t)r2i_draw(d, 2 + d->level, 3 + 2 * d->level), 0, 20);
    for (int32_t i = 0; i < list.n; i++)
        r2i_key_add(d, list.numbers[i]);
    r2i_list_note(d, &list);
    r2i_list_say(d, &d->body, &list);
    r2i_say(d, &d->body, "\n");
    r2i_list_program_tell(d, &d->body, &p);
    for (int i = 0; i < R2I_LIST_STEPS; i++) {
        if (p.steps[i].kind == 0) continue;
        r2i_list_step_run(&p, i, &list);
        r2i_list_step_tell(d, &d->trace, &p, i);
        r2i_think(d, ": ");
        doubt_list(d, &list);
        r2i_list_say(d, &d->trace, &list);
        r2i_think(d, "\n");
    }
    r2i_list_say(d, &d->answer, &list);
}

const r2i_task r2i_task_lists = { .name = "lists",
                                  .about = "a list filtered, mapped, ordered, summed",
                                  .n_levels = 5,
                                  .withheld_language = R2I_DE,
                                  .has_values = true,
                                  .kind = R2_GRADE_JSON,
                                  .questions = questions,
                                  .make = make };
