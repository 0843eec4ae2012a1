/* Methods of strings, but for those about letters (template_case.c). */
#include <string.h>

#include "base/checked.h"
#include "text/template_eval.h"

#define METHOD(name) \
    static bool name(r2i_trun *run, const r2i_tvalue *self, const r2i_tbound *args, r2i_tvalue *out)

static bool trim(r2i_trun *run, const r2i_tvalue *self, const r2i_tbound *args, bool left,
                 bool right, r2i_tvalue *out) {
    const r2i_tstring *s = self->as.string, *chars;
    size_t begin, end;
    if (!r2i_tbound_string(run, args, 0, &chars)) return false;
    if (!r2i_trun_work(run, (s->n_bytes / 64 + 1) * (1 + (chars != NULL ? chars->n_bytes / 8 : 0))))
        return false;
    r2i_tstring_trim(s, chars, left, right, &begin, &end);
    return r2i_tstring_slice(run, s, begin, end, out);
}
METHOD(string_strip) {
    return trim(run, self, args, true, true, out);
}
METHOD(string_lstrip) {
    return trim(run, self, args, true, false, out);
}
METHOD(string_rstrip) {
    return trim(run, self, args, false, true, out);
}

static bool push_slice(r2i_trun *run, r2i_tsequence *list, const r2i_tstring *s, size_t begin,
                       size_t end) {
    r2i_tvalue piece;
    return r2i_tstring_slice(run, s, begin, end, &piece) && r2i_tsequence_push(run, list, piece);
}

/* Position of the next white space (or of the next other character) at or behind `at`. */
static size_t find_space(const r2i_tstring *s, size_t at, bool is_space) {
    while (at < s->n_bytes) {
        size_t used;
        if (r2i_code_is_space(r2i_utf8_read(s->bytes + at, s->n_bytes - at, &used)) == is_space)
            break;
        at += used;
    }
    return at;
}

static bool split_at_space(r2i_trun *run, const r2i_tstring *s, int64_t limit,
                           r2i_tsequence *list) {
    for (size_t at = find_space(s, 0, false); at < s->n_bytes;) {
        const size_t end = find_space(s, at, true);
        if (limit == 0) return push_slice(run, list, s, at, s->n_bytes); /* the rest in one piece */
        if (!push_slice(run, list, s, at, end)) return false;
        limit -= limit > 0;
        at = find_space(s, end, false);
    }
    return true;
}

static bool split_by(r2i_trun *run, const r2i_tstring *s, const r2i_tstring *by, int64_t limit,
                     r2i_tsequence *list) {
    size_t at = 0, found;
    while (limit != 0 && (found = r2i_tstring_find(s, by, at)) != SIZE_MAX) {
        if (!push_slice(run, list, s, at, found)) return false;
        at = found + by->n_bytes;
        limit -= limit > 0;
    }
    return push_slice(run, list, s, at, s->n_bytes);
}

METHOD(string_split) {
    const r2i_tstring *s = self->as.string, *by;
    int64_t limit;
    if (!r2i_tbound_string(run, args, 0, &by) || !r2i_tbound_int(run, args, 1, -1, &limit))
        return false;
    if (!r2i_tsequence_create(run, R2I_TS_LIST, 0, out) || !r2i_trun_work_bytes(run, s->n_bytes))
        return false;
    if (by != NULL && by->n_bytes == 0) return r2i_trun_fail(run, R2_E_FORMAT, "empty separator");
    return by == NULL ? split_at_space(run, s, limit, out->as.sequence)
                      : split_by(run, s, by, limit, out->as.sequence);
}

static void reverse_items(r2i_tsequence *list) {
    for (size_t i = 0, j = list->n_items; i + 1 < j; i++) {
        const r2i_tvalue held = list->items[i];
        list->items[i] = list->items[--j];
        list->items[j] = held;
    }
}

/* Like find_space, backwards: the end of the part before. */
static size_t find_space_back(const r2i_tstring *s, size_t end, bool is_space) {
    while (end > 0) {
        size_t at = end - 1, used;
        while (at > 0 && ((unsigned char)s->bytes[at] & 0xc0) == 0x80)
            at--;
        if (r2i_code_is_space(r2i_utf8_read(s->bytes + at, end - at, &used)) == is_space) break;
        end = at;
    }
    return end;
}

