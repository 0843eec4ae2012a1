/* task_equation.c - linear equations in one unknown, and two in two; put in again at the end. */
#include "task/task_draft.h"

static const char *const questions[R2I_N_LANGUAGES][R2I_QUESTIONS] = {
    { "Solve for x: {0}", "What is x if {0}?", "Find the number x with {0}." },
    { "求 x：{0}", "如果 {0}，x 是多少？", "找出满足 {0} 的数 x。" },
    { "Despeja x: {0}", "¿Cuánto vale x si {0}?", "Encuentra el número x con {0}." },
    { "Trouve x : {0}", "Que vaut x si {0} ?", "Cherche le nombre x tel que {0}." },
    { "Löse nach x auf: {0}", "Was ist x, wenn {0}?", "Finde die Zahl x mit {0}." },
};
static const char *const check[R2I_N_LANGUAGES] = { "Check:", "检验：",
                                                    "Compruebo:", "Vérification :", "Probe:" };

/* a*x+b=c with a > 0, b not 0. */
static void isolate(r2i_task_draft *d, int64_t a, int64_t b, int64_t x) {
    r2i_think(d, "%lldx=", (long long)a);
    r2i_doubt(d, "%lld", (long long)(a * x + 2 * b)); /* taken to the other side as it was */
    r2i_think(d, "%lld\nx=", (long long)(a * x));
    if (a != 1) {
        r2i_think(d, "%lld/%lld=", (long long)(a * x), (long long)a);
        r2i_doubt(d, "%lld", (long long)(x + 1));
    }
    r2i_think(d, "%lld\n", (long long)x);
}

static void make_one(r2i_task_draft *d, int64_t a, int64_t b, int64_t x) {
    const int64_t c = d->level >= 3 ? r2i_draw(d, 1, a - 1) : 0, right = (a - c) * x + b;
    r2i_key_add(d, c);
    if (c == 0) {
        r2i_fill(d, 0, "%lldx%+lld=%lld", (long long)a, (long long)b, (long long)right);
    } else {
        r2i_fill(d, 0, "%lldx%+lld=%lldx%+lld", (long long)a, (long long)b, (long long)c,
                 (long long)right);
        r2i_think(d, "%lldx%+lld=%lld\n", (long long)(a - c), (long long)b, (long long)right);
    }
    isolate(d, a - c, b, x);
    r2i_think(d, "%s %lld*%lld%+lld=%lld", check[d->language], (long long)a, (long long)x,
              (long long)b, (long long)(a * x + b));
}

/* x+bz=s, x-cz=t: the difference has z alone. */
static void make_two(r2i_task_draft *d, int64_t b, int64_t x) {
    const int64_t c = r2i_draw(d, 1, 9), z = r2i_draw(d, -9, 9);
    const int64_t s = x + b * z, t = x - c * z;
    r2i_key_add(d, c);
    r2i_key_add(d, z);
    r2i_fill(d, 0, "x+%lldz=%lld, x-%lldz=%lld", (long long)b, (long long)s, (long long)c,
             (long long)t);
    r2i_think(d, "%lldz=%lld\nz=", (long long)(b + c), (long long)(s - t));
    r2i_doubt(d, "%lld", (long long)(z + 1));
    r2i_think(d, "%lld\nx=%lld-%lld*%lld=", (long long)z, (long long)s, (long long)b, (long long)z);
    r2i_doubt(d, "%lld", (long long)(x + b));
    r2i_think(d, "%lld\n%s %lld-%lld*%lld=%lld", (long long)x, check[d->language], (long long)x,
              (long long)c, (long long)z, (long long)t);
}

static void make(r2i_task_draft *d) {
    const int64_t high = d->level == 1 ? 12 : 12 * d->level;
    const int64_t low = d->level > 5 ? high - 11 : d->level > 1 ? -high : 1; /* beyond 5: larger */
    const int64_t a = r2i_draw_operand(d, 2, 9 + d->level), x = r2i_draw_operand(d, low, high),
                  b = r2i_draw_operand(d, 1, 9 + 5 * d->level) *
                      (d->level > 1 && r2i_draw_once_in(d, 2) ? -1 : 1);
    r2i_key_add(d, a);
    r2i_key_add(d, b);
    r2i_key_add(d, x);
    if (d->level < 5)
        make_one(d, a, b, x);
    else
        make_two(d, a, x);
    r2i_conclude(d, "%lld", (long long)x);
}

const r2i_task r2i_task_equation = { .name = "equation",
                                     .about = "linear equations, one unknown or two",
                                     .n_levels = 5,
                                     .withheld_language = R2I_FR,
                                     .has_values = true,
                                     .kind = R2_GRADE_NUMBER,
                                     .questions = questions,
                                     .make = make };
