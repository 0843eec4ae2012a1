#include "server/completion_request.h"

#include "base/failure.h"
#include "server/json_text.h"
#include "server/request_fields.h"

enum { DEFAULT_TOKENS = 16, NOT_GIVEN = -1 };

/* Where the values of the table's fields go; the others are wishes.c's. */
typedef struct {
    const char *suffix;
    int64_t max_tokens, logprobs, best_of;
    bool has_echo;
} values;

#define AT(name) (int)offsetof(values, name)
static const r2i_field fields[] = {
    { "prompt", R2I_FIELD_ELSEWHERE, 0, 0, 0 },
    { "suffix", R2I_FIELD_TEXT, AT(suffix), 0, 0 },
    { "max_tokens", R2I_FIELD_COUNT, AT(max_tokens), 0, 1 << 24 },
    { "echo", R2I_FIELD_FLAG, AT(has_echo), 0, 0 },
    { "logprobs", R2I_FIELD_COUNT, AT(logprobs), 0, 20 },
    { "best_of", R2I_FIELD_COUNT, AT(best_of), 1, R2I_MAX_CHOICES },
    { "messages", R2I_FIELD_REFUSED, 0, 0, 0 },
    { "tools", R2I_FIELD_REFUSED, 0, 0, 0 },
};
static const r2i_field_table table = { fields, sizeof fields / sizeof *fields };

bool r2i_completion_has_field(const char *name) {
    return r2i_fields_have(&table, name) || r2i_wishes_have_field(name);
}

/* ---- the prompt ---- */

static bool is_token(const json_t *value) {
    return json_is_integer(value) && json_integer_value(value) >= 0 &&
           json_integer_value(value) <= INT32_MAX;
}

static r2_status check_tokens(const json_t *tokens, r2i_refusal *r) {
    if (json_array_size(tokens) == 0)
        return r2i_refuse(r, 400, "prompt", "invalid_value",
                          "prompt: expected at least one token, found none");
    for (size_t i = 0; i < json_array_size(tokens); i++) {
        const json_t *token = json_array_get(tokens, i);
        if (!json_is_integer(token))
            return r2i_refuse_type(r, "prompt", "whole numbers in the array", token);
        if (!is_token(token))
            return r2i_refuse(r, 400, "prompt", "out_of_range", "prompt: %lld is no token",
                              (long long)json_integer_value(token));
    }
    return R2_OK;
}

/* One kind of prompts throughout. */
static r2_status check_prompts(const json_t *prompts, r2i_refusal *r) {
    const bool is_text = json_is_string(json_array_get(prompts, 0));
    for (size_t i = 0; i < json_array_size(prompts); i++) {
        const json_t *prompt = json_array_get(prompts, i);
        if (is_text ? !json_is_string(prompt) : !json_is_array(prompt))
            return r2i_refuse_type(r, "prompt",
                                   is_text ? "texts in the array" : "arrays in the array", prompt);
        if (!is_text) R2I_TRY(check_tokens(prompt, r));
    }
    return R2_OK;
}

static r2_status read_prompt(r2i_completion_request *q, r2i_refusal *r) {
    const json_t *prompt = json_object_get(q->body, "prompt"), *first = json_array_get(prompt, 0);
    q->prompt = prompt;
    q->n_prompts = 1;
    if (json_is_string(prompt)) return R2_OK;
    if (!json_is_array(prompt))
        return r2i_refuse_type(r, "prompt", "a text, an array of texts or of tokens", prompt);
    if (first == NULL)
        return r2i_refuse(r, 400, "prompt", "invalid_value",
                          "prompt: expected at least one, found none");
    if (!json_is_string(first) && !json_is_array(first)) return check_tokens(prompt, r);
    if (json_array_size(prompt) > R2I_MAX_PROMPTS)
        return r2i_refuse(r, 400, "prompt", "out_of_range",
                          "prompt: expected at most %d prompts, found %zu", R2I_MAX_PROMPTS,
                          json_array_size(prompt));
    q->n_prompts = (int32_t)json_array_size(prompt);
    return check_prompts(prompt, r);
}

const json_t *r2i_completion_prompt(const r2i_completion_request *q, int32_t i) {
    const json_t *first = json_array_get(q->prompt, 0);
    return json_is_string(first) || json_is_array(first) ? json_array_get(q->prompt, (size_t)i)
                                                         : q->prompt;
}

/* ---- all of it ---- */

static r2_status take_values(r2i_completion_request *q, const values *v, r2i_refusal *r) {
    r2i_wishes *w = &q->wishes;
    const int32_t standard =
        w->options.max_new_tokens > 0 ? w->options.max_new_tokens : DEFAULT_TOKENS;
    q->suffix = v->suffix;
    w->is_raw = true;
    w->options.think = w->form.kind == R2I_FORM_FREE ? R2_THINK_AUTO : R2_THINK_OFF;
    w->options.think_budget = w->options.think_minimum = 0;
    w->has_echo = v->has_echo;
    w->is_prompt_only = v->max_tokens == 0;
    w->options.max_new_tokens = v->max_tokens == NOT_GIVEN ? standard : (int32_t)v->max_tokens;
    if (w->is_prompt_only) w->options.max_new_tokens = 1;
    w->wants_logprobs = v->logprobs != NOT_GIVEN;
    w->n_top = w->wants_logprobs ? (int32_t)v->logprobs : 0;
    w->options.sampling.n_top_logprobs = w->n_top;
    if (v->best_of != NOT_GIVEN && v->best_of != w->n_choices)
        return r2i_refuse(r, 400, "best_of", "unsupported_parameter",
                          "best_of: expected as many as n (%d), found %lld: choosing among more "
                          "is not supported",
                          w->n_choices, (long long)v->best_of);
    if (v->suffix != NULL && v->has_echo)
        return r2i_refuse(r, 400, "echo", "invalid_value",
                          "echo: expected false beside suffix, found true");
    if (q->n_prompts * w->n_choices > R2I_MAX_ANSWERS)
        return r2i_refuse(r, 400, "n", "out_of_range",
                          "n: expected at most %d answers in all, found %d prompts times %d",
                          R2I_MAX_ANSWERS, q->n_prompts, w->n_choices);
    return R2_OK;
}

r2_status r2i_completion_request_read(r2i_completion_request *q, const char *text, size_t n_bytes,
                                      const r2_sequence_options *defaults, r2i_refusal *r) {
    r2_error err = { R2_OK, "" };
    values v = { .max_tokens = NOT_GIVEN, .logprobs = NOT_GIVEN, .best_of = NOT_GIVEN };
    *q = (r2i_completion_request){ .wishes = { .options = *defaults } };
    *r = (r2i_refusal){ .http = 0 };
    if (r2i_json_parse(&q->body, text, n_bytes, &err) != R2_OK)
        return r2i_refuse(r, 400, NULL, "invalid_json", "%s", err.text);
    R2I_TRY(r2i_wishes_read(&q->wishes, q->body, r));
    R2I_TRY(r2i_fields_read(&table, q->body, &v, r));
    R2I_TRY(read_prompt(q, r));
    return take_values(q, &v, r);
}

void r2i_completion_request_destroy(r2i_completion_request *q) {
    json_decref(q->body);
    q->body = NULL;
}