METHOD(string_rsplit) {
    const r2i_tstring *s = self->as.string, *by;
    int64_t limit;
    if (!r2i_tbound_string(run, args, 0, &by) || !r2i_tbound_int(run, args, 1, -1, &limit))
        return false;
    if (!r2i_tsequence_create(run, R2I_TS_LIST, 0, out) || !r2i_trun_work_bytes(run, s->n_bytes))
        return false;
    if (by != NULL && by->n_bytes == 0) return r2i_trun_fail(run, R2_E_FORMAT, "empty separator");
    if (by != NULL && !r2i_trun_work(run, s->n_bytes / 64 * (1 + by->n_bytes / 16))) return false;
    size_t end = by == NULL ? find_space_back(s, s->n_bytes, false) : s->n_bytes, found;
    while (by != NULL && limit != 0 && (found = r2i_tstring_find_last(s, by, end)) != SIZE_MAX) {
        if (!push_slice(run, out->as.sequence, s, found + by->n_bytes, end)) return false;
        end = found;
        limit -= limit > 0;
    }
    while (by == NULL && limit != 0 && end > 0) {
        const size_t begin = find_space_back(s, end, true);
        if (!push_slice(run, out->as.sequence, s, begin, end)) return false;
        end = find_space_back(s, begin, false);
        limit -= limit > 0;
    }
    if ((by != NULL || end > 0) && !push_slice(run, out->as.sequence, s, 0, end)) return false;
    reverse_items(out->as.sequence);
    return true;
}

