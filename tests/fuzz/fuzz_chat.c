/* Hostile conversations with tools, rendered by published templates. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/chat_tools.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

enum { MAX_TEMPLATES = 16 };

static const char simple[] =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/* Published ones, and one that knows nothing of tools. */
static size_t load(const char *sources[MAX_TEMPLATES]) {
    static json_t *file; /* kept: the fuzzer runs for long */
    size_t n = 0;
    sources[n++] = simple;
    if (file == NULL) file = json_load_file(R2LM_DEFAULT_GOLDEN_DIR "/chat_tools.json", 0, NULL);
    const json_t *list = json_object_get(file, "templates");
    for (size_t i = 0; i < json_array_size(list) && n < MAX_TEMPLATES; i++)
        sources[n++] = json_string_value(json_object_get(json_array_get(list, i), "template"));
    return n;
}

static void check_ranges(const r2i_text_ranges *untrusted, size_t n_bytes) {
    size_t at = 0;
    for (size_t i = 0; i < untrusted->n_items; i++) { /* ascending, apart from each other, inside */
        if (i != 0 && untrusted->items[i].begin <= at) abort();
        if (untrusted->items[i].end <= untrusted->items[i].begin ||
            untrusted->items[i].end > n_bytes)
            abort();
        at = untrusted->items[i].end;
    }
}

/* A text that came with messages or tools stands in untrusted ranges alone. */
static void check_trust(const r2i_buffer *text, const r2i_text_ranges *untrusted) {
    static const char evil[] = "\x05\x06";
    for (size_t i = 0; i + 2 <= text->n_bytes; i++) {
        bool is_inside = false;
        if (memcmp(text->bytes + i, evil, 2) != 0) continue;
        for (size_t k = 0; k < untrusted->n_items; k++)
            is_inside |= untrusted->items[k].begin <= i && i + 2 <= untrusted->items[k].end;
        if (!is_inside) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    const char *sources[MAX_TEMPLATES];
    r2i_heap heap;
    r2_error err = { 0 };
    r2i_chat_template *tmpl;
    r2i_buffer text;
    r2i_text_ranges untrusted;
    r2i_tool_syntax syntax;
    if (n_bytes < 1) return 0;
    const char *source = sources[bytes[0] % load(sources)];
    const size_t n_source = strlen(source);
    json_t *context =
        json_loadb((const char *)bytes + 1, n_bytes - 1, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(context)) {
        json_decref(context);
        return 0;
    }
    json_object_del(context, "bos_token");
    r2i_heap_init(&heap);
    if (r2i_chat_template_create(&tmpl, source, n_source, &heap, &err) != R2_OK) abort();
    const r2i_chat_template_traits traits = r2i_chat_template_get_traits(source, n_source);
    r2i_tool_syntax_find(&syntax, source, n_source, NULL);
    r2i_buffer_init(&text, &heap, 8 * 1024 * 1024);
    r2i_text_ranges_init(&untrusted, &heap);
    const r2i_chat_tools tools = { tmpl, &traits, &syntax };
    const r2_status status = r2i_chat_tools_render(&tools, context, 0, &text, &untrusted, &err);
    if (status != R2_OK && (text.n_bytes != 0 || err.text[0] == '\0')) abort();
    check_ranges(&untrusted, text.n_bytes);
    check_trust(&text, &untrusted);
    r2i_text_ranges_destroy(&untrusted);
    r2i_buffer_destroy(&text);
    r2i_chat_template_destroy(tmpl);
    json_decref(context);
    if (heap.used_bytes != 0) abort();
    return 0;
}
