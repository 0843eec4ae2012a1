/* Methods of lists, dicts, loops and cyclers.  Those that would change a list or a dict fail, as in
 * the Python sandbox. */
#include <string.h>

#include "text/template_eval.h"

#define METHOD(name) \
    static bool name(r2i_trun *run, const r2i_tvalue *self, const r2i_tbound *args, r2i_tvalue *out)

static bool view(r2i_trun *run, const r2i_tdict *dict, r2i_tflavor flavor, r2i_tvalue *out) {
    if (!r2i_tsequence_create(run, flavor, dict->n_entries, out)) return false;
    for (size_t i = 0; i < dict->n_entries; i++) {
        const r2i_tentry *entry = &dict->entries[i];
        r2i_tvalue item = flavor == R2I_TS_KEYS ? entry->key : entry->value;
        if (flavor == R2I_TS_ITEMS && !r2i_tsequence_pair(run, entry->key, entry->value, &item))
            return false;
        if (!r2i_tsequence_push(run, out->as.sequence, item)) return false;
    }
    return true;
}
METHOD(dict_items) {
    return (void)args, view(run, self->as.dict, R2I_TS_ITEMS, out);
}
METHOD(dict_keys) {
    return (void)args, view(run, self->as.dict, R2I_TS_KEYS, out);
}
METHOD(dict_values) {
    return (void)args, view(run, self->as.dict, R2I_TS_VALUES, out);
}

METHOD(dict_get) {
    r2i_tvalue *found;
    if (!r2i_tdict_find(run, self->as.dict, &args->v[0], &found)) return false;
    *out = found != NULL ? *found : args->has[1] ? args->v[1] : r2i_tvalue_none();
    return true;
}

METHOD(dict_copy) {
    (void)args;
    if (!r2i_tdict_create(run, R2I_TV_DICT, out)) return false;
    for (size_t i = 0; i < self->as.dict->n_entries; i++) {
        const r2i_tentry *entry = &self->as.dict->entries[i];
        if (!r2i_tdict_set(run, out->as.dict, entry->key, entry->value)) return false;
    }
    return true;
}

METHOD(list_count) {
    int64_t n = 0;
    for (size_t i = 0; i < self->as.sequence->n_items; i++) {
        bool equal;
        if (!r2i_trun_work(run, 1) ||
            !r2i_tvalue_equal(run, &self->as.sequence->items[i], &args->v[0], &equal))
            return false;
        n += equal;
    }
    *out = r2i_tvalue_int(n);
    return true;
}

METHOD(list_index) {
    for (size_t i = 0; i < self->as.sequence->n_items; i++) {
        bool equal;
        if (!r2i_trun_work(run, 1) ||
            !r2i_tvalue_equal(run, &self->as.sequence->items[i], &args->v[0], &equal))
            return false;
        *out = r2i_tvalue_int((int64_t)i);
        if (equal) return true;
    }
    return r2i_trun_fail(run, R2_E_FORMAT, "value is not in list");
}

METHOD(list_copy) {
    const r2i_tvalue all[3] = { r2i_tvalue_none(), r2i_tvalue_none(), r2i_tvalue_none() };
    return (void)args, r2i_template_slice(run, self, all, out);
}

METHOD(forbidden) {
    (void)args, (void)out;
    return r2i_trun_fail(run, R2_E_UNSUPPORTED, "changing a '%s' object is unsafe",
                         r2i_tvalue_type_name(self));
}

METHOD(loop_cycle) {
    const r2i_targs *all = args->all;
    if (all->n_items == 0) return r2i_trun_fail(run, R2_E_FORMAT, "no items for cycling given");
    *out = all->items[self->as.loop->index % all->n_items];
    return true;
}

METHOD(loop_changed) {
    r2i_tvalue now;
    bool equal;
    if (!r2i_tsequence_create(run, R2I_TS_TUPLE, args->all->n_items, &now)) return false;
    for (size_t i = 0; i < args->all->n_items; i++) {
        if (!r2i_tsequence_push(run, now.as.sequence, args->all->items[i])) return false;
    }
    if (!r2i_tvalue_equal(run, &now, &self->as.loop->last_changed, &equal)) return false;
    self->as.loop->last_changed = now;
    *out = r2i_tvalue_bool(!equal);
    return true;
}

METHOD(cycler_next) {
    (void)run, (void)args;
    r2i_tcycler *cycler = self->as.cycler;
    *out = cycler->items[cycler->index];
    cycler->index = (cycler->index + 1) % cycler->n_items;
    return true;
}

METHOD(cycler_reset) {
    (void)run, (void)args;
    self->as.cycler->index = 0;
    *out = r2i_tvalue_none();
    return true;
}

static const r2i_tfunction *find_dict_method(const r2i_tstring *name) {
    static const r2i_tfunction table[] = {
        { "items", "", 0, dict_items },
        { "keys", "", 0, dict_keys },
        { "values", "", 0, dict_values },
        { "get", "key default", 1, dict_get },
        { "copy", "", 0, dict_copy },
        { "clear", "*", 0, forbidden },
        { "pop", "*", 0, forbidden },
        { "popitem", "*", 0, forbidden },
        { "setdefault", "*", 0, forbidden },
        { "update", "*", 0, forbidden },
        { 0 },
    };
    return r2i_tfunction_find(table, name);
}

static const r2i_tfunction *find_list_method(const r2i_tstring *name) {
    static const r2i_tfunction table[] = {
        { "count", "value", 1, list_count }, { "index", "value", 1, list_index },
        { "copy", "", 0, list_copy },        { "append", "*", 0, forbidden },
        { "clear", "*", 0, forbidden },      { "reverse", "*", 0, forbidden },
        { "insert", "*", 0, forbidden },     { "sort", "*", 0, forbidden },
        { "extend", "*", 0, forbidden },     { "remove", "*", 0, forbidden },
        { "pop", "*", 0, forbidden },        { 0 },
    };
    return r2i_tfunction_find(table, name);
}

const r2i_tfunction *r2i_template_find_method(const r2i_tvalue *object, const r2i_tstring *name) {
    static const r2i_tfunction loop_table[] = { { "cycle", "*", 0, loop_cycle },
                                                { "changed", "*", 0, loop_changed },
                                                { 0 } };
    static const r2i_tfunction cycler_table[] = { { "next", "", 0, cycler_next },
                                                  { "reset", "", 0, cycler_reset },
                                                  { 0 } };
    switch (object->kind) {
    case R2I_TV_STRING:
        return r2i_template_find_string_method(name);
    case R2I_TV_DICT:
        return find_dict_method(name);
    case R2I_TV_LOOP:
        return r2i_tfunction_find(loop_table, name);
    case R2I_TV_CYCLER:
        return r2i_tfunction_find(cycler_table, name);
    case R2I_TV_SEQUENCE: {
        const r2i_tflavor flavor = object->as.sequence->flavor;
        if (flavor == R2I_TS_LIST) return find_list_method(name);
        if (flavor != R2I_TS_TUPLE && flavor != R2I_TS_RANGE) return NULL;
        return r2i_tstring_is(name, "count") || r2i_tstring_is(name, "index")
                   ? find_list_method(name)
                   : NULL;
    }
    default:
        return NULL;
    }
}