/* Bytes of a line end at `at` as Python's splitlines sees it, or 0. */
static size_t line_end(const r2i_tstring *s, size_t at) {
    size_t used;
    const uint32_t c = r2i_utf8_read(s->bytes + at, s->n_bytes - at, &used);
    if (c == '\r' && at + 1 < s->n_bytes && s->bytes[at + 1] == '\n') return 2;
    return (c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
                   c == 0x2029
               ? used
               : 0;
}

METHOD(string_splitlines) {
    const r2i_tstring *s = self->as.string;
    const bool keep = r2i_tbound_truth(args, 0);
    size_t begin = 0;
    if (!r2i_tsequence_create(run, R2I_TS_LIST, 0, out) || !r2i_trun_work_bytes(run, s->n_bytes))
        return false;
    for (size_t at = 0; at < s->n_bytes;) {
        const size_t n = line_end(s, at);
        if (n != 0) {
            if (!push_slice(run, out->as.sequence, s, begin, at + (keep ? n : 0))) return false;
            begin = at + n;
        }
        at += n != 0 ? n : 1;
        while (at < s->n_bytes && ((unsigned char)s->bytes[at] & 0xc0) == 0x80)
            at++;
    }
    return begin == s->n_bytes || push_slice(run, out->as.sequence, s, begin, s->n_bytes);
}

/* The part of s that optional arguments i and i + 1 (start, end) select, in bytes. */
static bool window(r2i_trun *run, const r2i_tstring *s, const r2i_tbound *args, size_t i,
                   size_t *begin, size_t *end) {
    int64_t from, to;
    const int64_t n = (int64_t)r2i_utf8_count(s->bytes, s->n_bytes);
    if (!r2i_trun_work_bytes(run, s->n_bytes)) return false;
    if (!r2i_tbound_int(run, args, i, 0, &from) || !r2i_tbound_int(run, args, i + 1, n, &to))
        return false;
    if (from < 0) from = from + n < 0 ? 0 : from + n;
    if (to < 0) to = to + n < 0 ? 0 : to + n;
    if (to > n) to = n;
    *begin = from > to ? SIZE_MAX : r2i_utf8_position(s->bytes, s->n_bytes, (size_t)from);
    *end = r2i_utf8_position(s->bytes, s->n_bytes, (size_t)to);
    return true;
}

static bool affix_matches(const r2i_tstring *s, const r2i_tstring *part, size_t begin, size_t end,
                          bool at_end) {
    if (begin == SIZE_MAX || part->n_bytes > end - begin) return false;
    const size_t at = at_end ? end - part->n_bytes : begin;
    return part->n_bytes == 0 || memcmp(s->bytes + at, part->bytes, part->n_bytes) == 0;
}

static bool test_affix(r2i_trun *run, const r2i_tvalue *self, const r2i_tbound *args, bool at_end,
                       r2i_tvalue *out) {
    const r2i_tvalue *parts = &args->v[0];
    size_t n = 1, begin, end;
    bool is = false;
    if (r2i_tvalue_is_list(&args->v[0], R2I_TS_TUPLE)) {
        parts = args->v[0].as.sequence->items;
        n = args->v[0].as.sequence->n_items;
    }
    if (!window(run, self->as.string, args, 1, &begin, &end)) return false;
    for (size_t i = 0; i < n && !is; i++) {
        if (parts[i].kind != R2I_TV_STRING) {
            return r2i_trun_fail(run, R2_E_FORMAT, "expected a string, found %s",
                                 r2i_tvalue_type_name(&parts[i]));
        }
        is = affix_matches(self->as.string, parts[i].as.string, begin, end, at_end);
        if (!r2i_trun_work(run, 1)) return false;
    }
    *out = r2i_tvalue_bool(is);
    return true;
}
METHOD(string_startswith) {
    return test_affix(run, self, args, false, out);
}
METHOD(string_endswith) {
    return test_affix(run, self, args, true, out);
}

static bool find(r2i_trun *run, const r2i_tvalue *self, const r2i_tbound *args, bool last,
                 bool must, r2i_tvalue *out) {
    const r2i_tstring *s = self->as.string, *part;
    size_t begin, end, at = SIZE_MAX;
    if (!r2i_tbound_string(run, args, 0, &part) || !window(run, s, args, 1, &begin, &end))
        return false;
    if (part == NULL) return r2i_trun_fail(run, R2_E_FORMAT, "must be str, not NoneType");
    if (begin != SIZE_MAX) {
        const r2i_tstring inside = { .bytes = s->bytes, .n_bytes = end };
        if (last && !r2i_trun_work(run, s->n_bytes / 64 * (1 + part->n_bytes / 16))) return false;
        at = last ? r2i_tstring_find_last(&inside, part, end)
                  : r2i_tstring_find(&inside, part, begin);
        if (at < begin) at = SIZE_MAX;
    }
    if (at == SIZE_MAX && must) return r2i_trun_fail(run, R2_E_FORMAT, "substring not found");
    *out = r2i_tvalue_int(at == SIZE_MAX ? -1 : (int64_t)r2i_utf8_count(s->bytes, at));
    return true;
}
METHOD(string_find) {
    return find(run, self, args, false, false, out);
}
METHOD(string_rfind) {
    return find(run, self, args, true, false, out);
}
METHOD(string_index) {
    return find(run, self, args, false, true, out);
}
METHOD(string_rindex) {
    return find(run, self, args, true, true, out);
}

METHOD(string_count) {
    const r2i_tstring *s = self->as.string, *part;
    size_t begin, end;
    int64_t n = 0;
    if (!r2i_tbound_string(run, args, 0, &part) || !window(run, s, args, 1, &begin, &end))
        return false;
    if (part == NULL) return r2i_trun_fail(run, R2_E_FORMAT, "must be str, not NoneType");
    const r2i_tstring inside = { .bytes = s->bytes, .n_bytes = end };
    if (part->n_bytes == 0 && begin != SIZE_MAX)
        n = (int64_t)r2i_utf8_count(s->bytes + begin, end - begin) + 1;
    while (part->n_bytes != 0 && (begin = r2i_tstring_find(&inside, part, begin)) != SIZE_MAX) {
        begin += part->n_bytes;
        n++;
    }
    *out = r2i_tvalue_int(n);
    return true;
}

METHOD(string_replace) {
    const r2i_tstring *s = self->as.string, *from, *to;
    int64_t limit;
    if (!r2i_tbound_string(run, args, 0, &from) || !r2i_tbound_string(run, args, 1, &to))
        return false;
    if (!r2i_tbound_int(run, args, 2, -1, &limit)) return false;
    if (from == NULL || to == NULL)
        return r2i_trun_fail(run, R2_E_FORMAT, "must be str, not NoneType");
    r2i_tbuilder b;
    r2i_tbuilder_init(&b, run);
    size_t at = 0;
    while (limit != 0) {
        if (!r2i_trun_work(run, 1)) return false;
        if (from->n_bytes == 0) { /* between all characters */
            if (!r2i_tbuilder_add_string(&b, to)) return false;
            if (at == s->n_bytes) break;
            const size_t n = r2i_utf8_bytes(s->bytes + at, s->n_bytes - at);
            if (!r2i_tbuilder_add_slice(&b, s, at, at + n)) return false;
            at += n;
        } else {
            const size_t found = r2i_tstring_find(s, from, at);
            if (found == SIZE_MAX) break;
            if (!r2i_tbuilder_add_slice(&b, s, at, found) || !r2i_tbuilder_add_string(&b, to))
                return false;
            at = found + from->n_bytes;
        }
        limit -= limit > 0;
    }
    return r2i_tbuilder_add_slice(&b, s, at, s->n_bytes) && r2i_tbuilder_finish(&b, out);
}

METHOD(string_join) {
    const r2i_tvalue *items;
    size_t n;
    r2i_tbuilder b;
    r2i_tbuilder_init(&b, run);
    if (!r2i_tvalue_iterate(run, &args->v[0], &items, &n)) return false;
    for (size_t i = 0; i < n; i++) {
        if (items[i].kind != R2I_TV_STRING) {
            return r2i_trun_fail(run, R2_E_FORMAT,
                                 "sequence item %zu: expected str instance, %s found", i,
                                 r2i_tvalue_type_name(&items[i]));
        }
        if (!r2i_trun_work(run, 1) || (i != 0 && !r2i_tbuilder_add_string(&b, self->as.string)))
            return false;
        if (!r2i_tbuilder_add_string(&b, items[i].as.string)) return false;
    }
    return r2i_tbuilder_finish(&b, out);
}

static bool remove_affix(r2i_trun *run, const r2i_tvalue *self, const r2i_tbound *args, bool at_end,
                         r2i_tvalue *out) {
    const r2i_tstring *s = self->as.string, *part;
    if (!r2i_tbound_string(run, args, 0, &part)) return false;
    if (part == NULL) return r2i_trun_fail(run, R2_E_FORMAT, "must be str, not NoneType");
    const size_t n = affix_matches(s, part, 0, s->n_bytes, at_end) ? part->n_bytes : 0;
    return r2i_tstring_slice(run, s, at_end ? 0 : n, at_end ? s->n_bytes - n : s->n_bytes, out);
}
METHOD(string_removeprefix) {
    return remove_affix(run, self, args, false, out);
}
METHOD(string_removesuffix) {
    return remove_affix(run, self, args, true, out);
}

static bool partition(r2i_trun *run, const r2i_tvalue *self, const r2i_tbound *args, bool last,
                      r2i_tvalue *out) {
    const r2i_tstring *s = self->as.string, *by;
    if (!r2i_tbound_string(run, args, 0, &by)) return false;
    if (by == NULL || by->n_bytes == 0) return r2i_trun_fail(run, R2_E_FORMAT, "empty separator");
    if (!r2i_trun_work(run, s->n_bytes / 64 * (1 + by->n_bytes / 16))) return false;
    const size_t at = last ? r2i_tstring_find_last(s, by, s->n_bytes) : r2i_tstring_find(s, by, 0);
    if (!r2i_tsequence_create(run, R2I_TS_TUPLE, 3, out)) return false;
    r2i_tsequence *parts = out->as.sequence;
    if (at == SIZE_MAX) {
        const size_t n = last ? 0 : s->n_bytes;
        return push_slice(run, parts, s, 0, n) &&
               push_slice(run, parts, s, s->n_bytes, s->n_bytes) &&
               push_slice(run, parts, s, last ? 0 : s->n_bytes, s->n_bytes);
    }
    return push_slice(run, parts, s, 0, at) && push_slice(run, parts, s, at, at + by->n_bytes) &&
           push_slice(run, parts, s, at + by->n_bytes, s->n_bytes);
}
METHOD(string_partition) {
    return partition(run, self, args, false, out);
}
METHOD(string_rpartition) {
    return partition(run, self, args, true, out);
}

static bool pad(r2i_tbuilder *b, const r2i_tstring *fill, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (!r2i_trun_work(b->run, i % 16 == 0) || !r2i_tbuilder_add_string(b, fill)) return false;
    }
    return true;
}

