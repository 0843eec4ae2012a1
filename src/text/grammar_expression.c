#include "text/grammar_expression.h"

#include <string.h>

#include "base/failure.h"
#include "base/hash.h"

enum { N_SLOTS = 2 * R2I_GRAMMAR_MAX_RULES, MAX_RANGES = 1 << 12 };
enum { FIRST_SURROGATE = 0xd800, LAST_SURROGATE = 0xdfff };

r2_status r2i_draft_init(r2i_grammar_draft *draft, r2i_arena *arena, r2_error *err) {
    *draft = (r2i_grammar_draft){ .arena = arena, .root = -1 };
    draft->rules = R2I_ARENA_ARRAY(arena, r2i_grammar_rule, R2I_GRAMMAR_MAX_RULES);
    draft->slots = R2I_ARENA_ARRAY(arena, int32_t, N_SLOTS);
    if (draft->rules == NULL || draft->slots == NULL)
        return r2i_fail(err, R2_E_NOMEM, "grammar: no memory");
    return R2_OK;
}

r2_status r2i_draft_check(const r2i_grammar_draft *draft, r2_error *err) {
    if (draft->status == R2_OK) return R2_OK;
    return r2i_fail(err, draft->status, "grammar: %s",
                    draft->status == R2_E_LIMIT ? "too large: too many rules, ranges or characters"
                                                : "no memory");
}

static void *fail(r2i_grammar_draft *draft, r2_status status) {
    if (draft->status == R2_OK) draft->status = status;
    return NULL;
}

/* ---- rules ---- */

int32_t r2i_draft_new_rule(r2i_grammar_draft *draft) {
    if (draft->n_rules == R2I_GRAMMAR_MAX_RULES) {
        (void)fail(draft, R2_E_LIMIT);
        return -1;
    }
    draft->rules[draft->n_rules] = (r2i_grammar_rule){ .name = "" };
    return draft->n_rules++;
}

int32_t r2i_draft_rule(r2i_grammar_draft *draft, const char *name, size_t n_bytes) {
    size_t slot = r2i_hash_mix(r2i_hash_bytes(R2I_HASH_SEED, name, n_bytes)) % N_SLOTS;
    for (; draft->slots[slot] != 0; slot = (slot + 1) % N_SLOTS) {
        const char *known = draft->rules[draft->slots[slot] - 1].name;
        if (strlen(known) == n_bytes && memcmp(known, name, n_bytes) == 0)
            return draft->slots[slot] - 1;
    }
    const char *copy = r2i_arena_copy_text(draft->arena, name, n_bytes);
    if (copy == NULL) {
        (void)fail(draft, R2_E_NOMEM);
        return -1;
    }
    const int32_t rule = r2i_draft_new_rule(draft);
    if (rule < 0) return -1;
    draft->rules[rule].name = copy;
    draft->slots[slot] = rule + 1;
    return rule;
}

void r2i_draft_define(r2i_grammar_draft *draft, int32_t rule, const r2i_expression *body) {
    if (rule >= 0) draft->rules[rule].body = body;
}

/* ---- expressions ---- */

static r2i_expression *new_expression(r2i_grammar_draft *draft, r2i_expression_kind kind) {
    r2i_expression *e = R2I_ARENA_NEW(draft->arena, r2i_expression);
    if (e == NULL) return fail(draft, R2_E_NOMEM);
    e->kind = kind;
    return e;
}

r2i_expression *r2i_expression_text(r2i_grammar_draft *draft, const char *bytes, size_t n_bytes) {
    r2i_expression *e = new_expression(draft, R2I_EXPRESSION_TEXT);
    if (e == NULL) return NULL;
    e->bytes = r2i_arena_copy_text(draft->arena, bytes, n_bytes);
    e->n_bytes = n_bytes;
    return e->bytes != NULL ? e : fail(draft, R2_E_NOMEM);
}

r2i_expression *r2i_expression_word(r2i_grammar_draft *draft, const char *text) {
    return r2i_expression_text(draft, text, strlen(text));
}

