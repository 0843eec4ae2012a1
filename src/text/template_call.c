/* Calls: arguments, macros, built-in functions, and values made from JSON. */
#define _POSIX_C_SOURCE 200809L /* gmtime_r */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "text/template_eval.h"

static bool push_argument(r2i_trun *run, r2i_targs *args, r2i_tvalue value) {
    if (args->n_items == args->cap_items) {
        const size_t cap = args->cap_items == 0 ? 4 : 2 * args->cap_items;
        r2i_tvalue *items = r2i_trun_take(run, cap, sizeof *items);
        if (items == NULL) return false;
        if (args->n_items != 0) memcpy(items, args->items, args->n_items * sizeof *items);
        args->items = items;
        args->cap_items = cap;
    }
    args->items[args->n_items++] = value;
    return r2i_trun_work(run, 1);
}

bool r2i_targs_push_named(r2i_trun *run, r2i_targs *args, const r2i_tstring *name,
                          r2i_tvalue value) {
    for (size_t i = 0; i < args->n_named; i++) {
        if (!r2i_tstring_equal(args->named[i].name, name)) continue;
        return r2i_trun_fail(run, R2_E_FORMAT, "keyword argument repeated");
    }
    if (args->n_named == args->cap_named) {
        const size_t cap = args->cap_named == 0 ? 4 : 2 * args->cap_named;
        r2i_tnamed *named = r2i_trun_take(run, cap, sizeof *named);
        if (named == NULL) return false;
        if (args->n_named != 0) memcpy(named, args->named, args->n_named * sizeof *named);
        args->named = named;
        args->cap_named = cap;
    }
    args->named[args->n_named++] = (r2i_tnamed){ name, value };
    return r2i_trun_work(run, 1 + args->n_named / 16);
}

static bool spread(r2i_trun *run, bool is_named, const r2i_tvalue *v, r2i_targs *args) {
    const r2i_tvalue *items;
    size_t n;
    if (!is_named) {
        if (!r2i_tvalue_iterate(run, v, &items, &n)) return false;
        for (size_t i = 0; i < n; i++) {
            if (!push_argument(run, args, items[i])) return false;
        }
        return true;
    }
    if (v->kind != R2I_TV_DICT)
        return r2i_trun_fail(run, R2_E_FORMAT, "argument after ** must be a mapping");
    for (size_t i = 0; i < v->as.dict->n_entries; i++) {
        const r2i_tentry *entry = &v->as.dict->entries[i];
        if (entry->key.kind != R2I_TV_STRING)
            return r2i_trun_fail(run, R2_E_FORMAT, "keywords must be strings");
        if (!r2i_targs_push_named(run, args, entry->key.as.string, entry->value)) return false;
    }
    return true;
}

bool r2i_targs_eval(r2i_trun *run, const r2i_tnode *call, r2i_targs *args) {
    for (size_t i = 0; i < call->n_items; i++) {
        const r2i_tnode *node = call->items[i];
        const bool is_plain = node->kind != R2I_TN_KEYWORD && node->kind != R2I_TN_SPREAD;
        r2i_tvalue v;
        if (!r2i_template_eval(run, is_plain ? node : node->a, &v)) return false;
        const bool ok = is_plain ? push_argument(run, args, v)
                        : node->kind == R2I_TN_KEYWORD
                            ? r2i_targs_push_named(run, args, node->name, v)
                            : spread(run, node->op == 1, &v, args);
        if (!ok) return false;
    }
    return true;
}

/* Index of `name` in a list of words, or SIZE_MAX. */
static size_t word_index(const char *words, const r2i_tstring *name) {
    for (size_t i = 0; *words != '\0'; i++) {
        const size_t n = strcspn(words, " ");
        if (n == name->n_bytes && memcmp(words, name->bytes, n) == 0) return i;
        words += n + (words[n] == ' ');
    }
    return SIZE_MAX;
}

static size_t count_words(const char *words) {
    size_t n = *words != '\0';
    for (; *words != '\0'; words++)
        n += *words == ' ';
    return n;
}

