/* Turns a hostile body into the values of a chat request and of a completion. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/chat_request.h"
#include "server/completion_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

/* What the reader would compile. */
static void check_form(const r2i_answer_form *form) {
    r2i_heap heap;
    r2i_buffer text;
    if (form->kind == R2I_FORM_FREE) return;
    if (form->field == NULL || form->field[0] == '\0') abort();
    r2i_heap_init(&heap);
    r2i_buffer_init(&text, &heap, 1 << 26);
    if (r2i_answer_form_write(form, &text) != R2_OK || text.n_bytes == 0) abort();
    r2i_buffer_destroy(&text);
}

static void check_wishes(const r2i_wishes *w) {
    const r2_sequence_options *o = &w->options;
    if (!(o->sampling.temperature >= 0 && o->sampling.temperature <= 2)) abort();
    if (!(o->sampling.top_p >= 0 && o->sampling.top_p <= 1)) abort();
    if (!(fabsf(o->sampling.presence_penalty) <= 2)) abort();
    if (o->sampling.top_k < 0 || o->max_new_tokens < 0 || o->think_budget < -1) abort();
    if (o->sampling.n_top_logprobs < 0 || o->sampling.n_top_logprobs > 20) abort();
    if (w->n_stops < 0 || w->n_stops > R2I_MAX_STOPS) abort();
    for (int32_t i = 0; i < w->n_stops; i++) {
        if (w->stops[i][0] == '\0') abort();
    }
    if (o->think_minimum < 0 || (o->think == R2_THINK_OFF && o->think_minimum > 0)) abort();
    check_form(&w->form);
    if (w->n_choices < 1 || w->n_choices > R2I_MAX_CHOICES) abort();
    if (w->n_biases < 0 || w->n_biases > R2I_MAX_BIASES) abort();
    for (int32_t i = 0; i < w->n_biases; i++) {
        if (w->biases[i].token < 0 || !(fabsf(w->biases[i].bias) <= 100)) abort();
    }
}

static void check_chat(const r2i_chat_request *q) {
    check_wishes(&q->wishes);
    if (json_array_size(q->messages) == 0) abort();
    for (size_t i = 0; i < json_array_size(q->messages); i++) {
        const json_t *message = json_array_get(q->messages, i);
        if (!json_is_string(json_object_get(message, "role"))) abort();
        const bool has_calls = json_array_size(json_object_get(message, "tool_calls")) > 0;
        if (!json_is_string(json_object_get(message, "content")) && !has_calls) abort();
    }
}

static void check_completion(const r2i_completion_request *q) {
    check_wishes(&q->wishes);
    if (q->n_prompts < 1 || q->n_prompts * q->wishes.n_choices > R2I_MAX_ANSWERS) abort();
    if (q->wishes.options.max_new_tokens < 1) abort();
    for (int32_t i = 0; i < q->n_prompts; i++) {
        const json_t *prompt = r2i_completion_prompt(q, i);
        if (!json_is_string(prompt) && json_array_size(prompt) == 0) abort();
        for (size_t k = 0; k < json_array_size(prompt); k++) {
            const json_t *token = json_array_get(prompt, k);
            if (!json_is_integer(token) || json_integer_value(token) < 0) abort();
        }
    }
}

static void check_refusal(const r2i_refusal *refusal) {
    r2i_heap heap;
    r2i_buffer out;
    if (refusal->http != 400 || refusal->text[0] == '\0') abort();
    r2i_heap_init(&heap);
    r2i_buffer_init(&out, &heap, 4096);
    if (r2i_refusal_write(refusal, &out) != R2_OK) abort();
    r2i_buffer_destroy(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    const r2_sequence_options defaults = { .sampling = { .temperature = 0.5f } };
    const char *text = (const char *)bytes;
    r2i_chat_request chat;
    r2i_completion_request completion;
    r2i_refusal refusal;
    if (r2i_chat_request_read(&chat, text, n_bytes, &defaults, &refusal) == R2_OK)
        check_chat(&chat);
    else
        check_refusal(&refusal);
    r2i_chat_request_destroy(&chat);
    if (r2i_completion_request_read(&completion, text, n_bytes, &defaults, &refusal) == R2_OK)
        check_completion(&completion);
    else
        check_refusal(&refusal);
    r2i_completion_request_destroy(&completion);
    return 0;
}
