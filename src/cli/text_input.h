/* text_input.h - texts from flags, files and standard input. */
#ifndef R2I_TEXT_INPUT_H
#define R2I_TEXT_INPUT_H
#include "base/buffer.h"
#include "cli/program.h"

/* An empty text buffer with the program's limit for texts. */
void r2i_prompt_buffer_init(r2i_buffer *buffer, r2i_program *program);
/* Appends a whole file; "-" is standard input.  R2_E_NOT_FOUND, R2_E_FORMAT a
 * folder, R2_E_IO, R2_E_LIMIT. */
R2_CHECKED r2_status r2i_file_append(r2i_buffer *out, const char *path, r2_error *err);
/* The text a command works on: -p, words from first_word on, -f, and standard input if nothing else
 * is given or behind words.  -p alone leaves standard input alone: a script's own stays untouched.
 * R2_E_ARGUMENT: no text at all. */
R2_CHECKED r2_status r2i_prompt_collect(r2i_buffer *out, r2i_program *program, int first_word,
                                        r2_error *err);
/* R2_E_FORMAT: it holds a zero byte or is no UTF-8, so no chat template can take it. */
R2_CHECKED r2_status r2i_prompt_check(const r2i_buffer *prompt, r2_error *err);
#endif
