/* The first byte chooses GBNF, a regular expression or a JSON schema; the text behind it is read, and
 * its automaton walked by some bytes, masks asked for along the way. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/byte_letters.h"
#include "text/grammar_matcher.h"
#include "text/grammar_regex.h"
#include "text/grammar_schema.h"

enum { N_TOKENS = 256 + 8, N_STEPS = 24, MAX_USED_BYTES = 256 << 20 };

typedef struct {
    r2i_heap heap;
    r2i_tokenizer *tokenizer;
    r2i_token_forest *forest;
} vocabulary;

static void make_vocabulary(vocabulary *v) {
    static const char *const WORDS[] = { "<|end|>", "aa", "ab", "\"a\"", "true", "10", "{}", "[[" };
    r2i_byte_letters letters;
    r2i_vocabulary words;
    r2i_text_view tokens[N_TOKENS];
    int32_t types[N_TOKENS];
    r2i_heap_init(&v->heap);
    r2i_byte_letters_init(&letters);
    r2i_vocabulary_init(&words);
    for (int i = 0; i < N_TOKENS; i++) {
        tokens[i] = i < 256 ? (r2i_text_view){ letters.letter[i], letters.n_bytes[i] }
                            : (r2i_text_view){ WORDS[i - 256], strlen(WORDS[i - 256]) };
        types[i] = i == 256 ? R2I_TOKEN_CONTROL : R2I_TOKEN_NORMAL;
    }
    words.model = (r2i_text_view){ "gpt2", 4 };
    words.tokens = (r2i_text_list){ .n = N_TOKENS, .views = tokens };
    words.types = types;
    words.eos_id = 256;
    if (r2i_tokenizer_create(&v->tokenizer, &words, &v->heap, NULL) != R2_OK ||
        r2i_token_forest_create(&v->forest, v->tokenizer, &(r2i_token_roles){ 0 }, &v->heap, NULL) != R2_OK)
        abort();
}

/* What a mask offers must be taken, and the text must never be stuck. */
static void walk(r2i_grammar *g, unsigned dice) {
    r2i_grammar_matcher m;
    if (r2i_grammar_matcher_init(&m, g, NULL) != R2_OK) return;
    for (int i = 0; i < N_STEPS && !m.is_ended; i++) {
        uint32_t allowed[N_TOKENS / 32 + 1];
        int32_t offered[N_TOKENS], n = 0;
        memset(allowed, 0xff, sizeof allowed);
        if (r2i_grammar_matcher_mask(&m, allowed, N_TOKENS, NULL) != R2_OK) break;
        for (int32_t t = 0; t < N_TOKENS; t++) {
            if ((allowed[t / 32] >> t % 32 & 1) != 0) offered[n++] = t;
        }
        if (n == 0) abort();
        dice = dice * 1664525u + 1013904223u;
        const r2_status status =
            r2i_grammar_matcher_accept_token(&m, offered[(dice >> 8) % (unsigned)n], NULL);
        if (status == R2_E_MISMATCH) abort();
        if (status != R2_OK) break;
    }
    r2i_grammar_matcher_drop(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    static vocabulary v;
    if (v.forest == NULL) make_vocabulary(&v);
    if (n_bytes == 0) return 0;
    const size_t used = v.heap.used_bytes;
    const char *text = (const char *)bytes + 1;
    r2_error err = { 0 };
    r2i_arena arena;
    r2i_grammar_draft draft;
    r2i_grammar *g = NULL;
    r2i_arena_init(&arena, &v.heap, 1 << 16, R2I_GRAMMAR_MAX_DRAFT_BYTES);
    r2_status status = r2i_draft_init(&draft, &arena, &err);
    if (status == R2_OK) {
        status = bytes[0] == 'g'   ? r2i_gbnf_read(&draft, text, n_bytes - 1, &err)
                 : bytes[0] == 'r' ? r2i_regex_read(&draft, text, n_bytes - 1, &err)
                                   : r2i_schema_read(&draft, text, n_bytes - 1, &err);
    }
    if (status == R2_OK) status = r2i_grammar_create(&g, &draft, v.forest, &v.heap, &err);
    r2i_arena_destroy(&arena);
    if (status != R2_OK && (g != NULL || err.text[0] == '\0')) abort();
    if (g != NULL) walk(g, (unsigned)n_bytes);
    if (v.heap.used_bytes > MAX_USED_BYTES) abort();
    r2i_grammar_destroy(g);
    if (v.heap.used_bytes != used) abort();
    return 0;
}
