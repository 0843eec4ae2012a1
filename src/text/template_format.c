/* How values are written: str and repr as Python does, and JSON as json.dumps does. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/template_text.h"

enum { FLOAT_TEXT_BYTES = 40 };

bool r2i_float_parse(const char *bytes, size_t n_bytes, double *out) {
    /* "12.5e3" becomes "125e2": without a point strtod does not depend on the locale. */
    char text[512];
    size_t n = 0;
    long exponent = 0;
    bool after_point = false;
    size_t i = 0;
    *out = 0;
    if (n_bytes > 400) return false;
    if (i < n_bytes && (bytes[i] == '-' || bytes[i] == '+')) text[n++] = bytes[i++];
    const size_t first = n;
    for (; i < n_bytes && bytes[i] != 'e' && bytes[i] != 'E'; i++) {
        if (bytes[i] == '.' && !after_point) {
            after_point = true;
        } else if (bytes[i] >= '0' && bytes[i] <= '9') {
            text[n++] = bytes[i];
            exponent -= after_point;
        } else {
            return false;
        }
    }
    if (n == first) return false;
    if (i < n_bytes) {
        char digits[16] = { 0 };
        const size_t n_digits = n_bytes - i - 1;
        if (n_digits == 0 || n_digits > 8) return false;
        memcpy(digits, bytes + i + 1, n_digits);
        char *end;
        exponent += strtol(digits, &end, 10);
        if (end != digits + n_digits || digits[0] == ' ') return false;
    }
    (void)snprintf(text + n, sizeof text - n, "e%ld", exponent);
    *out = strtod(text, NULL);
    return true;
}

/* Shortest decimal digits of a finite x > 0 and the exponent of the first one. */
static int shortest_digits(double x, char digits[20], int *exponent) {
    for (int precision = 1;; precision++) {
        char text[40];
        (void)snprintf(text, sizeof text, "%.*e", precision - 1, x);
        int n = 0;
        const char *c = text;
        for (; *c != '\0' && *c != 'e'; c++) {
            if (*c >= '0' && *c <= '9') digits[n++] = *c;
        }
        digits[n] = '\0';
        *exponent = (int)strtol(c + 1, NULL, 10);
        char back[48];
        (void)snprintf(back, sizeof back, "%se%d", digits, *exponent - (n - 1));
        if (precision == 17 || strtod(back, NULL) == x) return n;
    }
}

/* repr of a double: the shortest digits that read back the same, independent of locale. */
static void format_float(double x, char text[FLOAT_TEXT_BYTES]) {
    const char *sign = signbit(x) && !isnan(x) ? "-" : "";
    if (isnan(x) || isinf(x) || x == 0) {
        (void)snprintf(text, FLOAT_TEXT_BYTES, "%s%s", sign,
                       isnan(x)   ? "nan"
                       : isinf(x) ? "inf"
                                  : "0.0");
        return;
    }
    char d[20];
    int e, n = shortest_digits(fabs(x), d, &e);
    while (n > 1 && d[n - 1] == '0')
        d[--n] = '\0';
    if (e < -4 || e >= 16) {
        (void)snprintf(text, FLOAT_TEXT_BYTES, "%s%c%s%se%c%02d", sign, d[0], n > 1 ? "." : "",
                       d + 1, e < 0 ? '-' : '+', e < 0 ? -e : e);
    } else if (e < 0) {
        (void)snprintf(text, FLOAT_TEXT_BYTES, "%s0.%.*s%s", sign, -e - 1, "0000", d);
    } else if (n <= e + 1) {
        (void)snprintf(text, FLOAT_TEXT_BYTES, "%s%s%.*s.0", sign, d, e + 1 - n,
                       "0000000000000000");
    } else {
        (void)snprintf(text, FLOAT_TEXT_BYTES, "%s%.*s.%s", sign, e + 1, d, d + e + 1);
    }
}

static bool is_printable(uint32_t code) {
    if (code < 0x7f) return code >= 0x20;
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
        return false;
    default:
        return true;
    }
}

/* The escape of one character in a repr, or an empty text when it stands for itself. */
static void repr_escape(uint32_t code, char quote, char text[16]) {
    text[0] = '\0';
    if (code == '\n' || code == '\r' || code == '\t') {
        (void)snprintf(text, 16, "\\%c", code == '\n' ? 'n' : code == '\r' ? 'r' : 't');
    } else if (code == '\\' || code == (uint32_t)quote) {
        (void)snprintf(text, 16, "\\%c", (char)code);
    } else if (!is_printable(code)) {
        (void)snprintf(text, 16,
                       code < 0x100     ? "\\x%02x"
                       : code < 0x10000 ? "\\u%04x"
                                        : "\\U%08x",
                       (unsigned)code);
    }
}

