/* task_output.c - what does this Python program print?  Carried out here while it is being written. */
#include "task/task_draft.h"

enum { N_VARIABLES = 3, MAX_VALUE = 999, MAX_LIST = 12 };

static const char *const questions[R2I_N_LANGUAGES][R2I_QUESTIONS] = {
    { "What does this Python program print?", "Say what this Python code prints.",
      "Run the program in your head: which output has it?" },
    { "这个 Python 程序打印什么？", "说出这段 Python 代码的输出。",
      "在脑中运行程序：输出是什么？" },
    { "¿Qué imprime este programa de Python?", "Di qué imprime este código de Python.",
      "Ejecuta el programa en la cabeza: ¿qué salida tiene?" },
    { "Qu'affiche ce programme Python ?", "Dis ce qu'affiche ce code Python.",
      "Exécute le programme de tête : quelle est sa sortie ?" },
    { "Was gibt dieses Python-Programm aus?", "Sag, was dieser Python-Code ausgibt.",
      "Führe das Programm im Kopf aus: was gibt es aus?" },
};

typedef struct {
    r2i_task_draft *d;
    int64_t values[N_VARIABLES], list[MAX_LIST];
    int32_t n_list;
} machine;

static char name_of(int64_t i) {
    return (char)('a' + i);
}

static int64_t python_modulo(int64_t a, int64_t n) {
    return ((a % n) + n) % n;
}

static void set(machine *m, int64_t i, int64_t value) {
    m->values[i] = value;
    r2i_think(m->d, "%c=", name_of(i));
    r2i_doubt(m->d, "%lld", (long long)(value + 1));
    r2i_think(m->d, "%lld\n", (long long)value);
}

/* x = y OP z, or its rest where it would grow large. */
static void say_assignment(machine *m) {
    const int64_t x = r2i_draw(m->d, 0, N_VARIABLES - 1), y = r2i_draw(m->d, 0, N_VARIABLES - 1),
                  n = r2i_draw(m->d, 2, 9), op = r2i_draw(m->d, 0, 3);
    const int64_t a = m->values[y], value = op == 0 ? a + n : op == 1 ? a - n : a * n;
    const bool is_rest = op == 3 || value > MAX_VALUE || value < -MAX_VALUE;
    r2i_say(m->d, &m->d->body, "%c = %c %c %lld\n", name_of(x), name_of(y),
            is_rest ? '%' : "+-*"[op], (long long)n);
    set(m, x, is_rest ? python_modulo(a, n) : value);
}

static void say_choice(machine *m) {
    r2i_task_draft *d = m->d;
    const int64_t x = r2i_draw(d, 0, N_VARIABLES - 1), y = (x + r2i_draw(d, 1, 2)) % N_VARIABLES,
                  n = r2i_draw(d, 1, 9), k = r2i_draw(d, 1, 9);
    const bool is_true = m->values[x] > m->values[y];
    r2i_say(d, &d->body, "if %c > %c:\n    %c += %lld\nelse:\n    %c -= %lld\n", name_of(x),
            name_of(y), name_of(x), (long long)n, name_of(y), (long long)k);
    r2i_think(d, "%lld > %lld: %s\n", (long long)m->values[x], (long long)m->values[y],
              is_true ? "True" : "False");
    if (is_true)
        set(m, x, m->values[x] + n);
    else
        set(m, y, m->values[y] - k);
}

static void say_loop(machine *m) {
    r2i_task_draft *d = m->d;
    const int64_t x = r2i_draw(d, 0, N_VARIABLES - 1), begin = r2i_draw(d, 0, 3),
                  end = begin + r2i_draw(d, 2, 4), n = r2i_draw(d, 1, 3);
    r2i_say(d, &d->body, "for i in range(%lld, %lld):\n    %c += i * %lld\n", (long long)begin,
            (long long)end, name_of(x), (long long)n);
    for (int64_t i = begin; i < end; i++) {
        r2i_think(d, "i=%lld ", (long long)i);
        set(m, x, m->values[x] + i * n);
    }
}

/* A value goes into the list, and one comes out of it. */
static void say_list(machine *m) {
    r2i_task_draft *d = m->d;
    const int64_t x = r2i_draw(d, 0, N_VARIABLES - 1), y = r2i_draw(d, 0, N_VARIABLES - 1);
    if (m->n_list == MAX_LIST) return;
    m->list[m->n_list++] = m->values[x];
    r2i_say(d, &d->body, "xs.append(%c)\n", name_of(x));
    r2i_think(d, "xs=[");
    for (int32_t i = 0; i < m->n_list; i++)
        r2i_think(d, "%s%lld", i > 0 ? ", " : "", (long long)m->list[i]);
    r2i_think(d, "]\n");
    const int64_t at = r2i_draw(d, 0, m->n_list - 1);
    int64_t sum = 0;
    for (int32_t i = (int32_t)at; i < m->n_list; i++)
        sum += m->list[i];
    if (r2i_draw_once_in(d, 2)) {
        r2i_say(d, &d->body, "%c = xs[%lld]\n", name_of(y), (long long)at);
        set(m, y, m->list[at]);
    } else {
        r2i_say(d, &d->body, "%c = sum(xs[%lld:])\n", name_of(y), (long long)at);
        set(m, y, sum);
    }
}

static void make(r2i_task_draft *d) {
    machine m = { .d = d };
    for (int64_t i = 0; i < N_VARIABLES; i++) {
        m.values[i] = r2i_draw(d, 0, 9);
        r2i_say(d, &d->body, "%c = %lld\n", name_of(i), (long long)m.values[i]);
    }
    for (m.n_list = 0; d->level >= 4 && m.n_list < 2; m.n_list++)
        m.list[m.n_list] = r2i_draw(d, 0, 9);
    if (m.n_list > 0)
        r2i_say(d, &d->body, "xs = [%lld, %lld]\n", (long long)m.list[0], (long long)m.list[1]);
    for (int32_t i = 0; i < d->level + 1; i++) {
        const int64_t kind = r2i_draw(d, 0, d->level < 4 ? d->level - 1 : 3);
        if (kind == 0) say_assignment(&m);
        if (kind == 1) say_choice(&m);
        if (kind == 2) say_loop(&m);
        if (kind == 3) say_list(&m);
    }
    r2i_say(d, &d->body, "print(a, b, c)");
    r2i_key_add_text(d, d->body.bytes);
    r2i_conclude(d, "%lld %lld %lld", (long long)m.values[0], (long long)m.values[1],
                 (long long)m.values[2]);
}

const r2i_task r2i_task_output = { .name = "output",
                                   .about = "what a Python program of 5 to 15 lines prints",
                                   .n_levels = 5,
                                   .withheld_language = R2I_ES,
                                   .kind = R2_GRADE_EXACT,
                                   .questions = questions,
                                   .make = make };
