/* Filters on sequences and dicts. */
#include <string.h>

#include "text/template_eval.h"

#define FILTER(name) \
    static bool name(r2i_trun *run, const r2i_tvalue *self, const r2i_tbound *args, r2i_tvalue *out)

FILTER(filter_length) {
    (void)args;
    size_t n;
    if (!r2i_tvalue_length(run, self, &n)) return false;
    *out = r2i_tvalue_int((int64_t)n);
    return true;
}

/* Copies what a loop over v sees into a new sequence. */
static bool copy_items(r2i_trun *run, const r2i_tvalue *v, r2i_tflavor flavor, r2i_tvalue *out) {
    const r2i_tvalue *items;
    size_t n;
    if (!r2i_tvalue_iterate(run, v, &items, &n) || !r2i_tsequence_create(run, flavor, n, out))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!r2i_tsequence_push(run, out->as.sequence, items[i])) return false;
    }
    return true;
}

FILTER(filter_list) {
    return (void)args, copy_items(run, self, R2I_TS_LIST, out);
}

FILTER(filter_first) {
    (void)args;
    const r2i_tvalue *items;
    size_t n;
    if (!r2i_tvalue_iterate(run, self, &items, &n)) return false;
    if (n != 0) *out = items[0];
    return true;
}

FILTER(filter_last) {
    (void)args;
    const r2i_tvalue *items;
    size_t n;
    if (r2i_tvalue_is_list(self, R2I_TS_GENERATOR)) {
        return r2i_trun_fail(run, R2_E_FORMAT, "'generator' object is not reversible");
    }
    if (!r2i_tvalue_require(run, self) || !r2i_tvalue_iterate(run, self, &items, &n)) return false;
    if (n != 0) *out = items[n - 1];
    return true;
}

/* item["a"]["b"] for the attribute "a.b"; a number is an index. */
static bool get_path(r2i_trun *run, r2i_tvalue item, const r2i_tvalue *path, r2i_tvalue *out) {
    *out = item;
    if (path->kind == R2I_TV_NONE) return true;
    if (path->kind != R2I_TV_STRING) return r2i_template_item(run, &item, path, out);
    const r2i_tstring *s = path->as.string;
    for (size_t at = 0; at <= s->n_bytes;) {
        const char *dot = at < s->n_bytes ? memchr(s->bytes + at, '.', s->n_bytes - at) : NULL;
        const size_t end = dot == NULL ? s->n_bytes : (size_t)(dot - s->bytes);
        r2i_tvalue key;
        int64_t index = 0;
        bool is_index = end > at && end - at < 10;
        for (size_t i = at; i < end && is_index; i++) {
            is_index = s->bytes[i] >= '0' && s->bytes[i] <= '9';
            index = 10 * index + (s->bytes[i] - '0');
        }
        if (!r2i_tstring_slice(run, s, at, end, &key)) return false;
        if (is_index) key = r2i_tvalue_int(index);
        if (!r2i_trun_work(run, 1) || !r2i_template_item(run, &item, &key, out)) return false;
        item = *out;
        at = end + 1;
    }
    return true;
}

FILTER(filter_join) {
    const r2i_tvalue *items;
    const r2i_tstring *between = NULL;
    size_t n;
    r2i_tbuilder b;
    r2i_tbuilder_init(&b, run);
    if (args->has[0] && !r2i_tvalue_to_string(run, &args->v[0], &between)) return false;
    if (!r2i_tvalue_iterate(run, self, &items, &n)) return false;
    for (size_t i = 0; i < n; i++) {
        r2i_tvalue item = items[i];
        if (args->has[1] && !get_path(run, items[i], &args->v[1], &item)) return false;
        if (i != 0 && between != NULL && !r2i_tbuilder_add_string(&b, between)) return false;
        if (!r2i_trun_work(run, 1) || !r2i_tbuilder_add_value(&b, &item)) return false;
    }
    return r2i_tbuilder_finish(&b, out);
}

