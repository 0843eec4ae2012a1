/* eval_report.h - an evaluation as one HTML page: numbers, plots, every answer.  Nothing in it is loaded from
 * elsewhere and nothing in it runs; what models wrote is text. */
#ifndef R2I_EVAL_REPORT_H
#define R2I_EVAL_REPORT_H
#include "base/buffer.h"
#include "cli/program.h"

/* Writes FOLDER/report.html from its summary.json and samples.jsonl.  R2_E_FORMAT, R2_E_IO, R2_E_LIMIT. */
R2_CHECKED r2_status r2i_eval_report_write(r2i_program *program, const char *folder, r2_error *err);
#endif
