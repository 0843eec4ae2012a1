/* model_grammar.h - a grammar and its matchers, bound to a model's vocabulary. */
#ifndef R2I_MODEL_GRAMMAR_H
#define R2I_MODEL_GRAMMAR_H
#include "model/model.h"
#include "text/grammar_matcher.h"

struct r2_grammar {
    const r2_model *model;
    r2i_heap *heap; /* the model's */
    r2i_grammar *rules;
};

struct r2_grammar_matcher {
    r2_grammar *grammar;
    r2i_grammar_matcher place;
    int32_t first, n_seen; /* tokens of the sequence it follows: at its first call, looked at; -1 */
    bool is_lost;          /* the sequence has a token that does not fit */
    /* Blank lines between a block of thoughts and the answer are no part of it. */
    bool skips_newlines; /* no text of the grammar begins with one */
    bool has_thoughts, has_answer;
    int32_t n_newlines; /* skipped */
};

/* Fills a draft from what `source` is. */
typedef r2_status (*r2i_grammar_source)(r2i_grammar_draft *draft, const void *source,
                                        r2_error *err);
R2_CHECKED r2_status r2i_model_make_grammar(r2_grammar **out, const r2_model *model,
                                            r2i_grammar_source read, const void *source,
                                            r2_error *err);
#endif