static bool bind(r2i_trun *run, const r2i_tfunction *function, const r2i_targs *args,
                 r2i_tbound *bound) {
    memset(bound, 0, sizeof *bound);
    bound->all = args;
    if (function->parameters[0] == '*') return true;
    const size_t n = count_words(function->parameters);
    if (args->n_items > n) {
        return r2i_trun_fail(run, R2_E_FORMAT, "%s() takes at most %zu arguments (%zu given)",
                             function->name, n, args->n_items);
    }
    for (size_t i = 0; i < args->n_items; i++) {
        bound->v[i] = args->items[i];
        bound->has[i] = true;
    }
    for (size_t i = 0; i < args->n_named; i++) {
        const size_t at = word_index(function->parameters, args->named[i].name);
        if (at == SIZE_MAX || bound->has[at]) {
            return r2i_trun_fail(run, R2_E_FORMAT, "%s() got an unexpected keyword argument",
                                 function->name);
        }
        bound->v[at] = args->named[i].value;
        bound->has[at] = true;
    }
    for (size_t i = 0; i < function->n_required; i++) {
        if (!bound->has[i])
            return r2i_trun_fail(run, R2_E_FORMAT, "%s() misses an argument", function->name);
    }
    return true;
}

bool r2i_template_call_builtin(r2i_trun *run, const r2i_tfunction *function, const r2i_tvalue *self,
                               const r2i_targs *args, r2i_tvalue *out) {
    r2i_tbound bound;
    *out = r2i_tvalue_undefined(NULL);
    if (!r2i_trun_enter(run)) return false;
    const bool ok = bind(run, function, args, &bound) && function->call(run, self, &bound, out);
    r2i_trun_leave(run);
    return ok;
}

bool r2i_tbound_int(r2i_trun *run, const r2i_tbound *args, size_t i, int64_t fallback,
                    int64_t *out) {
    *out = fallback;
    if (!args->has[i] || args->v[i].kind == R2I_TV_NONE || r2i_tvalue_as_int(&args->v[i], out))
        return true;
    if (!r2i_tvalue_require(run, &args->v[i])) return false;
    return r2i_trun_fail(run, R2_E_FORMAT, "expected an integer, found %s",
                         r2i_tvalue_type_name(&args->v[i]));
}

bool r2i_tbound_string(r2i_trun *run, const r2i_tbound *args, size_t i, const r2i_tstring **out) {
    *out = NULL;
    if (!args->has[i] || args->v[i].kind == R2I_TV_NONE) return true;
    if (!r2i_tvalue_require(run, &args->v[i])) return false;
    if (args->v[i].kind != R2I_TV_STRING) {
        return r2i_trun_fail(run, R2_E_FORMAT, "expected a string, found %s",
                             r2i_tvalue_type_name(&args->v[i]));
    }
    *out = args->v[i].as.string;
    return true;
}

bool r2i_tbound_truth(const r2i_tbound *args, size_t i) {
    return args->has[i] && r2i_tvalue_truth(&args->v[i]);
}

/* Value of a parameter from the call, taken out of `used`; its default, or undefined. */
static bool bind_parameter(r2i_trun *run, const r2i_tnode *parameter, size_t index,
                           const r2i_targs *args, size_t *n_used) {
    r2i_tvalue v = r2i_tvalue_undefined(parameter->name);
    bool found = index < args->n_items;
    if (found) v = args->items[index];
    for (size_t i = 0; i < args->n_named && !found; i++) {
        if (!r2i_tstring_equal(args->named[i].name, parameter->name)) continue;
        v = args->named[i].value;
        found = true;
        (*n_used)++;
    }
    if (!found && parameter->a != NULL && !r2i_template_eval(run, parameter->a, &v)) return false;
    return r2i_tframe_set(run, parameter->name, v);
}

static bool is_parameter(const r2i_tnode *macro, const r2i_tstring *name) {
    for (size_t i = 0; i < macro->n_items; i++) {
        if (r2i_tstring_equal(macro->items[i]->name, name)) return true;
    }
    return false;
}

/* caller, varargs and kwargs, as far as the body mentions them. */
static bool bind_specials(r2i_trun *run, const r2i_tnode *macro, const r2i_targs *args,
                          size_t *n_used) {
    static const r2i_tstring names[] = { { .bytes = "caller", .n_bytes = 6 },
                                         { .bytes = "varargs", .n_bytes = 7 },
                                         { .bytes = "kwargs", .n_bytes = 6 } };
    r2i_tvalue caller = r2i_tvalue_undefined(&names[0]), rest, named;
    if (!r2i_tsequence_create(run, R2I_TS_TUPLE, 0, &rest) ||
        !r2i_tdict_create(run, R2I_TV_DICT, &named))
        return false;
    for (size_t i = macro->n_items; i < args->n_items; i++) {
        if (!r2i_tsequence_push(run, rest.as.sequence, args->items[i])) return false;
    }
    for (size_t i = 0; i < args->n_named; i++) {
        const r2i_tstring *name = args->named[i].name;
        if (is_parameter(macro, name)) continue;
        if ((macro->op & R2I_MACRO_CALLER) && r2i_tstring_equal(name, &names[0])) {
            caller = args->named[i].value;
            (*n_used)++;
        } else if (macro->op & R2I_MACRO_KWARGS) {
            if (!r2i_tdict_set(run, named.as.dict, r2i_tvalue_string(name), args->named[i].value))
                return false;
            (*n_used)++;
        }
    }
    if ((macro->op & R2I_MACRO_CALLER) && !is_parameter(macro, &names[0]) &&
        !r2i_tframe_set(run, &names[0], caller)) {
        return false;
    }
    if ((macro->op & R2I_MACRO_VARARGS) && !r2i_tframe_set(run, &names[1], rest)) return false;
    return !(macro->op & R2I_MACRO_KWARGS) || r2i_tframe_set(run, &names[2], named);
}

