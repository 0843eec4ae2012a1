/* judging.h - threads that judge answers while others are written: most wait for a program in the sandbox. */
#ifndef R2I_JUDGING_H
#define R2I_JUDGING_H
#include "eval/eval_answer.h"

typedef struct r2i_judges r2i_judges;

/* `items` and `suite` must outlive them.  R2_E_NOMEM, R2_E_IO: a thread cannot be started. */
R2_CHECKED r2_status r2i_judges_start(r2i_judges **out, const r2i_eval_suite *suite,
                                      const r2i_eval_item *items, const r2_host *host,
                                      int32_t n_threads, r2i_heap *heap, r2_error *err);
/* Waits for judgements at work; those not begun are forgotten.  NULL is allowed. */
void r2i_judges_stop(r2i_judges *judges);
/* Lends an answer until it is taken back. */
void r2i_judges_give(r2i_judges *judges, r2i_eval_answer *answer);
/* One that is judged; NULL: none yet.  waits: until there is one, if any was given. */
r2i_eval_answer *r2i_judges_take(r2i_judges *judges, bool waits);
#endif