static bool justify(r2i_trun *run, const r2i_tvalue *self, const r2i_tbound *args, char how,
                    r2i_tvalue *out) {
    static const r2i_tstring space = { .bytes = " ", .n_bytes = 1 },
                             zero = { .bytes = "0", .n_bytes = 1 };
    const r2i_tstring *s = self->as.string, *fill;
    int64_t width;
    if (!r2i_tbound_int(run, args, 0, 0, &width) || !r2i_tbound_string(run, args, 1, &fill))
        return false;
    if (fill == NULL) fill = how == 'z' ? &zero : &space;
    if (r2i_utf8_count(fill->bytes, fill->n_bytes) != 1) {
        return r2i_trun_fail(run, R2_E_FORMAT,
                             "The fill character must be exactly one character long");
    }
    const int64_t n = (int64_t)r2i_utf8_count(s->bytes, s->n_bytes),
                  missing = width > n ? width - n : 0;
    const int64_t left = how == 'l'   ? 0
                         : how == 'c' ? missing / 2 + (missing & width & 1)
                                      : missing;
    const size_t sign = how == 'z' && s->n_bytes != 0 && (s->bytes[0] == '-' || s->bytes[0] == '+');
    r2i_tbuilder b;
    r2i_tbuilder_init(&b, run);
    return r2i_tbuilder_add_slice(&b, s, 0, sign) && pad(&b, fill, left) &&
           r2i_tbuilder_add_slice(&b, s, sign, s->n_bytes) && pad(&b, fill, missing - left) &&
           r2i_tbuilder_finish(&b, out);
}
METHOD(string_ljust) {
    return justify(run, self, args, 'l', out);
}
METHOD(string_rjust) {
    return justify(run, self, args, 'r', out);
}
METHOD(string_center) {
    return justify(run, self, args, 'c', out);
}
METHOD(string_zfill) {
    return justify(run, self, args, 'z', out);
}

