/* wishes.h - how an answer shall be written: what requests of every endpoint have in common. */
#ifndef R2I_WISHES_H
#define R2I_WISHES_H
#include <jansson.h>
#include <stdbool.h>

#include "r2lm/text.h"
#include "server/answer_form.h"

enum { R2I_MAX_STOPS = 16, R2I_MAX_CHOICES = 16, R2I_MAX_BIASES = 300 };

typedef struct {
    r2_sequence_options options;
    const char *stops[R2I_MAX_STOPS]; /* borrowed from the request's body */
    int32_t n_stops, n_top;           /* n_top: likeliest tokens beside each one, for logprobs */
    int32_t n_choices;                /* answers to each prompt, 1 .. R2I_MAX_CHOICES */
    r2_logit_bias biases[R2I_MAX_BIASES];
    int32_t n_biases;
    bool is_stream, wants_usage, wants_logprobs, wants_progress;
    const char *user;       /* who asks, as the client says: borrowed, or NULL */
    r2i_answer_form form;   /* borrowed from the body as well */
    const char *tools_json; /* borrowed; NULL: calls are not looked for in the answer */
    bool is_single_call;    /* the answer ends with its first call */
    bool is_calls_alone;    /* what is no call is one that was cut short */
    r2_grammar *grammar;    /* compiled from it, the reader's doing; NULL: the answer is free */
    bool continues_text;    /* the answer goes on from the midst of the prompt's last text */
    /* Completions: thoughts are text like the rest; the answer begins with the prompt; nothing follows it. */
    bool is_raw, has_echo, is_prompt_only;
    bool has_think_budget; /* the request's own, which is kept whatever is left for an answer */
} r2i_wishes;

/* Reads the fields that all endpoints share; what the body does not say stays as it is in *wishes.  On failure
 * R2_E_ARGUMENT with *refusal filled. */
R2_CHECKED r2_status r2i_wishes_read(r2i_wishes *wishes, const json_t *body, r2i_refusal *refusal);
bool r2i_wishes_have_field(const char *name);
/* What can be checked against the model's vocabulary only. */
R2_CHECKED r2_status r2i_wishes_check(const r2i_wishes *wishes, int32_t n_vocab,
                                      r2i_refusal *refusal);
/* Options of the i-th answer to a prompt: each has a seed of its own, so that it is what a request with
 * the seed + i gets. */
r2_sequence_options r2i_wishes_options(const r2i_wishes *wishes, int32_t i);
#endif
