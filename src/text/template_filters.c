/* Filters that make texts and numbers, and the way from a filter's name to its function. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "text/template_eval.h"

#define FILTER(name) \
    static bool name(r2i_trun *run, const r2i_tvalue *self, const r2i_tbound *args, r2i_tvalue *out)

static bool join_indent(r2i_trun *run, const r2i_tvalue *indent, r2i_tvalue *out) {
    int64_t n;
    r2i_tbuilder b;
    if (indent->kind == R2I_TV_STRING) {
        *out = *indent;
        return true;
    }
    if (!r2i_tvalue_as_int(indent, &n))
        return r2i_trun_fail(run, R2_E_FORMAT, "indent must be a number or text");
    r2i_tbuilder_init(&b, run);
    for (int64_t i = 0; i < n; i++) {
        if (!r2i_tbuilder_add_text(&b, " ") || !r2i_trun_work(run, i % 16 == 0)) return false;
    }
    return r2i_tbuilder_finish(&b, out);
}

FILTER(filter_tojson) {
    static const r2i_tstring comma = { .bytes = ", ", .n_bytes = 2 },
                             bare_comma = { .bytes = ",", .n_bytes = 1 },
                             colon = { .bytes = ": ", .n_bytes = 2 };
    const bool has_indent = args->has[1] && args->v[1].kind != R2I_TV_NONE;
    r2i_tjson_style style = { NULL,
                              has_indent ? &bare_comma : &comma,
                              &colon,
                              r2i_tbound_truth(args, 0),
                              r2i_tbound_truth(args, 3),
                              !args->has[0] && !args->has[1] && !args->has[2] && !args->has[3] };
    r2i_tvalue indent;
    if (has_indent) {
        if (!join_indent(run, &args->v[1], &indent)) return false;
        style.indent = indent.as.string;
    }
    if (args->has[2] && args->v[2].kind != R2I_TV_NONE) {
        const r2i_tvalue *items;
        size_t n;
        if (!r2i_tvalue_iterate(run, &args->v[2], &items, &n)) return false;
        if (n != 2 || items[0].kind != R2I_TV_STRING || items[1].kind != R2I_TV_STRING) {
            return r2i_trun_fail(run, R2_E_FORMAT, "tojson: separators must be two strings");
        }
        style.item_separator = items[0].as.string;
        style.key_separator = items[1].as.string;
    }
    r2i_tbuilder b;
    r2i_tbuilder_init(&b, run);
    return r2i_tbuilder_add_json(&b, self, &style) && r2i_tbuilder_finish(&b, out);
}

/* Not in Jinja, but in published templates that take tool arguments as text. */
FILTER(filter_from_json) {
    (void)args;
    const r2i_tstring *s;
    if (!r2i_tvalue_to_string(run, self, &s)) return false;
    if (s->n_bytes > 1024 * 1024) return r2i_trun_fail(run, R2_E_LIMIT, "from_json: text too long");
    json_error_t error;
    json_t *json = json_loadb(s->bytes, s->n_bytes, JSON_DECODE_ANY, &error);
    if (json == NULL) return r2i_trun_fail(run, R2_E_FORMAT, "from_json: %s", error.text);
    const bool ok = r2i_tvalue_from_json(run, json, r2i_tstring_has_untrusted(s), out);
    json_decref(json);
    return ok;
}

/* Runs the string method of this name on str(self). */
static bool as_method(r2i_trun *run, const char *name, const r2i_tvalue *self,
                      const r2i_tbound *args, r2i_tvalue *out) {
    const r2i_tstring key = { .bytes = name, .n_bytes = strlen(name) }, *s;
    if (!r2i_tvalue_to_string(run, self, &s)) return false;
    const r2i_tvalue text = r2i_tvalue_string(s);
    return r2i_template_find_string_method(&key)->call(run, &text, args, out);
}
FILTER(filter_trim) {
    return as_method(run, "strip", self, args, out);
}
FILTER(filter_upper) {
    return as_method(run, "upper", self, args, out);
}
FILTER(filter_lower) {
    return as_method(run, "lower", self, args, out);
}
FILTER(filter_capitalize) {
    return as_method(run, "capitalize", self, args, out);
}

FILTER(filter_title) {
    (void)args;
    const r2i_tstring *s;
    return r2i_tvalue_to_string(run, self, &s) && r2i_template_case(run, s, 'j', out);
}

