#include "model/model_grammar.h"

#include "base/failure.h"
#include "text/grammar_regex.h"
#include "text/grammar_schema.h"

enum { DRAFT_BLOCK_BYTES = 64 << 10 };

static r2i_heap *heap_of(const r2_model *model) {
    return &((r2_model *)(uintptr_t)model)->heap;
}

/* The vocabulary as trees: made once, when the first grammar asks. */
static r2_status get_forest(const r2_model *model, const r2i_token_forest **out, r2_error *err) {
    r2_model *owner = (r2_model *)(uintptr_t)model;
    const int32_t hidden[] = { model->think_open, model->think_close };
    const r2i_token_roles roles = { hidden, 2, model->tool_syntax.ids, R2I_N_MARKS };
    r2_status status = R2_OK;
    *out = NULL;
    if (model->tokenizer == NULL)
        return r2i_fail(err, R2_E_UNSUPPORTED, "the model has no tokenizer");
    pthread_mutex_lock(&owner->encoder_lock);
    if (owner->forest == NULL)
        status =
            r2i_token_forest_create(&owner->forest, model->tokenizer, &roles, &owner->heap, err);
    *out = owner->forest;
    pthread_mutex_unlock(&owner->encoder_lock);
    return status;
}

static r2_status read_rules(r2_grammar *g, r2i_grammar_source read, const void *source,
                            r2_error *err) {
    const r2i_token_forest *forest;
    r2i_grammar_draft draft;
    r2i_arena arena;
    R2I_TRY(get_forest(g->model, &forest, err));
    r2i_arena_init(&arena, g->heap, DRAFT_BLOCK_BYTES, R2I_GRAMMAR_MAX_DRAFT_BYTES);
    r2_status status = r2i_draft_init(&draft, &arena, err);
    if (status == R2_OK) status = read(&draft, source, err);
    if (status == R2_OK) status = r2i_grammar_create(&g->rules, &draft, forest, g->heap, err);
    r2i_arena_destroy(&arena);
    return status;
}

r2_status r2i_model_make_grammar(r2_grammar **out, const r2_model *model, r2i_grammar_source read,
                                 const void *source, r2_error *err) {
    *out = NULL;
    r2_grammar *g = r2i_heap_take(heap_of(model), sizeof *g);
    if (g == NULL) return r2i_fail(err, R2_E_NOMEM, "grammar: no memory");
    *g = (r2_grammar){ .model = model, .heap = heap_of(model) };
    const r2_status status = read_rules(g, read, source, err);
    if (status != R2_OK)
        r2_grammar_destroy(g);
    else
        *out = g;
    return status;
}

/* A text in some notation. */
typedef struct {
    r2_status (*read)(r2i_grammar_draft *draft, const char *text, size_t n_bytes, r2_error *err);
    const char *text;
    size_t n_bytes;
} written_grammar;

static r2_status read_text(r2i_grammar_draft *draft, const void *source, r2_error *err) {
    const written_grammar *w = source;
    return w->read(draft, w->text, w->n_bytes, err);
}

r2_status r2_grammar_from_gbnf(r2_grammar **out, const r2_model *model, const char *text,
                               size_t n_bytes, r2_error *err) {
    const written_grammar w = { r2i_gbnf_read, text, n_bytes };
    return r2i_model_make_grammar(out, model, read_text, &w, err);
}

r2_status r2_grammar_from_json_schema(r2_grammar **out, const r2_model *model, const char *text,
                                      size_t n_bytes, r2_error *err) {
    const written_grammar w = { r2i_schema_read, text, n_bytes };
    return r2i_model_make_grammar(out, model, read_text, &w, err);
}

r2_status r2_grammar_from_regex(r2_grammar **out, const r2_model *model, const char *text,
                                size_t n_bytes, r2_error *err) {
    const written_grammar w = { r2i_regex_read, text, n_bytes };
    return r2i_model_make_grammar(out, model, read_text, &w, err);
}

