/* grammar_schema_string.c - strings and numbers of a schema. */
#include <math.h>
#include <string.h>

#include "base/failure.h"
#include "text/grammar_json.h"
#include "text/grammar_regex.h"
#include "text/grammar_schema.h"

#define ADD(whole, part) whole = r2i_expression_add(d, whole, part)

/* Days as all years have them: 29 February is never written. */
#define DATE                                                                                     \
    "[0-9]{3}[1-9]-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)" \
    "|02-(0[1-9]|1[0-9]|2[0-8]))"
#define TIME \
    "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])"

static const struct {
    const char *name, *pattern;
} FORMATS[] = {
    { "date", "^" DATE "$" },
    { "time", "^" TIME "$" },
    { "date-time", "^" DATE "T" TIME "$" },
    { "uuid", "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$" },
};

static r2_status add_pattern(r2i_schema_reader *r, const char *pattern, r2i_expression **out) {
    r2_error why = { R2_OK, "" };
    const r2_status status = r2i_regex_expression(out, r->draft, pattern, strlen(pattern),
                                                  R2I_REGEX_SEARCH | R2I_REGEX_JSON, &why);
    return status == R2_OK ? R2_OK : r2i_schema_fail(r, status, "pattern: %.120s", why.text);
}

static r2_status find_format(const r2i_schema_reader *r, const json_t *schema, const char **out) {
    const char *name = json_string_value(json_object_get(schema, "format"));
    for (size_t i = 0; name != NULL && i < sizeof FORMATS / sizeof *FORMATS; i++) {
        if (strcmp(FORMATS[i].name, name) != 0) continue;
        *out = FORMATS[i].pattern;
        return R2_OK;
    }
    return r2i_schema_fail(r, R2_E_UNSUPPORTED,
                           "format %.40s is not supported (date, time, date-time, uuid are)",
                           name != NULL ? name : "?");
}

r2_status r2i_schema_string(r2i_schema_reader *r, const json_t *schema, r2i_expression **out) {
    r2i_grammar_draft *d = r->draft;
    const json_t *value = json_object_get(schema, "pattern");
    const char *pattern = json_string_value(value);
    const bool has_format = json_object_get(schema, "format") != NULL;
    int32_t n_min = 0, n_max = -1;
    R2I_TRY(r2i_schema_count(r, schema, "minLength", &n_min));
    R2I_TRY(r2i_schema_count(r, schema, "maxLength", &n_max));
    if (value != NULL && pattern == NULL)
        return r2i_schema_fail(r, R2_E_FORMAT, "pattern: expected a text");
    if ((pattern != NULL) + has_format + (n_min > 0 || n_max >= 0) > 1)
        return r2i_schema_fail(r, R2_E_UNSUPPORTED,
                               "pattern, format and lengths together are not supported");
    if (n_max >= 0 && n_min > n_max)
        return r2i_schema_fail(r, R2_E_FORMAT, "expected minLength of at most %d, found %d",
                               (int)n_max, (int)n_min);
    if (has_format) R2I_TRY(find_format(r, schema, &pattern));
    if (pattern == NULL && n_min == 0 && n_max < 0) {
        *out = r2i_json_string(d);
        return R2_OK;
    }
    r2i_expression *inside;
    if (pattern != NULL)
        R2I_TRY(add_pattern(r, pattern, &inside));
    else
        inside = r2i_expression_repeat(d, r2i_json_character(d), n_min, n_max);
    *out = r2i_expression_sequence(d);
    ADD(*out, r2i_expression_word(d, "\""));
    ADD(*out, inside);
    ADD(*out, r2i_expression_word(d, "\""));
    return R2_OK;
}

/* ---- numbers ---- */

typedef struct {
    bool is_there;
    double value;
} bound;

static r2_status read_bound(const r2i_schema_reader *r, const json_t *schema, const char *key,
                            bound *out) {
    const json_t *value = json_object_get(schema, key);
    *out = (bound){ value != NULL, 0 };
    if (value == NULL) return R2_OK;
    if (!json_is_number(value))
        return r2i_schema_fail(r, R2_E_FORMAT, "%s: expected a number", key);
    out->value = json_number_value(value);
    if (fabs(out->value) < 1e15) return R2_OK;
    return r2i_schema_fail(r, R2_E_UNSUPPORTED, "%s: beyond 10^15 is not supported", key);
}

/* The narrower of a bound and an exclusive one.  sign 1: lower bounds, -1: upper ones. */
static void narrow(double sign, bound open, bound *closed, bool *is_open) {
    *is_open = open.is_there && (!closed->is_there || sign * open.value >= sign * closed->value);
    if (*is_open) *closed = open;
}

r2_status r2i_schema_number(r2i_schema_reader *r, const json_t *schema, bool is_integer,
                            r2i_expression **out) {
    bound low, high, above, below;
    r2i_number_bounds b;
    R2I_TRY(read_bound(r, schema, "minimum", &low));
    R2I_TRY(read_bound(r, schema, "maximum", &high));
    R2I_TRY(read_bound(r, schema, "exclusiveMinimum", &above));
    R2I_TRY(read_bound(r, schema, "exclusiveMaximum", &below));
    narrow(1, above, &low, &b.is_above_low);
    narrow(-1, below, &high, &b.is_below_high);
    if (!low.is_there && !high.is_there) {
        *out = is_integer ? r2i_json_integer(r->draft) : r2i_json_number(r->draft);
        return R2_OK;
    }
    const double first = is_integer ? ceil(low.value) : low.value,
                 last = is_integer ? floor(high.value) : high.value;
    if (first != floor(first) || last != floor(last))
        return r2i_schema_fail(r, R2_E_UNSUPPORTED,
                               "bounds of a number that are no whole numbers are not supported");
    if (first != low.value) b.is_above_low = false;
    if (last != high.value) b.is_below_high = false;
    b.has_low = low.is_there;
    b.has_high = high.is_there;
    b.low = (int64_t)first;
    b.high = (int64_t)last;
    *out = r2i_json_bounded(r->draft, &b, is_integer);
    return R2_OK;
}
