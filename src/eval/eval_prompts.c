#include "eval/eval_prompts.h"

#include <string.h>

#include "base/failure.h"
#include "r2lm/text.h"

typedef struct {
    const r2i_eval_suite *suite;
    const r2_model *model;
    const r2_eval_options *options;
    r2i_arena *arena;
    r2i_buffer text;
} rendering;

static const char place_holder[] = "{question}";

/* The prompt with the question in the place of {question}; texts without one are the question alone. */
static r2_status fill(rendering *r, const r2i_eval_item *item, r2_error *err) {
    const char *prompt = r->options->prompt;
    if (prompt == NULL) prompt = item->prompt != NULL ? item->prompt : r->suite->about.prompt;
    r2i_buffer_clear(&r->text);
    if (prompt == NULL) return r2i_buffer_append_text(&r->text, item->question, err);
    const char *at = strstr(prompt, place_holder);
    if (at == NULL)
        return r2i_fail(err, R2_E_ARGUMENT, "prompt: expected %s in it, found \"%.80s\"",
                        place_holder, prompt);
    R2I_TRY(r2i_buffer_append(&r->text, prompt, (size_t)(at - prompt), err));
    R2I_TRY(r2i_buffer_append_text(&r->text, item->question, err));
    return r2i_buffer_append_text(&r->text, at + sizeof place_holder - 1, err);
}

static r2_status keep(rendering *r, r2i_eval_prompt *out, const r2_token *tokens, int32_t n,
                      r2_error *err) {
    r2_token *copy = R2I_ARENA_ARRAY(r->arena, r2_token, (size_t)n + 1);
    if (copy == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for %d tokens", n);
    memcpy(copy, tokens, (size_t)n * sizeof *copy);
    *out = (r2i_eval_prompt){ copy, n };
    return R2_OK;
}

static r2_status render_raw(rendering *r, r2i_eval_prompt *out, r2_error *err) {
    int32_t n;
    R2I_TRY(
        r2_tokenize(r->model, r->text.bytes, r->text.n_bytes, R2_TOKENIZE_START, NULL, 0, &n, err));
    r2_token *tokens = R2I_ARENA_ARRAY(r->arena, r2_token, (size_t)n + 1);
    if (tokens == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for %d tokens", n);
    *out = (r2i_eval_prompt){ tokens, n };
    if (n == 0) return R2_OK;
    return r2_tokenize(r->model, r->text.bytes, r->text.n_bytes, R2_TOKENIZE_START, tokens, n, &n,
                       err);
}

static r2_status render(rendering *r, const r2i_eval_item *item, r2i_eval_prompt *out,
                        r2_error *err) {
    const char *system = r->options->system != NULL ? r->options->system : r->suite->about.system;
    r2_prompt *prompt;
    R2I_TRY(fill(r, item, err));
    if (r->options->is_raw) return render_raw(r, out, err);
    const r2_chat_message messages[] = { { .role = "system", .content = system },
                                         { .role = "user", .content = r->text.bytes } };
    const r2_chat_options chat = { .think = r->options->think, .tools_json = item->tools_json };
    const int skip = system == NULL || system[0] == '\0';
    R2I_TRY(r2_chat_render(&prompt, r->model, messages + skip, 2 - skip, &chat, err));
    const r2_status status = keep(r, out, prompt->tokens, prompt->n_tokens, err);
    r2_prompt_destroy(prompt);
    return status;
}

r2_status r2i_eval_prompts_make(r2i_eval_prompt **out, int32_t *longest,
                                const r2i_eval_suite *suite, const r2i_eval_item *items,
                                int32_t n_items, const r2_model *model,
                                const r2_eval_options *options, r2i_arena *arena, r2_error *err) {
    rendering r = { .suite = suite, .model = model, .options = options, .arena = arena };
    r2_status status = R2_OK;
    *longest = 0;
    *out = R2I_ARENA_ARRAY(arena, r2i_eval_prompt, (size_t)n_items + 1);
    if (*out == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for %d prompts", n_items);
    r2i_buffer_init(&r.text, arena->heap, (size_t)64 << 20);
    for (int32_t i = 0; i < n_items && status == R2_OK; i++) {
        status = render(&r, &items[i], &(*out)[i], err);
        if (status != R2_OK) status = r2i_fail_at(err, status, items[i].id);
        if ((*out)[i].n_tokens > *longest) *longest = (*out)[i].n_tokens;
    }
    r2i_buffer_destroy(&r.text);
    return status;
}