size_t r2_grammar_memory(const r2_grammar *g) {
    return r2i_grammar_memory(g->rules);
}

void r2_grammar_destroy(r2_grammar *g) {
    if (g == NULL) return;
    r2i_grammar_destroy(g->rules);
    r2i_heap_give(g->heap, g, sizeof *g);
}

/* ---- matchers ---- */

static r2_grammar_matcher *take_matcher(r2_grammar *g, r2_error *err) {
    r2_grammar_matcher *m = r2i_heap_take(g->heap, sizeof *m);
    if (m == NULL) {
        (void)r2i_fail(err, R2_E_NOMEM, "grammar: no memory");
        return NULL;
    }
    *m = (r2_grammar_matcher){ .grammar = g, .first = -1, .n_seen = -1 };
    return m;
}

/* Newlines in front of a text are skipped only where it cannot begin with one. */
static r2_status look_for_newline(r2_grammar_matcher *m, r2_error *err) {
    const r2_status status = r2i_grammar_matcher_accept(&m->place, "\n", 1, NULL);
    m->skips_newlines = status == R2_E_MISMATCH;
    return status == R2_OK ? r2i_grammar_matcher_reset(&m->place, err) : R2_OK;
}

r2_status r2_grammar_matcher_create(r2_grammar_matcher **out, r2_grammar *grammar, r2_error *err) {
    *out = NULL;
    r2_grammar_matcher *m = take_matcher(grammar, err);
    if (m == NULL) return R2_E_NOMEM;
    r2_status status = r2i_grammar_matcher_init(&m->place, grammar->rules, err);
    if (status == R2_OK) {
        status = look_for_newline(m, err);
        if (status != R2_OK) r2i_grammar_matcher_drop(&m->place);
    }
    if (status != R2_OK)
        r2i_heap_give(grammar->heap, m, sizeof *m);
    else
        *out = m;
    return status;
}

r2_status r2_grammar_matcher_clone(r2_grammar_matcher **out, const r2_grammar_matcher *matcher,
                                   r2_error *err) {
    *out = take_matcher(matcher->grammar, err);
    if (*out == NULL) return R2_E_NOMEM;
    **out = *matcher;
    r2i_grammar_matcher_copy(&(*out)->place, &matcher->place);
    return R2_OK;
}

void r2_grammar_matcher_destroy(r2_grammar_matcher *m) {
    if (m == NULL) return;
    r2i_grammar_matcher_drop(&m->place);
    r2i_heap_give(m->grammar->heap, m, sizeof *m);
}

r2_status r2_grammar_matcher_reset(r2_grammar_matcher *m, r2_error *err) {
    m->first = m->n_seen = -1;
    m->is_lost = m->has_thoughts = m->has_answer = false;
    m->n_newlines = 0;
    return r2i_grammar_matcher_reset(&m->place, err);
}

r2_status r2_grammar_matcher_accept(r2_grammar_matcher *m, const char *bytes, size_t n_bytes,
                                    r2_error *err) {
    return r2i_grammar_matcher_accept(&m->place, bytes, n_bytes, err);
}

r2_status r2_grammar_matcher_accept_token(r2_grammar_matcher *m, r2_token token, r2_error *err) {
    return r2i_grammar_matcher_accept_token(&m->place, token, err);
}

bool r2_grammar_matcher_skips_newlines(const r2_grammar_matcher *m) {
    return m->skips_newlines;
}

bool r2_grammar_matcher_can_end(const r2_grammar_matcher *m) {
    return r2i_grammar_matcher_can_end(&m->place);
}

r2_status r2_grammar_matcher_mask(r2_grammar_matcher *m, uint32_t *allowed, int32_t n_vocab,
                                  r2_error *err) {
    return r2i_grammar_matcher_mask(&m->place, allowed, n_vocab, err);
}
