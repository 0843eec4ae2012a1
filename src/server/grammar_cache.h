/* grammar_cache.h - compiled grammars by their text, kept for the next request that asks for the same.
 *
 * The reader compiles; requests hold a grammar as long as they live; the event loop gives it back.  Requests
 * with different keys share none, so that nobody learns from the time it takes what others ask for. */
#ifndef R2I_GRAMMAR_CACHE_H
#define R2I_GRAMMAR_CACHE_H
#include <pthread.h>
#include <stdint.h>

#include "r2lm/text.h"
#include "server/answer_form.h"

enum { R2I_CACHE_GRAMMARS = 64 /* kept without a user, at most */ };
#define R2I_CACHE_IDLE_BYTES ((size_t)256 << 20) /* of all, above which those without a user go */
#define R2I_CACHE_MOST_BYTES ((size_t)1 << 30)   /* of all, above which no more are made */

typedef struct r2i_kept_grammar r2i_kept_grammar;

typedef struct {
    pthread_mutex_t lock;
    r2i_heap *heap;
    const r2_model *model;
    r2i_kept_grammar *first; /* used last */
    int32_t n_grammars;
    int64_t n_hits, n_compiled;
} r2i_grammar_cache;

void r2i_grammar_cache_init(r2i_grammar_cache *cache, r2i_heap *heap, const r2_model *model);
/* Nobody may hold a grammar of it. */
void r2i_grammar_cache_destroy(r2i_grammar_cache *cache);

/* The grammar of a form, compiled if need be, with the mask of its first token made; the caller's until it is
 * given back.  R2_E_ARGUMENT with *refusal filled: one that cannot be kept (400), no memory (503). */
R2_CHECKED r2_status r2i_grammar_cache_take(r2i_grammar_cache *cache, uint64_t domain,
                                            const r2i_answer_form *form, r2i_kept_grammar **out,
                                            r2i_refusal *refusal);
r2_grammar *r2i_kept_grammar_get(const r2i_kept_grammar *kept);
/* NULL is allowed. */
void r2i_grammar_cache_give(r2i_kept_grammar *kept);
#endif
