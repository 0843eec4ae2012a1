/* Strings with marks. */
#define _GNU_SOURCE /* memmem */
#include "text/template_text.h"

#include <string.h>

#include "base/checked.h"
#include "text/utf8_scan.h"

void r2i_tbuilder_init(r2i_tbuilder *b, r2i_trun *run) {
    *b = (r2i_tbuilder){ .run = run };
}

static bool make_room(r2i_tbuilder *b, size_t n_more) {
    if (n_more > R2I_TEMPLATE_MAX_TEXT_BYTES - b->n_bytes) {
        return r2i_trun_fail(b->run, R2_E_LIMIT, "text grows beyond %d MiB",
                             R2I_TEMPLATE_MAX_TEXT_BYTES / (1024 * 1024));
    }
    if (n_more <= b->cap_bytes - b->n_bytes) return true;
    const size_t cap = r2i_max_size(r2i_max_size(2 * b->cap_bytes, b->n_bytes + n_more), 32);
    char *bytes = r2i_trun_take(b->run, cap, 1);
    if (bytes == NULL) return false;
    if (b->n_bytes != 0) memcpy(bytes, b->bytes, b->n_bytes);
    b->bytes = bytes;
    b->cap_bytes = cap;
    return true;
}

/* Marks [begin, end) of the built text, which lies behind all earlier marks. */
static bool mark(r2i_tbuilder *b, size_t begin, size_t end) {
    if (begin == end) return true;
    if (b->n_ranges != 0 && b->ranges[b->n_ranges - 1].end == begin) {
        b->ranges[b->n_ranges - 1].end = end;
        return true;
    }
    if (b->n_ranges == b->cap_ranges) {
        const size_t cap = b->cap_ranges == 0 ? 2 : 2 * b->cap_ranges;
        r2i_text_range *ranges = r2i_trun_take(b->run, cap, sizeof *ranges);
        if (ranges == NULL) return false;
        if (b->n_ranges != 0) memcpy(ranges, b->ranges, b->n_ranges * sizeof *ranges);
        b->ranges = ranges;
        b->cap_ranges = cap;
    }
    b->ranges[b->n_ranges++] = (r2i_text_range){ begin, end };
    return true;
}

bool r2i_tbuilder_add(r2i_tbuilder *b, const char *bytes, size_t n_bytes, bool is_untrusted) {
    if (n_bytes == 0) return true;
    if (!make_room(b, n_bytes) || !r2i_trun_work_bytes(b->run, n_bytes)) return false;
    memcpy(b->bytes + b->n_bytes, bytes, n_bytes);
    b->n_bytes += n_bytes;
    return !is_untrusted || mark(b, b->n_bytes - n_bytes, b->n_bytes);
}

bool r2i_tbuilder_add_text(r2i_tbuilder *b, const char *text) {
    return r2i_tbuilder_add(b, text, strlen(text), false);
}

bool r2i_tbuilder_add_slice(r2i_tbuilder *b, const r2i_tstring *s, size_t begin, size_t end) {
    if (begin >= end) return true;
    const size_t base = b->n_bytes;
    if (!r2i_tbuilder_add(b, s->bytes + begin, end - begin, false)) return false;
    if (!r2i_trun_work(b->run, s->n_ranges / 16)) return false;
    for (size_t i = 0; i < s->n_ranges; i++) {
        const size_t from = r2i_max_size(s->ranges[i].begin, begin);
        const size_t to = r2i_min_size(s->ranges[i].end, end);
        if (from < to && !mark(b, base + from - begin, base + to - begin)) return false;
    }
    return true;
}

bool r2i_tbuilder_add_string(r2i_tbuilder *b, const r2i_tstring *s) {
    return r2i_tbuilder_add_slice(b, s, 0, s->n_bytes);
}

bool r2i_tbuilder_finish(const r2i_tbuilder *b, r2i_tvalue *out) {
    r2i_tstring *s = r2i_trun_take(b->run, 1, sizeof *s);
    if (s == NULL) return false;
    *s = (r2i_tstring){ b->bytes, b->n_bytes, b->ranges, b->n_ranges, false };
    if (s->bytes == NULL) s->bytes = "";
    *out = r2i_tvalue_string(s);
    return true;
}

size_t r2i_utf8_bytes(const char *bytes, size_t n_bytes) {
    const unsigned char lead = (unsigned char)bytes[0];
    const size_t n = lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    return r2i_min_size(n, n_bytes);
}

size_t r2i_utf8_count(const char *bytes, size_t n_bytes) {
    size_t n = 0;
    for (size_t i = 0; i < n_bytes; i++)
        n += ((unsigned char)bytes[i] & 0xc0) != 0x80;
    return n;
}

uint32_t r2i_utf8_read(const char *bytes, size_t n_bytes, size_t *n_used) {
    const r2i_utf8_step step = r2i_utf8_next(bytes, n_bytes);
    const bool is_char = step.kind == R2I_UTF8_CHAR;
    *n_used = is_char ? (size_t)step.n_bytes : 1;
    return is_char ? (uint32_t)step.code_point : 0xfffd;
}

size_t r2i_utf8_position(const char *bytes, size_t n_bytes, size_t index) {
    size_t at = 0;
    while (index-- > 0 && at < n_bytes)
        at += r2i_utf8_bytes(bytes + at, n_bytes - at);
    return at;
}

