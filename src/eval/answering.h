/* answering.h - all answers of an evaluation: as many sequences at once as the engine was made for, each
 * judged while the others are written.
 *
 *     next -> sequence -> tokens as text -> judge -> judged */
#ifndef R2I_ANSWERING_H
#define R2I_ANSWERING_H
#include "eval/eval_prompts.h"
#include "eval/judging.h"

typedef struct {
    const r2_model *model;
    r2_engine *engine;
    int32_t n_slots; /* sequences at once */
    const r2i_eval_suite *suite;
    const r2i_eval_item *items;
    const r2i_eval_prompt *prompts; /* as the items */
    int32_t n_context;
    bool reads_on;
    r2i_judges *judges;
    r2_sequence_options how; /* the seed is each answer's own */
    r2i_heap *heap;
    /* The next answer that is wanted, and its seed; false: no more. */
    bool (*next)(void *user, int32_t *item, int32_t *sample, uint64_t *seed);
    /* Each one when it is judged; `answer` is valid until it returns. */
    r2_status (*judged)(void *user, const r2i_eval_answer *answer, r2_error *err);
    /* After the last token of all was drawn. */
    void (*written)(void *user);
    void *user;
} r2i_answering;

/* Until all are judged, or something fails (what `judged` returns included).  Ends the judges. */
R2_CHECKED r2_status r2i_answer_all(const r2i_answering *job, r2_error *err);
#endif
