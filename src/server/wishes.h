/* wishes.h - how an answer shall be written: what requests of every endpoint have in common. */
#ifndef R2I_WISHES_H
#define R2I_WISHES_H
#include <jansson.h>
#include <stdbool.h>

#include "r2lm/engine.h"
#include "server/refusal.h"

enum { R2I_MAX_STOPS = 16 };

typedef struct {
    r2_sequence_options options;
    const char *stops[R2I_MAX_STOPS]; /* borrowed from the request's body */
    int32_t n_stops, n_top;           /* n_top: likeliest tokens beside each one, for logprobs */
    bool is_stream, wants_usage, wants_logprobs;
    bool has_think_budget; /* the request's own, which is kept whatever is left for an answer */
} r2i_wishes;

/* Reads the fields that all endpoints share; what the body does not say stays as it is in *wishes.  On failure
 * R2_E_ARGUMENT with *refusal filled. */
R2_CHECKED r2_status r2i_wishes_read(r2i_wishes *wishes, const json_t *body, r2i_refusal *refusal);
#endif
