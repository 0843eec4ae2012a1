/* Tests: what may stand behind "is". */
#include <string.h>

#include "base/checked.h"
#include "text/template_eval.h"

/* What a test without arguments says about a value's kind. */
static bool is_kind(const char *name, const r2i_tvalue *v, bool *is) {
    const r2i_tkind k = v->kind;
    const bool is_sequence = k == R2I_TV_SEQUENCE;
    const r2i_tflavor flavor = is_sequence ? v->as.sequence->flavor : R2I_TS_LIST;
    const struct {
        const char *name;
        bool is;
    } rows[] = {
        { "defined", k != R2I_TV_UNDEFINED },
        { "undefined", k == R2I_TV_UNDEFINED },
        { "none", k == R2I_TV_NONE },
        { "boolean", k == R2I_TV_BOOL },
        { "true", k == R2I_TV_BOOL && v->as.boolean },
        { "false", k == R2I_TV_BOOL && !v->as.boolean },
        { "integer", k == R2I_TV_INT },
        { "float", k == R2I_TV_FLOAT },
        { "number", k == R2I_TV_INT || k == R2I_TV_FLOAT || k == R2I_TV_BOOL },
        { "string", k == R2I_TV_STRING },
        { "mapping", k == R2I_TV_DICT },
        { "iterable", is_sequence || k == R2I_TV_STRING || k == R2I_TV_DICT ||
                          k == R2I_TV_UNDEFINED || k == R2I_TV_LOOP },
        { "sequence", (is_sequence && flavor <= R2I_TS_RANGE) || k == R2I_TV_STRING ||
                          k == R2I_TV_DICT || k == R2I_TV_UNDEFINED },
        { "callable", k == R2I_TV_MACRO || k == R2I_TV_FUNCTION || k == R2I_TV_METHOD ||
                          k == R2I_TV_JOINER || k == R2I_TV_UNDEFINED || k == R2I_TV_LOOP },
        { "escaped", k == R2I_TV_STRING && v->as.string->is_markup },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(rows[i].name, name) != 0) continue;
        *is = rows[i].is;
        return true;
    }
    return false;
}

#define TEST(name) \
    static bool name(r2i_trun *run, const r2i_tvalue *self, const r2i_tbound *args, r2i_tvalue *out)

static bool remainder_is(r2i_trun *run, const r2i_tvalue *v, int64_t divisor, int64_t wanted,
                         r2i_tvalue *out) {
    const r2i_tvalue by = r2i_tvalue_int(divisor), want = r2i_tvalue_int(wanted);
    r2i_tvalue rest;
    bool equal;
    if (!r2i_template_operate(run, '%', v, &by, &rest) ||
        !r2i_tvalue_equal(run, &rest, &want, &equal))
        return false;
    *out = r2i_tvalue_bool(equal);
    return true;
}
TEST(test_odd) {
    return (void)args, remainder_is(run, self, 2, 1, out);
}
TEST(test_even) {
    return (void)args, remainder_is(run, self, 2, 0, out);
}
TEST(test_divisible) {
    int64_t by;
    return r2i_tbound_int(run, args, 0, 1, &by) && remainder_is(run, self, by, 0, out);
}

static bool has_case(r2i_trun *run, const r2i_tvalue *v, const char *method, r2i_tvalue *out) {
    const r2i_tstring name = { .bytes = method, .n_bytes = strlen(method) }, *s;
    const r2i_tbound none = { 0 };
    if (!r2i_tvalue_to_string(run, v, &s)) return false;
    const r2i_tvalue text = r2i_tvalue_string(s);
    return r2i_template_find_string_method(&name)->call(run, &text, &none, out);
}
TEST(test_lower) {
    return (void)args, has_case(run, self, "islower", out);
}
TEST(test_upper) {
    return (void)args, has_case(run, self, "isupper", out);
}

TEST(test_equal) {
    bool equal;
    if (!r2i_tvalue_equal(run, self, &args->v[0], &equal)) return false;
    *out = r2i_tvalue_bool(equal);
    return true;
}
TEST(test_unequal) {
    if (!test_equal(run, self, args, out)) return false;
    out->as.boolean = !out->as.boolean;
    return true;
}