static bool bind_macro(r2i_trun *run, const r2i_tnode *macro, const r2i_targs *args) {
    size_t n_used = 0;
    for (size_t i = 0; i < macro->n_items; i++) {
        if (!bind_parameter(run, macro->items[i], i, args, &n_used)) return false;
    }
    if (!bind_specials(run, macro, args, &n_used)) return false;
    if (n_used < args->n_named)
        return r2i_trun_fail(run, R2_E_FORMAT, "macro got an unexpected keyword argument");
    if (args->n_items > macro->n_items && !(macro->op & R2I_MACRO_VARARGS)) {
        return r2i_trun_fail(run, R2_E_FORMAT, "macro takes not more than %zu argument(s)",
                             macro->n_items);
    }
    return true;
}

static bool call_macro(r2i_trun *run, const r2i_tmacro *macro, const r2i_targs *args,
                       r2i_tvalue *out) {
    r2i_tframe *const outer = run->frame, *frame = r2i_trun_take(run, 1, sizeof *frame);
    r2i_tflow flow = R2I_FLOW_ON;
    if (frame == NULL) return false;
    if (run->n_macros >= R2I_TEMPLATE_MAX_NESTING) {
        return r2i_trun_fail(run, R2_E_LIMIT, "macros nested deeper than %d",
                             R2I_TEMPLATE_MAX_NESTING);
    }
    run->n_macros++;
    frame->parent = macro->frame;
    run->frame = frame;
    const bool ok =
        bind_macro(run, macro->node, args) && r2i_template_capture(run, macro->node->a, &flow, out);
    run->frame = outer;
    run->n_macros--;
    return ok;
}

static bool call_joiner(r2i_trun *run, r2i_tjoiner *joiner, r2i_tvalue *out) {
    if (joiner->is_used) {
        *out = r2i_tvalue_string(joiner->separator);
        return true;
    }
    joiner->is_used = true;
    return r2i_tstring_create(run, "", 0, false, out);
}

bool r2i_template_call(r2i_trun *run, const r2i_tvalue *callee, const r2i_targs *args,
                       r2i_tvalue *out) {
    switch (callee->kind) {
    case R2I_TV_MACRO:
        return call_macro(run, callee->as.macro, args, out);
    case R2I_TV_FUNCTION:
        return r2i_template_call_builtin(run, callee->as.function, callee, args, out);
    case R2I_TV_METHOD:
        return r2i_template_call_builtin(run, callee->as.method->function, &callee->as.method->self,
                                         args, out);
    case R2I_TV_JOINER:
        return call_joiner(run, callee->as.joiner, out);
    default:
        break;
    }
    if (!r2i_tvalue_require(run, callee)) return false;
    return r2i_trun_fail(run, R2_E_FORMAT, "'%s' object is not callable",
                         r2i_tvalue_type_name(callee));
}

static bool call_range(r2i_trun *run, const r2i_tvalue *self, const r2i_tbound *args,
                       r2i_tvalue *out) {
    (void)self;
    int64_t start = 0, stop, step;
    if (!r2i_tbound_int(run, args, 0, 0, &stop)) return false;
    if (args->has[1]) {
        start = stop;
        if (!r2i_tbound_int(run, args, 1, 0, &stop)) return false;
    }
    if (!r2i_tbound_int(run, args, 2, 1, &step)) return false;
    if (step == 0) return r2i_trun_fail(run, R2_E_RANGE, "range() arg 3 must not be zero");
    uint64_t n = 0;
    if (step > 0 && start < stop) n = ((uint64_t)stop - (uint64_t)start - 1) / (uint64_t)step + 1;
    if (step < 0 && start > stop)
        n = ((uint64_t)start - (uint64_t)stop - 1) / (0 - (uint64_t)step) + 1;
    if (n > R2I_TEMPLATE_MAX_RANGE) {
        return r2i_trun_fail(run, R2_E_LIMIT,
                             "Range too big. The sandbox blocks ranges larger than %d",
                             R2I_TEMPLATE_MAX_RANGE);
    }
    if (!r2i_tsequence_create(run, R2I_TS_RANGE, (size_t)n, out)) return false;
    r2i_tsequence *range = out->as.sequence;
    range->start = start;
    range->stop = stop;
    range->step = step;
    for (uint64_t i = 0; i < n; i++) {
        const int64_t at = (int64_t)((uint64_t)start + i * (uint64_t)step);
        if (!r2i_tsequence_push(run, range, r2i_tvalue_int(at))) return false;
    }
    return true;
}

