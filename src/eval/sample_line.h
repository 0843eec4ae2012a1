/* sample_line.h - a judged answer as a line of samples.jsonl, and back. */
#ifndef R2I_SAMPLE_LINE_H
#define R2I_SAMPLE_LINE_H
#include "eval/score_summary.h"

/* The caller's; NULL: no memory.  Marks in a->calls become readable. */
json_t *r2i_sample_line_make(const r2i_eval_item *item, const r2i_eval_answer *a);
/* R2_E_FORMAT; R2_E_MISMATCH: an answer to another question than `item`. */
R2_CHECKED r2_status r2i_sample_line_read(r2i_eval_record *out, const json_t *line,
                                          const r2i_eval_item *item, r2_error *err);
#endif
