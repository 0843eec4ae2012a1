/* dpo_pairs.h - pairs of a better and a worse answer to the same question, as tokens. */
#ifndef R2I_DPO_PAIRS_H
#define R2I_DPO_PAIRS_H
#include "base/arena.h"
#include "r2lm/reinforce.h"

typedef struct {
    int32_t *tokens, *targets; /* [n] -1: not learnt */
    float *reference;          /* [n] log-probabilities of the targets; the caller's to fill */
    int32_t n;
} r2i_dpo_answer;

typedef struct {
    r2i_dpo_answer answers[2]; /* the better one, the worse one */
} r2i_dpo_pair;

typedef struct {
    r2i_dpo_pair *pairs; /* [n] */
    int32_t n;
    int64_t n_too_long; /* left out */
    uint64_t hash;      /* of all tokens */
} r2i_dpo_pairs;

/* Reads JSONL files ("prompt" or "messages", "chosen", "rejected") for a model with a chat template; one answer
 * takes at most cap_tokens.  Memory is the arena's.  R2_E_FORMAT with file and line; R2_E_ARGUMENT: none is
 * left; R2_E_UNSUPPORTED: no chat template; R2_E_NOT_FOUND, R2_E_IO, R2_E_NOMEM. */
R2_CHECKED r2_status r2i_dpo_pairs_read(r2i_dpo_pairs *out, const r2_model *model,
                                        const char *const *files, int32_t n_files,
                                        int32_t cap_tokens, r2i_arena *arena, r2_error *err);
#endif
