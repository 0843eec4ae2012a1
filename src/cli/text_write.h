/* text_write.h - small files that appear whole or not at all. */
#ifndef R2I_TEXT_WRITE_H
#define R2I_TEXT_WRITE_H
#include <stddef.h>

#include "r2lm/status.h"

/* Writes all bytes to an open file; `path` is for messages.  R2_E_IO. */
R2_CHECKED r2_status r2i_text_write_to(int file, const char *text, size_t n_bytes, const char *path,
                                       r2_error *err);
/* Puts a file in place under its final name when it is complete: the old one stays until then, and
 * the new one has its mode.  Where there was none the mode is `mode`, such as 0600 for what people
 * wrote.  R2_E_ARGUMENT: a device or pipe, which a rename would replace; R2_E_IO. */
R2_CHECKED r2_status r2i_text_write(const char *path, const char *text, size_t n_bytes,
                                    unsigned mode, r2_error *err);
#endif
