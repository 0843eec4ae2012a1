#define _GNU_SOURCE /* memmem */
#include "text/tool_syntax.h"

#include <stdbool.h>
#include <string.h>

#define DEEPSEEK_MARKS                      \
    {                                       \
        "<\xef\xbd\x9ctool\xe2\x96\x81"     \
        "calls\xe2\x96\x81"                 \
        "begin\xef\xbd\x9c>",               \
            "<\xef\xbd\x9ctool\xe2\x96\x81" \
            "call\xe2\x96\x81"              \
            "begin\xef\xbd\x9c>",           \
            "<\xef\xbd\x9ctool\xe2\x96\x81" \
            "sep\xef\xbd\x9c>",             \
            "<\xef\xbd\x9ctool\xe2\x96\x81" \
            "call\xe2\x96\x81"              \
            "end\xef\xbd\x9c>",             \
            "<\xef\xbd\x9ctool\xe2\x96\x81" \
            "calls\xe2\x96\x81"             \
            "end\xef\xbd\x9c>"              \
    }

static const char *const MARKS[R2I_N_CALL_FAMILIES][R2I_N_MARKS] = {
    [R2I_CALLS_HERMES] = { NULL, "<tool_call>", NULL, "</tool_call>", NULL },
    [R2I_CALLS_LLAMA] = { "<|python_tag|>", NULL, NULL, NULL, NULL },
    [R2I_CALLS_DEEPSEEK] = DEEPSEEK_MARKS,
    [R2I_CALLS_DEEPSEEK_FENCED] = DEEPSEEK_MARKS,
};

const char *r2i_call_mark_text(r2i_call_family family, r2i_call_mark mark) {
    return MARKS[family][mark];
}

static bool mentions(const char *source, size_t n_bytes, const char *word) {
    return n_bytes != 0 && memmem(source, n_bytes, word, strlen(word)) != NULL;
}

static bool has_token(const r2i_tokenizer *t, const char *text) {
    return t != NULL && r2i_tokenizer_find_added(t, text) >= 0;
}

static r2i_call_family find_family(const char *source, size_t n, const r2i_tokenizer *t) {
    const char *deepseek = MARKS[R2I_CALLS_DEEPSEEK][R2I_MARK_BEGIN];
    if (mentions(source, n, deepseek))
        return mentions(source, n, "```json") ? R2I_CALLS_DEEPSEEK_FENCED : R2I_CALLS_DEEPSEEK;
    if (mentions(source, n, "<tool_call>")) return R2I_CALLS_HERMES;
    if (mentions(source, n, "<|python_tag|>")) return R2I_CALLS_LLAMA;
    if (has_token(t, deepseek)) return R2I_CALLS_DEEPSEEK_FENCED;
    if (has_token(t, "<tool_call>")) return R2I_CALLS_HERMES;
    return has_token(t, "<|python_tag|>") ? R2I_CALLS_LLAMA : R2I_CALLS_HERMES;
}

void r2i_tool_syntax_find(r2i_tool_syntax *out, const char *source, size_t n_bytes,
                          const r2i_tokenizer *tokenizer) {
    out->family = find_family(source, n_bytes, tokenizer);
    for (int m = 0; m < R2I_N_MARKS; m++) {
        const char *text = MARKS[out->family][m];
        out->ids[m] =
            text != NULL && tokenizer != NULL ? r2i_tokenizer_find_added(tokenizer, text) : -1;
    }
}