static void json_escape(uint32_t code, bool ensure_ascii, char text[16]) {
    static const char from[] = "\"\\\n\r\t\f\b", to[] = "\"\\nrtfb";
    const char *found = code != 0 && code < 0x80 ? strchr(from, (int)code) : NULL;
    text[0] = '\0';
    if (found != NULL) {
        (void)snprintf(text, 16, "\\%c", to[found - from]);
    } else if (code < 0x20 || (ensure_ascii && code >= 0x7f && code < 0x10000)) {
        if (code != 0x7f) (void)snprintf(text, 16, "\\u%04x", (unsigned)code);
    } else if (ensure_ascii && code >= 0x10000) {
        const uint32_t rest = code - 0x10000;
        (void)snprintf(text, 16, "\\u%04x\\u%04x", (unsigned)(0xd800 + (rest >> 10)),
                       (unsigned)(0xdc00 + (rest & 0x3ff)));
    }
}

typedef enum { ESCAPE_REPR, ESCAPE_JSON, ESCAPE_JSON_ASCII } escape_kind;

/* Writes s escaped; an escape sequence is as untrusted as the character it stands for. */
static bool add_escaped(r2i_tbuilder *b, const r2i_tstring *s, escape_kind kind, char quote) {
    size_t plain = 0, range = 0;
    for (size_t at = 0; at < s->n_bytes;) {
        size_t used;
        char text[16];
        const uint32_t code = r2i_utf8_read(s->bytes + at, s->n_bytes - at, &used);
        if (kind == ESCAPE_REPR) {
            repr_escape(code, quote, text);
        } else {
            json_escape(code, kind == ESCAPE_JSON_ASCII, text);
        }
        if (text[0] != '\0') {
            while (range < s->n_ranges && s->ranges[range].end <= at)
                range++;
            const bool is_untrusted = range < s->n_ranges && s->ranges[range].begin <= at;
            if (!r2i_tbuilder_add_slice(b, s, plain, at)) return false;
            if (!r2i_tbuilder_add(b, text, strlen(text), is_untrusted)) return false;
            if (!r2i_trun_work_bytes(b->run, 16 + at - plain)) return false;
            plain = at + used;
        }
        at += used;
    }
    return r2i_trun_work_bytes(b->run, s->n_bytes) &&
           r2i_tbuilder_add_slice(b, s, plain, s->n_bytes);
}

static bool add_string_repr(r2i_tbuilder *b, const r2i_tstring *s) {
    const bool has_single = s->n_bytes != 0 && memchr(s->bytes, '\'', s->n_bytes) != NULL;
    const bool has_double = s->n_bytes != 0 && memchr(s->bytes, '"', s->n_bytes) != NULL;
    const char quote = has_single && !has_double ? '"' : '\'';
    return r2i_tbuilder_add(b, &quote, 1, false) && add_escaped(b, s, ESCAPE_REPR, quote) &&
           r2i_tbuilder_add(b, &quote, 1, false);
}

static bool add_range_repr(r2i_tbuilder *b, const r2i_tsequence *s) {
    char text[96];
    (void)snprintf(text, sizeof text,
                   s->step == 1 ? "range(%lld, %lld)" : "range(%lld, %lld, %lld)",
                   (long long)s->start, (long long)s->stop, (long long)s->step);
    return r2i_tbuilder_add_text(b, text);
}

static bool add_sequence_repr(r2i_tbuilder *b, const r2i_tsequence *s) {
    static const char *const open[] = {
        "[", "(", "", "dict_keys([", "dict_values([", "dict_items(["
    };
    static const char *const close[] = { "]", ")", "", "])", "])", "])" };
    if (s->flavor == R2I_TS_RANGE) return add_range_repr(b, s);
    if (s->flavor == R2I_TS_GENERATOR) return r2i_tbuilder_add_text(b, "<generator object>");
    if (!r2i_tbuilder_add_text(b, open[s->flavor])) return false;
    for (size_t i = 0; i < s->n_items; i++) {
        if (i != 0 && !r2i_tbuilder_add_text(b, ", ")) return false;
        if (!r2i_tbuilder_add_repr(b, &s->items[i])) return false;
    }
    if (s->flavor == R2I_TS_TUPLE && s->n_items == 1 && !r2i_tbuilder_add_text(b, ","))
        return false;
    return r2i_tbuilder_add_text(b, close[s->flavor]);
}

