/* Turns a hostile body into the values of a chat request. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/chat_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

static void check_values(const r2i_chat_request *q) {
    const r2_sequence_options *o = &q->wishes.options;
    if (!(o->sampling.temperature >= 0 && o->sampling.temperature <= 2)) abort();
    if (!(o->sampling.top_p >= 0 && o->sampling.top_p <= 1)) abort();
    if (!(fabsf(o->sampling.presence_penalty) <= 2)) abort();
    if (o->sampling.top_k < 0 || o->max_new_tokens < 0 || o->think_budget < -1) abort();
    if (o->sampling.n_top_logprobs < 0 || o->sampling.n_top_logprobs > 20) abort();
    if (q->wishes.n_stops < 0 || q->wishes.n_stops > R2I_MAX_STOPS) abort();
    for (int32_t i = 0; i < q->wishes.n_stops; i++) {
        if (q->wishes.stops[i][0] == '\0') abort();
    }
    if (json_array_size(q->messages) == 0) abort();
    for (size_t i = 0; i < json_array_size(q->messages); i++) {
        const json_t *message = json_array_get(q->messages, i);
        if (!json_is_string(json_object_get(message, "role"))) abort();
        if (!json_is_string(json_object_get(message, "content"))) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    const r2_sequence_options defaults = { .sampling = { .temperature = 0.5f } };
    r2i_chat_request request;
    r2i_refusal refusal;
    const r2_status status =
        r2i_chat_request_read(&request, (const char *)bytes, n_bytes, &defaults, &refusal);
    if (status == R2_OK) {
        check_values(&request);
    } else {
        r2i_heap heap;
        r2i_buffer out;
        if (refusal.http != 400 || refusal.text[0] == '\0') abort();
        r2i_heap_init(&heap);
        r2i_buffer_init(&out, &heap, 4096);
        if (r2i_refusal_write(&refusal, &out) != R2_OK) abort();
        r2i_buffer_destroy(&out);
    }
    r2i_chat_request_destroy(&request);
    return 0;
}
