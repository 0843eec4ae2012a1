#include "task/list_steps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILTER, MAP, ORDER, RESULT };
enum { EVEN = 1, ODD, ABOVE, MULTIPLES, N_FILTERS };
enum { TIMES = 1, PLUS, SQUARE, MINUS, N_MAPS };
enum { REVERSED = 1, SORTED, N_ORDERS };
enum { SUM = 1, COUNT, LARGEST, N_RESULTS };
enum { N_KINDS = 5, MAX_NUMBER = 9 };

static const int32_t n_kinds[R2I_LIST_STEPS] = { N_FILTERS, N_MAPS, N_ORDERS, N_RESULTS };

/* Which steps a level has. */
static const bool has_step[][R2I_LIST_STEPS] = {
    [1] = { false, true, false, false }, [2] = { true, false, false, true },
    [3] = { true, true, false, false },  [4] = { true, true, false, true },
    [5] = { true, true, true, false },   [6] = { true, true, true, true },
};

/* Each takes the step's number. */
static const char *const told[R2I_N_LANGUAGES][R2I_LIST_STEPS][N_KINDS] = {
    { { "", "keep the even numbers", "keep the odd numbers", "keep the numbers above %d",
        "keep the multiples of %d" },
      { "", "multiply each by %d", "add %d to each", "square each", "subtract %d from each" },
      { "", "reverse the order", "sort from small to large" },
      { "the result is the list", "the result is their sum", "the result is how many they are",
        "the result is the largest, or 0 if there is none" } },
    { { "", "保留偶数", "保留奇数", "保留大于 %d 的数", "保留 %d 的倍数" },
      { "", "每个数乘以 %d", "每个数加 %d", "每个数取平方", "每个数减 %d" },
      { "", "把顺序反过来", "从小到大排序" },
      { "结果是这个列表", "结果是它们的和", "结果是它们的个数", "结果是最大的数，没有则为 0" } },
    { { "", "quédate con los números pares", "quédate con los números impares",
        "quédate con los números mayores que %d", "quédate con los múltiplos de %d" },
      { "", "multiplica cada uno por %d", "suma %d a cada uno", "eleva cada uno al cuadrado",
        "resta %d a cada uno" },
      { "", "invierte el orden de la lista", "ordena de menor a mayor los números" },
      { "el resultado es la lista", "el resultado es la suma", "el resultado es cuántos hay",
        "el resultado es el mayor, o 0 si no hay" } },
    { { "", "garde les nombres pairs", "garde les nombres impairs",
        "garde les nombres au-dessus de %d", "garde les multiples de %d" },
      { "", "multiplie chacun par %d dans la liste", "ajoute %d à chacun dans la liste",
        "mets chacun au carré dans la liste", "retire %d à chacun dans la liste" },
      { "", "inverse l'ordre dans la liste", "trie les nombres du plus petit au plus grand" },
      { "le résultat est la liste", "le résultat est la somme",
        "le résultat est combien ils sont dans la liste",
        "le résultat est le plus grand, ou 0 s'il n'y en a pas" } },
    { { "", "behalte die geraden Zahlen", "behalte die ungeraden Zahlen",
        "behalte die Zahlen über %d", "behalte die Vielfachen von %d" },
      { "", "nimm jede mal %d", "zähle %d zu jeder dazu", "nimm das Quadrat von jeder Zahl",
        "ziehe %d von jeder ab" },
      { "", "kehre die Reihenfolge um", "sortiere von klein nach groß" },
      { "das Ergebnis ist die Liste", "das Ergebnis ist die Summe",
        "das Ergebnis ist, wie viele es sind",
        "das Ergebnis ist die größte, oder 0, wenn es keine gibt" } },
};
static const char *const between[R2I_N_LANGUAGES] = { ", then ", "，再", ", luego ", ", puis ",
                                                      ", dann " };

static const char *const code[R2I_LIST_STEPS][N_KINDS] = {
    { "", "ys = [x for x in ys if x %% 2 == 0]", "ys = [x for x in ys if x %% 2 == 1]",
      "ys = [x for x in ys if x > %d]", "ys = [x for x in ys if x %% %d == 0]" },
    { "", "ys = [x * %d for x in ys]", "ys = [x + %d for x in ys]", "ys = [x * x for x in ys]",
      "ys = [x - %d for x in ys]" },
    { "", "ys = ys[::-1]", "ys = sorted(ys)" },
    { "ys", "sum(ys)", "len(ys)", "max(ys, default=0)" },
};

static void draw_step(r2i_task_draft *d, r2i_list_step *s, int32_t n) {
    s->kind = (int32_t)r2i_draw(d, 1, n - 1);
    s->number = (int32_t)r2i_draw(d, 2, MAX_NUMBER);
}

void r2i_list_program_draw(r2i_task_draft *d, r2i_list_program *out) {
    *out = (r2i_list_program){ 0 };
    for (int i = 0; i < R2I_LIST_STEPS; i++) {
        if (has_step[d->level][i]) draw_step(d, &out->steps[i], n_kinds[i]);
        r2i_key_add(d, out->steps[i].kind * 100 + out->steps[i].number);
    }
}

/* The result is the same whatever this step does: nobody can tell that it is wrong. */
static bool is_hidden(const r2i_list_program *p, int i) {
    const int32_t result = p->steps[RESULT].kind;
    return (i == MAP && result == COUNT) || (i == ORDER && result != 0);
}

static bool is_same(int i, const r2i_list_step *a, const r2i_list_step *b) {
    const bool are_even =
        i == FILTER && (a->kind == EVEN || b->kind == EVEN) &&
        ((a->kind == MULTIPLES && a->number == 2) || (b->kind == MULTIPLES && b->number == 2));
    return a->kind == b->kind || are_even;
}