static bool add_dict_repr(r2i_tbuilder *b, const r2i_tdict *dict) {
    if (!r2i_tbuilder_add_text(b, "{")) return false;
    for (size_t i = 0; i < dict->n_entries; i++) {
        if (i != 0 && !r2i_tbuilder_add_text(b, ", ")) return false;
        if (!r2i_tbuilder_add_repr(b, &dict->entries[i].key) || !r2i_tbuilder_add_text(b, ": ") ||
            !r2i_tbuilder_add_repr(b, &dict->entries[i].value)) {
            return false;
        }
    }
    return r2i_tbuilder_add_text(b, "}");
}

static bool add_scalar(r2i_tbuilder *b, const r2i_tvalue *v) {
    char text[FLOAT_TEXT_BYTES];
    switch (v->kind) {
    case R2I_TV_UNDEFINED:
        return r2i_tbuilder_add_text(b, "Undefined");
    case R2I_TV_NONE:
        return r2i_tbuilder_add_text(b, "None");
    case R2I_TV_BOOL:
        return r2i_tbuilder_add_text(b, v->as.boolean ? "True" : "False");
    case R2I_TV_FLOAT:
        format_float(v->as.real, text);
        return r2i_tbuilder_add_text(b, text);
    case R2I_TV_INT:
        (void)snprintf(text, sizeof text, "%lld", (long long)v->as.integer);
        return r2i_tbuilder_add_text(b, text);
    default:
        return r2i_tbuilder_add_text(b, "<") && r2i_tbuilder_add_text(b, r2i_tvalue_type_name(v)) &&
               r2i_tbuilder_add_text(b, ">");
    }
}

bool r2i_tbuilder_add_repr(r2i_tbuilder *b, const r2i_tvalue *v) {
    if (v->kind == R2I_TV_STRING) return add_string_repr(b, v->as.string);
    if (!r2i_trun_enter(b->run)) return false;
    bool ok;
    if (v->kind == R2I_TV_SEQUENCE) {
        ok = add_sequence_repr(b, v->as.sequence);
    } else if (v->kind == R2I_TV_DICT) {
        ok = add_dict_repr(b, v->as.dict);
    } else if (v->kind == R2I_TV_NAMESPACE) {
        ok = r2i_tbuilder_add_text(b, "<Namespace ") && add_dict_repr(b, v->as.dict) &&
             r2i_tbuilder_add_text(b, ">");
    } else {
        ok = add_scalar(b, v);
    }
    r2i_trun_leave(b->run);
    return ok;
}

bool r2i_tbuilder_add_value(r2i_tbuilder *b, const r2i_tvalue *v) {
    if (v->kind == R2I_TV_STRING) return r2i_tbuilder_add_string(b, v->as.string);
    return v->kind == R2I_TV_UNDEFINED || r2i_tbuilder_add_repr(b, v);
}

static bool json_newline(r2i_tbuilder *b, const r2i_tjson_style *style, int level) {
    if (style->indent == NULL) return true;
    if (!r2i_tbuilder_add_text(b, "\n")) return false;
    for (int i = 0; i < level; i++) {
        if (!r2i_trun_work(b->run, 1) || !r2i_tbuilder_add_string(b, style->indent)) return false;
    }
    return true;
}

static bool json_string(r2i_tbuilder *b, const r2i_tstring *s, const r2i_tjson_style *style) {
    return r2i_tbuilder_add_text(b, "\"") &&
           add_escaped(b, s, style->ensure_ascii ? ESCAPE_JSON_ASCII : ESCAPE_JSON, '"') &&
           r2i_tbuilder_add_text(b, "\"");
}

static bool json_scalar(r2i_tbuilder *b, const r2i_tvalue *v) {
    switch (v->kind) {
    case R2I_TV_NONE:
        return r2i_tbuilder_add_text(b, "null");
    case R2I_TV_BOOL:
        return r2i_tbuilder_add_text(b, v->as.boolean ? "true" : "false");
    case R2I_TV_FLOAT:
        if (isnan(v->as.real)) return r2i_tbuilder_add_text(b, "NaN");
        if (isinf(v->as.real))
            return r2i_tbuilder_add_text(b, v->as.real < 0 ? "-Infinity" : "Infinity");
        return add_scalar(b, v);
    case R2I_TV_INT:
        return add_scalar(b, v);
    default:
        break;
    }
    return r2i_trun_fail(b->run, R2_E_FORMAT, "Object of type %s is not JSON serializable",
                         r2i_tvalue_type_name(v));
}

