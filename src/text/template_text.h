/* template_text.h - strings of a template: building, searching, slicing, with their ranges of
 * untrusted bytes kept; and the forms in which values are written. */
#ifndef R2I_TEMPLATE_TEXT_H
#define R2I_TEMPLATE_TEXT_H
#include "text/template_value.h"

/* Text under construction.  All memory is the run's. */
struct r2i_tbuilder {
    r2i_trun *run;
    char *bytes;
    size_t n_bytes, cap_bytes;
    r2i_text_range *ranges;
    size_t n_ranges, cap_ranges;
};

void r2i_tbuilder_init(r2i_tbuilder *b, r2i_trun *run);
/* Appends bytes; fails beyond R2I_TEMPLATE_MAX_TEXT_BYTES. */
bool r2i_tbuilder_add(r2i_tbuilder *b, const char *bytes, size_t n_bytes, bool is_untrusted);
bool r2i_tbuilder_add_text(r2i_tbuilder *b, const char *text);
/* Appends bytes [begin, end) of s with their marks. */
bool r2i_tbuilder_add_slice(r2i_tbuilder *b, const r2i_tstring *s, size_t begin, size_t end);
bool r2i_tbuilder_add_string(r2i_tbuilder *b, const r2i_tstring *s);
/* str(v) and repr(v). */
bool r2i_tbuilder_add_value(r2i_tbuilder *b, const r2i_tvalue *v);
bool r2i_tbuilder_add_repr(r2i_tbuilder *b, const r2i_tvalue *v);
bool r2i_tbuilder_finish(const r2i_tbuilder *b, r2i_tvalue *out);

/* Bytes of the first character; at least 1 for n_bytes > 0. */
size_t r2i_utf8_bytes(const char *bytes, size_t n_bytes);
size_t r2i_utf8_count(const char *bytes, size_t n_bytes);
/* The first character and its size.  U+FFFD and 1 for malformed bytes. */
uint32_t r2i_utf8_read(const char *bytes, size_t n_bytes, size_t *n_used);
/* Byte position of character `index`, n_bytes when there are fewer. */
size_t r2i_utf8_position(const char *bytes, size_t n_bytes, size_t index);
/* White space as Python's str.isspace() and \s understand it. */
bool r2i_code_is_space(uint32_t code);

bool r2i_tstring_equal(const r2i_tstring *a, const r2i_tstring *b);
bool r2i_tstring_is(const r2i_tstring *s, const char *text);
int r2i_tstring_order(const r2i_tstring *a, const r2i_tstring *b);
/* First position >= from, or SIZE_MAX. */
size_t r2i_tstring_find(const r2i_tstring *s, const r2i_tstring *part, size_t from);
/* Last position whose match ends at or before `end`, or SIZE_MAX. */
size_t r2i_tstring_find_last(const r2i_tstring *s, const r2i_tstring *part, size_t end);
/* Shares the bytes of s, which must live as long. */
bool r2i_tstring_slice(r2i_trun *run, const r2i_tstring *s, size_t begin, size_t end,
                       r2i_tvalue *out);
/* Copies bytes into the run. */
bool r2i_tstring_create(r2i_trun *run, const char *bytes, size_t n_bytes, bool is_untrusted,
                        r2i_tvalue *out);
/* Bytes to cut at both ends: characters of `chars`, or white space when it is NULL. */
void r2i_tstring_trim(const r2i_tstring *s, const r2i_tstring *chars, bool left, bool right,
                      size_t *begin, size_t *end);
bool r2i_tstring_has_untrusted(const r2i_tstring *s);

/* str(v): v itself when it is a string. */
bool r2i_tvalue_to_string(r2i_trun *run, const r2i_tvalue *v, const r2i_tstring **out);

/* Decimal text (digits, optional point and exponent) to double, independent of locale. */
bool r2i_float_parse(const char *bytes, size_t n_bytes, double *out);

typedef struct {
    const r2i_tstring *indent; /* NULL: one line */
    const r2i_tstring *item_separator, *key_separator;
    bool ensure_ascii, sort_keys;
    bool repeats; /* what was read from JSON is written as it was */
} r2i_tjson_style;
/* json.dumps(v). */
bool r2i_tbuilder_add_json(r2i_tbuilder *b, const r2i_tvalue *v, const r2i_tjson_style *style);
#endif