FILTER(filter_reverse) {
    (void)args;
    static const r2i_tvalue backwards[3] = { { .kind = R2I_TV_NONE },
                                             { .kind = R2I_TV_NONE },
                                             { .kind = R2I_TV_INT, .as.integer = -1 } };
    if (self->kind == R2I_TV_STRING) return r2i_template_slice(run, self, backwards, out);
    if (!r2i_tvalue_require(run, self)) return false;
    r2i_tvalue list;
    if (!copy_items(run, self, R2I_TS_LIST, &list)) return false;
    if (!r2i_template_slice(run, &list, backwards, out)) return false;
    out->as.sequence->flavor = R2I_TS_GENERATOR;
    return true;
}

FILTER(filter_items) {
    (void)args;
    static const r2i_tstring name = { .bytes = "items", .n_bytes = 5 };
    if (self->kind == R2I_TV_UNDEFINED) return r2i_tsequence_create(run, R2I_TS_GENERATOR, 0, out);
    if (self->kind != R2I_TV_DICT)
        return r2i_trun_fail(run, R2_E_FORMAT, "Can only get item pairs from a mapping.");
    if (!r2i_template_find_method(self, &name)->call(run, self, args, out)) return false;
    out->as.sequence->flavor = R2I_TS_GENERATOR;
    return true;
}

/* Jinja compares texts without regard to case unless told otherwise. */
static bool fold_case(r2i_trun *run, r2i_tvalue *v) {
    return v->kind != R2I_TV_STRING || r2i_template_case(run, v->as.string, 'l', v);
}

typedef struct {
    r2i_tvalue key, item;
} keyed;

static bool before(r2i_trun *run, const keyed *a, const keyed *b, bool reverse, bool *is) {
    int order;
    if (!r2i_trun_work(run, 1) || !r2i_tvalue_order(run, &a->key, &b->key, &order)) return false;
    *is = reverse ? order == 1 : order < 0;
    return true;
}

/* Stable merge sort of rows [0, n) with `spare` of the same size. */
static bool sort_keyed(r2i_trun *run, keyed *rows, keyed *spare, size_t n, bool reverse) {
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t begin = 0; begin < n; begin += 2 * width) {
            const size_t middle = begin + width < n ? begin + width : n;
            const size_t end = begin + 2 * width < n ? begin + 2 * width : n;
            size_t left = begin, right = middle;
            for (size_t at = begin; at < end; at++) {
                bool take_right = left == middle;
                if (left < middle && right < end &&
                    !before(run, &rows[right], &rows[left], reverse, &take_right)) {
                    return false;
                }
                spare[at] = take_right ? rows[right++] : rows[left++];
            }
        }
        memcpy(rows, spare, n * sizeof *rows);
    }
    return true;
}

/* Items of v with their keys: the attribute at `path`, folded unless `exact`. */
static bool make_keyed(r2i_trun *run, const r2i_tvalue *v, const r2i_tvalue *path, bool exact,
                       keyed **out, size_t *n) {
    const r2i_tvalue *items;
    if (!r2i_tvalue_iterate(run, v, &items, n)) return false;
    keyed *rows = r2i_trun_take(run, *n, sizeof *rows);
    if (rows == NULL) return false;
    for (size_t i = 0; i < *n; i++) {
        rows[i].item = rows[i].key = items[i];
        if (path != NULL && !get_path(run, items[i], path, &rows[i].key)) return false;
        if (!r2i_trun_work(run, 1) || (!exact && !fold_case(run, &rows[i].key))) return false;
    }
    *out = rows;
    return true;
}

static bool sorted(r2i_trun *run, keyed *rows, size_t n, bool reverse, r2i_tvalue *out) {
    keyed *spare = r2i_trun_take(run, n, sizeof *spare);
    if (spare == NULL || !sort_keyed(run, rows, spare, n, reverse)) return false;
    if (!r2i_tsequence_create(run, R2I_TS_LIST, n, out)) return false;
    for (size_t i = 0; i < n; i++) {
        if (!r2i_tsequence_push(run, out->as.sequence, rows[i].item)) return false;
    }
    return true;
}

FILTER(filter_sort) {
    keyed *rows;
    size_t n;
    const r2i_tvalue *path = args->has[2] ? &args->v[2] : NULL;
    if (path != NULL && path->kind == R2I_TV_STRING &&
        memchr(path->as.string->bytes, ',', path->as.string->n_bytes)) {
        return r2i_trun_fail(run, R2_E_UNSUPPORTED, "sort by several attributes is not supported");
    }
    return make_keyed(run, self, path, r2i_tbound_truth(args, 1), &rows, &n) &&
           sorted(run, rows, n, r2i_tbound_truth(args, 0), out);
}

