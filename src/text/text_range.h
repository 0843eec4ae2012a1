/* text_range.h - half-open byte ranges of a text, here: those whose bytes somebody untrusted wrote. */
#ifndef R2I_TEXT_RANGE_H
#define R2I_TEXT_RANGE_H
#include <stddef.h>

typedef struct {
    size_t begin, end; /* bytes [begin, end); lists are ascending, never touch and never overlap */
} r2i_text_range;
#endif
