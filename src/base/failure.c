#include "base/failure.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *r2_status_name(r2_status status) {
    switch (status) {
#define R2I_CASE(name, code, text) \
    case name:                     \
        return #name;
        R2_STATUS_LIST(R2I_CASE)
#undef R2I_CASE
    }
    return "R2_E_UNKNOWN";
}

const char *r2_status_text(r2_status status) {
    switch (status) {
#define R2I_CASE(name, code, text) \
    case name:                     \
        return text;
        R2_STATUS_LIST(R2I_CASE)
#undef R2I_CASE
    }
    return "unknown status";
}

/* Error text ends up on terminals and in logs: no escape sequence may ride on a file's names, and
 * no cut through a UTF-8 sequence may be left at the end. */
static void make_printable(char *text) {
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f) text[i] = '?';
        /* C1 in UTF-8 (C2 80..C2 9F): U+009B begins an escape sequence as ESC [ does. */
        const unsigned char next = (unsigned char)text[i + 1];
        if (c == 0xc2 && next >= 0x80 && next <= 0x9f) text[i] = text[i + 1] = '?';
    }
    if (n != R2_ERROR_TEXT_BYTES - 1) return;
    size_t tail = n;
    while (tail > 0 && ((unsigned char)text[tail - 1] & 0xc0) == 0x80)
        tail--;
    if (tail > 0 && (unsigned char)text[tail - 1] >= 0xc0) text[tail - 1] = '\0';
}

r2_status r2i_fail(r2_error *err, r2_status code, const char *format, ...) {
    if (err == NULL) return code;
    err->code = code;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    make_printable(err->text);
    return code;
}

r2_status r2i_fail_at(r2_error *err, r2_status code, const char *prefix) {
    if (err == NULL) return code;
    char inner[R2_ERROR_TEXT_BYTES];
    memcpy(inner, err->text, sizeof inner);
    return r2i_fail(err, code, "%s: %s", prefix, inner);
}

r2_status r2i_fail_file(r2_status code, r2_error *err) {
    if (code != R2_E_RANGE) return code;
    if (err != NULL) err->code = R2_E_FORMAT;
    return R2_E_FORMAT;
}

#if defined(R2I_DEBUG)
#include <stdlib.h>
void r2i_assert_failed(const char *expression, const char *file, int line) {
    fprintf(stderr, "%s:%d: bug: %s\n", file, line, expression);
    abort();
}
#endif