FILTER(filter_dictsort) {
    const r2i_tstring *by;
    keyed *rows;
    size_t n;
    r2i_tvalue pairs;
    if (!r2i_tbound_string(run, args, 1, &by)) return false;
    if (self->kind != R2I_TV_DICT)
        return r2i_trun_fail(run, R2_E_FORMAT, "dictsort: expected a mapping");
    const bool by_value = by != NULL && r2i_tstring_is(by, "value");
    if (by != NULL && !by_value && !r2i_tstring_is(by, "key")) {
        return r2i_trun_fail(run, R2_E_FORMAT, "You can only sort by either \"key\" or \"value\"");
    }
    const r2i_tbound none = { 0 };
    const r2i_tvalue index = r2i_tvalue_int(by_value);
    return filter_items(run, self, &none, &pairs) &&
           make_keyed(run, &pairs, &index, r2i_tbound_truth(args, 0), &rows, &n) &&
           sorted(run, rows, n, r2i_tbound_truth(args, 2), out);
}

FILTER(filter_unique) {
    keyed *rows;
    size_t n;
    if (!make_keyed(run, self, args->has[1] ? &args->v[1] : NULL, r2i_tbound_truth(args, 0), &rows,
                    &n))
        return false;
    r2i_tvalue seen;
    if (!r2i_tdict_create(run, R2I_TV_DICT, &seen) ||
        !r2i_tsequence_create(run, R2I_TS_GENERATOR, n, out))
        return false;
    for (size_t i = 0; i < n; i++) {
        r2i_tvalue *found;
        if (!r2i_tdict_find(run, seen.as.dict, &rows[i].key, &found)) return false;
        if (found != NULL) continue;
        if (!r2i_tdict_set(run, seen.as.dict, rows[i].key, r2i_tvalue_none())) return false;
        if (!r2i_tsequence_push(run, out->as.sequence, rows[i].item)) return false;
    }
    return true;
}

static bool extreme(r2i_trun *run, const r2i_tvalue *self, const r2i_tbound *args, bool greatest,
                    r2i_tvalue *out) {
    keyed *rows;
    size_t n, best = 0;
    if (!make_keyed(run, self, args->has[1] ? &args->v[1] : NULL, r2i_tbound_truth(args, 0), &rows,
                    &n))
        return false;
    for (size_t i = 1; i < n; i++) {
        bool is;
        if (!before(run, &rows[i], &rows[best], greatest, &is)) return false;
        if (is) best = i;
    }
    if (n != 0) *out = rows[best].item;
    return true;
}
FILTER(filter_min) {
    return extreme(run, self, args, false, out);
}
FILTER(filter_max) {
    return extreme(run, self, args, true, out);
}

FILTER(filter_sum) {
    const r2i_tvalue *items;
    size_t n;
    *out = args->has[1] ? args->v[1] : r2i_tvalue_int(0);
    if (out->kind == R2I_TV_STRING)
        return r2i_trun_fail(run, R2_E_FORMAT, "sum() can't sum strings");
    if (!r2i_tvalue_iterate(run, self, &items, &n)) return false;
    for (size_t i = 0; i < n; i++) {
        r2i_tvalue item = items[i], total;
        if (args->has[0] && !get_path(run, items[i], &args->v[0], &item)) return false;
        if (!r2i_trun_work(run, 1) || !r2i_template_operate(run, '+', out, &item, &total))
            return false;
        *out = total;
    }
    return true;
}

FILTER(filter_batch) {
    const r2i_tvalue *items;
    size_t n;
    int64_t count;
    r2i_tvalue row;
    if (!r2i_tbound_int(run, args, 0, 0, &count) || !r2i_tvalue_iterate(run, self, &items, &n))
        return false;
    if (!r2i_tsequence_create(run, R2I_TS_GENERATOR, 0, out)) return false;
    if (count < 1 || count > R2I_TEMPLATE_MAX_RANGE)
        return r2i_trun_fail(run, R2_E_RANGE, "batch: bad count");
    const bool fills = args->has[1] && args->v[1].kind != R2I_TV_NONE;
    for (size_t i = 0; i < n; i += (size_t)count) {
        if (!r2i_tsequence_create(run, R2I_TS_LIST, 0, &row)) return false;
        for (size_t j = i; j < i + (size_t)count && (j < n || fills); j++) {
            if (!r2i_tsequence_push(run, row.as.sequence, j < n ? items[j] : args->v[1]))
                return false;
        }
        if (!r2i_tsequence_push(run, out->as.sequence, row)) return false;
    }
    return true;
}

