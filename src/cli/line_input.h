/* line_input.h - lines that a user types, with editing and history where there is a terminal. */
#ifndef R2I_LINE_INPUT_H
#define R2I_LINE_INPUT_H
#include "base/buffer.h"
#include "cli/program.h"

typedef struct r2i_line_input r2i_line_input;
typedef enum { R2I_LINE_READ, R2I_LINE_END, R2I_LINE_INTERRUPTED } r2i_line_result;

/* On a terminal lines are edited and kept in $XDG_STATE_HOME/r2lm/history (readable by its owner
 * alone); elsewhere they are read as they come, without prompts.  NULL: no memory. */
r2i_line_input *r2i_line_input_open(r2i_program *program);
void r2i_line_input_close(r2i_line_input *input);
/* Replaces the buffer's text by the next line, without its newline. */
r2i_line_result r2i_line_input_read(r2i_line_input *input, const char *prompt, r2i_buffer *out);
#endif
