/* fim_tokens.c - filling a gap ("fill in the middle"): tokens around the text before the gap and behind it, and
 * the one in front of what fills it.  Models that can do it have them under various names. */
#include <string.h>

#include "text/tokenizer_parts.h"

/* U+FF5C, U+2581 as in DeepSeek's names. */
#define BAR "\xef\xbd\x9c"
#define SPACE "\xe2\x96\x81"

static const char *const names[][3] = {
    { "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>" }, /* Qwen, CodeGemma */
    { "<fim_prefix>", "<fim_suffix>", "<fim_middle>" },       /* StarCoder */
    { "<fim-prefix>", "<fim-suffix>", "<fim-middle>" },       /* SantaCoder, Granite */
    { "<" BAR "fim" SPACE "begin" BAR ">", "<" BAR "fim" SPACE "hole" BAR ">",
      "<" BAR "fim" SPACE "end" BAR ">" },           /* DeepSeek */
    { SPACE "<PRE>", SPACE "<SUF>", SPACE "<MID>" }, /* Code Llama */
    { "<PRE>", "<SUF>", "<MID>" },
    { "<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>" }, /* GLM */
};

static bool is_complete(const int32_t ids[3]) {
    return ids[0] >= 0 && ids[1] >= 0 && ids[2] >= 0;
}

void r2i_fim_collect(r2i_tokenizer *t, const int32_t ids[3]) {
    memcpy(t->fim_ids, ids, sizeof t->fim_ids);
    for (size_t i = 0; !is_complete(t->fim_ids) && i < sizeof names / sizeof *names; i++) {
        for (int k = 0; k < 3; k++)
            t->fim_ids[k] = r2i_tokenizer_find(t, names[i][k], strlen(names[i][k]));
    }
    if (!is_complete(t->fim_ids)) t->fim_ids[0] = t->fim_ids[1] = t->fim_ids[2] = -1;
}

const int32_t *r2i_tokenizer_fim(const r2i_tokenizer *t) {
    return is_complete(t->fim_ids) ? t->fim_ids : NULL;
}
