/* task_multiply.c - products: one partial product per digit of the second number, then their sum. */
#include "task/task_draft.h"

static const char *const questions[R2I_N_LANGUAGES][R2I_QUESTIONS] = {
    { "What is {0}*{1}?", "Multiply {0} by {1}.", "Give me the product of {0} and {1}." },
    { "{0}*{1} 等于多少？", "计算 {0} 乘以 {1}。", "{0} 与 {1} 的积是多少？" },
    { "¿Cuánto es {0}*{1}?", "Multiplica {0} por {1}.", "Dime el producto de {0} y {1}." },
    { "Combien font {0}*{1} ?", "Multiplie {0} par {1}.", "Donne-moi le produit de {0} et {1}." },
    { "Was ist {0}*{1}?", "Multipliziere {0} mit {1}.", "Nenne das Produkt von {0} und {1}." },
};
static const char *const together[R2I_N_LANGUAGES] = { "The sum is", "合计：", "La suma es",
                                                       "La somme est", "Die Summe ist" };
/* Largest numbers of each level. */
static const int32_t widest[][2] = { { 0, 0 },    { 99, 9 },    { 99, 30 },   { 99, 99 },
                                     { 999, 99 }, { 999, 999 }, { 9999, 999 } };

static void make(r2i_task_draft *d) {
    const int64_t low = d->level > 5 ? widest[5][0] + 1 : 2,
                  a = r2i_draw_operand(d, low, widest[d->level][0]),
                  b = r2i_draw_operand(d, 2, widest[d->level][1]);
    int64_t sum = 0, place = 1;
    r2i_key_add(d, a < b ? a : b);
    r2i_key_add(d, a < b ? b : a);
    r2i_fill(d, 0, "%lld", (long long)a);
    r2i_fill(d, 1, "%lld", (long long)b);
    for (int64_t rest = b; rest > 0; rest /= 10, place *= 10) {
        const int64_t digit = rest % 10 * place, product = a * digit;
        if (digit == 0) continue;
        r2i_think(d, "%lld*%lld=", (long long)a, (long long)digit);
        r2i_doubt(d, "%lld", (long long)(product + 10 * place));
        r2i_think(d, "%lld\n", (long long)product);
        if (sum > 0)
            r2i_think(d, "%lld+%lld=%lld\n", (long long)sum, (long long)product,
                      (long long)(sum + product));
        sum += product;
    }
    r2i_think(d, "%s %lld", together[d->language], (long long)sum);
    r2i_conclude(d, "%lld", (long long)sum);
}

const r2i_task r2i_task_multiply = { .name = "multiply",
                                     .about = "products of whole numbers of 1 to 3 digits",
                                     .n_levels = 5,
                                     .withheld_language = R2I_ES,
                                     .has_values = true,
                                     .kind = R2_GRADE_NUMBER,
                                     .questions = questions,
                                     .make = make };