int r2i_list_program_change(r2i_task_draft *d, r2i_list_program *p) {
    int i;
    do {
        i = (int)r2i_draw(d, 0, R2I_LIST_STEPS - 1);
    } while (p->steps[i].kind == 0 || is_hidden(p, i));
    const r2i_list_step before = p->steps[i];
    do {
        draw_step(d, &p->steps[i], n_kinds[i]);
    } while (is_same(i, &before, &p->steps[i]));
    return i;
}

void r2i_list_draw(r2i_task_draft *d, r2i_list *out, int32_t n, int32_t low, int32_t high) {
    *out = (r2i_list){ .n = n };
    for (int32_t i = 0; i < n; i++)
        out->numbers[i] = r2i_draw(d, low, high);
}

/* ---- carrying out ---- */

static bool is_kept(const r2i_list_step *s, int64_t x) {
    return s->kind == EVEN    ? x % 2 == 0
           : s->kind == ODD   ? x % 2 != 0
           : s->kind == ABOVE ? x > s->number
                              : x % s->number == 0;
}

static int64_t mapped(const r2i_list_step *s, int64_t x) {
    return s->kind == TIMES    ? x * s->number
           : s->kind == PLUS   ? x + s->number
           : s->kind == SQUARE ? x * x
                               : x - s->number;
}

static int compare(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void order(const r2i_list_step *s, r2i_list *l) {
    if (s->kind == SORTED) qsort(l->numbers, (size_t)l->n, sizeof *l->numbers, compare);
    for (int32_t i = 0; s->kind == REVERSED && i < l->n / 2; i++) {
        const int64_t kept = l->numbers[i];
        l->numbers[i] = l->numbers[l->n - 1 - i];
        l->numbers[l->n - 1 - i] = kept;
    }
}

static void finish(const r2i_list_step *s, r2i_list *l) {
    int64_t result = s->kind == COUNT ? l->n : 0;
    for (int32_t i = 0; s->kind != COUNT && i < l->n; i++)
        result = s->kind == SUM                     ? result + l->numbers[i]
                 : i == 0 || l->numbers[i] > result ? l->numbers[i]
                                                    : result;
    *l = (r2i_list){ .n = 1, .is_number = true, .numbers = { result } };
}

void r2i_list_step_run(const r2i_list_program *p, int i, r2i_list *l) {
    const r2i_list_step *s = &p->steps[i];
    if (s->kind == 0) return;
    if (i == ORDER) order(s, l);
    if (i == RESULT) finish(s, l);
    if (i > MAP) return;
    int32_t n = 0;
    for (int32_t k = 0; k < l->n; k++) {
        const int64_t x = l->numbers[k];
        if (i == MAP || is_kept(s, x)) l->numbers[n++] = i == MAP ? mapped(s, x) : x;
    }
    l->n = n;
}

void r2i_list_program_run(const r2i_list_program *p, r2i_list *l) {
    for (int i = 0; i < R2I_LIST_STEPS; i++)
        r2i_list_step_run(p, i, l);
}

/* ---- telling ---- */

void r2i_list_say(r2i_task_draft *d, r2i_buffer *to, const r2i_list *l) {
    if (!l->is_number) r2i_say(d, to, "[");
    for (int32_t i = 0; i < l->n; i++)
        r2i_say(d, to, "%s%lld", i > 0 ? ", " : "", (long long)l->numbers[i]);
    if (!l->is_number) r2i_say(d, to, "]");
}

void r2i_list_step_tell(r2i_task_draft *d, r2i_buffer *to, const r2i_list_program *p, int i) {
    r2i_say(d, to, told[d->language][i][p->steps[i].kind], p->steps[i].number);
}

void r2i_list_program_tell(r2i_task_draft *d, r2i_buffer *to, const r2i_list_program *p) {
    bool is_first = true;
    for (int i = 0; i < R2I_LIST_STEPS; i++) {
        if (p->steps[i].kind == 0 && i != RESULT) continue;
        if (!is_first) r2i_say(d, to, "%s", between[d->language]);
        r2i_list_step_tell(d, to, p, i);
        is_first = false;
    }
}

void r2i_list_step_code(r2i_task_draft *d, r2i_buffer *to, const r2i_list_program *p, int i) {
    r2i_say(d, to, code[i][p->steps[i].kind], p->steps[i].number);
}

void r2i_list_program_code(r2i_task_draft *d, r2i_buffer *to, const r2i_list_program *p) {
    r2i_say(d, to, "def f(xs):\n    ys = xs\n");
    for (int i = 0; i < RESULT; i++) {
        if (p->steps[i].kind == 0) continue;
        r2i_say(d, to, "    ");
        r2i_list_step_code(d, to, p, i);
        r2i_say(d, to, "\n");
    }
    r2i_say(d, to, "    return ");
    r2i_list_step_code(d, to, p, RESULT);
}

/* ---- wrong tries ---- */

void r2i_list_note(r2i_task_draft *d, const r2i_list *l) {
    for (int32_t i = 0; i < l->n; i++)
        r2i_note_operand(d, l->numbers[i]);
}

void r2i_list_step_doubt(r2i_task_draft *d, const r2i_list_program *p, int i, bool is_code) {
    enum { STEP_BYTES = 200 };
    char wrong[STEP_BYTES];
    const int32_t other = p->steps[i].kind % (n_kinds[i] - 1) + 1;
    (void)snprintf(wrong, sizeof wrong, is_code ? code[i][other] : told[d->language][i][other],
                   p->steps[i].number);
    r2i_doubt(d, is_code ? "`%s`" : "%s", wrong);
}
