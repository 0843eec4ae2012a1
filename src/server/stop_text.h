/* stop_text.h - ends an answer at a stop text, of which no part is ever sent. */
#ifndef R2I_STOP_TEXT_H
#define R2I_STOP_TEXT_H
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"

typedef struct {
    const char *const *stops; /* borrowed */
    int32_t n_stops;
    r2i_buffer held; /* what may be the beginning of a stop text */
    bool is_over;    /* one was found */
} r2i_stop_text;

void r2i_stop_text_init(r2i_stop_text *stop, r2i_heap *heap, const char *const *stops,
                        int32_t n_stops);
void r2i_stop_text_destroy(r2i_stop_text *stop);
/* Takes more of the answer; appends to `out` what is surely none of a stop text.  Nothing after is_over.
 * With is_last, what was held back too. */
R2_CHECKED r2_status r2i_stop_text_feed(r2i_stop_text *stop, const char *text, bool is_last,
                                        r2i_buffer *out, r2_error *err);
#endif
