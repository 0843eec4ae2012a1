/* line_program.h - a trusted program that is given a line and answers with one.
 *
 * It has one socket as standard input and output, keeps our standard error, and leads a session of its own:
 * Ctrl-C reaches us alone, and it is ended with all that it started. */
#ifndef R2I_LINE_PROGRAM_H
#define R2I_LINE_PROGRAM_H
#include <stdbool.h>
#include <sys/types.h>

#include "base/buffer.h"

typedef enum { R2I_LINE_OK, R2I_LINE_TIMEOUT, R2I_LINE_ENDED, R2I_LINE_TOO_LONG } r2i_line_end;

typedef struct {
    pid_t pid; /* 0: not running */
    int socket;
    r2i_buffer reply; /* the line that came, without its end */
    char why[120];    /* what went wrong, in words; exit_code of one that ended, or -1 */
    int exit_code;
} r2i_line_program;

/* Starts it: `command` as a shell reads it, with this process's environment.  R2_E_IO. */
R2_CHECKED r2_status r2i_line_program_start(r2i_line_program *p, const char *command,
                                            r2_error *err);
/* One line there (its end included), one back.  Whatever is not R2I_LINE_OK ended the program.  *status:
 * R2_E_NOMEM alone. */
r2i_line_end r2i_line_program_ask(r2i_line_program *p, const char *line, size_t n_bytes,
                                  double seconds, r2_status *status, r2_error *err);
/* Ends it, at once or after it saw the end of its input. */
void r2i_line_program_stop(r2i_line_program *p, bool is_now);
#endif