FILTER(filter_slice) {
    const r2i_tvalue *items;
    size_t n, at = 0;
    int64_t count;
    if (!r2i_tbound_int(run, args, 0, 0, &count) || !r2i_tvalue_iterate(run, self, &items, &n))
        return false;
    if (count < 1 || count > R2I_TEMPLATE_MAX_RANGE)
        return r2i_trun_fail(run, R2_E_RANGE, "slice: bad count");
    if (!r2i_tsequence_create(run, R2I_TS_GENERATOR, 0, out)) return false;
    const size_t each = n / (size_t)count, n_longer = n % (size_t)count;
    const bool fills = args->has[1] && args->v[1].kind != R2I_TV_NONE;
    for (size_t i = 0; i < (size_t)count; i++) {
        const size_t end = at + each + (i < n_longer);
        r2i_tvalue row;
        if (!r2i_tsequence_create(run, R2I_TS_LIST, 0, &row)) return false;
        for (; at < end; at++) {
            if (!r2i_tsequence_push(run, row.as.sequence, items[at])) return false;
        }
        if (fills && i >= n_longer && !r2i_tsequence_push(run, row.as.sequence, args->v[1]))
            return false;
        if (!r2i_tsequence_push(run, out->as.sequence, row)) return false;
    }
    return true;
}

FILTER(filter_groupby) {
    keyed *rows, *spare;
    size_t n;
    r2i_tvalue group = r2i_tvalue_none(), name, pair;
    if (!make_keyed(run, self, &args->v[0], r2i_tbound_truth(args, 2), &rows, &n)) return false;
    for (size_t i = 0; i < n; i++) {
        if (args->has[1] && rows[i].key.kind == R2I_TV_UNDEFINED) rows[i].key = args->v[1];
    }
    spare = r2i_trun_take(run, n, sizeof *spare);
    if (spare == NULL || !sort_keyed(run, rows, spare, n, false)) return false;
    if (!r2i_tsequence_create(run, R2I_TS_LIST, 0, out)) return false;
    for (size_t i = 0; i < n; i++) {
        bool equal = false;
        if (i != 0 && !r2i_tvalue_equal(run, &rows[i].key, &rows[i - 1].key, &equal)) return false;
        if (!equal) {
            if (!r2i_tsequence_create(run, R2I_TS_LIST, 0, &group)) return false;
            if (!get_path(run, rows[i].item, &args->v[0], &name)) return false;
            if (name.kind == R2I_TV_UNDEFINED) name = rows[i].key;
            if (!r2i_tsequence_pair(run, name, group, &pair)) return false;
            if (!r2i_tsequence_push(run, out->as.sequence, pair)) return false;
        }
        if (!r2i_tsequence_push(run, group.as.sequence, rows[i].item)) return false;
    }
    return true;
}

static const r2i_tvalue *named_argument(const r2i_targs *args, const char *name) {
    for (size_t i = 0; i < args->n_named; i++) {
        if (r2i_tstring_is(args->named[i].name, name)) return &args->named[i].value;
    }
    return NULL;
}

/* The arguments of a call without its first n_skipped positional ones. */
static r2i_targs rest_of(const r2i_targs *args, size_t n_skipped) {
    r2i_targs rest = *args;
    rest.items += n_skipped;
    rest.n_items -= n_skipped;
    return rest;
}

static bool map_item(r2i_trun *run, const r2i_targs *args, const r2i_tvalue *item,
                     r2i_tvalue *out) {
    const r2i_tvalue *path = named_argument(args, "attribute"),
                     *fallback = named_argument(args, "default");
    if (args->n_items == 0 && path != NULL) {
        if (!get_path(run, *item, path, out)) return false;
        if (out->kind == R2I_TV_UNDEFINED && fallback != NULL && fallback->kind != R2I_TV_NONE)
            *out = *fallback;
        return true;
    }
    if (args->n_items == 0 || args->items[0].kind != R2I_TV_STRING) {
        return r2i_trun_fail(run, R2_E_FORMAT, "map requires a filter argument");
    }
    const r2i_targs rest = rest_of(args, 1);
    return r2i_template_filter(run, args->items[0].as.string, item, &rest, out);
}

