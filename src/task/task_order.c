/* task_order.c - people by age, from what is said of neighbours; a chain is built from the oldest on. */
#include "task/task_names.h"

enum { MAX_PEOPLE = 9 };

static const char *const questions[R2I_N_LANGUAGES][R2I_QUESTIONS] = {
    { "Who is how old? List all from the oldest to the youngest, with commas.",
      "Order these people by age, the oldest first, parted by commas.",
      "Names by age, please, beginning with the oldest, with commas." },
    { "谁年纪大？从大到小列出所有人，用逗号隔开。", "按年龄排列这些人，最大的在前，用逗号隔开。",
      "请从最年长者起按年龄写出名字，用逗号隔开。" },
    { "¿Quién es mayor? Enumera a todos de mayor a menor, con comas.",
      "Ordena a estas personas por edad, la mayor primero, con comas.",
      "Nombres por edad, por favor, desde la persona mayor, con comas." },
    { "Qui est plus âgé ? Énumère tous du plus âgé au plus jeune, avec des virgules.",
      "Range ces personnes par âge, la plus âgée d'abord, avec des virgules.",
      "Les noms par âge, en partant du plus âgé, avec des virgules." },
    { "Wer ist wie alt? Zähle alle auf, vom ältesten zum jüngsten, mit Kommas.",
      "Ordne diese Leute nach dem Alter, die ältesten zuerst, mit Kommas.",
      "Bitte die Namen nach Alter, beginnend mit dem ältesten, mit Kommas." },
};
static const char *const facts[R2I_N_LANGUAGES][2] = {
    { "%s is older than %s.", "%s is younger than %s." },
    { "%s 比 %s 年长。", "%s 比 %s 年轻。" },
    { "%s es mayor que %s.", "%s es menor que %s." },
    { "%s est plus âgé que %s.", "%s est plus jeune que %s." },
    { "%s ist älter als %s.", "%s ist jünger als %s." },
};
static const char *const nobody[R2I_N_LANGUAGES] = { "Nobody is older than", "没有人年长于",
                                                     "No hay mayor que",
                                                     "Personne n'est plus âgé que",
                                                     "Niemand ist älter als" };

static void make(r2i_task_draft *d) {
    const int32_t n = d->level + 2;
    const char *names[R2I_N_PEOPLE];
    int32_t order[MAX_PEOPLE];
    r2i_draw_people(d, names, n);
    for (int32_t i = 0; i < n - 1; i++)
        order[i] = i;
    r2i_draw_order(d, order, n - 1);
    for (int32_t i = 0; i < n - 1; i++) {
        const bool is_younger = r2i_draw_once_in(d, 2);
        const char *a = names[order[i]], *b = names[order[i] + 1];
        if (i > 0) r2i_say(d, &d->body, "\n");
        r2i_say(d, &d->body, facts[d->language][is_younger], is_younger ? b : a,
                is_younger ? a : b);
    }
    r2i_key_add_text(d, d->body.bytes);
    r2i_think(d, "%s ", nobody[d->language]);
    r2i_doubt(d, "%s", names[1]);
    r2i_think(d, "%s\n", names[0]);
    for (int32_t i = 0; i < n; i++) {
        if (i + 1 < n) {
            r2i_think(d, facts[d->language][0], names[i], names[i + 1]);
            r2i_think(d, "\n");
        }
        r2i_conclude(d, "%s%s", i > 0 ? ", " : "", names[i]);
    }
}

const r2i_task r2i_task_order = { .name = "order",
                                  .about = "people by age, from what is said of neighbours",
                                  .n_levels = 5,
                                  .withheld_language = R2I_ES,
                                  .kind = R2_GRADE_EXACT,
                                  .questions = questions,
                                  .make = make };
