/* task_story.c - word problems: somebody has things, and more or fewer of them with every sentence. */
#include "task/task_names.h"

enum { N_STEPS = 4, MAX_VALUE = 2000 };
enum { GET, GIVE, TIMES, SHARE };

static const char *const questions[R2I_N_LANGUAGES][R2I_QUESTIONS] = {
    { "How many {1} does {0} have at the end?", "Find out how many {1} {0} has afterwards.",
      "{0} counts the {1} at last. What is the number?" },
    { "最后 {0} 有多少{1}？", "求 {0} 之后有多少{1}。", "{0} 最后数{1}，数目是多少？" },
    { "¿Cuántas unidades de {1} tiene {0} al final?",
      "Halla cuántas unidades de {1} tiene {0} después.",
      "{0} cuenta al fin: {1}. ¿Qué número sale?" },
    { "Combien de {1} {0} a-t-il à la fin ?", "Trouve combien de {1} {0} a ensuite.",
      "{0} compte enfin : {1}. Quel est le nombre ?" },
    { "Wie viele {1} hat {0} am Ende?", "Finde heraus, wie viele {1} {0} danach hat.",
      "{0} zählt zuletzt die {1}. Was ist die Zahl?" },
};
/* Each takes a name, a number and the things. */
static const char *const begins[R2I_N_LANGUAGES] = { "%s has %d %s.", "%s 有 %d 个%s。",
                                                     "%s tiene %d %s.", "%s a %d %s.",
                                                     "%s hat %d %s." };
static const char *const told[R2I_N_LANGUAGES][N_STEPS] = {
    { "%s gets %d more.", "%s gives %d away.", "Then %s has %d times as many.",
      "%s puts them into %d boxes, equally many into each, and keeps one box." },
    { "%s 又得到 %d 个。", "%s 送出 %d 个。", "然后 %s 的数量变成 %d 倍。",
      "%s 把它们平均分进 %d 个盒子，只留一盒。" },
    { "%s recibe %d más.", "%s regala %d.", "Luego %s tiene %d veces esa cantidad.",
      "%s las reparte por igual en %d cajas y se queda con una caja." },
    { "%s en reçoit %d de plus.", "%s en donne %d.", "Puis %s en a %d fois autant.",
      "%s les répartit également dans %d boîtes et garde une boîte." },
    { "%s bekommt %d dazu.", "%s gibt %d weg.", "Dann hat %s %d mal so viele.",
      "%s verteilt sie gleichmäßig auf %d Kisten und behält eine Kiste." },
};
static const char *const ends[R2I_N_LANGUAGES] = { "Now %s has %d %s.", "现在 %s 有 %d 个%s。",
                                                   "Ahora %s tiene %d %s.",
                                                   "Maintenant %s a %d %s.", "Nun hat %s %d %s." };

/* Draws one that can be done: a number above zero below, no rest, nothing too large. */
static int32_t draw_step(r2i_task_draft *d, int32_t value, int32_t *n) {
    for (;;) {
        const int32_t kind = (int32_t)r2i_draw(d, 0, N_STEPS - 1);
        *n = (int32_t)r2i_draw(d, 2, kind >= TIMES ? 2 + d->level : 10 * d->level + 5);
        if (kind == GET || (kind == GIVE && *n < value) ||
            (kind == TIMES && value * *n <= MAX_VALUE) ||
            (kind == SHARE && value % *n == 0 && value > *n))
            return kind;
    }
}

static void make(r2i_task_draft *d) {
    int32_t value = (int32_t)r2i_draw(d, 3, 10 + 15 * d->level);
    const int64_t thing = r2i_draw(d, 0, R2I_N_THINGS - 1);
    const char *name, *things = r2i_things[d->language][thing];
    r2i_draw_people(d, &name, 1);
    r2i_fill(d, 0, "%s", name);
    r2i_fill(d, 1, "%s", things);
    r2i_key_add(d, value);
    r2i_note_operand(d, value);
    r2i_say(d, &d->body, begins[d->language], name, value, things);
    for (int32_t i = 0; i < d->level; i++) {
        int32_t n;
        const int32_t kind = draw_step(d, value, &n), next = kind == GET     ? value + n
                                                             : kind == GIVE  ? value - n
                                                             : kind == TIMES ? value * n
                                                                             : value / n;
        r2i_key_add(d, kind * 1000 + n);
        r2i_note_operand(d, n);
        r2i_say(d, &d->body, " ");
        r2i_say(d, &d->body, told[d->language][kind], name, n);
        r2i_think(d, "%d%c%d=", value, "+-*/"[kind], n);
        r2i_doubt(d, "%d", next + 1);
        r2i_think(d, "%d\n", next);
        value = next;
    }
    r2i_think(d, ends[d->language], name, value, things);
    r2i_conclude(d, "%d", value);
}

const r2i_task r2i_task_story = { .name = "story",
                                  .about = "word problems of 1 to 5 steps",
                                  .n_levels = 5,
                                  .withheld_language = R2I_DE,
                                  .has_values = true,
                                  .kind = R2_GRADE_NUMBER,
                                  .questions = questions,
                                  .make = make };