FILTER(filter_map) {
    const r2i_tvalue *items;
    size_t n;
    if (!r2i_tvalue_iterate(run, self, &items, &n) ||
        !r2i_tsequence_create(run, R2I_TS_GENERATOR, n, out))
        return false;
    for (size_t i = 0; i < n; i++) {
        r2i_tvalue mapped;
        if (!map_item(run, args->all, &items[i], &mapped)) return false;
        if (!r2i_tsequence_push(run, out->as.sequence, mapped)) return false;
    }
    return true;
}

/* Whether the test named by the arguments holds for an item, or for its attribute. */
static bool passes(r2i_trun *run, const r2i_targs *args, bool by_attribute, const r2i_tvalue *item,
                   bool *is) {
    r2i_tvalue v = *item;
    if (by_attribute) {
        if (args->n_items == 0)
            return r2i_trun_fail(run, R2_E_FORMAT, "Missing parameter for attribute name");
        if (!get_path(run, *item, &args->items[0], &v)) return false;
    }
    *is = r2i_tvalue_truth(&v);
    if (args->n_items <= by_attribute) return true;
    const r2i_tvalue *name = &args->items[by_attribute];
    const r2i_targs rest = rest_of(args, 1 + (size_t)by_attribute);
    if (name->kind != R2I_TV_STRING)
        return r2i_trun_fail(run, R2_E_FORMAT, "expected the name of a test");
    return r2i_template_test(run, name->as.string, &v, &rest, is);
}

static bool choose(r2i_trun *run, const r2i_tvalue *self, const r2i_targs *args, bool by_attribute,
                   bool wanted, r2i_tvalue *out) {
    const r2i_tvalue *items;
    size_t n;
    if (!r2i_tvalue_iterate(run, self, &items, &n) ||
        !r2i_tsequence_create(run, R2I_TS_GENERATOR, 0, out))
        return false;
    for (size_t i = 0; i < n; i++) {
        bool is;
        if (!r2i_trun_work(run, 1) || !passes(run, args, by_attribute, &items[i], &is))
            return false;
        if (is == wanted && !r2i_tsequence_push(run, out->as.sequence, items[i])) return false;
    }
    return true;
}
FILTER(filter_select) {
    return choose(run, self, args->all, false, true, out);
}
FILTER(filter_reject) {
    return choose(run, self, args->all, false, false, out);
}
FILTER(filter_selectattr) {
    return choose(run, self, args->all, true, true, out);
}
FILTER(filter_rejectattr) {
    return choose(run, self, args->all, true, false, out);
}

const r2i_tfunction *r2i_template_find_list_filter(const r2i_tstring *name) {
    static const r2i_tfunction table[] = {
        { "length", "", 0, filter_length },
        { "count", "", 0, filter_length },
        { "list", "", 0, filter_list },
        { "first", "", 0, filter_first },
        { "last", "", 0, filter_last },
        { "join", "d attribute", 0, filter_join },
        { "reverse", "", 0, filter_reverse },
        { "items", "", 0, filter_items },
        { "sort", "reverse case_sensitive attribute", 0, filter_sort },
        { "dictsort", "case_sensitive by reverse", 0, filter_dictsort },
        { "unique", "case_sensitive attribute", 0, filter_unique },
        { "min", "case_sensitive attribute", 0, filter_min },
        { "max", "case_sensitive attribute", 0, filter_max },
        { "sum", "attribute start", 0, filter_sum },
        { "batch", "linecount fill_with", 1, filter_batch },
        { "slice", "slices fill_with", 1, filter_slice },
        { "groupby", "attribute default case_sensitive", 1, filter_groupby },
        { "map", "*", 0, filter_map },
        { "select", "*", 0, filter_select },
        { "reject", "*", 0, filter_reject },
        { "selectattr", "*", 0, filter_selectattr },
        { "rejectattr", "*", 0, filter_rejectattr },
        { 0 },
    };
    return r2i_tfunction_find(table, name);
}
