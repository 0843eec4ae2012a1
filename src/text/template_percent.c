/* Python's "format % values", for the conversions that templates use. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "text/template_eval.h"

typedef struct {
    char flags[8];
    int width, precision;
    char conversion;
} percent_spec;

static const r2i_tvalue *next_value(const r2i_tvalue *values, size_t n, size_t *next) {
    return *next < n ? &values[(*next)++] : NULL;
}

static bool add_number(r2i_trun *run, r2i_tbuilder *b, const percent_spec *spec,
                       const r2i_tvalue *v) {
    char text[512], pattern[48];
    double x;
    int64_t i;
    if (!r2i_tvalue_as_float(v, &x))
        return r2i_trun_fail(run, R2_E_FORMAT, "format: a number is required");
    if (!r2i_tvalue_as_int(v, &i)) {
        if (!isfinite(x) || fabs(x) >= 9.2e18)
            i = 0;
        else
            i = (int64_t)x;
    }
    const bool is_int = strchr("dixXo", spec->conversion) != NULL;
    if (is_int && v->kind == R2I_TV_FLOAT &&
        (spec->conversion == 'x' || spec->conversion == 'X' || spec->conversion == 'o' ||
         !isfinite(x) || fabs(x) >= 9.2e18)) {
        return r2i_trun_fail(run, R2_E_FORMAT, "format: an integer is required");
    }
    if (!is_int && fabs(x) > 1e200)
        return r2i_trun_fail(run, R2_E_RANGE, "format: number too large");
    (void)snprintf(pattern, sizeof pattern, "%%%s%d.%d%s%c", spec->flags, spec->width,
                   spec->precision, is_int ? "ll" : "", spec->conversion);
    if (spec->precision < 0 || spec->width == 0) {
        char width[12] = "", precision[12] = "";
        if (spec->width > 0) (void)snprintf(width, sizeof width, "%d", spec->width);
        if (spec->precision >= 0)
            (void)snprintf(precision, sizeof precision, ".%d", spec->precision);
        (void)snprintf(pattern, sizeof pattern, "%%%s%s%s%s%c", spec->flags, width, precision,
                       is_int ? "ll" : "", spec->conversion);
    }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    const int n = is_int ? snprintf(text, sizeof text, pattern, (long long)i)
                         : snprintf(text, sizeof text, pattern, x);
#pragma GCC diagnostic pop
    if (n < 0 || (size_t)n >= sizeof text)
        return r2i_trun_fail(run, R2_E_RANGE, "format: number too long");
    return r2i_tbuilder_add(b, text, (size_t)n, false);
}

static bool add_conversion(r2i_trun *run, r2i_tbuilder *b, const percent_spec *spec,
                           const r2i_tvalue *v) {
    if (strchr("dixXoeEfFgG", spec->conversion) != NULL) return add_number(run, b, spec, v);
    r2i_tbuilder text;
    r2i_tvalue s;
    r2i_tbuilder_init(&text, run);
    if (spec->conversion != 's' && spec->conversion != 'r') {
        return r2i_trun_fail(run, R2_E_UNSUPPORTED, "format: %%%c is not supported",
                             spec->conversion);
    }
    if (!(spec->conversion == 's' ? r2i_tbuilder_add_value(&text, v)
                                  : r2i_tbuilder_add_repr(&text, v)))
        return false;
    if (!r2i_tbuilder_finish(&text, &s)) return false;
    const r2i_tstring *t = s.as.string;
    const size_t n_kept = spec->precision < 0 ? SIZE_MAX : (size_t)spec->precision;
    const size_t end = r2i_utf8_position(t->bytes, t->n_bytes, n_kept),
                 n = r2i_utf8_count(t->bytes, end);
    const size_t n_pad = (size_t)spec->width > n ? (size_t)spec->width - n : 0;
    const bool is_left = strchr(spec->flags, '-') != NULL;
    for (size_t i = 0; i < n_pad && !is_left; i++) {
        if (!r2i_tbuilder_add_text(b, " ")) return false;
    }
    if (!r2i_tbuilder_add_slice(b, t, 0, end)) return false;
    for (size_t i = 0; i < n_pad && is_left; i++) {
        if (!r2i_tbuilder_add_text(b, " ")) return false;
    }
    return true;
}

/* Flags, width, precision and conversion behind a '%' at *at. */
static bool parse_spec(r2i_trun *run, const r2i_tstring *f, size_t *at, percent_spec *spec) {
    size_t n_flags = 0;
    *spec = (percent_spec){ .precision = -1 };
    while (*at < f->n_bytes && f->bytes[*at] != '\0' && strchr("-+ 0#", f->bytes[*at]) != NULL &&
           n_flags < 5) {
        spec->flags[n_flags++] = f->bytes[(*at)++];
    }
    int *number = &spec->width;
    for (; *at < f->n_bytes; (*at)++) {
        const char c = f->bytes[*at];
        if (c == '.' && number == &spec->width) {
            number = &spec->precision;
            *number = 0;
        } else if (c >= '0' && c <= '9') {
            if (*number >= 100)
                return r2i_trun_fail(run, R2_E_RANGE, "format: width or precision above 999");
            *number = 10 * *number + (c - '0');
        } else {
            break;
        }
    }
    if (*at >= f->n_bytes) return r2i_trun_fail(run, R2_E_FORMAT, "incomplete format");
    spec->conversion = f->bytes[(*at)++];
    return true;
}

