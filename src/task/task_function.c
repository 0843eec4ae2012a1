/* task_function.c - a Python function to be written from a description and two examples, or to be repaired
 * where one of its steps is wrong; tests that the question does not show judge it, and the one of the repair. */
#include <string.h>

#include "task/list_steps.h"

enum { N_TESTS = 6, N_SHOWN = 2, LOW = -9, HIGH = 20, MAX_DRAWS = 4096 };

static const char *const questions[R2I_N_LANGUAGES][R2I_QUESTIONS] = {
    { "Write a Python function f(xs) for a list of whole numbers.",
      "Program f(xs) in Python, where xs is a list of integers.",
      "I need Python code: f(xs) works on a list." },
    { "写一个处理整数列表的 Python 函数 f(xs)。", "用 Python 实现 f(xs)，xs 是整数列表。",
      "我需要 Python 代码：f(xs) 处理一个列表。" },
    { "Escribe una función de Python f(xs) para una lista de enteros.",
      "Programa f(xs) en Python; xs es una lista de enteros.",
      "Necesito código de Python: f(xs) trabaja con una lista." },
    { "Écris une fonction Python f(xs) pour une liste d'entiers.",
      "Programme f(xs) en Python ; xs est une liste d'entiers.",
      "J'ai besoin de code Python : f(xs) traite une liste." },
    { "Schreibe eine Python-Funktion f(xs) für eine Liste ganzer Zahlen.",
      "Programmiere f(xs) in Python; xs ist eine Liste ganzer Zahlen.",
      "Ich brauche Python-Code: f(xs) bearbeitet eine Liste." },
};
static const char *const repair_questions[R2I_N_LANGUAGES][R2I_QUESTIONS] = {
    { "This function has a bug. Repair it.", "Correct this Python function.",
      "Find the mistake and write the function anew." },
    { "这个函数有错误，请修复。", "改正这个 Python 函数。", "找出错误并重写函数。" },
    { "Esta función tiene un error. Repárala.", "Corrige esta función de Python.",
      "Encuentra el fallo y reescribe la función." },
    { "Cette fonction a un bogue. Répare-la.", "Corrige cette fonction Python.",
      "Trouve l'erreur et réécris la fonction." },
    { "Diese Funktion hat einen Fehler. Repariere sie.", "Berichtige diese Python-Funktion.",
      "Finde den Fehler und schreibe die Funktion neu." },
};
/* "gives" and "should be" of an example, the line that is wrong and what it has to be. */
static const char *const said[R2I_N_LANGUAGES][4] = {
    { "but gives", "The task:", "the wrong line is", "it should be" },
    { "但得到", "任务：", "错的一行是", "应该是" },
    { "pero da", "La tarea:", "la línea con el error es", "debe ser" },
    { "mais donne", "La tâche :", "la ligne fausse est", "elle doit être" },
    { "ergibt aber", "Die Aufgabe:", "die falsche Zeile ist", "sie soll sein" },
};

static void say_call(r2i_task_draft *d, r2i_buffer *to, const r2i_list_program *p, r2i_list list,
                     const char *before) {
    r2i_say(d, to, "%sf(", before);
    r2i_list_say(d, to, &list);
    r2i_say(d, to, ") == ");
    r2i_list_program_run(p, &list);
    r2i_list_say(d, to, &list);
}

/* An empty list, one of one number, and longer ones. */
static void say_tests(r2i_task_draft *d, const r2i_list_program *p) {
    for (int32_t i = 0; i < N_TESTS; i++) {
        r2i_list list;
        r2i_list_draw(d, &list, i < 2 ? i : (int32_t)r2i_draw(d, 3, 8), LOW, HIGH);
        say_call(d, &d->expected, p, list, "assert ");
        r2i_say(d, &d->expected, "\n");
    }
}

static void think_code(r2i_task_draft *d, const r2i_list_program *p, int i) {
    r2i_think(d, "`");
    r2i_list_step_code(d, &d->trace, p, i);
    r2i_think(d, "`");
}

