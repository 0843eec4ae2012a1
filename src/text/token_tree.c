#include "text/token_tree.h"

#include <stdlib.h>
#include <string.h>

#include "base/failure.h"

static const int32_t MOST_BYTES[R2I_TOKEN_TREES] = { 6, 14, R2I_TOKEN_TREE_BYTES };

/* Bytes of a token, for sorting. */
typedef struct {
    const char *bytes;
    int32_t n_bytes, id, tree;
} sorted_token;

typedef struct {
    sorted_token *tokens;
    int32_t n;
    char *bytes;
    size_t n_bytes;
} token_list;

int32_t r2i_token_tree_bytes(int32_t tree) {
    return MOST_BYTES[tree];
}

static int compare(const void *a, const void *b) {
    const sorted_token *x = a, *y = b;
    if (x->tree != y->tree) return x->tree < y->tree ? -1 : 1;
    const int32_t n = x->n_bytes < y->n_bytes ? x->n_bytes : y->n_bytes;
    const int order = memcmp(x->bytes, y->bytes, (size_t)n);
    if (order != 0) return order;
    if (x->n_bytes != y->n_bytes) return x->n_bytes < y->n_bytes ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static bool is_among(const int32_t *ids, int32_t n, int32_t id) {
    for (int32_t i = 0; i < n; i++) {
        if (ids[i] == id) return true;
    }
    return false;
}

static bool is_shown(const r2i_tokenizer *t, int32_t id, const r2i_token_roles *roles) {
    const r2i_token_type type = r2i_tokenizer_type(t, id);
    if (type != R2I_TOKEN_NORMAL && type != R2I_TOKEN_USER && type != R2I_TOKEN_BYTE) return false;
    return !is_among(roles->hidden, roles->n_hidden, id) &&
           !is_among(roles->marks, roles->n_marks, id) && !r2i_tokenizer_is_eog(t, id);
}

static void add_token(token_list *list, char *bytes, int32_t n_bytes, int32_t id) {
    int32_t tree = 0;
    while (n_bytes > MOST_BYTES[tree])
        tree++;
    list->tokens[list->n++] = (sorted_token){ bytes, n_bytes, id, tree };
}

static void collect(token_list *list, const r2i_token_forest *f, const r2i_token_roles *roles) {
    const r2i_tokenizer *t = f->tokenizer;
    const int32_t n = r2i_tokenizer_size(t);
    size_t at = 0;
    for (int32_t id = 0; id < n; id++) {
        char *out = list->bytes + at;
        size_t n_bytes = (size_t)r2i_token_mark_bytes(f, id, out);
        if (n_bytes == 0) {
            if (!is_shown(t, id, roles)) continue;
            n_bytes = r2i_tokenizer_token_bytes(t, id, out, list->n_bytes - at);
            if (n_bytes == 0 || n_bytes > R2I_TOKEN_TREE_BYTES ||
                memchr(out, R2I_MARK_BYTE, n_bytes) != NULL)
                continue;
        }
        add_token(list, out, (int32_t)n_bytes, id);
        at += n_bytes;
    }
    qsort(list->tokens, (size_t)list->n, sizeof *list->tokens, compare);
}

static int32_t common_bytes(const sorted_token *a, const sorted_token *b) {
    int32_t n = 0;
    if (a == NULL || a->tree != b->tree) return 0;
    while (n < a->n_bytes && n < b->n_bytes && a->bytes[n] == b->bytes[n])
        n++;
    return n;
}

/* With f->nodes NULL only counts. */
static void plant(r2i_token_forest *f, const token_list *list) {
    int32_t open[R2I_TOKEN_TREE_BYTES + 1], depth = 0; /* nodes whose branch is not finished */
    const sorted_token *last = NULL;
    f->n_nodes = f->n_twins = 0;
    int32_t tree = 0;
    for (int32_t i = 0; i <= list->n; i++) {
        const sorted_token *token = i < list->n ? &list->tokens[i] : NULL;
        const int32_t n_common = token != NULL ? common_bytes(last, token) : 0;
        for (; depth > n_common; depth--) {
            if (f->nodes != NULL) f->nodes[open[depth]].skip = f->n_nodes;
        }
        for (; tree < (token != NULL ? token->tree : R2I_TOKEN_TREES); tree++)
            f->begins[tree + 1] = f->n_nodes;
        if (token == NULL) break;
        if (last != NULL && n_common == token->n_bytes && n_common == last->n_bytes) {
            if (f->twins != NULL) f->twins[f->n_twins] = (r2i_token_twin){ last->id, token->id };
            f->n_twins++;
            continue; /* `last` stays the one in the tree */
        }
        while (depth < token->n_bytes) {
            open[++depth] = f->n_nodes;
            if (f->nodes != NULL)
                f->nodes[f->n_nodes] = (r2i_token_node){ .token = -1,
                                                         .depth = (uint16_t)depth,
                                                         .byte = (uint8_t)token->bytes[depth - 1] };
            f->n_nodes++;
        }
        if (f->nodes != NULL) f->nodes[open[depth]].token = token->id;
        last = token;
    }
}

static void note_newlines(r2i_token_forest *f, const token_list *list) {
    static const char lines[] = "\n\n";
    for (int32_t i = 0; i < list->n && f->n_newlines < R2I_MAX_NEWLINE_TOKENS; i++) {
        const sorted_token *t = &list->tokens[i];
        if (t->n_bytes > R2I_MAX_NEWLINES || memcmp(t->bytes, lines, (size_t)t->n_bytes) != 0)
            continue;
        f->newlines[f->n_newlines++] = (r2i_token_newline){ t->id, t->n_bytes };
    }
}

static r2_status fill(r2i_token_forest *f, token_list *list, r2_error *err) {
    note_newlines(f, list);
    plant(f, list);
    f->cap_nodes = f->n_nodes;
    f->cap_twins = f->n_twins;
    f->nodes = r2i_heap_take(f->heap, (size_t)f->cap_nodes * sizeof *f->nodes);
    f->twins = r2i_heap_take(f->heap, (size_t)f->cap_twins * sizeof *f->twins);
    if (f->nodes == NULL || f->twins == NULL)
        return r2i_fail(err, R2_E_NOMEM, "grammar: no memory for the vocabulary");
    plant(f, list);
    return R2_OK;
}

/* Room for the bytes of all tokens. */
static size_t count_bytes(const r2i_tokenizer *t) {
    size_t n = R2I_MAX_TOKEN_BYTES;
    for (int32_t id = 0; id < r2i_tokenizer_size(t); id++)
        n += r2i_tokenizer_text(t, id).n_bytes;
    return n + 2 * (size_t)R2I_MAX_TOKEN_MARKS;
}

r2_status r2i_token_forest_create(r2i_token_forest **out, const r2i_tokenizer *tokenizer,
                                  const r2i_token_roles *roles, r2i_heap *heap, r2_error *err) {
    const size_t n = (size_t)r2i_tokenizer_size(tokenizer);
    token_list list = { .n_bytes = count_bytes(tokenizer) };
    r2_status status = R2_E_NOMEM;
    *out = NULL;
    r2i_token_forest *f = r2i_heap_take(heap, sizeof *f);
    list.tokens = r2i_heap_take(heap, n * sizeof *list.tokens);
    list.bytes = r2i_heap_take(heap, list.n_bytes);
    if (f != NULL)
        *f = (r2i_token_forest){ .heap = heap, .tokenizer = tokenizer, .n_tokens = (int32_t)n };
    if (f != NULL && list.tokens != NULL && list.bytes != NULL) {
        for (int32_t i = 0; i < R2I_MAX_TOKEN_MARKS; i++)
            f->marks[i] = i < roles->n_marks ? roles->marks[i] : -1;
        collect(&list, f, roles);
        status = fill(f, &list, err);
    } else {
        status = r2i_fail(err, status, "grammar: no memory for the vocabulary");
    }
    r2i_heap_give(heap, list.tokens, n * sizeof *list.tokens);
    r2i_heap_give(heap, list.bytes, list.n_bytes);
    if (status == R2_OK)
        *out = f;
    else
        r2i_token_forest_destroy(f);
    return status;
}

int32_t r2i_token_mark_bytes(const r2i_token_forest *f, int32_t token, char out[2]) {
    for (int32_t i = 0; i < R2I_MAX_TOKEN_MARKS; i++) {
        if (token < 0 || f->marks[i] != token) continue;
        out[0] = (char)R2I_MARK_BYTE;
        out[1] = (char)i;
        return 2;
    }
    return 0;
}

void r2i_token_forest_destroy(r2i_token_forest *f) {
    if (f == NULL) return;
    r2i_heap_give(f->heap, f->nodes, (size_t)f->cap_nodes * sizeof *f->nodes);
    r2i_heap_give(f->heap, f->twins, (size_t)f->cap_twins * sizeof *f->twins);
    r2i_heap_give(f->heap, f, sizeof *f);
}
