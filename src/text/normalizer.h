/* normalizer.h - Unicode normal form C. */
#ifndef R2I_NORMALIZER_H
#define R2I_NORMALIZER_H
#include <stdbool.h>
#include "base/buffer.h"

/* True when text (valid UTF-8) is certainly in NFC already; quick, may say false for NFC text. */
bool r2i_nfc_is_certain(const char *text, size_t n_bytes);
/* Appends the NFC of text (valid UTF-8) to *out.  Runs of more than 256 combining characters, which
 * no writing has, are normalised in parts so that time stays linear. */
R2_CHECKED r2_status r2i_nfc_append(r2i_buffer *out, const char *text, size_t n_bytes,
                                    r2_error *err);
#endif
