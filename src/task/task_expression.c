/* task_expression.c - expressions with brackets; the first part that is ready is worked out, the line written
 * anew, until a number is left. */
#include "task/task_draft.h"

enum { MAX_OPERATORS = 9, MAX_NODES = 2 * MAX_OPERATORS + 1, MAX_LEAF = 12, MAX_VALUE = 999 };

static const char *const questions[R2I_N_LANGUAGES][R2I_QUESTIONS] = {
    { "What is {0}?", "Evaluate {0}.", "Simplify {0} to a number." },
    { "{0} 等于多少？", "求 {0} 的值。", "把 {0} 化简成一个数。" },
    { "¿Cuánto es {0}?", "Evalúa {0}.", "Reduce {0} a un número." },
    { "Combien font {0} ?", "Évalue {0}.", "Réduis {0} à un nombre." },
    { "Was ist {0}?", "Werte {0} aus.", "Vereinfache {0} zu einer Zahl." },
};
static const char *const result[R2I_N_LANGUAGES] = { "The result is", "结果是", "El resultado es",
                                                     "Le résultat est", "Das Ergebnis ist" };

/* op '\0': a number. */
typedef struct {
    char op;
    int32_t left, right;
    int64_t value;
} node;
typedef struct {
    node nodes[MAX_NODES];
    int32_t n_nodes;
} tree;

static int64_t apply(char op, int64_t a, int64_t b) {
    return op == '+' ? a + b : op == '-' ? a - b : op == '*' ? a * b : a / b;
}

/* A node whose part has n operators; a quotient is drawn where it is a whole number. */
static int32_t grow(r2i_task_draft *d, tree *t, int32_t n) {
    const int32_t at = t->n_nodes++;
    if (n == 0) {
        t->nodes[at] = (node){ .value = r2i_draw_operand(d, 1, MAX_LEAF) };
        return at;
    }
    const int32_t n_left = (int32_t)r2i_draw(d, 0, n - 1);
    const int32_t left = grow(d, t, n_left), right = grow(d, t, n - 1 - n_left);
    const int64_t a = t->nodes[left].value, b = t->nodes[right].value;
    char op = "+-*/"[r2i_draw(d, 0, 3)];
    if (op == '/' && (b == 0 || a % b != 0)) op = '+';
    const int64_t product = a * b;
    if (op == '*' && (product > MAX_VALUE || product < -MAX_VALUE)) op = '-';
    t->nodes[at] = (node){ op, left, right, apply(op, a, b) };
    return at;
}

static void show(r2i_task_draft *d, r2i_buffer *to, const tree *t, int32_t at, bool is_top) {
    const node *x = &t->nodes[at];
    if (x->op == '\0') {
        r2i_say(d, to, !is_top && x->value < 0 ? "(%lld)" : "%lld", (long long)x->value);
        return;
    }
    if (!is_top) r2i_say(d, to, "(");
    show(d, to, t, x->left, false);
    r2i_say(d, to, "%c", x->op);
    show(d, to, t, x->right, false);
    if (!is_top) r2i_say(d, to, ")");
}

/* The leftmost node of two numbers becomes a number. */
static bool reduce(r2i_task_draft *d, tree *t, int32_t at) {
    node *x = &t->nodes[at];
    if (x->op == '\0') return false;
    if (reduce(d, t, x->left) || reduce(d, t, x->right)) return true;
    r2i_think(d, "%lld%c%lld=", (long long)t->nodes[x->left].value, x->op,
              (long long)t->nodes[x->right].value);
    r2i_doubt(d, "%lld", (long long)(x->value + 1));
    r2i_think(d, "%lld\n", (long long)x->value);
    x->op = '\0';
    return true;
}

static void make(r2i_task_draft *d) {
    tree t = { .n_nodes = 0 };
    (void)grow(d, &t, d->level + 1);
    for (int32_t i = 0; i < t.n_nodes; i++)
        r2i_key_add(d, t.nodes[i].op == '\0' ? t.nodes[i].value : -t.nodes[i].op);
    const int64_t value = t.nodes[0].value;
    show(d, &d->body, &t, 0, true);
    r2i_fill(d, 0, "%s", d->body.bytes);
    r2i_buffer_clear(&d->body);
    while (reduce(d, &t, 0)) {
        show(d, &d->trace, &t, 0, true);
        r2i_think(d, "\n");
    }
    r2i_think(d, "%s %lld", result[d->language], (long long)value);
    r2i_conclude(d, "%lld", (long long)value);
}

const r2i_task r2i_task_expression = { .name = "expression",
                                       .about = "expressions with brackets, 2 to 6 operators",
                                       .n_levels = 5,
                                       .withheld_language = R2I_ZH,
                                       .has_values = true,
                                       .kind = R2_GRADE_NUMBER,
                                       .questions = questions,
                                       .make = make };
