/* call_value.h - where a JSON value ends, byte by byte, whatever is in it.
 *
 * Brackets are counted, strings followed; nothing else is checked, so that what a model writes can be
 * passed on as it comes. */
#ifndef R2I_CALL_VALUE_H
#define R2I_CALL_VALUE_H
#include <stdbool.h>
#include <stdint.h>

typedef enum { R2I_VALUE_ON, R2I_VALUE_LAST, R2I_VALUE_BEHIND } r2i_value_step;

/* All zero: before the first byte. */
typedef struct {
    int32_t depth; /* open brackets */
    bool is_begun, is_string, is_escaped;
} r2i_call_value;

/* Takes a byte: the value goes on, this was its last one, or this is behind it (numbers and words).
 * Blanks in front belong to it. */
static inline r2i_value_step r2i_call_value_take(r2i_call_value *v, char c) {
    const bool is_blank = c == ' ' || c == '\n' || c == '\t' || c == '\r';
    if (v->is_string) {
        v->is_string = v->is_escaped || c != '"';
        v->is_escaped = !v->is_escaped && c == '\\';
        return v->is_string || v->depth > 0 ? R2I_VALUE_ON : R2I_VALUE_LAST;
    }
    if (v->depth == 0 && (c == ',' || c == '}' || c == ']' || (is_blank && v->is_begun)))
        return R2I_VALUE_BEHIND;
    v->is_begun |= !is_blank;
    v->is_string = c == '"';
    if ((c == '{' || c == '[') && v->depth < INT32_MAX) v->depth++;
    if (c == '}' || c == ']') v->depth--;
    return v->depth == 0 && (c == '}' || c == ']') ? R2I_VALUE_LAST : R2I_VALUE_ON;
}
#endif
