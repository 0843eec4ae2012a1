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

#define BYTE "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
#define LABEL "[A-Za-z0-9](-?[A-Za-z0-9]){0,15}"
#define HOST LABEL "(\\." LABEL "){0,3}\\.[A-Za-z]{2,10}"
#define CLOCK "T([0-9]{1,4}H([0-9]{1,2}M([0-9]{1,2}S)?)?|[0-9]{1,4}M([0-9]{1,2}S)?|[0-9]{1,5}S)"

/* All of limited length, which lets lengths stand beside them. */
static const struct {
    const char *name, *pattern;
} FORMATS[] = {
    { "date", "^" DATE "$" },
    { "time", "^" TIME "$" },
    { "date-time", "^" DATE "T" TIME "$" },
    { "duration",
      "^P([0-9]{1,5}W|([0-9]{1,4}Y([0-9]{1,2}M([0-9]{1,2}D)?)?|[0-9]{1,3}M([0-9]{1,2}D)?"
      "|[0-9]{1,5}D)(" CLOCK ")?|" CLOCK ")$" },
    { "uuid", "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$" },
    { "email", "^[A-Za-z0-9_+-]{1,32}(\\.[A-Za-z0-9_+-]{1,16}){0,2}@" HOST "$" },
    { "hostname", "^" LABEL "(\\." LABEL "){0,3}$" },
    { "ipv4", "^(" BYTE "\\.){3}" BYTE "$" },
    { "ipvanyaddress", "^(" BYTE "\\.){3}" BYTE "$" },
    { "ipv6", "^([0-9a-f]{1,4}(:[0-9a-f]{1,4}){7}|([0-9a-f]{1,4}:){1,6}:[0-9a-f]{1,4}|::1)$" },
    { "uri", "^https?://" HOST "(:[1-9][0-9]{1,3})?(/[A-Za-z0-9._~-]{1,64}){0,8}/?"
             "(\\?[A-Za-z0-9._~=&-]{1,64})?$" },
};

/* Names that say what a string is for, not which it may be. */
static const char *const FREE_FORMATS[] = { "binary", "byte",      "password",
                                            "path",   "file-path", "directory-path" };

/* Patterns that libraries write with looking ahead, and what may stand for them: the same texts without. */
static const struct {
    const char *known, *instead;
} KNOWN_PATTERNS[] = {
    { "^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$", "^[+-]?(\\d+\\.?\\d*|\\.\\d+)$" },
    { "^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\\-]*\\.)+"
      "[A-Za-z]{2,}$",
      "^[A-Za-z0-9_+-]{1,32}(\\.[A-Za-z0-9_+-]{1,16}){0,2}@" HOST "$" },
};

static const char *replace_known(const char *pattern) {
    for (size_t i = 0; i < sizeof KNOWN_PATTERNS / sizeof *KNOWN_PATTERNS; i++) {
        if (strcmp(KNOWN_PATTERNS[i].known, pattern) == 0) return KNOWN_PATTERNS[i].instead;
    }
    return pattern;
}

static r2_status add_pattern(r2i_schema_reader *r, const char *pattern, r2i_expression **out) {
    r2_error why = { R2_OK, "" };
    const r2_status status = r2i_regex_expression(out, r->draft, pattern, strlen(pattern),
                                                  R2I_REGEX_SEARCH | R2I_REGEX_JSON, &why);
    return status == R2_OK ? R2_OK : r2i_schema_fail(r, status, "pattern: %.120s", why.text);
}

static r2_status find_format(const r2i_schema_reader *r, const json_t *schema, const char **out) {
    const char *name = json_string_value(json_object_get(schema, "format"));
    for (size_t i = 0; name != NULL && i < sizeof FREE_FORMATS / sizeof *FREE_FORMATS; i++) {
        if (strcmp(FREE_FORMATS[i], name) == 0) return R2_OK;
    }
    for (size_t i = 0; name != NULL && i < sizeof FORMATS / sizeof *FORMATS; i++) {
        if (strcmp(FORMATS[i].name, name) != 0) continue;
        *out = FORMATS[i].pattern;
        return R2_OK;
    }
    return r2i_schema_fail(r, R2_E_UNSUPPORTED,
                           "format %.40s is not supported (date, time, date-time, duration, uuid, "
                           "email, hostname, ipv4, ipv6, uri are)",
                           name != NULL ? name : "?");
}

/* A pattern beside a format is the stronger: it always holds, a format may be a mere remark. */
static r2_status read_pattern(r2i_schema_reader *r, const json_t *schema, const char **out) {
    const json_t *value = json_object_get(schema, "pattern");
    *out = NULL;
    if (value != NULL && !json_is_string(value))
        return r2i_schema_fail(r, R2_E_FORMAT, "pattern: expected a text");
    if (value != NULL) *out = replace_known(json_string_value(value));
    return value == NULL && json_object_get(schema, "format") != NULL ? find_format(r, schema, out)
                                                                      : R2_OK;
}

r2_status r2i_schema_string(r2i_schema_reader *r, const json_t *schema, r2i_expression **out) {
    r2i_grammar_draft *d = r->draft;
    const char *pattern;
    int32_t n_min = 0, n_max = -1;
    R2I_TRY(r2i_schema_count(r, schema, "minLength", &n_min));
    R2I_TRY(r2i_schema_count(r, schema, "maxLength", &n_max));
    R2I_TRY(read_pattern(r, schema, &pattern));
    if (n_max >= 0 && n_min > n_max)
        return r2i_schema_fail(r, R2_E_FORMAT, "expected minLength of at most %d, found %d",
                               (int)n_max, (int)n_min);
    if (pattern == NULL && n_min == 0 && n_max < 0) {
        *out = r2i_json_string(d);
        return R2_OK;
    }
    r2i_expression *inside;
    if (pattern != NULL)
        R2I_TRY(add_pattern(r, pattern, &inside));
    else
        inside = r2i_expression_repeat(d, r2i_json_character(d), n_min, n_max);
    if (pattern != NULL && (n_min > 0 || n_max >= 0))
        R2I_TRY(r2i_schema_lengths(r, pattern, strlen(pattern), n_min, n_max, inside));
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
    const json_t *multiple = json_object_get(schema, "multipleOf");
    if (multiple == NULL && !low.is_there && !high.is_there) {
        *out = is_integer ? r2i_json_integer(r->draft) : r2i_json_number(r->draft);
        return R2_OK;
    }
    is_integer |= multiple != NULL; /* of whole numbers, as it must be */
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
    if (multiple != NULL) return r2i_schema_multiple(r, multiple, &b, out);
    *out = r2i_json_bounded(r->draft, &b, is_integer);
    return R2_OK;
}
