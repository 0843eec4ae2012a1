/* eval_data.h - the files of an evaluation suite, as --data names them. */
#ifndef R2I_EVAL_DATA_H
#define R2I_EVAL_DATA_H
#include "base/buffer.h"
#include "cli/program.h"
#include "r2lm/eval.h"

enum { R2I_MAX_EVAL_DATA = 256 };

typedef struct {
    r2_eval_data data[R2I_MAX_EVAL_DATA];
    r2i_buffer bytes[R2I_MAX_EVAL_DATA];
    int32_t n;
} r2i_eval_files;

/* Reads files, and of folders those that the suite knows; gzip is unpacked.  R2_E_ARGUMENT: the suite needs
 * data and none was named (the text says where it comes from); R2_E_NOT_FOUND, R2_E_FORMAT, R2_E_IO.
 * To be freed also after a failure. */
R2_CHECKED r2_status r2i_eval_files_read(r2i_eval_files *out, r2i_program *program,
                                         const r2_eval_suite *suite, r2_error *err);
void r2i_eval_files_free(r2i_eval_files *files);
#endif
