/* task_print.c - a Python program to be written that prints what some steps give; its output judges it. */
#include "task/list_steps.h"

static const char *const questions[R2I_N_LANGUAGES][R2I_QUESTIONS] = {
    { "Write a Python program that prints the result for the whole numbers from {0} to {1}.",
      "Print the result with Python; begin with the numbers {0} to {1}.",
      "Which program prints this for {0} up to {1}?" },
    { "写一个 Python 程序，对 {0} 到 {1} 的整数打印结果。",
      "用 Python 打印结果，从 {0} 到 {1} 的数开始。", "什么程序能对 {0} 至 {1} 打印这个结果？" },
    { "Escribe un programa de Python que imprima el resultado para los enteros de {0} a {1}.",
      "Imprime el resultado con Python; empieza con los números de {0} a {1}.",
      "¿Qué programa imprime esto para {0} hasta {1}?" },
    { "Écris un programme Python qui affiche le résultat pour les entiers de {0} à {1}.",
      "Affiche le résultat avec Python ; commence avec les nombres de {0} à {1}.",
      "Quel programme affiche cela pour {0} jusqu'à {1} ?" },
    { "Schreibe ein Python-Programm, das das Ergebnis für die ganzen Zahlen von {0} bis {1} "
      "ausgibt.",
      "Gib das Ergebnis mit Python aus; beginne mit den Zahlen {0} bis {1}.",
      "Welches Programm druckt dies für {0} bis {1}?" },
};

static void make(r2i_task_draft *d) {
    const int32_t low = (int32_t)r2i_draw(d, 1, 20), n = (int32_t)r2i_draw(d, 5, 20);
    r2i_list_program p;
    r2i_list list = { .n = n };
    r2i_list_program_draw(d, &p);
    r2i_key_add(d, low * 100 + n);
    r2i_note_operand(d, low);
    for (int32_t i = 0; i < n; i++)
        list.numbers[i] = low + i;
    r2i_fill(d, 0, "%d", low);
    r2i_fill(d, 1, "%d", low + n - 1);
    r2i_list_program_tell(d, &d->body, &p);
    r2i_conclude(d, "ys = list(range(%d, %d))\n", low, low + n);
    for (int i = 0; i < R2I_LIST_STEPS; i++) {
        const bool is_result = i + 1 == R2I_LIST_STEPS;
        if (p.steps[i].kind == 0 && !is_result) continue;
        r2i_list_step_doubt(d, &p, i, false);
        r2i_list_step_tell(d, &d->trace, &p, i);
        r2i_think(d, "\n");
        if (is_result) r2i_conclude(d, "print(");
        r2i_list_step_code(d, &d->answer, &p, i);
        r2i_conclude(d, is_result ? ")" : "\n");
    }
    r2i_list_program_run(&p, &list);
    r2i_list_say(d, &d->expected, &list);
}

const r2i_task r2i_task_print = { .name = "print",
                                  .about = "a Python program written; what it prints judges it",
                                  .n_levels = 5,
                                  .withheld_language = R2I_ZH,
                                  .has_values = true,
                                  .kind = R2_GRADE_STDOUT,
                                  .questions = questions,
                                  .make = make };