FILTER(filter_center) {
    r2i_tbound with_width = *args;
    if (!args->has[0]) with_width.v[0] = r2i_tvalue_int(80);
    with_width.has[0] = true;
    return as_method(run, "center", self, &with_width, out);
}

FILTER(filter_replace) {
    r2i_tbound texts = *args;
    for (size_t i = 0; i < 2; i++) {
        const r2i_tstring *s;
        if (!r2i_tvalue_to_string(run, &args->v[i], &s)) return false;
        texts.v[i] = r2i_tvalue_string(s);
    }
    return as_method(run, "replace", self, &texts, out);
}

FILTER(filter_string) {
    (void)args;
    const r2i_tstring *s;
    if (!r2i_tvalue_to_string(run, self, &s)) return false;
    *out = r2i_tvalue_string(s);
    return true;
}

static bool mark_markup(r2i_trun *run, const r2i_tstring *s, r2i_tvalue *out) {
    r2i_tstring *copy = r2i_trun_take(run, 1, sizeof *copy);
    if (copy == NULL) return false;
    *copy = *s;
    copy->is_markup = true;
    *out = r2i_tvalue_string(copy);
    return true;
}

FILTER(filter_safe) {
    (void)args;
    const r2i_tstring *s;
    return r2i_tvalue_to_string(run, self, &s) && mark_markup(run, s, out);
}

FILTER(filter_forceescape) {
    (void)args;
    static const char special[] = "&<>'\"";
    static const char *const escapes[] = { "&amp;", "&lt;", "&gt;", "&#39;", "&#34;" };
    const r2i_tstring *s;
    r2i_tbuilder b;
    r2i_tbuilder_init(&b, run);
    if (!r2i_tvalue_to_string(run, self, &s)) return false;
    size_t plain = 0, range = 0;
    for (size_t at = 0; at < s->n_bytes; at++) {
        const char *found = s->bytes[at] == '\0' ? NULL : strchr(special, s->bytes[at]);
        if (found == NULL) continue;
        const char *escape = escapes[found - special];
        while (range < s->n_ranges && s->ranges[range].end <= at)
            range++;
        const bool is_untrusted = range < s->n_ranges && s->ranges[range].begin <= at;
        if (!r2i_tbuilder_add_slice(&b, s, plain, at)) return false;
        if (!r2i_tbuilder_add(&b, escape, strlen(escape), is_untrusted)) return false;
        plain = at + 1;
    }
    return r2i_tbuilder_add_slice(&b, s, plain, s->n_bytes) && r2i_tbuilder_finish(&b, out) &&
           mark_markup(run, out->as.string, out);
}

FILTER(filter_escape) {
    *out = *self;
    return (self->kind == R2I_TV_STRING && self->as.string->is_markup) ||
           filter_forceescape(run, self, args, out);
}

FILTER(filter_indent) {
    static const r2i_tstring four = { .bytes = "    ", .n_bytes = 4 };
    const bool first = r2i_tbound_truth(args, 1), blank = r2i_tbound_truth(args, 2);
    r2i_tvalue indent = r2i_tvalue_string(&four), lines;
    const r2i_tbound none = { 0 };
    r2i_tbuilder b;
    if (args->has[0] && !join_indent(run, &args->v[0], &indent)) return false;
    if (!r2i_tvalue_require(run, self)) return false;
    if (self->kind != R2I_TV_STRING)
        return r2i_trun_fail(run, R2_E_FORMAT, "indent: expected a string");
    r2i_tbuilder_init(&b, run); /* a last line end, so that a text ending in one keeps it */
    if (!r2i_tbuilder_add_string(&b, self->as.string) || !r2i_tbuilder_add_text(&b, "\n"))
        return false;
    if (!r2i_tbuilder_finish(&b, &lines) || !as_method(run, "splitlines", &lines, &none, &lines))
        return false;
    r2i_tbuilder_init(&b, run);
    for (size_t i = 0; i < lines.as.sequence->n_items; i++) {
        const r2i_tstring *line = lines.as.sequence->items[i].as.string;
        const bool indents = i == 0 ? first : blank || line->n_bytes != 0;
        if (i != 0 && !r2i_tbuilder_add_text(&b, "\n")) return false;
        if (indents && !r2i_tbuilder_add_string(&b, indent.as.string)) return false;
        if (!r2i_tbuilder_add_string(&b, line) || !r2i_trun_work(run, 1)) return false;
    }
    return r2i_tbuilder_finish(&b, out);
}

