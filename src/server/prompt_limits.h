/* prompt_limits.h - how long a prompt may be, and how much is left for its answer. */
#ifndef R2I_PROMPT_LIMITS_H
#define R2I_PROMPT_LIMITS_H
#include "r2lm/engine.h"
#include "server/refusal.h"

typedef struct {
    int32_t n_context;      /* tokens of a prompt and its answer */
    int32_t n_cache_tokens; /* that the engine's whole cache has room for */
} r2i_prompt_limits;

/* The smaller of the two. */
int32_t r2i_prompt_most_tokens(const r2i_prompt_limits *limits);
/* 400 about the field `name` for a prompt without tokens, or with too many. */
R2_CHECKED r2_status r2i_prompt_check_length(const r2i_prompt_limits *limits, const char *name,
                                             int32_t n_prompt, r2i_refusal *refusal);
/* An answer ends where the cache does, if that is smaller than the context. */
void r2i_prompt_limit_answer(const r2i_prompt_limits *limits, int32_t n_prompt,
                             r2_sequence_options *options);
#endif
