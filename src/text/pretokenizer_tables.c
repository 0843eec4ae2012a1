#include "text/pretokenizer_tables.h"

/* Published patterns are written for Oniguruma.  PCRE2 in UCP mode reads them alike but for \s,
 * which takes in U+180E (no white space since Unicode 6.3): SPACE spells Oniguruma's set out. */
#define SPACE "\\t-\\r\\x{85}\\p{Z}"
#define TAIL(s, ns) "|" s "*[\\r\\n]+|" s "+(?!" ns ")|" s "+"

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define WORDS "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"

#define GPT2(s_in, ns, s) \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" s_in "\\p{L}\\p{N}]+|" s "+(?!" ns ")|" s "+"
#define QWEN2(s_in, ns, s) \
    CONTRACTIONS "|" WORDS "|\\p{N}| ?[^" s_in "\\p{L}\\p{N}]+[\\r\\n]*" TAIL(s, ns)
#define LLAMA3(s_in, ns, s) \
    CONTRACTIONS "|" WORDS "|\\p{N}{1,3}| ?[^" s_in "\\p{L}\\p{N}]+[\\r\\n]*" TAIL(s, ns)
#define DEEPSEEK3(s, ns)                                                              \
    "[!\"#$%&'()*+,\\-./"                                                             \
    ":;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|" \
    " ?[\\p{P}\\p{S}]+[\\r\\n]*" TAIL(s, ns)

#define OURS(PATTERN) PATTERN(SPACE, "[^" SPACE "]", "[" SPACE "]")
#define THEIRS(PATTERN) PATTERN("\\s", "\\S", "\\s")

const r2i_pattern_row r2i_pattern_rows[R2I_N_PATTERNS] = {
    [R2I_PATTERN_GPT2] = { THEIRS(GPT2), OURS(GPT2), true },
    [R2I_PATTERN_QWEN2] = { THEIRS(QWEN2), OURS(QWEN2), true },
    [R2I_PATTERN_LLAMA3] = { THEIRS(LLAMA3), OURS(LLAMA3), true },
    [R2I_PATTERN_DIGIT] = { "\\p{N}", NULL, false },
    [R2I_PATTERN_DIGITS] = { "\\p{N}+", NULL, false },
    [R2I_PATTERN_DIGITS_3] = { "\\p{N}{1,3}", NULL, false },
    /* U+4E00..9FA5, hiragana and katakana */
    [R2I_PATTERN_CJK] = { "[\xe4\xb8\x80-\xe9\xbe\xa5\xe3\x81\x80-\xe3\x82\x9f\xe3\x82\xa0-"
                          "\xe3\x83\xbf]+",
                          NULL, false },
    [R2I_PATTERN_DEEPSEEK3] = { DEEPSEEK3("\\s", "\\S"), DEEPSEEK3("[" SPACE "]", "[^" SPACE "]"),
                                false },
    [R2I_PATTERN_LINE_END] = { "[\\r\\n]", NULL, false },
    [R2I_PATTERN_SPACE_LETTERS] = { "\\s?\\p{L}+", "[" SPACE "]?\\p{L}+", false },
    [R2I_PATTERN_SPACE_MARKS] = { "\\s?\\p{P}+", "[" SPACE "]?\\p{P}+", false },
    /* U+4E00..9FA5, U+0800..4E00, U+AC00..D7FF */
    [R2I_PATTERN_EAST_ASIAN] = { "[\xe4\xb8\x80-\xe9\xbe\xa5\xe0\xa0\x80-\xe4\xb8\x80\xea\xb0\x80-"
                                 "\xed\x9f\xbf]+",
                                 NULL, false },
};

const r2i_pattern_alias r2i_pattern_aliases[] = {
    { "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
      R2I_PATTERN_GPT2 },
};
const size_t r2i_n_pattern_aliases = sizeof r2i_pattern_aliases / sizeof *r2i_pattern_aliases;

#define SCHEME_GPT2 \
    { { R2I_PATTERN_GPT2 }, 1, false, false }
#define SCHEME_QWEN2 \
    { { R2I_PATTERN_QWEN2 }, 1, true, false }
#define SCHEME_LLAMA3 \
    { { R2I_PATTERN_LLAMA3 }, 1, false, true }
#define SCHEME_SMOLLM \
    { { R2I_PATTERN_DIGIT, R2I_PATTERN_GPT2 }, 2, false, false }
#define SCHEME_DEEPSEEK3 \
    { { R2I_PATTERN_DIGITS_3, R2I_PATTERN_CJK, R2I_PATTERN_DEEPSEEK3 }, 3, false, false }
#define SCHEME_DEEPSEEK_CODER                                                       \
    {                                                                               \
        { R2I_PATTERN_LINE_END, R2I_PATTERN_SPACE_LETTERS, R2I_PATTERN_SPACE_MARKS, \
          R2I_PATTERN_EAST_ASIAN, R2I_PATTERN_DIGIT },                              \
            5, false, false                                                         \
    }

const r2i_scheme_row r2i_scheme_rows[] = {
    { "default", SCHEME_GPT2 },
    { "gpt-2", SCHEME_GPT2 },
    { "gpt2", SCHEME_GPT2 },
    { "phi-2", SCHEME_GPT2 },
    { "qwen2", SCHEME_QWEN2 },
    { "deepseek-r1-qwen", SCHEME_QWEN2 },
    { "llama-bpe", SCHEME_LLAMA3 },
    { "llama3", SCHEME_LLAMA3 },
    { "llama-v3", SCHEME_LLAMA3 },
    { "smollm", SCHEME_SMOLLM },
    { "starcoder", SCHEME_SMOLLM },
    { "refact", SCHEME_SMOLLM },
    { "deepseek-v3", SCHEME_DEEPSEEK3 },
    { "deepseek-coder", SCHEME_DEEPSEEK_CODER },
};
const size_t r2i_n_scheme_rows = sizeof r2i_scheme_rows / sizeof *r2i_scheme_rows;
