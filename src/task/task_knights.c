/* task_knights.c - knights always tell the truth, knaves always lie: who is a knight?  One assignment alone
 * fits what they say; all are tried in turn. */
#include <stdio.h>
#include <string.h>

#include "task/task_names.h"

enum { MAX_PEOPLE = 5, TEXT_BYTES = 160 };

static const char *const questions[R2I_N_LANGUAGES][R2I_QUESTIONS] = {
    { "Knights always tell the truth, knaves always lie. Who are the knights? Answer with their "
      "names "
      "in the order {0}, parted by commas, or with 0.",
      "Each of {0} is a knight, who tells the truth, or a knave, who lies. List the knights in "
      "this "
      "order with commas; if there is none, write 0.",
      "Of {0}, who never lies? The others never tell the truth. Names with commas in this order, "
      "or 0." },
    { "骑士总说真话，无赖总说假话。谁是骑士？按 {0} 的顺序写出名字，用逗号隔开；没有则写 0。",
      "{0} 每人是说真话的骑士或说谎的无赖。按此顺序列出骑士，用逗号隔开，没有则写 0。",
      "{0} 中谁从不说谎？其他人从不说真话。按此顺序用逗号写名字，或写 0。" },
    { "Los caballeros dicen siempre la verdad, los pícaros mienten siempre. ¿Quiénes son "
      "caballeros? "
      "Responde con sus nombres en el orden {0}, con comas, o con 0.",
      "Cada uno de {0} es caballero y dice la verdad, o pícaro y miente. Enumera los caballeros en "
      "este orden con comas; si no hay, escribe 0.",
      "De {0}, ¿quién no miente nunca? Los demás nunca dicen la verdad. Nombres con comas en este "
      "orden, o 0." },
    { "Les chevaliers disent toujours la vérité, les valets mentent toujours. Qui sont les "
      "chevaliers ? "
      "Réponds par leurs noms dans l'ordre {0}, avec des virgules, ou par 0.",
      "Chacun de {0} est chevalier et dit vrai, ou valet et ment. Énumère les chevaliers dans cet "
      "ordre avec des virgules ; s'il n'y en a pas, écris 0.",
      "Parmi {0}, qui ne ment jamais ? Les autres ne disent jamais vrai. Noms et virgules dans cet "
      "ordre, ou 0." },
    { "Ritter sagen immer die Wahrheit, Schurken lügen immer. Wer ist Ritter? Antworte mit den "
      "Namen "
      "in der Reihenfolge {0}, mit Kommas, oder mit 0.",
      "Jeder von {0} ist Ritter und sagt die Wahrheit oder Schurke und lügt. Zähle die Ritter in "
      "dieser Reihenfolge mit Kommas auf; gibt es keinen, schreibe 0.",
      "Wer von {0} lügt nie? Die anderen sagen nie die Wahrheit. Namen mit Kommas in dieser "
      "Reihenfolge, oder 0." },
};
/* What one says: of another, that he is this; of two, that they are alike or not. */
static const char *const says[R2I_N_LANGUAGES][4] = {
    { "%s says: %s is a knave.", "%s says: %s is a knight.", "%s says: %s and %s are different.",
      "%s says: %s and %s are of the same kind." },
    { "%s 说：%s 是无赖。", "%s 说：%s 是骑士。", "%s 说：%s 和 %s 不同。",
      "%s 说：%s 和 %s 是同类。" },
    { "%s dice: %s es pícaro.", "%s dice: %s es caballero.", "%s dice: %s y %s son distintos.",
      "%s dice: %s y %s son iguales." },
    { "%s dit : %s est valet.", "%s dit : %s est chevalier.", "%s dit : %s et %s sont différents.",
      "%s dit : %s et %s sont de la même sorte." },
    { "%s sagt: %s ist Schurke.", "%s sagt: %s ist Ritter.", "%s sagt: %s und %s sind verschieden.",
      "%s sagt: %s und %s sind gleich." },
};
static const char *const said[R2I_N_LANGUAGES][4] = {
    { "Knights are", "nobody", "no, that does not fit what %s says", "this fits all of them" },
    { "骑士是", "没有人", "不对，和 %s 的话不符", "全部符合" },
    { "Los caballeros son", "nadie", "no, pero %s dice otra cosa", "esto es lo que todos dicen" },
    { "Les chevaliers sont", "personne", "non, mais %s dit autre chose",
      "c'est ce que tous disent" },
    { "Die Ritter sind", "niemand", "nein, aber %s sagt etwas anderes", "das ist, was alle sagen" },
};