FILTER(filter_truncate) {
    static const r2i_tstring dots = { .bytes = "...", .n_bytes = 3 },
                             space = { .bytes = " ", .n_bytes = 1 };
    const r2i_tstring *s, *end;
    int64_t n, leeway;
    if (!r2i_tvalue_to_string(run, self, &s) || !r2i_tbound_int(run, args, 0, 255, &n))
        return false;
    if (!r2i_tbound_string(run, args, 2, &end) || !r2i_tbound_int(run, args, 3, 5, &leeway))
        return false;
    if (end == NULL) end = &dots;
    const int64_t n_end = (int64_t)r2i_utf8_count(end->bytes, end->n_bytes);
    if (n < n_end || leeway < 0 || leeway > INT32_MAX || n > INT32_MAX) {
        return r2i_trun_fail(run, R2_E_FORMAT, "truncate: bad length");
    }
    *out = r2i_tvalue_string(s);
    if (!r2i_trun_work_bytes(run, s->n_bytes)) return false;
    if ((int64_t)r2i_utf8_count(s->bytes, s->n_bytes) <= n + leeway) return true;
    size_t cut = r2i_utf8_position(s->bytes, s->n_bytes, (size_t)(n - n_end));
    if (!r2i_tbound_truth(args, 1)) {
        const size_t last = r2i_tstring_find_last(s, &space, cut);
        if (last != SIZE_MAX) cut = last;
    }
    r2i_tbuilder b;
    r2i_tbuilder_init(&b, run);
    return r2i_tbuilder_add_slice(&b, s, 0, cut) && r2i_tbuilder_add_string(&b, end) &&
           r2i_tbuilder_finish(&b, out);
}

FILTER(filter_wordcount) {
    (void)args;
    const r2i_tstring *s;
    int64_t n = 0;
    bool in_word = false;
    if (!r2i_tvalue_to_string(run, self, &s) || !r2i_trun_work_bytes(run, s->n_bytes)) return false;
    for (size_t i = 0; i < s->n_bytes; i++) {
        const unsigned char c = (unsigned char)s->bytes[i];
        const bool is_word = c >= 0x80 || c == '_' || (c >= '0' && c <= '9') ||
                             ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        n += is_word && !in_word;
        in_word = is_word;
    }
    *out = r2i_tvalue_int(n);
    return true;
}

/* Text without white space around it. */
static r2i_tstring trimmed(const r2i_tstring *s) {
    size_t begin, end;
    r2i_tstring_trim(s, NULL, true, true, &begin, &end);
    return (r2i_tstring){ .bytes = s->bytes + begin, .n_bytes = end - begin };
}

static bool float_of(const r2i_tvalue *v, double *x) {
    if (r2i_tvalue_as_float(v, x)) return true;
    if (v->kind != R2I_TV_STRING) return false;
    const r2i_tstring s = trimmed(v->as.string);
    return r2i_float_parse(s.bytes, s.n_bytes, x);
}

FILTER(filter_float) {
    double x;
    (void)run;
    if (!r2i_tvalue_require(run, self)) return false;
    *out = float_of(self, &x) ? r2i_tvalue_float(x)
           : args->has[0]     ? args->v[0]
                              : r2i_tvalue_float(0);
    return true;
}

/* Digits in a base of 2..36, with a sign. */
static bool parse_int(const r2i_tstring *text, int64_t base, int64_t *value) {
    const r2i_tstring s = trimmed(text);
    size_t i = s.n_bytes > 0 && (s.bytes[0] == '-' || s.bytes[0] == '+');
    const bool is_negative = i != 0 && s.bytes[0] == '-';
    if (s.n_bytes > i + 2 && s.bytes[i] == '0') {
        const char kind = (char)(s.bytes[i + 1] | 0x20);
        if ((base == 16 && kind == 'x') || (base == 8 && kind == 'o') || (base == 2 && kind == 'b'))
            i += 2;
    }
    *value = 0;
    if (i == s.n_bytes) return false;
    for (; i < s.n_bytes; i++) {
        const char c = s.bytes[i], lower = (char)(c | 0x20);
        const int64_t digit = c >= '0' && c <= '9'           ? c - '0'
                              : lower >= 'a' && lower <= 'z' ? lower - 'a' + 10
                                                             : 99;
        if (digit >= base || __builtin_mul_overflow(*value, base, value)) return false;
        if (__builtin_add_overflow(*value, is_negative ? -digit : digit, value)) return false;
    }
    return true;
}

