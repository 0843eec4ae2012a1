/* utf8_valid.h - is this text UTF-8 as RFC 3629 has it: no overlong form, no surrogate. */
#ifndef R2I_UTF8_VALID_H
#define R2I_UTF8_VALID_H
#include <stdbool.h>
#include <stddef.h>

bool r2i_utf8_is_valid(const char *text, size_t n_bytes);
#endif
