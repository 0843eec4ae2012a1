/* answer_check.h - whether an answer is the one that the data give. */
#ifndef R2I_ANSWER_CHECK_H
#define R2I_ANSWER_CHECK_H
#include "r2lm/distill.h"

/* `answer` is what stands behind the thoughts. */
bool r2i_answer_is_right(r2_answer_check check, const char *answer, const char *expected);
#endif