/* dict(mapping or pairs, a=1) and namespace(the same). */
static bool fill_dict(r2i_trun *run, const r2i_targs *args, r2i_tdict *dict) {
    if (args->n_items > 1) return r2i_trun_fail(run, R2_E_FORMAT, "expected at most 1 argument");
    if (args->n_items == 1 && args->items[0].kind == R2I_TV_DICT) {
        const r2i_tdict *from = args->items[0].as.dict;
        for (size_t i = 0; i < from->n_entries; i++) {
            if (!r2i_tdict_set(run, dict, from->entries[i].key, from->entries[i].value))
                return false;
        }
    } else if (args->n_items == 1) {
        const r2i_tvalue *items, *pair;
        size_t n, n_pair;
        if (!r2i_tvalue_iterate(run, &args->items[0], &items, &n)) return false;
        for (size_t i = 0; i < n; i++) {
            if (!r2i_tvalue_iterate(run, &items[i], &pair, &n_pair)) return false;
            if (n_pair != 2) return r2i_trun_fail(run, R2_E_FORMAT, "a dict is made of pairs");
            if (!r2i_tdict_set(run, dict, pair[0], pair[1])) return false;
        }
    }
    for (size_t i = 0; i < args->n_named; i++) {
        if (!r2i_tdict_set(run, dict, r2i_tvalue_string(args->named[i].name), args->named[i].value))
            return false;
    }
    return true;
}

static bool call_dict(r2i_trun *run, const r2i_tvalue *self, const r2i_tbound *args,
                      r2i_tvalue *out) {
    (void)self;
    return r2i_tdict_create(run, R2I_TV_DICT, out) && fill_dict(run, args->all, out->as.dict);
}
static bool call_namespace(r2i_trun *run, const r2i_tvalue *self, const r2i_tbound *args,
                           r2i_tvalue *out) {
    (void)self;
    return r2i_tdict_create(run, R2I_TV_NAMESPACE, out) && fill_dict(run, args->all, out->as.dict);
}

static bool call_cycler(r2i_trun *run, const r2i_tvalue *self, const r2i_tbound *args,
                        r2i_tvalue *out) {
    (void)self;
    r2i_tcycler *cycler = r2i_trun_take(run, 1, sizeof *cycler);
    if (cycler == NULL) return false;
    if (args->all->n_items == 0)
        return r2i_trun_fail(run, R2_E_FORMAT, "at least one item has to be provided");
    *cycler = (r2i_tcycler){ args->all->items, args->all->n_items, 0 };
    *out = (r2i_tvalue){ .kind = R2I_TV_CYCLER, .as.cycler = cycler };
    return true;
}

static bool call_make_joiner(r2i_trun *run, const r2i_tvalue *self, const r2i_tbound *args,
                             r2i_tvalue *out) {
    (void)self;
    static const r2i_tstring comma = { .bytes = ", ", .n_bytes = 2 };
    r2i_tjoiner *joiner = r2i_trun_take(run, 1, sizeof *joiner);
    if (joiner == NULL || !r2i_tbound_string(run, args, 0, &joiner->separator)) return false;
    if (joiner->separator == NULL) joiner->separator = &comma;
    *out = (r2i_tvalue){ .kind = R2I_TV_JOINER, .as.joiner = joiner };
    return true;
}

static bool call_raise(r2i_trun *run, const r2i_tvalue *self, const r2i_tbound *args,
                       r2i_tvalue *out) {
    (void)self;
    (void)out;
    const r2i_tstring *text;
    if (!r2i_tvalue_to_string(run, &args->v[0], &text)) return false;
    return r2i_trun_fail(run, R2_E_ARGUMENT, "%.*s",
                         (int)(text->n_bytes < 200 ? text->n_bytes : 200), text->bytes);
}