typedef struct {
    int32_t a, b; /* b < 0: a alone is meant */
    bool is_yes;
} claim;

static bool is_true(const claim *c, uint32_t knights) {
    const bool a = (knights >> c->a & 1) != 0;
    if (c->b < 0) return a == c->is_yes;
    return (a == ((knights >> c->b & 1) != 0)) == c->is_yes;
}

/* The first person whose words do not fit, or n. */
static int32_t first_wrong(const claim *claims, int32_t n, uint32_t knights) {
    int32_t i = 0;
    while (i < n && is_true(&claims[i], knights) == ((knights >> i & 1) != 0))
        i++;
    return i;
}

static int32_t n_solutions(const claim *claims, int32_t n) {
    int32_t count = 0;
    for (uint32_t k = 0; k < 1u << n; k++)
        count += first_wrong(claims, n, k) == n;
    return count;
}

static void draw_claims(r2i_task_draft *d, claim *claims, int32_t n) {
    do {
        for (int32_t i = 0; i < n; i++) {
            claim c = { .a = (int32_t)r2i_draw(d, 0, n - 2),
                        .b = -1,
                        .is_yes = r2i_draw_once_in(d, 2) };
            c.a += c.a >= i;
            if (r2i_draw_once_in(d, 2)) {
                c.b = (int32_t)r2i_draw(d, 0, n - 2);
                c.b += c.b >= c.a;
            }
            claims[i] = c;
        }
    } while (n_solutions(claims, n) != 1);
}

static void list_names(char out[TEXT_BYTES], const char *const *names, int32_t n, uint32_t which,
                       const char *nobody) {
    out[0] = '\0';
    for (int32_t i = 0; i < n; i++) {
        if ((which >> i & 1) != 0)
            (void)snprintf(out + strlen(out), TEXT_BYTES - strlen(out), "%s%s",
                           out[0] != '\0' ? ", " : "", names[i]);
    }
    if (out[0] == '\0') (void)snprintf(out, TEXT_BYTES, "%s", nobody);
}

static void make(r2i_task_draft *d) {
    static const int8_t n_people[] = { 0, 2, 3, 3, 4, 4, 5 };
    const int32_t n = n_people[d->level];
    const char *names[R2I_N_PEOPLE];
    char list[TEXT_BYTES];
    claim claims[MAX_PEOPLE];
    r2i_draw_people(d, names, n);
    draw_claims(d, claims, n);
    list_names(list, names, n, ~0u, "");
    r2i_fill(d, 0, "%s", list);
    for (int32_t i = 0; i < n; i++) {
        const claim *c = &claims[i];
        if (i > 0) r2i_say(d, &d->body, "\n");
        r2i_say(d, &d->body, says[d->language][(c->b >= 0 ? 2 : 0) + c->is_yes], names[i],
                names[c->a], c->b >= 0 ? names[c->b] : "");
        r2i_key_add(d, c->a * 100 + (c->b + 1) * 10 + c->is_yes);
        r2i_key_add_text(d, names[i]);
    }
    for (uint32_t k = 0;; k++) {
        const int32_t wrong = first_wrong(claims, n, k);
        list_names(list, names, n, k, said[d->language][1]);
        r2i_think(d, "%s %s: ", said[d->language][0], list);
        r2i_think(d, said[d->language][wrong < n ? 2 : 3], wrong < n ? names[wrong] : "");
        if (wrong == n) {
            list_names(list, names, n, k, "0");
            r2i_conclude(d, "%s", list);
            return;
        }
        r2i_think(d, "\n");
    }
}

const r2i_task r2i_task_knights = { .name = "knights",
                                    .about =
                                        "who tells the truth, from what two to four people say",
                                    .n_levels = 5,
                                    .withheld_language = R2I_ZH,
                                    .kind = R2_GRADE_EXACT,
                                    .questions = questions,
                                    .make = make };
