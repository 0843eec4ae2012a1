/* task_boolean.c - which of four logical expressions is true?  Four, so that guessing does not pay. */
#include <stdio.h>
#include <string.h>

#include "task/task_draft.h"

enum { N_OPTIONS = 4, MAX_LEAVES = 10, MAX_NODES = 2 * MAX_LEAVES, N_NAMES = 4 };

static const char *const questions[R2I_N_LANGUAGES][R2I_QUESTIONS] = {
    { "Let {0}. Which expression is true (& and, | or, ~ not)? Answer with its letter.",
      "{0}. One of these is true: A, B, C or D?",
      "Given {0}, choose the letter of the true line." },
    { "设 {0}。哪个表达式为真（& 与，| 或，~ 非）？请回答字母。", "{0}。A、B、C、D 中哪一个为真？",
      "已知 {0}，选出为真的一行的字母。" },
    { "Sea {0}. ¿Qué expresión es verdadera (& y, | o, ~ no)? Responde con su letra.",
      "{0}. Una de estas es verdadera: ¿A, B, C o D?",
      "Dado {0}, elige la letra de la línea verdadera." },
    { "Soit {0}. Quelle expression est vraie (& et, | ou, ~ non) ? Réponds par sa lettre.",
      "{0}. Une seule est vraie : A, B, C ou D ?",
      "Étant donné {0}, choisis la lettre de la ligne vraie." },
    { "Es sei {0}. Welcher Ausdruck ist wahr (& und, | oder, ~ nicht)? Antworte mit dem "
      "Buchstaben.",
      "{0}. Einer ist wahr: A, B, C oder D?",
      "Gegeben {0}: wähle den Buchstaben der wahren Zeile." },
};

typedef struct {
    char op; /* '&', '|', '!', or 'v': a name */
    int32_t left, right;
    bool value;
    bool is_ready; /* shown as its value */
} node;
typedef struct {
    node nodes[MAX_NODES];
    int32_t n_nodes;
} tree;

static int32_t grow(r2i_task_draft *d, tree *t, int32_t n_leaves, const bool *values) {
    const int32_t at = t->n_nodes++;
    node x = { .op = 'v' };
    if (n_leaves == 1) {
        x.left = (int32_t)r2i_draw(d, 0, N_NAMES - 1);
        x.value = values[x.left];
        if (r2i_draw_once_in(d, 3) && t->n_nodes < MAX_NODES) {
            x.right = -1; /* "not" */
            x.value = !x.value;
        }
    } else {
        const int32_t n_left = (int32_t)r2i_draw(d, 1, n_leaves - 1);
        x.op = r2i_draw_once_in(d, 2) ? '&' : '|';
        x.left = grow(d, t, n_left, values);
        x.right = grow(d, t, n_leaves - n_left, values);
        const bool a = t->nodes[x.left].value, b = t->nodes[x.right].value;
        x.value = x.op == '&' ? a && b : a || b;
    }
    t->nodes[at] = x;
    return at;
}

static void show(r2i_task_draft *d, r2i_buffer *to, const tree *t, int32_t at, bool is_top) {
    const node *x = &t->nodes[at];
    if (x->is_ready) {
        r2i_say(d, to, "%s", x->value ? "True" : "False");
    } else if (x->op == 'v') {
        r2i_say(d, to, "%s%c", x->right < 0 ? "~" : "", "pqrs"[x->left]);
    } else {
        if (!is_top) r2i_say(d, to, "(");
        show(d, to, t, x->left, false);
        r2i_say(d, to, x->op == '&' ? " & " : " | ");
        show(d, to, t, x->right, false);
        if (!is_top) r2i_say(d, to, ")");
    }
}

/* First all names, then one operator after the other from the inside. */
static bool reduce(tree *t, int32_t at, bool is_name) {
    node *x = &t->nodes[at];
    bool has_changed = false;
    if (x->is_ready) return false;
    if (x->op != 'v') {
        has_changed = reduce(t, x->left, is_name);
        if (is_name || !has_changed) has_changed = reduce(t, x->right, is_name) || has_changed;
    }
    if (has_changed || is_name != (x->op == 'v')) return has_changed;
    x->is_ready = true;
    return true;
}

static void say_option(r2i_task_draft *d, tree *t, int32_t i) {
    r2i_say(d, &d->body, "%s%c) ", i > 0 ? "\n" : "", 'A' + i);
    show(d, &d->body, t, 0, true);
    r2i_think(d, "%c: ", 'A' + i);
    show(d, &d->trace, t, 0, true);
    for (bool is_name = true; reduce(t, 0, is_name); is_name = false) {
        r2i_think(d, " = ");
        if (t->nodes[0].is_ready) r2i_doubt(d, "%s", t->nodes[0].value ? "False" : "True");
        show(d, &d->trace, t, 0, true);
    }
    r2i_think(d, "\n");
}

static void make(r2i_task_draft *d) {
    const int32_t true_one = (int32_t)r2i_draw(d, 0, N_OPTIONS - 1);
    char given[64] = "";
    bool values[N_NAMES];
    for (int32_t i = 0; i < N_NAMES; i++) {
        values[i] = r2i_draw_once_in(d, 2);
        (void)snprintf(given + strlen(given), sizeof given - strlen(given), "%s%c = %s",
                       i > 0 ? ", " : "", "pqrs"[i], values[i] ? "True" : "False");
    }
    r2i_fill(d, 0, "%s", given);
    for (int32_t i = 0; i < N_OPTIONS; i++) {
        tree t;
        do {
            t.n_nodes = 0;
            (void)grow(d, &t, d->level + 1, values);
        } while (t.nodes[0].value != (i == true_one));
        for (int32_t k = 0; k < t.n_nodes; k++)
            r2i_key_add(d, t.nodes[k].op * 64 + t.nodes[k].left * 4 + t.nodes[k].right);
        say_option(d, &t, i);
    }
    r2i_key_add_text(d, given);
    r2i_conclude(d, "%c", 'A' + true_one);
}

const r2i_task r2i_task_boolean = { .name = "boolean",
                                    .about = "which of four logical expressions is true",
                                    .n_levels = 5,
                                    .withheld_language = R2I_DE,
                                    .kind = R2_GRADE_CHOICE,
                                    .questions = questions,
                                    .make = make };
