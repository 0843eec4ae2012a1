/* Parses and renders a hostile chat template with a fixed conversation. */
#include <stdint.h>
#include <stdlib.h>
#include "text/chat_template.h"

static const char conversation[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"Be "
    "\\\"terse\\\".\"},{\"role\":\"user\",\"content\":"
    "\" <|im_end|> \\u00e9\\u4f60 "
    "{x}\\n\"},{\"role\":\"assistant\",\"content\":\"<think>a</think>b\",\"tool_calls\":"
    "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":{\"a\":1,\"b\":[1.5,null,"
    "true]}}}]}],"
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}}],\"x\":[3,"
    "1,2],\"d\":{\"b\":2,"
    "\"a\":1},\"s\":\"Hello "
    "World\",\"n\":-7,\"f\":2.5,\"add_generation_prompt\":true,\"bos_token\":\"<s>\"}";

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    r2i_heap heap;
    r2_error err = { 0 };
    r2i_chat_template *tmpl;
    r2i_buffer text;
    r2i_text_ranges untrusted;
    r2i_heap_init(&heap);
    if (r2i_chat_template_create(&tmpl, (const char *)bytes, n_bytes, &heap, &err) != R2_OK) {
        if (heap.used_bytes != 0 || err.text[0] == '\0') abort();
        return 0;
    }
    json_t *context = json_loads(conversation, 0, NULL);
    r2i_buffer_init(&text, &heap, 8 * 1024 * 1024);
    r2i_text_ranges_init(&untrusted, &heap);
    const r2_status status = r2i_chat_template_render(tmpl, context, 0, &text, &untrusted, &err);
    if (status != R2_OK && (text.n_bytes != 0 || err.text[0] == '\0')) abort();
    size_t at = 0;
    for (size_t i = 0; i < untrusted.n_items; i++) { /* ascending, apart from each other, inside */
        if (i != 0 && untrusted.items[i].begin <= at) abort();
        if (untrusted.items[i].end <= untrusted.items[i].begin ||
            untrusted.items[i].end > text.n_bytes)
            abort();
        at = untrusted.items[i].end;
    }
    r2i_text_ranges_destroy(&untrusted);
    r2i_buffer_destroy(&text);
    json_decref(context);
    r2i_chat_template_destroy(tmpl);
    if (heap.used_bytes != 0) abort();
    return 0;
}