bool r2i_code_is_space(uint32_t c) {
    if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x1f);
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
           c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool r2i_tstring_equal(const r2i_tstring *a, const r2i_tstring *b) {
    return a->n_bytes == b->n_bytes &&
           (a->n_bytes == 0 || memcmp(a->bytes, b->bytes, a->n_bytes) == 0);
}

bool r2i_tstring_is(const r2i_tstring *s, const char *text) {
    const size_t n = strlen(text);
    return s->n_bytes == n && (n == 0 || memcmp(s->bytes, text, n) == 0);
}

int r2i_tstring_order(const r2i_tstring *a, const r2i_tstring *b) {
    const size_t n = r2i_min_size(a->n_bytes, b->n_bytes);
    const int order = n == 0 ? 0 : memcmp(a->bytes, b->bytes, n);
    if (order != 0) return order < 0 ? -1 : 1;
    return a->n_bytes < b->n_bytes ? -1 : a->n_bytes > b->n_bytes;
}

size_t r2i_tstring_find(const r2i_tstring *s, const r2i_tstring *part, size_t from) {
    if (from > s->n_bytes || part->n_bytes > s->n_bytes - from) return SIZE_MAX;
    if (part->n_bytes == 0) return from;
    const char *found = memmem(s->bytes + from, s->n_bytes - from, part->bytes, part->n_bytes);
    return found == NULL ? SIZE_MAX : (size_t)(found - s->bytes);
}

size_t r2i_tstring_find_last(const r2i_tstring *s, const r2i_tstring *part, size_t end) {
    if (part->n_bytes > end) return SIZE_MAX;
    /* The last byte filters first; hostile repetitions still cost n * m, so callers charge for both. */
    for (size_t at = end - part->n_bytes + 1; at-- > 0;) {
        if (part->n_bytes == 0 || memcmp(s->bytes + at, part->bytes, part->n_bytes) == 0) return at;
    }
    return SIZE_MAX;
}

bool r2i_tstring_slice(r2i_trun *run, const r2i_tstring *s, size_t begin, size_t end,
                       r2i_tvalue *out) {
    if (begin == 0 && end == s->n_bytes) {
        *out = r2i_tvalue_string(s);
        return true;
    }
    if (!r2i_trun_work(run, s->n_ranges / 16)) return false;
    size_t first = 0, n = 0;
    while (first < s->n_ranges && s->ranges[first].end <= begin)
        first++;
    while (first + n < s->n_ranges && s->ranges[first + n].begin < end)
        n++;
    r2i_tstring *slice = r2i_trun_take(run, 1, sizeof *slice);
    r2i_text_range *ranges = n == 0 ? NULL : r2i_trun_take(run, n, sizeof *ranges);
    if (slice == NULL || (n != 0 && ranges == NULL)) return false;
    for (size_t i = 0; i < n; i++) {
        ranges[i].begin = r2i_max_size(s->ranges[first + i].begin, begin) - begin;
        ranges[i].end = r2i_min_size(s->ranges[first + i].end, end) - begin;
    }
    *slice = (r2i_tstring){ s->bytes + begin, end - begin, ranges, n, s->is_markup };
    *out = r2i_tvalue_string(slice);
    return true;
}

bool r2i_tstring_create(r2i_trun *run, const char *bytes, size_t n_bytes, bool is_untrusted,
                        r2i_tvalue *out) {
    r2i_tbuilder b;
    r2i_tbuilder_init(&b, run);
    return r2i_tbuilder_add(&b, bytes, n_bytes, is_untrusted) && r2i_tbuilder_finish(&b, out);
}

static bool is_cut(uint32_t code, const r2i_tstring *chars) {
    if (chars == NULL) return r2i_code_is_space(code);
    for (size_t i = 0; i < chars->n_bytes;) {
        size_t used;
        if (r2i_utf8_read(chars->bytes + i, chars->n_bytes - i, &used) == code) return true;
        i += used;
    }
    return false;
}

void r2i_tstring_trim(const r2i_tstring *s, const r2i_tstring *chars, bool left, bool right,
                      size_t *begin, size_t *end) {
    size_t from = 0, to = s->n_bytes, used;
    while (left && from < to && is_cut(r2i_utf8_read(s->bytes + from, to - from, &used), chars))
        from += used;
    while (right && from < to) {
        size_t last = to - 1;
        while (last > from && ((unsigned char)s->bytes[last] & 0xc0) == 0x80)
            last--;
        if (!is_cut(r2i_utf8_read(s->bytes + last, to - last, &used), chars)) break;
        to = last;
    }
    *begin = from;
    *end = to;
}

bool r2i_tstring_has_untrusted(const r2i_tstring *s) {
    return s->n_ranges != 0;
}

bool r2i_tvalue_to_string(r2i_trun *run, const r2i_tvalue *v, const r2i_tstring **out) {
    r2i_tvalue text = *v;
    if (v->kind != R2I_TV_STRING) {
        r2i_tbuilder b;
        r2i_tbuilder_init(&b, run);
        if (!r2i_tbuilder_add_value(&b, v) || !r2i_tbuilder_finish(&b, &text)) return false;
    }
    *out = text.as.string;
    return true;
}
