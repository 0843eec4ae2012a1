/* task_countdown.c - numbers to be joined to a target: every combination tried, depth first.
 *
 * Any expression is right that has each number once and the target's value. */
#include <ctype.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "task/task_draft.h"

enum { MAX_NUMBERS = 5, MAX_LINES = 40, MAX_TARGET = 200, TEXT_BYTES = 96, MAX_DEPTH = 32 };

static const char *const questions[R2I_N_LANGUAGES][R2I_QUESTIONS] = {
    { "Use {0} to make {1}.", "Combine {0}, each once, with + - * / to get {1}.",
      "Numbers: {0}. Target: {1}." },
    { "用 {0} 算出 {1}。", "用加减乘除把 {0} 组成 {1}，每个数用一次。", "数字：{0}。目标：{1}。" },
    { "Usa {0} para obtener {1}.", "Combina {0}, cada uno una vez, con + - * / para llegar a {1}.",
      "Números: {0}. Objetivo: {1}." },
    { "Utilise {0} pour obtenir {1}.",
      "Combine {0}, chacun une fois, avec + - * / pour arriver à {1}.",
      "Nombres : {0}. Cible : {1}." },
    { "Bilde {1} aus {0}.", "Verbinde {0}, jede Zahl einmal, mit + - * / zu {1}.",
      "Zahlen: {0}. Ziel: {1}." },
};

typedef struct {
    const char *no, *found, *check;
} words;
static const words said[R2I_N_LANGUAGES] = { { "no", "yes", "Check:" },
                                             { "不对", "对了", "检查：" },
                                             { "no", "sí", "Compruebo:" },
                                             { "non", "oui", "Je vérifie :" },
                                             { "nein", "ja", "Probe:" } };

typedef struct {
    int64_t value;
    char text[TEXT_BYTES];
} part;

typedef struct {
    r2i_task_draft *draft;
    int64_t target;
    int32_t n_lines; /* told so far; what is tried beyond MAX_LINES is not told */
    char found[TEXT_BYTES];
} search;

/* a OP b, where it is a whole number from 0 on. */
static bool apply(char op, int64_t a, int64_t b, int64_t *out) {
    *out = op == '+'              ? a + b
           : op == '-'            ? a - b
           : op == '*'            ? a * b
           : b != 0 && a % b == 0 ? a / b
                                  : -1;
    return *out >= 0;
}

static bool solve(search *s, const part *parts, int32_t n, bool is_told);

static bool try_pair(search *s, const part *parts, int32_t n, int32_t i, int32_t j, char op,
                     bool is_told) {
    part next[MAX_NUMBERS];
    int32_t m = 0;
    int64_t value;
    const part *a = &parts[i], *b = &parts[j];
    if (!apply(op, a->value, b->value, &value)) return false;
    for (int32_t k = 0; k < n; k++) {
        if (k != i && k != j) next[m++] = parts[k];
    }
    next[m].value = value;
    (void)snprintf(next[m].text, TEXT_BYTES, "(%.*s%c%.*s)", TEXT_BYTES / 2 - 2, a->text, op,
                   TEXT_BYTES / 2 - 2, b->text);
    const bool is_end = n == 2, is_right = is_end && value == s->target;
    if (is_told && s->n_lines < MAX_LINES && (is_end || n > 2)) {
        const words *w = &said[s->draft->language];
        s->n_lines++;
        r2i_say(s->draft, &s->draft->trace, "%lld%c%lld=%lld%s%s\n", (long long)a->value, op,
                (long long)b->value, (long long)value, is_end ? " " : "",
                is_end ? (is_right ? w->found : w->no) : "");
    }
    if (is_right) memcpy(s->found, next[m].text, TEXT_BYTES);
    return is_right || (!is_end && solve(s, next, m + 1, is_told));
}

static bool solve(search *s, const part *parts, int32_t n, bool is_told) {
    static const char ops[] = "+-*/";
    for (int32_t i = 0; i < n; i++) {
        for (int32_t j = 0; j < n; j++) {
            for (const char *op = ops; i != j && *op != '\0'; op++) {
                if (i > j && (*op == '+' || *op == '*')) continue; /* the same once more */
                if (try_pair(s, parts, n, i, j, *op, is_told)) return true;
            }
        }
    }
    return false;
}

/* A random way to join the numbers gives a target that can be reached. */
static int64_t draw_target(r2i_task_draft *d, const part *parts, int32_t n) {
    int64_t values[MAX_NUMBERS];
    for (int32_t i = 0; i < n; i++)
        values[i] = parts[i].value;
    for (; n > 1; n--) {
        const int32_t j = (int32_t)r2i_draw(d, 0, n - 2);
        int64_t value;
        if (!apply("+-*/"[r2i_draw(d, 0, 3)], values[n - 1], values[j], &value))
            value = values[n - 1] + values[j];
        values[j] = value;
    }
    return values[0];
}

