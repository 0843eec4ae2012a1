/* json_escape.h - any bytes as a JSON string: bad UTF-8 becomes U+FFFD. */
#ifndef R2I_JSON_ESCAPE_H
#define R2I_JSON_ESCAPE_H
#include "base/buffer.h"

/* Appends it with its quotation marks; no line feed and no byte 0 is in it. */
R2_CHECKED r2_status r2i_json_escape(r2i_buffer *to, const char *text, size_t n, r2_error *err);
#endif