static bool call_strftime(r2i_trun *run, const r2i_tvalue *self, const r2i_tbound *args,
                          r2i_tvalue *out) {
    (void)self;
    const r2i_tstring *format;
    char text[256], pattern[128];
    if (!r2i_tbound_string(run, args, 0, &format)) return false;
    if (format == NULL || format->n_bytes >= sizeof pattern ||
        memchr(format->bytes, '\0', format->n_bytes) != NULL) {
        return r2i_trun_fail(run, R2_E_FORMAT, "strftime_now: bad format");
    }
    memcpy(pattern, format->bytes, format->n_bytes);
    pattern[format->n_bytes] = '\0';
    const time_t now = (time_t)run->now_seconds;
    struct tm parts;
    if (gmtime_r(&now, &parts) == NULL)
        return r2i_trun_fail(run, R2_E_RANGE, "strftime_now: time out of range");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    const size_t n = strftime(text, sizeof text, pattern, &parts);
#pragma GCC diagnostic pop
    return r2i_tstring_create(run, text, n, r2i_tstring_has_untrusted(format), out);
}

const r2i_tfunction *r2i_tfunction_find(const r2i_tfunction *table, const r2i_tstring *name) {
    for (; table->name != NULL; table++) {
        if (r2i_tstring_is(name, table->name)) return table;
    }
    return NULL;
}

const r2i_tfunction *r2i_template_find_function(const r2i_tstring *name) {
    static const r2i_tfunction table[] = {
        { "range", "start stop step", 1, call_range },
        { "dict", "*", 0, call_dict },
        { "namespace", "*", 0, call_namespace },
        { "cycler", "*", 0, call_cycler },
        { "joiner", "sep", 0, call_make_joiner },
        { "raise_exception", "message", 1, call_raise },
        { "strftime_now", "format", 1, call_strftime },
        { 0 },
    };
    return r2i_tfunction_find(table, name);
}

static bool list_from_json(r2i_trun *run, json_t *json, bool is_untrusted, r2i_tvalue *out) {
    if (!r2i_tsequence_create(run, R2I_TS_LIST, json_array_size(json), out)) return false;
    for (size_t i = 0; i < json_array_size(json); i++) {
        r2i_tvalue item;
        if (!r2i_tvalue_from_json(run, json_array_get(json, i), is_untrusted, &item)) return false;
        if (!r2i_tsequence_push(run, out->as.sequence, item)) return false;
    }
    return true;
}

static bool dict_from_json(r2i_trun *run, json_t *json, bool is_untrusted, r2i_tvalue *out) {
    const size_t n = json_object_size(json);
    if (!r2i_tdict_create(run, R2I_TV_DICT, out)) return false;
    r2i_tdict *dict = out->as.dict;
    dict->entries = r2i_trun_take(run, n, sizeof *dict->entries);
    if (dict->entries == NULL || !r2i_trun_work(run, n)) return false;
    dict->cap_entries = n;
    for (void *i = json_object_iter(json); i != NULL; i = json_object_iter_next(json, i)) {
        r2i_tentry *entry = &dict->entries[dict->n_entries]; /* JSON keys are distinct already */
        const char *key = json_object_iter_key(i);
        if (!r2i_tstring_create(run, key, strlen(key), is_untrusted, &entry->key)) return false;
        if (!r2i_tvalue_from_json(run, json_object_iter_value(i), is_untrusted, &entry->value))
            return false;
        dict->n_entries++;
    }
    return true;
}

bool r2i_tvalue_from_json(r2i_trun *run, json_t *json, bool is_untrusted, r2i_tvalue *out) {
    if (!r2i_trun_enter(run)) return false;
    bool ok = true;
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        ok = dict_from_json(run, json, is_untrusted, out);
        break;
    case JSON_ARRAY:
        ok = list_from_json(run, json, is_untrusted, out);
        break;
    case JSON_STRING:
        ok = r2i_tstring_create(run, json_string_value(json), json_string_length(json),
                                is_untrusted, out);
        break;
    case JSON_INTEGER:
        *out = r2i_tvalue_int(json_integer_value(json));
        break;
    case JSON_REAL:
        *out = r2i_tvalue_float(json_real_value(json));
        break;
    case JSON_TRUE:
        *out = r2i_tvalue_bool(true);
        break;
    case JSON_FALSE:
        *out = r2i_tvalue_bool(false);
        break;
    case JSON_NULL:
        *out = r2i_tvalue_none();
        break;
    }
    r2i_trun_leave(run);
    return ok;
}
