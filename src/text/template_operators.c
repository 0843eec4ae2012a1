/* Arithmetic, indexing and slicing with Python's rules. */
#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "text/template_eval.h"

static bool overflow(r2i_trun *run) {
    return r2i_trun_fail(run, R2_E_RANGE, "integer too large");
}
static bool by_zero(r2i_trun *run) {
    return r2i_trun_fail(run, R2_E_RANGE, "division by zero");
}

static bool power_int(r2i_trun *run, int64_t base, int64_t exponent, r2i_tvalue *out) {
    if (exponent < 0) {
        if (base == 0) return by_zero(run);
        *out = r2i_tvalue_float(pow((double)base, (double)exponent));
        return true;
    }
    int64_t result = 1;
    for (; exponent > 0; exponent >>= 1) {
        if ((exponent & 1) && __builtin_mul_overflow(result, base, &result)) return overflow(run);
        if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) return overflow(run);
    }
    *out = r2i_tvalue_int(result);
    return true;
}

static bool operate_int(r2i_trun *run, int op, int64_t a, int64_t b, r2i_tvalue *out) {
    int64_t result = 0;
    bool is_over = false;
    switch (op) {
    case '+':
        is_over = __builtin_add_overflow(a, b, &result);
        break;
    case '-':
        is_over = __builtin_sub_overflow(a, b, &result);
        break;
    case '*':
        is_over = __builtin_mul_overflow(a, b, &result);
        break;
    case R2I_OP_POWER:
        return power_int(run, a, b, out);
    default:
        if (b == 0) return by_zero(run);
        if (op == '/') {
            *out = r2i_tvalue_float((double)a / (double)b);
            return true;
        }
        if (a == INT64_MIN && b == -1)
            return op == '%' ? (*out = r2i_tvalue_int(0), true) : overflow(run);
        /* Python rounds towards minus infinity, C towards zero. */
        const bool adjust = a % b != 0 && (a % b < 0) != (b < 0);
        result = op == '%' ? a % b + (adjust ? b : 0) : a / b - adjust;
        break;
    }
    if (is_over) return overflow(run);
    *out = r2i_tvalue_int(result);
    return true;
}

static bool operate_float(r2i_trun *run, int op, double a, double b, r2i_tvalue *out) {
    double result = 0;
    if ((op == '/' || op == '%' || op == R2I_OP_FLOOR) && b == 0) return by_zero(run);
    switch (op) {
    case '+':
        result = a + b;
        break;
    case '-':
        result = a - b;
        break;
    case '*':
        result = a * b;
        break;
    case '/':
        result = a / b;
        break;
    case R2I_OP_POWER:
        if (a < 0 && b != floor(b))
            return r2i_trun_fail(run, R2_E_UNSUPPORTED, "complex numbers are not supported");
        if (a == 0 && b < 0) return by_zero(run);
        result = pow(a, b);
        break;
    default: {
        double rest = fmod(a, b);
        if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
        if (rest == 0) rest = copysign(0.0, b);
        const double quotient = (a - rest) / b, whole = floor(quotient);
        result = op == '%' ? rest : whole + (quotient - whole > 0.5);
        break;
    }
    }
    *out = r2i_tvalue_float(result);
    return true;
}

static bool repeat_string(r2i_trun *run, const r2i_tstring *s, int64_t n, r2i_tvalue *out) {
    r2i_tbuilder b;
    r2i_tbuilder_init(&b, run);
    for (int64_t i = 0; i < n && s->n_bytes != 0; i++) {
        if (!r2i_trun_work(run, i % 8 == 0) || !r2i_tbuilder_add_string(&b, s)) return false;
    }
    return r2i_tbuilder_finish(&b, out);
}

static bool append_items(r2i_trun *run, const r2i_tsequence *from, r2i_tsequence *to) {
    for (size_t i = 0; i < from->n_items; i++) {
        if (!r2i_tsequence_push(run, to, from->items[i])) return false;
    }
    return true;
}

static bool repeat_sequence(r2i_trun *run, const r2i_tsequence *s, int64_t n, r2i_tvalue *out) {
    if (!r2i_tsequence_create(run, s->flavor, 0, out)) return false;
    for (int64_t i = 0; i < n && s->n_items != 0; i++) {
        if (!append_items(run, s, out->as.sequence)) return false;
    }
    return true;
}