/* One of the four orders, as bits: 1 less, 2 equal, 4 greater. */
static bool order_is(r2i_trun *run, const r2i_tvalue *a, const r2i_tvalue *b, int wanted,
                     r2i_tvalue *out) {
    int order;
    if (!r2i_tvalue_order(run, a, b, &order)) return false;
    *out = r2i_tvalue_bool(((order < 0 ? 1 : order == 0 ? 2 : order == 1 ? 4 : 0) & wanted) != 0);
    return true;
}
TEST(test_less) {
    return order_is(run, self, &args->v[0], 1, out);
}
TEST(test_at_most) {
    return order_is(run, self, &args->v[0], 3, out);
}
TEST(test_greater) {
    return order_is(run, self, &args->v[0], 4, out);
}
TEST(test_at_least) {
    return order_is(run, self, &args->v[0], 6, out);
}

TEST(test_in) {
    bool found;
    if (!r2i_tvalue_contains(run, &args->v[0], self, &found)) return false;
    *out = r2i_tvalue_bool(found);
    return true;
}

TEST(test_same) {
    const r2i_tvalue *other = &args->v[0];
    bool same = self->kind == other->kind;
    if (same && self->kind <= R2I_TV_STRING) {
        if (!r2i_tvalue_equal(run, self, other, &same)) return false;
    } else if (same) {
        same = self->as.dict == other->as.dict;
    }
    *out = r2i_tvalue_bool(same);
    return true;
}

TEST(test_filter) {
    (void)args;
    (void)run;
    *out = r2i_tvalue_bool(self->kind == R2I_TV_STRING &&
                           (r2i_template_find_text_filter(self->as.string) != NULL ||
                            r2i_template_find_list_filter(self->as.string) != NULL));
    return true;
}

static const r2i_tfunction *find_test(const r2i_tstring *name) {
    static const r2i_tfunction table[] = {
        { "odd", "", 0, test_odd },
        { "even", "", 0, test_even },
        { "divisibleby", "num", 1, test_divisible },
        { "lower", "", 0, test_lower },
        { "upper", "", 0, test_upper },
        { "sameas", "other", 1, test_same },
        { "in", "seq", 1, test_in },
        { "filter", "", 0, test_filter },
        { "==", "other", 1, test_equal },
        { "eq", "other", 1, test_equal },
        { "equalto", "other", 1, test_equal },
        { "!=", "other", 1, test_unequal },
        { "ne", "other", 1, test_unequal },
        { "<", "other", 1, test_less },
        { "lt", "other", 1, test_less },
        { "lessthan", "other", 1, test_less },
        { "<=", "other", 1, test_at_most },
        { "le", "other", 1, test_at_most },
        { ">", "other", 1, test_greater },
        { "gt", "other", 1, test_greater },
        { "greaterthan", "other", 1, test_greater },
        { ">=", "other", 1, test_at_least },
        { "ge", "other", 1, test_at_least },
        { 0 },
    };
    return r2i_tfunction_find(table, name);
}

bool r2i_template_test(r2i_trun *run, const r2i_tstring *name, const r2i_tvalue *self,
                       const r2i_targs *args, bool *out) {
    char text[32];
    const size_t n = r2i_min_size(name->n_bytes, sizeof text - 1);
    const r2i_tfunction *test = find_test(name);
    r2i_tvalue result;
    memcpy(text, name->bytes, n);
    text[n] = '\0';
    if (test != NULL) {
        if (!r2i_template_call_builtin(run, test, self, args, &result)) return false;
        *out = r2i_tvalue_truth(&result);
        return true;
    }
    if (!is_kind(text, self, out))
        return r2i_trun_fail(run, R2_E_UNSUPPORTED, "No test named '%s'", text);
    if (args->n_items == 0 && args->n_named == 0) return true;
    return r2i_trun_fail(run, R2_E_FORMAT, "test '%s' takes no arguments", text);
}
