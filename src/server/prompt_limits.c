#include "server/prompt_limits.h"

#include "base/checked.h"
#include "base/failure.h"

int32_t r2i_prompt_most_tokens(const r2i_prompt_limits *l) {
    return r2i_min_i32(l->n_context, l->n_cache_tokens);
}

r2_status r2i_prompt_check_length(const r2i_prompt_limits *l, const char *name, int32_t n_prompt,
                                  r2i_refusal *r) {
    if (n_prompt == 0)
        return r2i_refuse(r, 400, name, "invalid_value", "%s: the prompt has no tokens", name);
    if (n_prompt < r2i_prompt_most_tokens(l)) return R2_OK;
    if (n_prompt >= l->n_context)
        (void)r2i_refuse(r, 400, name, "context_length_exceeded",
                         "the prompt has %d tokens, the context is %d", n_prompt, l->n_context);
    else
        (void)r2i_refuse(r, 400, name, "cache_full",
                         "the prompt has %d tokens, the whole cache has room for %d", n_prompt,
                         l->n_cache_tokens);
    r->n_prompt = n_prompt;
    r->n_context = r2i_prompt_most_tokens(l);
    return R2_E_ARGUMENT;
}

void r2i_prompt_limit_answer(const r2i_prompt_limits *l, int32_t n_prompt, r2_sequence_options *o) {
    const int32_t most = l->n_cache_tokens - n_prompt;
    if (o->max_new_tokens == 0 || o->max_new_tokens > most) o->max_new_tokens = most;
}