static bool json_value(r2i_tbuilder *b, const r2i_tvalue *v, const r2i_tjson_style *style,
                       int level);

static bool json_list(r2i_tbuilder *b, const r2i_tsequence *s, const r2i_tjson_style *style,
                      int level) {
    if (s->n_items == 0) return r2i_tbuilder_add_text(b, "[]");
    if (!r2i_tbuilder_add_text(b, "[")) return false;
    for (size_t i = 0; i < s->n_items; i++) {
        if (i != 0 && !r2i_tbuilder_add_string(b, style->item_separator)) return false;
        if (!json_newline(b, style, level + 1) || !json_value(b, &s->items[i], style, level + 1))
            return false;
    }
    return json_newline(b, style, level) && r2i_tbuilder_add_text(b, "]");
}

static bool json_key(r2i_tbuilder *b, const r2i_tvalue *key, const r2i_tjson_style *style) {
    if (key->kind == R2I_TV_STRING) return json_string(b, key->as.string, style);
    if (key->kind > R2I_TV_FLOAT || key->kind == R2I_TV_UNDEFINED) {
        return r2i_trun_fail(b->run, R2_E_FORMAT, "JSON keys cannot be %s",
                             r2i_tvalue_type_name(key));
    }
    return r2i_tbuilder_add_text(b, "\"") && json_scalar(b, key) && r2i_tbuilder_add_text(b, "\"");
}

/* Entries in order of their keys: a copy, sorted by insertion. */
static bool sorted_entries(r2i_trun *run, const r2i_tdict *dict, r2i_tentry **out) {
    r2i_tentry *entries = r2i_trun_take(run, dict->n_entries, sizeof *entries);
    if (entries == NULL) return false;
    for (size_t i = 0; i < dict->n_entries; i++) {
        size_t at = i;
        for (; at > 0; at--) {
            int order;
            if (!r2i_trun_work(run, 1)) return false;
            if (!r2i_tvalue_order(run, &dict->entries[i].key, &entries[at - 1].key, &order))
                return false;
            if (order >= 0) break;
            entries[at] = entries[at - 1];
        }
        entries[at] = dict->entries[i];
    }
    *out = entries;
    return true;
}

static bool json_dict(r2i_tbuilder *b, const r2i_tdict *dict, const r2i_tjson_style *style,
                      int level) {
    if (style->repeats && dict->source != NULL) return r2i_tbuilder_add_string(b, dict->source);
    if (dict->n_entries == 0) return r2i_tbuilder_add_text(b, "{}");
    r2i_tentry *entries = dict->entries;
    if (style->sort_keys && !sorted_entries(b->run, dict, &entries)) return false;
    if (!r2i_tbuilder_add_text(b, "{")) return false;
    for (size_t i = 0; i < dict->n_entries; i++) {
        if (i != 0 && !r2i_tbuilder_add_string(b, style->item_separator)) return false;
        if (!json_newline(b, style, level + 1) || !json_key(b, &entries[i].key, style))
            return false;
        if (!r2i_tbuilder_add_string(b, style->key_separator)) return false;
        if (!json_value(b, &entries[i].value, style, level + 1)) return false;
    }
    return json_newline(b, style, level) && r2i_tbuilder_add_text(b, "}");
}

static bool json_value(r2i_tbuilder *b, const r2i_tvalue *v, const r2i_tjson_style *style,
                       int level) {
    if (v->kind == R2I_TV_STRING) return json_string(b, v->as.string, style);
    if (!r2i_trun_enter(b->run)) return false;
    bool ok;
    if (v->kind == R2I_TV_SEQUENCE && v->as.sequence->flavor <= R2I_TS_TUPLE) {
        ok = json_list(b, v->as.sequence, style, level);
    } else if (v->kind == R2I_TV_DICT) {
        ok = json_dict(b, v->as.dict, style, level);
    } else {
        ok = json_scalar(b, v);
    }
    r2i_trun_leave(b->run);
    return ok;
}

bool r2i_tbuilder_add_json(r2i_tbuilder *b, const r2i_tvalue *v, const r2i_tjson_style *style) {
    return json_value(b, v, style, 0);
}
