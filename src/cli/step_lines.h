/* step_lines.h - files of a run with a line of JSON per step, or several: metrics, samples. */
#ifndef R2I_STEP_LINES_H
#define R2I_STEP_LINES_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Opens the file for lines of `step` and later.  A run that goes on keeps those before; what it told of steps
 * that its checkpoint knows nothing of is told again.  NULL: it cannot be written. */
FILE *r2i_step_lines_open(const char *path, bool is_resuming, int64_t step);
/* Writes one line and takes the object, also on failure.  NULL, as json_pack says it, is a failure. */
bool r2i_step_line_write(FILE *file, json_t *line);
#endif