/* One field "{}", "{0}" or "{name}" of a format; conversions and widths are not supported. */
static bool format_field(r2i_trun *run, const r2i_tstring *field, const r2i_targs *args,
                         size_t *next, r2i_tbuilder *b) {
    size_t index = 0;
    bool is_number_field = true;
    for (size_t i = 0; i < field->n_bytes; i++) {
        const char c = field->bytes[i];
        if (strchr(".[!:{", c) != NULL) {
            return r2i_trun_fail(run, R2_E_UNSUPPORTED,
                                 "format: only {}, {0} and {name} are supported");
        }
        is_number_field = is_number_field && c >= '0' && c <= '9' && i < 6;
        if (is_number_field) index = 10 * index + (size_t)(c - '0');
    }
    if (field->n_bytes == 0) index = (*next)++;
    if (is_number_field && index < args->n_items)
        return r2i_tbuilder_add_value(b, &args->items[index]);
    for (size_t i = 0; i < args->n_named && !is_number_field; i++) {
        if (r2i_tstring_equal(args->named[i].name, field))
            return r2i_tbuilder_add_value(b, &args->named[i].value);
    }
    return r2i_trun_fail(run, R2_E_FORMAT, "format: no argument for a field");
}

METHOD(string_format) {
    const r2i_tstring *s = self->as.string;
    size_t next = 0;
    r2i_tbuilder b;
    r2i_tbuilder_init(&b, run);
    for (size_t at = 0; at < s->n_bytes; at++) {
        const char c = s->bytes[at];
        if (!r2i_trun_work(run, at % 16 == 0)) return false;
        if ((c == '{' || c == '}') && at + 1 < s->n_bytes && s->bytes[at + 1] == c) {
            at++;
        } else if (c == '{') {
            const char *end = memchr(s->bytes + at, '}', s->n_bytes - at);
            if (end == NULL)
                return r2i_trun_fail(run, R2_E_FORMAT, "expected '}' before end of string");
            const r2i_tstring field = { .bytes = s->bytes + at + 1,
                                        .n_bytes = (size_t)(end - s->bytes) - at - 1 };
            if (!format_field(run, &field, args->all, &next, &b)) return false;
            at = (size_t)(end - s->bytes);
            continue;
        } else if (c == '}') {
            return r2i_trun_fail(run, R2_E_FORMAT, "Single '}' encountered in format string");
        }
        if (!r2i_tbuilder_add_slice(&b, s, at, at + 1)) return false;
    }
    return r2i_tbuilder_finish(&b, out);
}

const r2i_tfunction *r2i_template_find_string_method(const r2i_tstring *name) {
    static const r2i_tfunction table[] = {
        { "strip", "chars", 0, string_strip },
        { "lstrip", "chars", 0, string_lstrip },
        { "rstrip", "chars", 0, string_rstrip },
        { "split", "sep maxsplit", 0, string_split },
        { "rsplit", "sep maxsplit", 0, string_rsplit },
        { "splitlines", "keepends", 0, string_splitlines },
        { "startswith", "prefix start end", 1, string_startswith },
        { "endswith", "suffix start end", 1, string_endswith },
        { "find", "sub start end", 1, string_find },
        { "rfind", "sub start end", 1, string_rfind },
        { "index", "sub start end", 1, string_index },
        { "rindex", "sub start end", 1, string_rindex },
        { "count", "sub start end", 1, string_count },
        { "replace", "old new count", 2, string_replace },
        { "join", "iterable", 1, string_join },
        { "removeprefix", "prefix", 1, string_removeprefix },
        { "removesuffix", "suffix", 1, string_removesuffix },
        { "partition", "sep", 1, string_partition },
        { "rpartition", "sep", 1, string_rpartition },
        { "ljust", "width fill", 1, string_ljust },
        { "rjust", "width fill", 1, string_rjust },
        { "center", "width fill", 1, string_center },
        { "zfill", "width", 1, string_zfill },
        { "format", "*", 0, string_format },
        { 0 },
    };
    const r2i_tfunction *found = r2i_tfunction_find(table, name);
    return found != NULL ? found : r2i_template_find_case_method(name);
}
