/* json_scan.h - walks JSON text without building a tree.
 *
 * tokenizer.json holds 300,000 strings; a tree of them takes longer than all else at start-up.  The
 * scanner reads vocabulary and merges in place and hands every other value over as a span of text.
 * Strict: UTF-8, no raw control characters, no lone surrogates, depth and number length limited. */
#ifndef R2I_JSON_SCAN_H
#define R2I_JSON_SCAN_H
#include "base/arena.h"
#include "text/tokenizer.h"

typedef struct {
    const char *begin, *at, *end;
    r2i_arena *arena;    /* unescaped strings live here */
    const char *problem; /* what was expected at `at`, once something failed */
} r2i_json_scan;

void r2i_json_scan_init(r2i_json_scan *scan, r2i_text_view text, r2i_arena *arena);
/* The functions below skip white space first and return false on failure (`problem` is set). */
bool r2i_json_scan_take(r2i_json_scan *scan, char punctuation);
/* A string without its quotes, unescaped; a view into the text where it has no escapes. */
bool r2i_json_scan_string(r2i_json_scan *scan, r2i_text_view *out);
/* An unsigned integer of at most 9 digits. */
bool r2i_json_scan_integer(r2i_json_scan *scan, int32_t *out);
/* Any value, as its text.  Only nesting and strings are looked at: parse it before use. */
bool r2i_json_scan_value(r2i_json_scan *scan, r2i_text_view *out);
/* Next member or element of an object or array whose opening bracket was taken: reads the comma
 * between; false without `problem` behind the closing bracket.  *is_first is true at first. */
bool r2i_json_scan_next(r2i_json_scan *scan, char closing, bool *is_first);
/* Next key of an object, its colon taken. */
bool r2i_json_scan_key(r2i_json_scan *scan, bool *is_first, r2i_text_view *key);
/* Is `c` next?  Takes nothing but white space. */
bool r2i_json_scan_sees(r2i_json_scan *scan, char c);
/* "label: byte 17: expected a string". */
r2_status r2i_json_scan_fail(const r2i_json_scan *scan, const char *label, r2_error *err);
#endif