static bool is_plain_sequence(const r2i_tvalue *v) {
    return v->kind == R2I_TV_SEQUENCE && v->as.sequence->flavor <= R2I_TS_TUPLE;
}

static bool concatenate(r2i_trun *run, const r2i_tvalue *a, const r2i_tvalue *b, r2i_tvalue *out) {
    if (a->kind == R2I_TV_STRING) {
        r2i_tbuilder text;
        r2i_tbuilder_init(&text, run);
        return r2i_tbuilder_add_string(&text, a->as.string) &&
               r2i_tbuilder_add_string(&text, b->as.string) && r2i_tbuilder_finish(&text, out);
    }
    const r2i_tsequence *s = a->as.sequence, *t = b->as.sequence;
    return r2i_tsequence_create(run, s->flavor, s->n_items + t->n_items, out) &&
           append_items(run, s, out->as.sequence) && append_items(run, t, out->as.sequence);
}

static bool percent(r2i_trun *run, const r2i_tstring *format, const r2i_tvalue *b,
                    r2i_tvalue *out) {
    if (r2i_tvalue_is_list(b, R2I_TS_TUPLE)) {
        return r2i_template_percent(run, format, b->as.sequence->items, b->as.sequence->n_items,
                                    NULL, out);
    }
    return r2i_template_percent(run, format, b, 1, b->kind == R2I_TV_DICT ? b : NULL, out);
}

bool r2i_template_operate(r2i_trun *run, int op, const r2i_tvalue *a, const r2i_tvalue *b,
                          r2i_tvalue *out) {
    int64_t i, j;
    double x, y;
    const bool a_int = r2i_tvalue_as_int(a, &i), b_int = r2i_tvalue_as_int(b, &j);
    if (a_int && b_int) return operate_int(run, op, i, j, out);
    if (r2i_tvalue_as_float(a, &x) && r2i_tvalue_as_float(b, &y))
        return operate_float(run, op, x, y, out);
    if (op == '%' && a->kind == R2I_TV_STRING) return percent(run, a->as.string, b, out);
    if (!r2i_tvalue_require(run, a) || !r2i_tvalue_require(run, b)) return false;
    if (op == '+' && a->kind == b->kind &&
        (a->kind == R2I_TV_STRING || (is_plain_sequence(a) && is_plain_sequence(b) &&
                                      a->as.sequence->flavor == b->as.sequence->flavor))) {
        return concatenate(run, a, b, out);
    }
    if (op == '*' && a->kind == R2I_TV_STRING && b_int)
        return repeat_string(run, a->as.string, j, out);
    if (op == '*' && b->kind == R2I_TV_STRING && a_int)
        return repeat_string(run, b->as.string, i, out);
    if (op == '*' && is_plain_sequence(a) && b_int)
        return repeat_sequence(run, a->as.sequence, j, out);
    if (op == '*' && is_plain_sequence(b) && a_int)
        return repeat_sequence(run, b->as.sequence, i, out);
    return r2i_trun_fail(run, R2_E_FORMAT, "unsupported operand types: '%s' and '%s'",
                         r2i_tvalue_type_name(a), r2i_tvalue_type_name(b));
}

static bool string_item(r2i_trun *run, const r2i_tstring *s, int64_t index, r2i_tvalue *out) {
    const int64_t n = (int64_t)r2i_utf8_count(s->bytes, s->n_bytes);
    if (!r2i_trun_work_bytes(run, s->n_bytes)) return false;
    if (index < 0) index += n;
    if (index < 0 || index >= n) return true;
    const size_t at = r2i_utf8_position(s->bytes, s->n_bytes, (size_t)index);
    return r2i_tstring_slice(run, s, at, at + r2i_utf8_bytes(s->bytes + at, s->n_bytes - at), out);
}

