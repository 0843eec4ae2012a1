/* eval_answer.h - one answer on its way: from the engine to a judge to the file. */
#ifndef R2I_EVAL_ANSWER_H
#define R2I_EVAL_ANSWER_H
#include "eval/eval_suite.h"

typedef enum {
    R2I_STOP_END,     /* the model ended its text */
    R2I_STOP_CERTAIN, /* what it would go on with changes nothing */
    R2I_STOP_LENGTH,  /* the limit of tokens, or the context's end */
    R2I_STOP_TOO_LONG /* the question does not fit into the context: there is no answer */
} r2i_eval_stop;

typedef struct r2i_eval_answer r2i_eval_answer;
struct r2i_eval_answer {
    int32_t item, sample;
    r2i_eval_stop stop;
    int32_t n_prompt, n_tokens, n_thinking;
    r2i_buffer text, calls; /* as r2i_eval_text has them */
    r2_grade grade;
    r2_status status; /* of judging */
    r2_error error;
    r2i_eval_answer *next;
};

/* "end", "certain", "length", "too long". */
const char *r2i_eval_stop_name(r2i_eval_stop stop);
#endif