FILTER(filter_int) {
    int64_t value, base;
    double x;
    if (!r2i_tvalue_require(run, self) || !r2i_tbound_int(run, args, 1, 10, &base)) return false;
    if (base < 2 || base > 36) return r2i_trun_fail(run, R2_E_RANGE, "int: base must be 2..36");
    *out = args->has[0] ? args->v[0] : r2i_tvalue_int(0);
    if (r2i_tvalue_as_int(self, &value) ||
        (self->kind == R2I_TV_STRING && parse_int(self->as.string, base, &value))) {
        *out = r2i_tvalue_int(value);
    } else if (float_of(self, &x) && isfinite(x)) {
        if (fabs(x) >= 9.2e18) return r2i_trun_fail(run, R2_E_RANGE, "integer too large");
        *out = r2i_tvalue_int((int64_t)x);
    }
    return true;
}

FILTER(filter_abs) {
    (void)args;
    int64_t i;
    if (!r2i_tvalue_require(run, self)) return false;
    if (r2i_tvalue_as_int(self, &i)) {
        if (i == INT64_MIN) return r2i_trun_fail(run, R2_E_RANGE, "integer too large");
        *out = r2i_tvalue_int(i < 0 ? -i : i);
        return true;
    }
    if (self->kind != R2I_TV_FLOAT)
        return r2i_trun_fail(run, R2_E_FORMAT, "abs: expected a number");
    *out = r2i_tvalue_float(fabs(self->as.real));
    return true;
}

/* Half to even on the exact binary value, which printf does as well. */
static double round_decimal(double x, int64_t precision) {
    char text[400];
    double y = x;
    if (precision > 22 || !isfinite(x) || fabs(x) > 1e18) return x;
    if (precision <= 0) {
        const double unit = pow(10, precision < -18 ? 18 : (double)-precision);
        return nearbyint(x / unit) * unit;
    }
    const int n = snprintf(text, sizeof text, "%.*f", (int)precision, x);
    for (int i = 0; i < n; i++) {
        if (text[i] == ',') text[i] = '.';
    }
    return n > 0 && r2i_float_parse(text, (size_t)n, &y) ? y : x;
}

FILTER(filter_round) {
    int64_t precision, i;
    double x;
    const r2i_tstring *method;
    if (!r2i_tvalue_require(run, self) || !r2i_tbound_int(run, args, 0, 0, &precision))
        return false;
    if (!r2i_tbound_string(run, args, 1, &method)) return false;
    if (!r2i_tvalue_as_float(self, &x))
        return r2i_trun_fail(run, R2_E_FORMAT, "round: expected a number");
    const bool is_common = method == NULL || r2i_tstring_is(method, "common");
    if (is_common && r2i_tvalue_as_int(self, &i)) {
        *out = r2i_tvalue_int(precision >= 0 ? i : (int64_t)round_decimal(x, precision));
        return true;
    }
    const double unit = pow(10, precision > 300    ? 300
                                : precision < -300 ? -300
                                                   : (double)precision);
    if (is_common) {
        *out = r2i_tvalue_float(round_decimal(x, precision));
    } else if (r2i_tstring_is(method, "ceil") || r2i_tstring_is(method, "floor")) {
        const double scaled = x * unit;
        *out = r2i_tvalue_float((method->bytes[0] == 'c' ? ceil(scaled) : floor(scaled)) / unit);
    } else {
        return r2i_trun_fail(run, R2_E_FORMAT, "round: method must be common, ceil or floor");
    }
    return true;
}

FILTER(filter_default) {
    (void)run;
    static const r2i_tstring empty = { .bytes = "" };
    const bool use =
        self->kind == R2I_TV_UNDEFINED || (r2i_tbound_truth(args, 1) && !r2i_tvalue_truth(self));
    *out = !use ? *self : args->has[0] ? args->v[0] : r2i_tvalue_string(&empty);
    return true;
}