bool r2i_template_item(r2i_trun *run, const r2i_tvalue *object, const r2i_tvalue *key,
                       r2i_tvalue *out) {
    int64_t index;
    if (!r2i_tvalue_require(run, object)) return false;
    *out = r2i_tvalue_undefined(key->kind == R2I_TV_STRING ? key->as.string : NULL);
    if (object->kind == R2I_TV_DICT && key->kind != R2I_TV_DICT &&
        (key->kind != R2I_TV_SEQUENCE || key->as.sequence->flavor == R2I_TS_TUPLE)) {
        r2i_tvalue *found;
        if (!r2i_tdict_find(run, object->as.dict, key, &found)) return false;
        if (found != NULL) {
            *out = *found;
            return true;
        }
    } else if (object->kind == R2I_TV_STRING && r2i_tvalue_as_int(key, &index)) {
        return string_item(run, object->as.string, index, out);
    } else if (object->kind == R2I_TV_SEQUENCE && object->as.sequence->flavor <= R2I_TS_RANGE &&
               r2i_tvalue_as_int(key, &index)) {
        const r2i_tsequence *s = object->as.sequence;
        if (index < 0) index += (int64_t)s->n_items;
        if (index >= 0 && (uint64_t)index < s->n_items) *out = s->items[index];
        return true;
    }
    return key->kind != R2I_TV_STRING || r2i_template_attribute(run, object, key->as.string, out);
}

static bool attribute_of_loop(r2i_trun *run, const r2i_tloop *loop, const r2i_tstring *name,
                              r2i_tvalue *out) {
    const int64_t at = (int64_t)loop->index, n = (int64_t)loop->n_items;
    const struct {
        const char *name;
        r2i_tvalue value;
    } fields[] = {
        { "index", r2i_tvalue_int(at + 1) },
        { "index0", r2i_tvalue_int(at) },
        { "revindex", r2i_tvalue_int(n - at) },
        { "revindex0", r2i_tvalue_int(n - at - 1) },
        { "first", r2i_tvalue_bool(at == 0) },
        { "last", r2i_tvalue_bool(at + 1 == n) },
        { "length", r2i_tvalue_int(n) },
        { "depth", r2i_tvalue_int(1) },
        { "depth0", r2i_tvalue_int(0) },
        { "previtem", at > 0 ? loop->items[at - 1] : r2i_tvalue_undefined(name) },
        { "nextitem", at + 1 < n ? loop->items[at + 1] : r2i_tvalue_undefined(name) },
    };
    (void)run;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (!r2i_tstring_is(name, fields[i].name)) continue;
        *out = fields[i].value;
        return true;
    }
    return true;
}

static bool bind_method(r2i_trun *run, const r2i_tvalue *self, const r2i_tfunction *function,
                        r2i_tvalue *out) {
    r2i_tmethod *method = r2i_trun_take(run, 1, sizeof *method);
    if (method == NULL) return false;
    *method = (r2i_tmethod){ *self, function };
    *out = (r2i_tvalue){ .kind = R2I_TV_METHOD, .as.method = method };
    return true;
}

bool r2i_template_attribute(r2i_trun *run, const r2i_tvalue *object, const r2i_tstring *name,
                            r2i_tvalue *out) {
    if (!r2i_tvalue_require(run, object)) return false;
    const r2i_tfunction *function = r2i_template_find_method(object, name);
    if (function != NULL) return bind_method(run, object, function, out);
    *out = r2i_tvalue_undefined(name);
    if (object->kind == R2I_TV_DICT || object->kind == R2I_TV_NAMESPACE) {
        const r2i_tvalue key = r2i_tvalue_string(name);
        r2i_tvalue *found;
        if (!r2i_tdict_find(run, object->as.dict, &key, &found)) return false;
        if (found != NULL) *out = *found;
    } else if (object->kind == R2I_TV_LOOP) {
        return attribute_of_loop(run, object->as.loop, name, out);
    } else if (object->kind == R2I_TV_CYCLER && r2i_tstring_is(name, "current")) {
        *out = object->as.cycler->items[object->as.cycler->index];
    } else if (object->kind == R2I_TV_MACRO && r2i_tstring_is(name, "name") &&
               object->as.macro->node->name != NULL) {
        *out = r2i_tvalue_string(object->as.macro->node->name);
    }
    return true;
}

/* Leaves *out alone for a part that is not there. */
static bool slice_part(r2i_trun *run, const r2i_tvalue *part, int64_t *out) {
    if (part->kind == R2I_TV_NONE || r2i_tvalue_as_int(part, out)) return true;
    *out = 0;
    return r2i_trun_fail(run, R2_E_FORMAT, "slice indices must be integers or None");
}