/* Insertion from the right: classes are short, and mostly in order already. */
static void sort_ranges(r2i_char_range *ranges, size_t n) {
    for (size_t i = 1; i < n; i++) {
        const r2i_char_range range = ranges[i];
        size_t at = i;
        for (; at > 0 && ranges[at - 1].first > range.first; at--)
            ranges[at] = ranges[at - 1];
        ranges[at] = range;
    }
}

/* Of sorted ranges; returns how many are left. */
static size_t join_ranges(r2i_char_range *ranges, size_t n) {
    size_t n_joined = 0;
    for (size_t i = 0; i < n; i++) {
        r2i_char_range *last = n_joined > 0 ? &ranges[n_joined - 1] : NULL;
        if (last != NULL && ranges[i].first <= last->last + 1) {
            if (ranges[i].last > last->last) last->last = ranges[i].last;
        } else {
            ranges[n_joined++] = ranges[i];
        }
    }
    return n_joined;
}

static void put_range(r2i_char_range *out, size_t *n, int32_t first, int32_t last) {
    if (first <= last) out[(*n)++] = (r2i_char_range){ first, last };
}

/* A range without the surrogates, which are no characters. */
static void put_characters(r2i_char_range *out, size_t *n, int32_t first, int32_t last) {
    put_range(out, n, first, last < FIRST_SURROGATE ? last : FIRST_SURROGATE - 1);
    put_range(out, n, first > LAST_SURROGATE ? first : LAST_SURROGATE + 1, last);
}

r2i_expression *r2i_expression_class(r2i_grammar_draft *draft, r2i_char_range *ranges,
                                     size_t n_ranges, bool is_negated) {
    if (n_ranges > MAX_RANGES) return fail(draft, R2_E_LIMIT);
    r2i_expression *e = new_expression(draft, R2I_EXPRESSION_CLASS);
    r2i_char_range *out = R2I_ARENA_ARRAY(draft->arena, r2i_char_range, 2 * n_ranges + 4);
    if (e == NULL || out == NULL) return fail(draft, R2_E_NOMEM);
    sort_ranges(ranges, n_ranges);
    const size_t n_joined = join_ranges(ranges, n_ranges);
    int32_t at = 0;
    for (size_t i = 0; i < n_joined; i++) {
        if (is_negated)
            put_characters(out, &e->n_ranges, at, ranges[i].first - 1);
        else
            put_characters(out, &e->n_ranges, ranges[i].first, ranges[i].last);
        at = ranges[i].last + 1;
    }
    if (is_negated) put_characters(out, &e->n_ranges, at, R2I_LAST_CODE_POINT);
    e->ranges = out;
    return e;
}

r2i_expression *r2i_expression_sequence(r2i_grammar_draft *draft) {
    return new_expression(draft, R2I_EXPRESSION_SEQUENCE);
}

r2i_expression *r2i_expression_choice(r2i_grammar_draft *draft) {
    return new_expression(draft, R2I_EXPRESSION_CHOICE);
}

r2i_expression *r2i_expression_add(r2i_grammar_draft *draft, r2i_expression *whole,
                                   r2i_expression *part) {
    if (whole == NULL || part == NULL) return fail(draft, R2_E_NOMEM);
    if (whole->last_part != NULL)
        whole->last_part->next = part;
    else
        whole->parts = part;
    whole->last_part = part;
    return whole;
}

r2i_expression *r2i_expression_repeat(r2i_grammar_draft *draft, r2i_expression *part, int32_t n_min,
                                      int32_t n_max) {
    if (part == NULL) return fail(draft, R2_E_NOMEM);
    r2i_expression *e = new_expression(draft, R2I_EXPRESSION_REPEAT);
    if (e == NULL) return NULL;
    e->parts = e->last_part = part;
    e->n_min = n_min;
    e->n_max = n_max;
    return e;
}

r2i_expression *r2i_expression_rule(r2i_grammar_draft *draft, int32_t rule) {
    if (rule < 0) return fail(draft, R2_E_LIMIT);
    r2i_expression *e = new_expression(draft, R2I_EXPRESSION_RULE);
    if (e != NULL) e->rule = rule;
    return e;
}