/* The value named "(name)" at *at of the format; NULL: not there. */
static bool named_value(r2i_trun *run, const r2i_tstring *f, size_t *at, const r2i_tvalue *mapping,
                        r2i_tvalue **v) {
    const char *end = memchr(f->bytes + *at, ')', f->n_bytes - *at);
    if (end == NULL || mapping == NULL)
        return r2i_trun_fail(run, R2_E_FORMAT, "format requires a mapping");
    const r2i_tstring name = { .bytes = f->bytes + *at + 1,
                               .n_bytes = (size_t)(end - f->bytes) - *at - 1 };
    const r2i_tvalue key = r2i_tvalue_string(&name);
    *at = (size_t)(end - f->bytes) + 1;
    if (!r2i_tdict_find(run, mapping->as.dict, &key, v)) return false;
    return *v != NULL || r2i_trun_fail(run, R2_E_FORMAT, "format: key not found");
}

bool r2i_template_percent(r2i_trun *run, const r2i_tstring *f, const r2i_tvalue *values,
                          size_t n_values, const r2i_tvalue *mapping, r2i_tvalue *out) {
    size_t next = 0;
    bool is_named = false;
    r2i_tbuilder b;
    r2i_tbuilder_init(&b, run);
    for (size_t at = 0; at < f->n_bytes;) {
        const char *sign = memchr(f->bytes + at, '%', f->n_bytes - at);
        const size_t stop = sign == NULL ? f->n_bytes : (size_t)(sign - f->bytes);
        percent_spec spec;
        r2i_tvalue *named = NULL;
        if (!r2i_tbuilder_add_slice(&b, f, at, stop) || !r2i_trun_work(run, 1)) return false;
        at = stop + 1;
        if (sign == NULL) break;
        if (at < f->n_bytes && f->bytes[at] == '(' && !named_value(run, f, &at, mapping, &named))
            return false;
        if (!parse_spec(run, f, &at, &spec)) return false;
        if (spec.conversion == '%') {
            if (!r2i_tbuilder_add_text(&b, "%")) return false;
            continue;
        }
        is_named = is_named || named != NULL;
        const r2i_tvalue *v = named != NULL ? named : next_value(values, n_values, &next);
        if (v == NULL)
            return r2i_trun_fail(run, R2_E_FORMAT, "not enough arguments for format string");
        if (!add_conversion(run, &b, &spec, v)) return false;
    }
    if (next < n_values && !is_named && mapping == NULL) {
        return r2i_trun_fail(run, R2_E_FORMAT,
                             "not all arguments converted during string formatting");
    }
    return r2i_tbuilder_finish(&b, out);
}
