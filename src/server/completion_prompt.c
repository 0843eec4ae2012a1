#include "server/completion_prompt.h"

#include <math.h>
#include <string.h>

#include "base/failure.h"
#include "server/request_fields.h"

enum { SPARE_TOKENS = 16, TOKEN_BYTES = 256, MAX_LOGPROBS = 1 << 18 };

/* What all of a request's prompts have in common. */
typedef struct {
    const r2_model *model;
    r2i_heap *heap;
    const r2i_completion_request *request;
    r2i_refusal *refusal;
    r2_token fim[3]; /* around the text before the gap, the text behind it, what fills it */
    int32_t n_vocab;
} prompt_reader;

/* ---- tokens ---- */

static r2_status add_tokens(const prompt_reader *x, r2i_choice_prompt *p, const r2_token *tokens,
                            int32_t n) {
    return r2i_buffer_append(&p->owned, tokens, (size_t)n * sizeof *tokens, NULL) == R2_OK
               ? R2_OK
               : r2i_refuse_memory(x->refusal);
}

/* No token is shorter than a byte. */
static r2_status add_text(const prompt_reader *x, r2i_choice_prompt *p, const char *name,
                          const char *text, int flags) {
    r2_error err = { R2_OK, "" };
    int32_t n_tokens = 0;
    const size_t n_bytes = strlen(text), cap = n_bytes + SPARE_TOKENS;
    r2_token *tokens = r2i_heap_take(x->heap, cap * sizeof *tokens);
    if (tokens == NULL) return r2i_refuse_memory(x->refusal);
    r2_status status =
        r2_tokenize(x->model, text, n_bytes, flags, tokens, (int32_t)cap, &n_tokens, &err);
    if (status == R2_OK)
        status = add_tokens(x, p, tokens, n_tokens);
    else if (err.code == R2_E_NOMEM)
        status = r2i_refuse_memory(x->refusal);
    else
        status = r2i_refuse(x->refusal, 400, name, "invalid_value", "%s: %s", name, err.text);
    r2i_heap_give(x->heap, tokens, cap * sizeof *tokens);
    return status;
}

static r2_status add_numbers(const prompt_reader *x, r2i_choice_prompt *p, const json_t *numbers) {
    for (size_t i = 0; i < json_array_size(numbers); i++) {
        const json_int_t number = json_integer_value(json_array_get(numbers, i));
        const r2_token token = (r2_token)number;
        if (number >= x->n_vocab)
            return r2i_refuse(x->refusal, 400, "prompt", "out_of_range",
                              "prompt: expected tokens of 0 to %d, found %lld", x->n_vocab - 1,
                              (long long)number);
        R2I_TRY(add_tokens(x, p, &token, 1));
    }
    return R2_OK;
}

/* The text itself, or FIM: before the gap, behind it, and then what fills it.  Control tokens written in a
 * prompt are recognised, for it is all of one author; those in a file's text to be completed are not. */
static r2_status make_tokens(const prompt_reader *x, r2i_choice_prompt *p, const json_t *prompt) {
    const bool is_fim = x->request->suffix != NULL, is_text = json_is_string(prompt);
    const int flags = is_fim ? 0 : R2_TOKENIZE_START | R2_TOKENIZE_SPECIAL;
    if (is_fim) {
        R2I_TRY(add_text(x, p, "prompt", "", R2_TOKENIZE_START));
        R2I_TRY(add_tokens(x, p, &x->fim[0], 1));
    }
    R2I_TRY(is_text ? add_text(x, p, "prompt", json_string_value(prompt), flags)
                    : add_numbers(x, p, prompt));
    if (is_fim) {
        R2I_TRY(add_tokens(x, p, &x->fim[1], 1));
        R2I_TRY(add_text(x, p, "suffix", x->request->suffix, 0));
        R2I_TRY(add_tokens(x, p, &x->fim[2], 1));
    }
    p->tokens = (const void *)p->owned.bytes;
    p->n_tokens = (int32_t)(p->owned.n_bytes / sizeof *p->tokens);
    return R2_OK;
}

