/* Values: truth, equality, order, iteration, and the run's limits. */
#include "text/template_value.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "text/template_text.h"

bool r2i_trun_fail(r2i_trun *run, r2_status code, const char *format, ...) {
    if (run->status != R2_OK) return false;
    char text[R2_ERROR_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    run->status = r2i_fail(run->err, code, "chat template line %d: %s", (int)run->line, text);
    return false;
}

bool r2i_trun_work(r2i_trun *run, size_t n_units) {
    if (n_units > R2I_TEMPLATE_MAX_STEPS - run->n_steps) {
        run->n_steps = R2I_TEMPLATE_MAX_STEPS;
        return r2i_trun_fail(run, R2_E_LIMIT, "more than %d steps", R2I_TEMPLATE_MAX_STEPS);
    }
    run->n_steps += n_units;
    return true;
}

bool r2i_trun_work_bytes(r2i_trun *run, size_t n_bytes) {
    return r2i_trun_work(run, n_bytes / 64);
}

bool r2i_trun_enter(r2i_trun *run) {
    if (run->n_depth >= R2I_TEMPLATE_MAX_DEPTH) {
        return r2i_trun_fail(run, R2_E_LIMIT, "nested too deeply");
    }
    run->n_depth++;
    return r2i_trun_work(run, 1) || (run->n_depth--, false);
}

void r2i_trun_leave(r2i_trun *run) {
    run->n_depth--;
}

void *r2i_trun_take(r2i_trun *run, size_t n, size_t element_bytes) {
    /* Blocks grow with what is in use: few calls to the heap, however much a template wants. */
    const size_t used = run->arena->used_bytes;
    if (used / 4 > run->arena->block_bytes) run->arena->block_bytes = used / 4;
    void *memory = r2i_arena_push_array(run->arena, n, element_bytes, _Alignof(max_align_t));
    if (memory == NULL)
        (void)r2i_trun_fail(run, R2_E_NOMEM, "out of memory (limit %d MiB)",
                            R2I_TEMPLATE_MAX_MEMORY_BYTES / (1024 * 1024));
    return memory;
}

bool r2i_tsequence_create(r2i_trun *run, r2i_tflavor flavor, size_t cap, r2i_tvalue *out) {
    r2i_tsequence *sequence = r2i_trun_take(run, 1, sizeof *sequence);
    if (sequence == NULL) return false;
    sequence->flavor = flavor;
    if (cap != 0) {
        sequence->items = r2i_trun_take(run, cap, sizeof *sequence->items);
        if (sequence->items == NULL) return false;
        sequence->cap_items = cap;
    }
    *out = (r2i_tvalue){ .kind = R2I_TV_SEQUENCE, .as.sequence = sequence };
    return true;
}

bool r2i_tsequence_push(r2i_trun *run, r2i_tsequence *sequence, r2i_tvalue item) {
    if (!r2i_trun_work(run, 1)) return false;
    if (sequence->n_items == sequence->cap_items) {
        const size_t cap = sequence->cap_items == 0 ? 4 : 2 * sequence->cap_items;
        r2i_tvalue *items = r2i_trun_take(run, cap, sizeof *items);
        if (items == NULL) return false;
        if (sequence->n_items != 0)
            memcpy(items, sequence->items, sequence->n_items * sizeof *items);
        sequence->items = items;
        sequence->cap_items = cap;
    }
    sequence->items[sequence->n_items++] = item;
    return true;
}

bool r2i_tsequence_pair(r2i_trun *run, r2i_tvalue a, r2i_tvalue b, r2i_tvalue *out) {
    return r2i_tsequence_create(run, R2I_TS_TUPLE, 2, out) &&
           r2i_tsequence_push(run, out->as.sequence, a) &&
           r2i_tsequence_push(run, out->as.sequence, b);
}

bool r2i_tdict_create(r2i_trun *run, r2i_tkind kind, r2i_tvalue *out) {
    r2i_tdict *dict = r2i_trun_take(run, 1, sizeof *dict);
    if (dict == NULL) return false;
    *out = (r2i_tvalue){ .kind = kind, .as.dict = dict };
    return true;
}

static bool is_hashable(const r2i_tvalue *key) {
    if (key->kind == R2I_TV_SEQUENCE) return key->as.sequence->flavor == R2I_TS_TUPLE;
    return key->kind != R2I_TV_DICT;
}

bool r2i_tdict_find(r2i_trun *run, const r2i_tdict *dict, const r2i_tvalue *key,
                    r2i_tvalue **found) {
    *found = NULL;
    if (!is_hashable(key)) {
        return r2i_trun_fail(run, R2_E_FORMAT, "unhashable type: '%s'", r2i_tvalue_type_name(key));
    }
    if (!r2i_trun_work(run, dict->n_entries / 16)) return false;
    for (size_t i = 0; i < dict->n_entries; i++) {
        r2i_tentry *entry = &dict->entries[i];
        bool equal = false;
        if (key->kind == R2I_TV_STRING) {
            equal = entry->key.kind == R2I_TV_STRING &&
                    r2i_tstring_equal(entry->key.as.string, key->as.string);
        } else if (!r2i_tvalue_equal(run, &entry->key, key, &equal)) {
            return false;
        }
        if (!equal) continue;
        *found = &entry->value;
        return true;
    }
    return true;
}

bool r2i_tdict_set(r2i_trun *run, r2i_tdict *dict, r2i_tvalue key, r2i_tvalue value) {
    r2i_tvalue *found;
    if (!r2i_trun_work(run, 1) || !r2i_tdict_find(run, dict, &key, &found)) return false;
    dict->source = NULL;
    if (found != NULL) {
        *found = value;
        return true;
    }
    if (dict->n_entries == dict->cap_entries) {
        const size_t cap = dict->cap_entries == 0 ? 4 : 2 * dict->cap_entries;
        r2i_tentry *entries = r2i_trun_take(run, cap, sizeof *entries);
        if (entries == NULL) return false;
        if (dict->n_entries != 0) memcpy(entries, dict->entries, dict->n_entries * sizeof *entries);
        dict->entries = entries;
        dict->cap_entries = cap;
    }
    dict->entries[dict->n_entries++] = (r2i_tentry){ key, value };
    return true;
}

const char *r2i_tvalue_type_name(const r2i_tvalue *v) {
    static const char *const flavors[] = { "list",        "tuple",      "range",    "dict_keys",
                                           "dict_values", "dict_items", "generator" };
    static const char *const kinds[] = { "Undefined", "NoneType",    "bool",  "int",
                                         "float",     "str",         "list",  "dict",
                                         "Namespace", "LoopContext", "Macro", "function",
                                         "method",    "Cycler",      "Joiner" };
    return v->kind == R2I_TV_SEQUENCE ? flavors[v->as.sequence->flavor] : kinds[v->kind];
}

bool r2i_tvalue_truth(const r2i_tvalue *v) {
    switch (v->kind) {
    case R2I_TV_UNDEFINED:
    case R2I_TV_NONE:
        return false;
    case R2I_TV_BOOL:
        return v->as.boolean;
    case R2I_TV_INT:
        return v->as.integer != 0;
    case R2I_TV_FLOAT:
        return v->as.real != 0;
    case R2I_TV_STRING:
        return v->as.string->n_bytes != 0;
    case R2I_TV_SEQUENCE:
        return v->as.sequence->flavor == R2I_TS_GENERATOR || v->as.sequence->n_items != 0;
    case R2I_TV_DICT:
        return v->as.dict->n_entries != 0;
    default:
        return true;
    }
}

bool r2i_tvalue_as_int(const r2i_tvalue *v, int64_t *out) {
    *out = v->kind == R2I_TV_BOOL  ? (int64_t)v->as.boolean
           : v->kind == R2I_TV_INT ? v->as.integer
                                   : 0;
    return v->kind == R2I_TV_BOOL || v->kind == R2I_TV_INT;
}

bool r2i_tvalue_as_float(const r2i_tvalue *v, double *out) {
    int64_t i;
    const bool is_int = r2i_tvalue_as_int(v, &i);
    *out = v->kind == R2I_TV_FLOAT ? v->as.real : (double)i;
    return is_int || v->kind == R2I_TV_FLOAT;
}

static bool sequences_equal(r2i_trun *run, const r2i_tsequence *a, const r2i_tsequence *b,
                            bool *equal) {
    *equal = a == b;
    if (a == b || a->flavor != b->flavor || a->n_items != b->n_items) return true;
    if (a->flavor == R2I_TS_GENERATOR || a->flavor == R2I_TS_VALUES) return true;
    *equal = true;
    for (size_t i = 0; i < a->n_items && *equal; i++) {
        if (!r2i_tvalue_equal(run, &a->items[i], &b->items[i], equal)) return false;
    }
    return true;
}

static bool dicts_equal(r2i_trun *run, const r2i_tdict *a, const r2i_tdict *b, bool *equal) {
    *equal = a->n_entries == b->n_entries;
    for (size_t i = 0; i < a->n_entries && *equal; i++) {
        r2i_tvalue *other;
        if (!r2i_tdict_find(run, b, &a->entries[i].key, &other)) return false;
        *equal = other != NULL;
        if (other != NULL && !r2i_tvalue_equal(run, &a->entries[i].value, other, equal))
            return false;
    }
    return true;
}

bool r2i_tvalue_equal(r2i_trun *run, const r2i_tvalue *a, const r2i_tvalue *b, bool *equal) {
    int64_t i, j;
    double x, y;
    *equal = false;
    if (r2i_tvalue_as_int(a, &i) && r2i_tvalue_as_int(b, &j)) {
        *equal = i == j;
    } else if (r2i_tvalue_as_float(a, &x) && r2i_tvalue_as_float(b, &y)) {
        *equal = x == y;
    } else if (a->kind == b->kind) {
        if (!r2i_trun_enter(run)) return false;
        bool ok = true;
        switch (a->kind) {
        case R2I_TV_UNDEFINED:
        case R2I_TV_NONE:
            *equal = true;
            break;
        case R2I_TV_STRING:
            *equal = r2i_tstring_equal(a->as.string, b->as.string);
            ok = r2i_trun_work_bytes(run, a->as.string->n_bytes);
            break;
        case R2I_TV_SEQUENCE:
            ok = sequences_equal(run, a->as.sequence, b->as.sequence, equal);
            break;
        case R2I_TV_DICT:
            ok = dicts_equal(run, a->as.dict, b->as.dict, equal);
            break;
        default:
            *equal = a->as.dict == b->as.dict;
            break;
        }
        r2i_trun_leave(run);
        return ok;
    }
    return true;
}

static int sign_of(bool less, bool more) {
    return less ? -1 : more ? 1 : 0;
}

static bool order_sequences(r2i_trun *run, const r2i_tsequence *a, const r2i_tsequence *b,
                            int *order) {
    for (size_t i = 0; i < a->n_items && i < b->n_items; i++) {
        bool equal;
        if (!r2i_tvalue_equal(run, &a->items[i], &b->items[i], &equal)) return false;
        if (equal) continue;
        if (!r2i_trun_enter(run)) return false;
        const bool ok = r2i_tvalue_order(run, &a->items[i], &b->items[i], order);
        r2i_trun_leave(run);
        return ok;
    }
    *order = sign_of(a->n_items<b->n_items, a->n_items> b->n_items);
    return true;
}

bool r2i_tvalue_order(r2i_trun *run, const r2i_tvalue *a, const r2i_tvalue *b, int *order) {
    int64_t i, j;
    double x, y;
    *order = 0;
    if (r2i_tvalue_as_int(a, &i) && r2i_tvalue_as_int(b, &j)) {
        *order = sign_of(i<j, i> j);
        return true;
    }
    if (r2i_tvalue_as_float(a, &x) && r2i_tvalue_as_float(b, &y)) {
        *order = isnan(x) || isnan(y) ? 2 : sign_of(x<y, x> y);
        return true;
    }
    if (a->kind == R2I_TV_STRING && b->kind == R2I_TV_STRING) {
        *order = r2i_tstring_order(a->as.string, b->as.string);
        return r2i_trun_work_bytes(run, a->as.string->n_bytes);
    }
    if (a->kind == R2I_TV_SEQUENCE && b->kind == R2I_TV_SEQUENCE &&
        a->as.sequence->flavor == b->as.sequence->flavor &&
        a->as.sequence->flavor <= R2I_TS_TUPLE) {
        return order_sequences(run, a->as.sequence, b->as.sequence, order);
    }
    if (!r2i_tvalue_require(run, a) || !r2i_tvalue_require(run, b)) return false;
    return r2i_trun_fail(run, R2_E_FORMAT, "'%s' and '%s' have no order", r2i_tvalue_type_name(a),
                         r2i_tvalue_type_name(b));
}

bool r2i_tvalue_contains(r2i_trun *run, const r2i_tvalue *box, const r2i_tvalue *item,
                         bool *found) {
    *found = false;
    if (box->kind == R2I_TV_STRING) {
        if (item->kind != R2I_TV_STRING) {
            return r2i_trun_fail(run, R2_E_FORMAT,
                                 "'in <string>' requires string as left operand, not %s",
                                 r2i_tvalue_type_name(item));
        }
        *found = r2i_tstring_find(box->as.string, item->as.string, 0) != SIZE_MAX;
        return r2i_trun_work_bytes(run, box->as.string->n_bytes);
    }
    if (box->kind == R2I_TV_DICT) {
        r2i_tvalue *value;
        if (!r2i_tdict_find(run, box->as.dict, item, &value)) return false;
        *found = value != NULL;
        return true;
    }
    const r2i_tvalue *items;
    size_t n;
    if (!r2i_tvalue_iterate(run, box, &items, &n)) return false;
    for (size_t i = 0; i < n && !*found; i++) {
        if (!r2i_trun_work(run, 1) || !r2i_tvalue_equal(run, &items[i], item, found)) return false;
    }
    return true;
}

bool r2i_tvalue_length(r2i_trun *run, const r2i_tvalue *v, size_t *n) {
    *n = 0;
    switch (v->kind) {
    case R2I_TV_UNDEFINED:
        return true;
    case R2I_TV_STRING:
        *n = r2i_utf8_count(v->as.string->bytes, v->as.string->n_bytes);
        return r2i_trun_work_bytes(run, v->as.string->n_bytes);
    case R2I_TV_SEQUENCE:
        if (v->as.sequence->flavor == R2I_TS_GENERATOR) break;
        *n = v->as.sequence->n_items;
        return true;
    case R2I_TV_DICT:
        *n = v->as.dict->n_entries;
        return true;
    default:
        break;
    }
    return r2i_trun_fail(run, R2_E_FORMAT, "object of type '%s' has no len()",
                         r2i_tvalue_type_name(v));
}

static bool iterate_string(r2i_trun *run, const r2i_tstring *s, const r2i_tvalue **items,
                           size_t *n) {
    r2i_tvalue list;
    if (!r2i_tsequence_create(run, R2I_TS_LIST, 0, &list)) return false;
    for (size_t at = 0; at < s->n_bytes;) {
        const size_t end = at + r2i_utf8_bytes(s->bytes + at, s->n_bytes - at);
        r2i_tvalue piece;
        if (!r2i_tstring_slice(run, s, at, end, &piece)) return false;
        if (!r2i_tsequence_push(run, list.as.sequence, piece)) return false;
        at = end;
    }
    *items = list.as.sequence->items;
    *n = list.as.sequence->n_items;
    return true;
}

bool r2i_tvalue_iterate(r2i_trun *run, const r2i_tvalue *v, const r2i_tvalue **items, size_t *n) {
    *items = NULL;
    *n = 0;
    switch (v->kind) {
    case R2I_TV_UNDEFINED:
        return true;
    case R2I_TV_STRING:
        return iterate_string(run, v->as.string, items, n);
    case R2I_TV_SEQUENCE:
        *items = v->as.sequence->items;
        *n = v->as.sequence->n_items;
        if (v->as.sequence->flavor == R2I_TS_GENERATOR) v->as.sequence->n_items = 0;
        return true;
    case R2I_TV_DICT: {
        const r2i_tdict *dict = v->as.dict;
        r2i_tvalue *keys = r2i_trun_take(run, dict->n_entries, sizeof *keys);
        if (keys == NULL || !r2i_trun_work(run, dict->n_entries)) return false;
        for (size_t i = 0; i < dict->n_entries; i++)
            keys[i] = dict->entries[i].key;
        *items = keys;
        *n = dict->n_entries;
        return true;
    }
    default:
        break;
    }
    return r2i_trun_fail(run, R2_E_FORMAT, "'%s' object is not iterable", r2i_tvalue_type_name(v));
}

bool r2i_tvalue_require(r2i_trun *run, const r2i_tvalue *v) {
    if (v->kind != R2I_TV_UNDEFINED) return true;
    const r2i_tstring *name = v->as.string;
    if (name == NULL) return r2i_trun_fail(run, R2_E_FORMAT, "value is undefined");
    return r2i_trun_fail(run, R2_E_FORMAT, "'%.*s' is undefined",
                         (int)(name->n_bytes < 80 ? name->n_bytes : 80), name->bytes);
}
