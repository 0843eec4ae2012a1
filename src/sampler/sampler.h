/* sampler.h - logits in, token out; knows no model.
 *
 * Order of work: biases, repetition, presence and frequency penalties, mask; then temperature,
 * top-k, top-p, min-p (each on what the one before left, renormalised); then one draw with a random
 * number keyed by (seed, position).  Ties go to the lower token everywhere. */
#ifndef R2I_SAMPLER_H
#define R2I_SAMPLER_H
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"

typedef struct {
    int32_t token;
    float bias;
} r2i_token_bias;

typedef struct {
    float temperature;        /* 0: the likeliest token */
    int32_t top_k;            /* 0: all */
    float top_p;              /* outside (0, 1): all */
    float min_p;              /* 0: all */
    float repetition_penalty; /* 0 or 1: off */
    float presence_penalty, frequency_penalty;
    uint64_t seed;
    const r2i_token_bias *biases;
    int32_t n_biases;
} r2i_sampling;

typedef struct {
    const float *logits;   /* [n_vocab], unchanged */
    const int32_t *recent; /* tokens that repetition_penalty looks at */
    int32_t n_recent;
    const int32_t *generated; /* tokens that presence and frequency count */
    int32_t n_generated;
    const uint32_t *allowed; /* bit per token, or NULL: all */
    uint64_t position;       /* place of the drawn token in its sequence */
} r2i_draw;

/* Scratch memory for one thread's draws. */
typedef struct r2i_sampler r2i_sampler;

/* p = softmax(x), may be in place; some x may be -INFINITY. */
typedef void r2i_softmax(float *p, const float *x, int32_t n);

R2_CHECKED r2_status r2i_sampler_create(r2i_sampler **out, int32_t n_vocab, r2i_softmax *softmax,
                                        r2i_arena *arena, r2_error *err);
/* The token, or -1 when the mask, biases or non-finite logits leave none. */
int32_t r2i_sampler_draw(r2i_sampler *sampler, const r2i_sampling *sampling, const r2i_draw *draw);

typedef struct {
    int32_t token;
    float logit;
} r2i_candidate;
/* The n largest logits, best first; returns how many (fewer if there are fewer numbers). */
int32_t r2i_top_logits(const float *logits, int32_t n_vocab, r2i_candidate *out, int32_t n);
/* Index of the largest logit, the lower index on ties; -1 if none is above -INFINITY. */
int32_t r2i_largest_logit(const float *logits, int32_t n_vocab);
#endif
