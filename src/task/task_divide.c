/* task_divide.c - division with remainder, digit by digit; greatest common divisors by Euclid's steps. */
#include "task/task_draft.h"

static const char *const questions[R2I_N_LANGUAGES][R2I_QUESTIONS] = {
    { "Divide {0} by {1}. Answer: quotient, space, remainder.",
      "What are quotient and remainder of {0}/{1}, with a space between them?",
      "How often does {1} go into {0}, and what is left? Two numbers with a space." },
    { "{0} 除以 {1}。回答：商、空格、余数。", "{0}/{1} 的商和余数是多少，中间用空格？",
      "{0} 里有几个 {1}，还剩多少？两个数，用空格隔开。" },
    { "Divide {0} entre {1}. Responde: cociente, espacio, resto.",
      "¿Cuáles son el cociente y el resto de {0}/{1}, con un espacio en medio?",
      "¿Cuántas veces cabe {1} en {0} y cuánto sobra? Dos números con un espacio." },
    { "Divise {0} par {1}. Réponse : quotient, espace, reste.",
      "Quels sont le quotient et le reste de {0}/{1}, avec une espace entre eux ?",
      "Combien de fois {1} tient-il dans {0}, et que reste-t-il ? Deux nombres et une espace." },
    { "Teile {0} durch {1}. Antwort: Quotient, Leerzeichen, Rest.",
      "Was sind Quotient und Rest von {0}/{1}, mit einem Leerzeichen dazwischen?",
      "Wie oft passt {1} in {0}, und was bleibt? Zwei Zahlen mit Leerzeichen." },
};
static const char *const gcd_questions[R2I_N_LANGUAGES][R2I_QUESTIONS] = {
    { "What is the greatest common divisor of {0} and {1}?", "Compute gcd({0}, {1}).",
      "Which largest number divides both {0} and {1}?" },
    { "{0} 和 {1} 的最大公约数是多少？", "计算 gcd({0}, {1})。",
      "同时整除 {0} 和 {1} 的最大数是？" },
    { "¿Cuál es el máximo común divisor de {0} y {1}?", "Calcula mcd({0}, {1}).",
      "¿Qué número mayor divide a {0} y a {1}?" },
    { "Quel est le plus grand commun diviseur de {0} et {1} ?", "Calcule pgcd({0}, {1}).",
      "Quel plus grand nombre divise {0} et {1} ?" },
    { "Was ist der größte gemeinsame Teiler von {0} und {1}?", "Berechne ggT({0}, {1}).",
      "Welche größte Zahl teilt {0} und {1}?" },
};
static const char *const rest[R2I_N_LANGUAGES] = { "what is left:", "余", "queda", "il reste",
                                                   "und noch" };
static const int64_t widest[][2] = { { 0, 0 },     { 99, 9 },     { 999, 9 },     { 999, 40 },
                                     { 9999, 99 }, { 99999, 99 }, { 999999, 999 } };

/* The dividend's digits are brought down one after the other. */
static void make_division(r2i_task_draft *d) {
    const int64_t low = d->level > 5 ? widest[5][0] + 1 : 10,
                  a = r2i_draw_operand(d, low, widest[d->level][0]),
                  b = r2i_draw_operand(d, 2, widest[d->level][1]);
    int64_t part = 0, place = 1;
    r2i_key_add(d, a);
    r2i_key_add(d, b);
    r2i_fill(d, 0, "%lld", (long long)a);
    r2i_fill(d, 1, "%lld", (long long)b);
    while (place <= a / 10)
        place *= 10;
    for (; place > 0; place /= 10) {
        part = part * 10 + a / place % 10;
        r2i_think(d, "%lld/%lld=", (long long)part, (long long)b);
        r2i_doubt(d, "%lld", (long long)(part / b + 1));
        r2i_think(d, "%lld, %s %lld\n", (long long)(part / b), rest[d->language],
                  (long long)(part % b));
        part %= b;
    }
    r2i_conclude(d, "%lld %lld", (long long)(a / b), (long long)(a % b));
}

static void make_gcd(r2i_task_draft *d) {
    static const int64_t highest[] = { 0, 12, 12, 30, 60, 99, 300 };
    const int64_t common = r2i_draw(d, d->level > 5 ? highest[5] + 1 : 1, highest[d->level]);
    int64_t a = common * r2i_draw(d, 2, 10 + 20 * d->level),
            b = common * r2i_draw(d, 2, 10 + 20 * d->level);
    r2i_note_operand(d, a);
    r2i_note_operand(d, b);
    r2i_key_add(d, a < b ? a : b);
    r2i_key_add(d, a < b ? b : a);
    r2i_fill(d, 0, "%lld", (long long)a);
    r2i_fill(d, 1, "%lld", (long long)b);
    while (b > 0) {
        const int64_t left = a % b;
        r2i_think(d, "%lld=", (long long)a);
        r2i_doubt(d, "%lld*%lld", (long long)(a / b + 1), (long long)b);
        r2i_think(d, "%lld*%lld+%lld, %s %lld\n", (long long)(a / b), (long long)b, (long long)left,
                  rest[d->language], (long long)left);
        a = b;
        b = left;
    }
    r2i_conclude(d, "%lld", (long long)a);
}

const r2i_task r2i_task_divide = { .name = "divide",
                                   .about = "quotient and remainder",
                                   .n_levels = 5,
                                   .withheld_language = R2I_FR,
                                   .has_values = true,
                                   .kind = R2_GRADE_EXACT,
                                   .questions = questions,
                                   .make = make_division };
const r2i_task r2i_task_gcd = { .name = "gcd",
                                .about = "greatest common divisors",
                                .n_levels = 5,
                                .withheld_language = R2I_DE,
                                .has_values = true,
                                .kind = R2_GRADE_NUMBER,
                                .questions = gcd_questions,
                                .make = make_gcd };
