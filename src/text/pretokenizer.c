#define PCRE2_CODE_UNIT_WIDTH 8 /* UTF-8 form of the pattern library */
#include "text/pretokenizer.h"

#include <pcre2.h>
#include <string.h>

#include "base/failure.h"
#include "text/pretokenizer_tables.h"

/* Steps one match may take.  A run of n blanks costs about 2 n, so this is far above any text and
 * ends what would run for minutes. */
enum { MATCH_LIMIT = 1 << 30, DEPTH_LIMIT = 10000, HEAP_LIMIT_KIB = 32 << 10 };

typedef struct {
    pcre2_code *code;
    bool is_fast; /* JIT code exists */
    bool covers_all;
} pass;

struct r2i_pretokenizer {
    r2i_heap *heap;
    int32_t n_passes;
    pass passes[R2I_MAX_PASSES];
};

struct r2i_pretokenizer_state {
    r2i_heap *heap;
    pcre2_match_context *context;
    pcre2_match_data *data;
};

/* ---- tables ---- */

bool r2i_scheme_find(r2i_scheme *scheme, r2i_text_view pre) {
    for (size_t i = 0; i < r2i_n_scheme_rows; i++) {
        if (!r2i_text_view_is(pre, r2i_scheme_rows[i].name)) continue;
        *scheme = r2i_scheme_rows[i].scheme;
        return true;
    }
    return false;
}

int r2i_pattern_find(r2i_text_view published) {
    for (int i = 0; i < R2I_N_PATTERNS; i++) {
        if (r2i_text_view_is(published, r2i_pattern_rows[i].published)) return i;
    }
    for (size_t i = 0; i < r2i_n_pattern_aliases; i++) {
        if (r2i_text_view_is(published, r2i_pattern_aliases[i].published))
            return (int)r2i_pattern_aliases[i].pattern;
    }
    return -1;
}

/* ---- making and unmaking ---- */

static r2_status compile_pass(pass *p, r2i_pattern pattern, r2_error *err) {
    const r2i_pattern_row *row = &r2i_pattern_rows[pattern];
    const char *text = row->compiled != NULL ? row->compiled : row->published;
    const uint32_t options = PCRE2_UTF | PCRE2_UCP | (row->covers_all ? PCRE2_ANCHORED : 0);
    int code = 0;
    PCRE2_SIZE at = 0;
    p->covers_all = row->covers_all;
    p->code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, options, &code, &at, NULL);
    if (p->code == NULL) {
        return r2i_fail(err, R2_E_NOMEM, "tokenizer: pattern %d does not compile (error %d at %zu)",
                        (int)pattern, code, (size_t)at);
    }
    p->is_fast =
        pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE) == 0; /* may be forbidden: slower then */
    return R2_OK;
}

r2_status r2i_pretokenizer_create(r2i_pretokenizer **out, const r2i_scheme *scheme, r2i_heap *heap,
                                  r2_error *err) {
    *out = NULL;
    r2i_pretokenizer *made = r2i_heap_take(heap, sizeof *made);
    if (made == NULL) return r2i_fail(err, R2_E_NOMEM, "tokenizer: no memory for patterns");
    *made = (r2i_pretokenizer){ .heap = heap, .n_passes = scheme->n_passes };
    for (int32_t i = 0; i < scheme->n_passes; i++) {
        const r2_status status = compile_pass(&made->passes[i], scheme->passes[i], err);
        if (status == R2_OK) continue;
        r2i_pretokenizer_destroy(made);
        return status;
    }
    *out = made;
    return R2_OK;
}

void r2i_pretokenizer_destroy(r2i_pretokenizer *pretokenizer) {
    if (pretokenizer == NULL) return;
    for (int32_t i = 0; i < pretokenizer->n_passes; i++)
        pcre2_code_free(pretokenizer->passes[i].code);
    r2i_heap_give(pretokenizer->heap, pretokenizer, sizeof *pretokenizer);
}

r2_status r2i_pretokenizer_state_create(r2i_pretokenizer_state **out, r2i_heap *heap,
                                        r2_error *err) {
    *out = NULL;
    r2i_pretokenizer_state *made = r2i_heap_take(heap, sizeof *made);
    if (made == NULL) return r2i_fail(err, R2_E_NOMEM, "tokenizer: no memory for matching");
    made->heap = heap;
    made->data = pcre2_match_data_create(1, NULL);
    made->context = pcre2_match_context_create(NULL);
    if (made->data == NULL || made->context == NULL) {
        r2i_pretokenizer_state_destroy(made);
        return r2i_fail(err, R2_E_NOMEM, "tokenizer: no memory for matching");
    }
    pcre2_set_match_limit(made->context, MATCH_LIMIT);
    pcre2_set_depth_limit(made->context, DEPTH_LIMIT);
    pcre2_set_heap_limit(made->context, HEAP_LIMIT_KIB);
    *out = made;
    return R2_OK;
}

void r2i_pretokenizer_state_destroy(r2i_pretokenizer_state *state) {
    if (state == NULL) return;
    pcre2_match_data_free(state->data);
    pcre2_match_context_free(state->context);
    r2i_heap_give(state->heap, state, sizeof *state);
}

/* ---- cutting ---- */

typedef struct {
    const r2i_pretokenizer *pretokenizer;
    r2i_pretokenizer_state *state;
    r2i_piece_sink sink;
    void *context;
    r2_error *err;
} cutting;

/* Next match at or after `start`; none: begin and end are n. */
static r2_status find_match(const cutting *c, const pass *p, const char *text, size_t n,
                            size_t start, size_t *begin, size_t *end) {
    PCRE2_SPTR subject = (PCRE2_SPTR)text;
    pcre2_match_data *data = c->state->data;
    const int rc = p->is_fast ? pcre2_jit_match(p->code, subject, n, start, PCRE2_NO_UTF_CHECK,
                                                data, c->state->context)
                              : pcre2_match(p->code, subject, n, start, PCRE2_NO_UTF_CHECK, data,
                                            c->state->context);
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH) {
        return r2i_fail(c->err, R2_E_LIMIT,
                        "tokenizer: pattern stopped at byte %zu of %zu (error %d)", start, n, rc);
    }
    const PCRE2_SIZE *where = pcre2_get_ovector_pointer(data);
    *begin = rc < 0 || where[1] <= where[0] ? n : where[0];
    *end = rc < 0 || where[1] <= where[0] ? n : where[1];
    return R2_OK;
}

static r2_status cut(const cutting *c, int32_t i_pass, const char *text, size_t n) {
    if (n == 0) return R2_OK;
    if (i_pass == c->pretokenizer->n_passes) return c->sink(c->context, text, n, c->err);
    const pass *p = &c->pretokenizer->passes[i_pass];
    for (size_t at = 0; at < n;) {
        size_t begin = n, end = n;
        r2_status status = find_match(c, p, text, n, at, &begin, &end);
        if (status == R2_OK && begin > at) status = cut(c, i_pass + 1, text + at, begin - at);
        if (status == R2_OK) status = cut(c, i_pass + 1, text + begin, end - begin);
        if (status != R2_OK) return status;
        at = end;
    }
    return R2_OK;
}

r2_status r2i_pretokenizer_cut(const r2i_pretokenizer *pretokenizer, r2i_pretokenizer_state *state,
                               const char *text, size_t n_bytes, r2i_piece_sink sink, void *context,
                               r2_error *err) {
    const cutting c = { pretokenizer, state, sink, context, err };
    return cut(&c, 0, text, n_bytes);
}