/* ---- what an answer repeats ---- */

static int32_t count_characters(const char *text) {
    int32_t n = 0;
    for (; *text != '\0'; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* A start token that tokenizing put in front is none of the text. */
static bool is_put_in_front(const prompt_reader *x, const r2i_choice_prompt *p,
                            const json_t *prompt) {
    char name[TOKEN_BYTES];
    if (!json_is_string(prompt) || !r2_token_is_control(x->model, p->tokens[0])) return false;
    const size_t n = r2_token_bytes(x->model, p->tokens[0], name, sizeof name);
    return n > sizeof name || strncmp(json_string_value(prompt), name, n) != 0;
}

/* Each token with its place in the text; its probability is filled in when the engine reads it. */
static r2_status add_place(r2i_choice_prompt *p, r2_token token) {
    const r2i_token_logprob place = { .token = token, .logprob = NAN, .offset = p->n_characters };
    return r2i_buffer_append(&p->logprobs, &place, sizeof place, NULL);
}

static r2_status feed(r2i_choice_prompt *p, const char *text) {
    p->n_characters += count_characters(text);
    return r2i_buffer_append_text(&p->echo, text, NULL);
}

static r2_status make_echo(const prompt_reader *x, r2i_choice_prompt *p, const json_t *prompt) {
    r2_error err = { R2_OK, "" };
    r2_detokenizer *texts = NULL;
    const bool wants_logprobs = x->request->wishes.wants_logprobs;
    const int32_t n_values = wants_logprobs ? p->n_tokens * (x->request->wishes.n_top + 1) : 0;
    if (n_values > MAX_LOGPROBS)
        return r2i_refuse(x->refusal, 400, "logprobs", "out_of_range",
                          "logprobs: expected at most %d for an echoed prompt, found %d",
                          MAX_LOGPROBS, n_values);
    r2_status status = r2_detokenizer_create(&texts, x->model, true, &err);
    for (int32_t i = 0; status == R2_OK && i < p->n_tokens; i++) {
        if (wants_logprobs) status = add_place(p, p->tokens[i]);
        if (status == R2_OK && (i > 0 || !is_put_in_front(x, p, prompt)))
            status = feed(p, r2_detokenizer_feed(texts, p->tokens[i]));
    }
    r2_detokenizer_destroy(texts);
    return status == R2_OK ? R2_OK : r2i_refuse_memory(x->refusal);
}

/* ---- all of them ---- */

static r2_status find_fim(prompt_reader *x) {
    if (x->request->suffix == NULL) return R2_OK;
    return r2_fim_find(x->model, x->fim)
               ? R2_OK
               : r2i_refuse(x->refusal, 400, "suffix", "unsupported_parameter",
                            "suffix: this model has no tokens for filling a gap");
}

r2_status r2i_completion_prompts_read(r2i_job *job, r2i_heap *heap, const r2_model *model,
                                      const r2i_prompt_limits *limits, int32_t *n_longest) {
    r2_model_info info;
    *n_longest = 0;
    r2_model_get_info(model, &info);
    prompt_reader x = { .model = model,
                        .heap = heap,
                        .request = &job->completion,
                        .refusal = &job->refusal,
                        .n_vocab = info.n_vocab };
    R2I_TRY(find_fim(&x));
    for (int32_t i = 0; i < job->n_prompts; i++) {
        r2i_choice_prompt *p = &job->prompts[i];
        const json_t *prompt = r2i_completion_prompt(x.request, i);
        R2I_TRY(make_tokens(&x, p, prompt));
        R2I_TRY(r2i_prompt_check_length(limits, "prompt", p->n_tokens, &job->refusal));
        if (job->wishes->has_echo) R2I_TRY(make_echo(&x, p, prompt));
        job->out.n_prompt += p->n_tokens;
        if (p->n_tokens > *n_longest) *n_longest = p->n_tokens;
    }
    return R2_OK;
}