static void make(r2i_task_draft *d) {
    const int32_t n = d->level <= 2   ? 3
                      : d->level <= 4 ? 4
                                      : 5,
                  highest = d->level % 2 == 1 ? 12 : 50;
    part parts[MAX_NUMBERS];
    search s = { .draft = d };
    char list[TEXT_BYTES] = "";
    for (int32_t i = 0; i < n; i++) {
        parts[i].value = r2i_draw_operand(d, 1, highest);
        (void)snprintf(parts[i].text, TEXT_BYTES, "%lld", (long long)parts[i].value);
        (void)snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i > 0 ? ", " : "",
                       parts[i].text);
        r2i_key_add(d, parts[i].value);
    }
    do {
        s.target = draw_target(d, parts, n);
    } while (s.target < 1 || s.target > MAX_TARGET);
    r2i_key_add(d, s.target);
    r2i_fill(d, 0, "%s", list);
    r2i_fill(d, 1, "%lld", (long long)s.target);
    if (!solve(&s, parts, n, true)) return; /* drawn to be reachable */
    s.found[strlen(s.found) - 1] = '\0';    /* without the outer brackets */
    r2i_say(d, &d->trace, "%s %s=%lld", said[d->language].check, s.found + 1, (long long)s.target);
    r2i_say(d, &d->answer, "%s", s.found + 1);
    r2i_say(d, &d->expected, "%lld %s", (long long)s.target, list);
}

/* ---- judging: numerator and denominator of an expression, and the numbers in it ---- */

typedef struct {
    const char *at, *end;
    int64_t numbers[MAX_NUMBERS];
    int32_t n_numbers, depth;
    bool is_wrong;
} parser;
__extension__ typedef __int128 wide;
typedef struct {
    wide up, down;
} fraction;

static fraction read_sum(parser *p);

static char peek(parser *p) {
    while (p->at < p->end && isspace((unsigned char)*p->at))
        p->at++;
    return p->at < p->end ? *p->at : '\0';
}

static fraction fail(parser *p) {
    p->is_wrong = true;
    return (fraction){ 0, 1 };
}

static fraction read_atom(parser *p) {
    if (p->is_wrong || p->depth > MAX_DEPTH) return fail(p);
    if (peek(p) == '(') {
        p->at++;
        p->depth++;
        const fraction inside = read_sum(p);
        p->depth--;
        if (peek(p) != ')') return fail(p);
        p->at++;
        return inside;
    }
    int64_t value = 0;
    int digits = 0;
    for (; p->at < p->end && isdigit((unsigned char)*p->at) && digits < 9; digits++)
        value = value * 10 + (*p->at++ - '0');
    if (digits == 0 || p->n_numbers == MAX_NUMBERS) return fail(p);
    p->numbers[p->n_numbers++] = value;
    return (fraction){ value, 1 };
}

/* Five numbers below a thousand leave 128 bits room; others are no numbers of a question. */
static fraction read_product(parser *p) {
    fraction left = read_atom(p);
    for (char op; (op = peek(p)) == '*' || op == '/';) {
        p->at++;
        const fraction right = read_atom(p);
        if (op == '/' && right.up == 0) return fail(p);
        left = op == '*' ? (fraction){ left.up * right.up, left.down * right.down }
                         : (fraction){ left.up * right.down, left.down * right.up };
    }
    return left;
}

static fraction read_sum(parser *p) {
    fraction left = read_product(p);
    for (char op; (op = peek(p)) == '+' || op == '-';) {
        p->at++;
        const fraction right = read_product(p);
        const wide other = right.up * left.down;
        left = (fraction){ left.up * right.down + (op == '+' ? other : -other),
                           left.down * right.down };
    }
    return left;
}

static int compare(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The expression alone, or EXPRESSION = TARGET. */
static bool is_right(const char *expected, const char *answer, size_t n_answer) {
    int64_t given[MAX_NUMBERS];
    int32_t n_given = 0;
    char *at;
    parser p = { .at = answer, .end = answer + n_answer };
    const int64_t target = strtoll(expected, &at, 10);
    while (n_given < MAX_NUMBERS && *at != '\0') {
        given[n_given++] = strtoll(at + strspn(at, ", "), &at, 10);
    }
    const fraction value = read_sum(&p);
    if (peek(&p) == '=') {
        p.at++;
        int64_t said_target = 0;
        for (peek(&p); p.at < p.end && isdigit((unsigned char)*p.at) && said_target < 1000000;
             p.at++)
            said_target = said_target * 10 + (*p.at - '0');
        if (said_target != target) return false;
    }
    if (p.is_wrong || peek(&p) != '\0' || p.n_numbers != n_given) return false;
    for (int32_t i = 0; i < p.n_numbers; i++) {
        if (p.numbers[i] > 1000) return false;
    }
    qsort(given, (size_t)n_given, sizeof *given, compare);
    qsort(p.numbers, (size_t)n_given, sizeof *given, compare);
    return memcmp(given, p.numbers, (size_t)n_given * sizeof *given) == 0 &&
           value.up == value.down * target;
}

const r2i_task r2i_task_countdown = {
    .name = "countdown",
    .about = "three to five numbers joined by + - * / to a target, each once",
    .n_levels = 4,
    .withheld_language = R2I_ES,
    .has_values = true,
    .kind = R2_GRADE_EXACT,
    .questions = questions,
    .make = make,
    .is_right = is_right
};