/* First position, step and count of a slice of n elements: Python's slice.indices. */
static bool slice_indices(r2i_trun *run, const r2i_tvalue parts[3], int64_t n, int64_t *start,
                          int64_t *step, size_t *count) {
    int64_t bounds[2];
    *step = 1;
    if (!slice_part(run, &parts[2], step)) return false;
    if (*step == 0) return r2i_trun_fail(run, R2_E_RANGE, "slice step cannot be zero");
    const int64_t least = *step < 0 ? -1 : 0, most = *step < 0 ? n - 1 : n;
    for (int i = 0; i < 2; i++) {
        const bool is_low = (i == 0) == (*step > 0);
        bounds[i] = is_low ? least : most;
        if (parts[i].kind == R2I_TV_NONE) continue;
        if (!slice_part(run, &parts[i], &bounds[i])) return false;
        if (bounds[i] < 0) bounds[i] += n;
        bounds[i] = bounds[i] < least ? least : bounds[i] > most ? most : bounds[i];
    }
    *start = bounds[0];
    *count = 0;
    if (*step > 0 && bounds[0] < bounds[1])
        *count = (size_t)((bounds[1] - bounds[0] - 1) / *step + 1);
    if (*step < 0 && bounds[0] > bounds[1]) {
        *count = (size_t)((uint64_t)(bounds[0] - bounds[1] - 1) / (0 - (uint64_t)*step) + 1);
    }
    return true;
}

static bool slice_string(r2i_trun *run, const r2i_tstring *s, int64_t start, int64_t step,
                         size_t count, r2i_tvalue *out) {
    if (count == 0) return r2i_tstring_slice(run, s, 0, 0, out);
    const size_t at = r2i_utf8_position(s->bytes, s->n_bytes, (size_t)start);
    if (step == 1) {
        const size_t n = r2i_utf8_position(s->bytes + at, s->n_bytes - at, count);
        return r2i_tstring_slice(run, s, at, at + n, out);
    }
    r2i_tvalue letters = r2i_tvalue_string(s);
    const r2i_tvalue *items;
    size_t n;
    r2i_tbuilder b;
    r2i_tbuilder_init(&b, run);
    if (!r2i_tvalue_iterate(run, &letters, &items, &n)) return false;
    for (size_t i = 0; i < count; i++) {
        const size_t index = (size_t)(start + (int64_t)i * step);
        if (!r2i_trun_work(run, 1) || !r2i_tbuilder_add_string(&b, items[index].as.string))
            return false;
    }
    return r2i_tbuilder_finish(&b, out);
}

bool r2i_template_slice(r2i_trun *run, const r2i_tvalue *object, const r2i_tvalue parts[3],
                        r2i_tvalue *out) {
    int64_t start = 0, step = 1;
    size_t n, count = 0;
    *out = r2i_tvalue_undefined(NULL);
    if (!r2i_tvalue_require(run, object)) return false;
    const bool is_string = object->kind == R2I_TV_STRING;
    if (!is_string &&
        (object->kind != R2I_TV_SEQUENCE || object->as.sequence->flavor > R2I_TS_RANGE)) {
        return r2i_trun_fail(run, R2_E_FORMAT, "'%s' object cannot be sliced",
                             r2i_tvalue_type_name(object));
    }
    if (!r2i_tvalue_length(run, object, &n)) return false;
    if (!slice_indices(run, parts, (int64_t)n, &start, &step, &count)) return false;
    if (is_string) return slice_string(run, object->as.string, start, step, count, out);
    const r2i_tsequence *s = object->as.sequence;
    if (!r2i_tsequence_create(run, s->flavor, count, out)) return false;
    if (s->flavor == R2I_TS_RANGE) {
        out->as.sequence->start = s->start + start * s->step;
        out->as.sequence->step = count > 1 ? step * s->step : s->step;
        out->as.sequence->stop = out->as.sequence->start + (int64_t)count * out->as.sequence->step;
    }
    for (size_t i = 0; i < count; i++) {
        if (!r2i_tsequence_push(run, out->as.sequence, s->items[start + (int64_t)i * step]))
            return false;
    }
    return true;
}