static void make_function(r2i_task_draft *d) {
    r2i_list_program p;
    r2i_list_program_draw(d, &p);
    r2i_list_program_tell(d, &d->body, &p);
    for (int32_t i = 0; i < N_SHOWN; i++) {
        r2i_list list;
        r2i_list_draw(d, &list, (int32_t)r2i_draw(d, 3, 6), 0, HIGH);
        for (int32_t k = 0; k < list.n; k++)
            r2i_key_add(d, list.numbers[k]);
        r2i_list_note(d, &list);
        say_call(d, &d->body, &p, list, "\n");
    }
    for (int i = 0; i < R2I_LIST_STEPS; i++) {
        if (p.steps[i].kind == 0 && i + 1 < R2I_LIST_STEPS) continue;
        r2i_list_step_tell(d, &d->trace, &p, i);
        r2i_think(d, ": ");
        r2i_list_step_doubt(d, &p, i, true);
        think_code(d, &p, i);
        r2i_think(d, "\n");
    }
    r2i_list_program_code(d, &d->answer, &p);
    say_tests(d, &p);
}

static bool is_same(const r2i_list *a, const r2i_list *b) {
    return a->n == b->n && memcmp(a->numbers, b->numbers, (size_t)a->n * sizeof *a->numbers) == 0;
}

/* A list for which two programs give different results; one in thirty does, where few numbers are kept. */
static void draw_telling(r2i_task_draft *d, const r2i_list_program *a, const r2i_list_program *b,
                         r2i_list *list, r2i_list *wrong) {
    for (int32_t i = 0; i < MAX_DRAWS; i++) {
        r2i_list right;
        r2i_list_draw(d, list, (int32_t)r2i_draw(d, 3, 6), 0, HIGH);
        right = *wrong = *list;
        r2i_list_program_run(a, &right);
        r2i_list_program_run(b, wrong);
        if (!is_same(&right, wrong)) return;
    }
}

static void make_repair(r2i_task_draft *d) {
    const char *const *w = said[d->language];
    r2i_list_program p, bad;
    r2i_list list, wrong;
    r2i_list_program_draw(d, &p);
    bad = p;
    const int at = r2i_list_program_change(d, &bad);
    draw_telling(d, &p, &bad, &list, &wrong);
    r2i_key_add(d, at * 1000 + bad.steps[at].kind * 100 + bad.steps[at].number);
    for (int32_t k = 0; k < list.n; k++)
        r2i_key_add(d, list.numbers[k]);
    r2i_list_note(d, &list);
    r2i_list_program_code(d, &d->body, &bad);
    r2i_say(d, &d->body, "\n%s ", w[1]);
    r2i_list_program_tell(d, &d->body, &p);
    say_call(d, &d->body, &p, list, "\n");
    r2i_say(d, &d->body, ", %s ", w[0]);
    r2i_list_say(d, &d->body, &wrong);
    r2i_list_step_tell(d, &d->trace, &p, at);
    r2i_think(d, "\n%s: ", w[2]);
    think_code(d, &bad, at);
    r2i_think(d, "\n%s: ", w[3]);
    r2i_list_step_doubt(d, &p, at, true);
    think_code(d, &p, at);
    r2i_list_program_code(d, &d->answer, &p);
    say_tests(d, &p);
    say_call(d, &d->expected, &p, list, "assert "); /* on which what was given fails */
    r2i_say(d, &d->expected, "\n");
}

const r2i_task r2i_task_function = { .name = "function",
                                     .about = "a Python function written; tests judge it",
                                     .n_levels = 5,
                                     .withheld_language = R2I_FR,
                                     .has_values = true,
                                     .kind = R2_GRADE_PYTHON,
                                     .questions = questions,
                                     .make = make_function };
const r2i_task r2i_task_repair = { .name = "repair",
                                   .about =
                                       "a Python function with a bug corrected; tests judge it",
                                   .n_levels = 5,
                                   .withheld_language = R2I_DE,
                                   .has_values = true,
                                   .kind = R2_GRADE_PYTHON,
                                   .questions = repair_questions,
                                   .make = make_repair };
