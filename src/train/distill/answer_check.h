/* answer_check.h - whether an answer is the one that the data give. */
#ifndef R2I_ANSWER_CHECK_H
#define R2I_ANSWER_CHECK_H
#include "r2lm/distill.h"

/* `answer` is what stands behind the thoughts; `task` is read for R2_CHECK_TASK.  Fails for that alone: as
 * r2_task_grade. */
R2_CHECKED r2_status r2i_answer_check(bool *is_right, r2_answer_check check, const char *task,
                                      const char *expected, const char *answer, const r2_host *host,
                                      r2_error *err);
#endif