FILTER(filter_attr) {
    const r2i_tstring *name;
    if (!r2i_tbound_string(run, args, 0, &name)) return false;
    if (name == NULL) return r2i_trun_fail(run, R2_E_FORMAT, "attr: expected a name");
    *out = r2i_tvalue_undefined(name);
    return self->kind == R2I_TV_DICT || r2i_template_attribute(run, self, name, out);
}

FILTER(filter_urlencode) {
    (void)args;
    static const char hex[] = "0123456789ABCDEF";
    const r2i_tstring *s;
    r2i_tbuilder b;
    r2i_tbuilder_init(&b, run);
    if (self->kind == R2I_TV_DICT || self->kind == R2I_TV_SEQUENCE) {
        return r2i_trun_fail(run, R2_E_UNSUPPORTED, "urlencode of a collection is not supported");
    }
    if (!r2i_tvalue_to_string(run, self, &s)) return false;
    for (size_t i = 0; i < s->n_bytes; i++) {
        const unsigned char c = (unsigned char)s->bytes[i];
        const bool is_plain = (c >= '0' && c <= '9') ||
                              ((c | 0x20) >= 'a' && (c | 0x20) <= 'z' && c < 0x80) ||
                              (c != 0 && c < 0x80 && strchr("_.-~/", c) != NULL);
        const char coded[3] = { '%', hex[c >> 4], hex[c & 15] };
        const bool ok = is_plain ? r2i_tbuilder_add_slice(&b, s, i, i + 1)
                                 : r2i_tbuilder_add(&b, coded, 3, r2i_tstring_has_untrusted(s));
        if (!ok || !r2i_trun_work(run, i % 16 == 0)) return false;
    }
    return r2i_tbuilder_finish(&b, out);
}

FILTER(filter_format) {
    const r2i_tstring *f;
    r2i_tvalue mapping;
    if (!r2i_tvalue_to_string(run, self, &f) || !r2i_tdict_create(run, R2I_TV_DICT, &mapping))
        return false;
    for (size_t i = 0; i < args->all->n_named; i++) {
        const r2i_tnamed *named = &args->all->named[i];
        if (!r2i_tdict_set(run, mapping.as.dict, r2i_tvalue_string(named->name), named->value))
            return false;
    }
    return r2i_template_percent(run, f, args->all->items, args->all->n_items,
                                args->all->n_named != 0 ? &mapping : NULL, out);
}

const r2i_tfunction *r2i_template_find_text_filter(const r2i_tstring *name) {
    static const r2i_tfunction table[] = {
        { "tojson", "ensure_ascii indent separators sort_keys", 0, filter_tojson },
        { "from_json", "", 0, filter_from_json },
        { "trim", "chars", 0, filter_trim },
        { "upper", "", 0, filter_upper },
        { "lower", "", 0, filter_lower },
        { "capitalize", "", 0, filter_capitalize },
        { "title", "", 0, filter_title },
        { "center", "width", 0, filter_center },
        { "replace", "old new count", 2, filter_replace },
        { "string", "", 0, filter_string },
        { "safe", "", 0, filter_safe },
        { "escape", "", 0, filter_escape },
        { "e", "", 0, filter_escape },
        { "forceescape", "", 0, filter_forceescape },
        { "indent", "width first blank", 0, filter_indent },
        { "truncate", "length killwords end leeway", 0, filter_truncate },
        { "wordcount", "", 0, filter_wordcount },
        { "float", "default", 0, filter_float },
        { "int", "default base", 0, filter_int },
        { "abs", "", 0, filter_abs },
        { "round", "precision method", 0, filter_round },
        { "default", "default_value boolean", 0, filter_default },
        { "d", "default_value boolean", 0, filter_default },
        { "attr", "name", 1, filter_attr },
        { "urlencode", "", 0, filter_urlencode },
        { "format", "*", 0, filter_format },
        { 0 },
    };
    return r2i_tfunction_find(table, name);
}

bool r2i_template_filter(r2i_trun *run, const r2i_tstring *name, const r2i_tvalue *self,
                         const r2i_targs *args, r2i_tvalue *out) {
    const r2i_tfunction *filter = r2i_template_find_text_filter(name);
    if (filter == NULL) filter = r2i_template_find_list_filter(name);
    if (filter != NULL) return r2i_template_call_builtin(run, filter, self, args, out);
    return r2i_trun_fail(run, R2_E_UNSUPPORTED, "No filter named '%.*s'",
                         (int)r2i_min_size(name->n_bytes, 60), name->bytes);
}
