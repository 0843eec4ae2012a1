/* json_text.h - JSON of clients, read strictly, and ours, written. */
#ifndef R2I_JSON_TEXT_H
#define R2I_JSON_TEXT_H
#include <jansson.h>

#include "base/buffer.h"

/* Appends the value on one line and takes it.  R2_E_NOMEM, also for NULL. */
R2_CHECKED r2_status r2i_json_append(r2i_buffer *out, json_t *value);
/* An object of at most 64 levels and 2^18 values, without duplicate keys, zero characters or bytes behind it;
 * the caller owns it.  R2_E_FORMAT with line and column, R2_E_LIMIT. */
R2_CHECKED r2_status r2i_json_parse(json_t **out, const char *text, size_t n_bytes, r2_error *err);
#endif
