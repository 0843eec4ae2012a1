/* task_sum.c - sums and differences of whole numbers, digit by digit from the right, read back at the end. */
#include <stdio.h>
#include <string.h>

#include "task/task_draft.h"

static const char *const questions[R2I_N_LANGUAGES][R2I_QUESTIONS] = {
    { "What is {0}?", "Compute {0}.", "Tell me what {0} comes to." },
    { "{0} 等于多少？", "计算 {0}。", "告诉我 {0} 得多少。" },
    { "¿Cuánto es {0}?", "Calcula {0}.", "Dime cuánto resulta {0}." },
    { "Combien font {0} ?", "Calcule {0}.", "Dis-moi ce que donne {0}." },
    { "Was ist {0}?", "Berechne {0}.", "Sag mir, was {0} ergibt." },
};

/* Words of the trace: carry, borrow, and the line that reads the digits back. */
typedef struct {
    const char *carry, *borrow, *back;
} words;
static const words said[R2I_N_LANGUAGES] = {
    { "carry 1", "borrow 1", "Read from the left:" },
    { "进 1", "借 1", "从左读：" },
    { "llevo 1", "tomo 1", "Leo desde la izquierda:" },
    { "je retiens 1", "j'emprunte 1", "Je lis de gauche :" },
    { "1 gemerkt", "1 geborgt", "Von links gelesen:" },
};

static int64_t draw_of_width(r2i_task_draft *d, int64_t n_digits) {
    int64_t low = 1;
    for (int64_t i = 1; i < n_digits; i++)
        low *= 10;
    return r2i_draw_operand(d, n_digits == 1 ? 0 : low, low * 10 - 1);
}

static int digit_at(int64_t x, int place) {
    for (int i = 0; i < place; i++)
        x /= 10;
    return (int)(x % 10);
}

static int width_of(int64_t x) {
    int n = 1;
    while ((x /= 10) > 0)
        n++;
    return n;
}

/* One column; forgetting what was carried is the usual mistake. */
static int say_column(r2i_task_draft *d, int a, int b, bool is_sum, int carried, bool is_last) {
    const words *w = &said[d->language];
    const int value = is_sum ? a + b + carried : a - b - carried;
    const bool needs = is_sum ? value > 9 : value < 0;
    const int shown = is_sum || !needs ? value : value + 10;
    r2i_say(d, &d->trace, "%d%s%d", is_sum || !needs ? a : a + 10, is_sum ? "+" : "-", b);
    if (carried > 0) r2i_say(d, &d->trace, "%s1", is_sum ? "+" : "-");
    r2i_say(d, &d->trace, "=");
    r2i_doubt(d, "%d", carried > 0 ? shown + (is_sum ? -1 : 1) : shown + 1);
    r2i_say(d, &d->trace, "%d", shown);
    if (needs && !is_last) r2i_say(d, &d->trace, ", %s", is_sum ? w->carry : w->borrow);
    r2i_say(d, &d->trace, "\n");
    return needs;
}

static void make(r2i_task_draft *d) {
    const int64_t widest = d->level + 1;
    const bool is_sum = r2i_draw(d, 0, 1) == 0;
    int64_t a = draw_of_width(d, r2i_draw(d, d->level > 5 ? widest : 1, widest)),
            b = draw_of_width(d, r2i_draw(d, 1, widest));
    if (!is_sum && a < b) {
        const int64_t kept = a;
        a = b;
        b = kept;
    }
    const int64_t result = is_sum ? a + b : a - b;
    const int n = width_of(a > b ? a : b);
    int carried = 0;
    r2i_key_add(d, is_sum);
    r2i_key_add(d, is_sum && a > b ? b : a); /* 3+5 is 5+3 */
    r2i_key_add(d, is_sum && a > b ? a : b);
    r2i_fill(d, 0, "%lld%s%lld", (long long)a, is_sum ? "+" : "-", (long long)b);
    for (int i = 0; i < n; i++)
        carried = say_column(d, digit_at(a, i), digit_at(b, i), is_sum, carried, i == n - 1);
    r2i_say(d, &d->trace, "%s %lld", said[d->language].back, (long long)result);
    r2i_say(d, &d->answer, "%lld", (long long)result);
}

const r2i_task r2i_task_sum = { .name = "sum",
                                .about =
                                    "sums and differences of two whole numbers of 1 to 6 digits",
                                .n_levels = 5,
                                .withheld_language = R2I_ZH,
                                .has_values = true,
                                .kind = R2_GRADE_NUMBER,
                                .questions = questions,
                                .make = make };
