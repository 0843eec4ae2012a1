/* bench_tokenizer.c - the tokenizer alone: tables from a model file, text to tokens and back.
 *
 *   bench_tokenizer MODEL.gguf [FILE...]
 *
 * Prints CSV: what, bytes, tokens, milliseconds, MB/s (10^6 bytes; best of several passes, CPU time
 * of the one thread, so that a busy machine disturbs less).  Without files, 5 MB each of made-up
 * English, code and Chinese, the same every time. */
#define _GNU_SOURCE /* CLOCK_THREAD_CPUTIME_ID */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/random.h"
#include "model/model_vocabulary.h"
#include "text/detokenizer.h"

enum { N_PASSES = 5, TEXT_BYTES = 5 << 20, MAX_TEXT_BYTES = 64 << 20 };

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* ---- made-up text ---- */

static const char *const ENGLISH[] = {
    "the",       "of",       "and",        "to",          "in",
    "is",        "that",     "for",        "it",          "was",
    "with",      "as",       "on",         "be",          "which",
    "have",      "people",   "government", "measurement", "reasonably",
    "station",   "distance", "between",    "through",     "children",
    "question",  "answer",   "number",     "minutes",     "remaining",
    "Wednesday", "it's",     "don't",      "altogether",  "understanding",
    "sold",
};
static const char *const CODE[] = {
    "int",
    "return",
    "if (",
    ") {\n    ",
    "}\n",
    "for (size_t i = 0; i < n; i++) ",
    "static const char *",
    "->",
    "++;\n",
    "buffer",
    "n_bytes",
    "sizeof *",
    " = ",
    " != NULL",
    "&& ",
    "#include <stdio.h>\n",
    "/* comment */ ",
    "0x7f",
    "status",
    "r2_status ",
    "err);\n",
    "        ",
    "def forward(self, x):\n",
    "self.weight",
    "[i]",
    "import numpy as np\n",
    "foo_bar",
};
static const char *const CHINESE[] = {
    "\u6211\u4eec", "\u7684",       "\u662f",       "\u5728",       "\u4e00\u4e2a", "\u6709",
    "\u4eba",       "\u8fd9",       "\u4e2d\u56fd", "\u5927\u5b66", "\u5b66\u751f", "\u5de5\u4f5c",
    "\uff0c",       "\u3002",       "\u53d1\u5c55", "\u7ecf\u6d4e", "\u95ee\u9898", "\u65f6\u95f4",
    "\u660e\u5929", "\u516c\u56ed", "\u5929\u6c14", "\u5f88",       "\u597d",       "\u53ef\u4ee5",
    "\u6ca1\u6709", "\u4ec0\u4e48", "\u8fdb\u884c", "\u7814\u7a76",
};

static size_t make_text(char *text, const char *const *words, size_t n_words, const char *gap) {
    size_t n = 0;
    for (uint64_t i = 0; n < TEXT_BYTES; i++) {
        const uint64_t draw = r2i_random_u64(1, 2, i);
        const char *word = words[draw % n_words];
        const int written =
            snprintf(text + n, 64, "%s%s", word, (draw >> 32) % 12 == 0 ? ".\n" : gap);
        n += (size_t)written;
    }
    return n;
}

/* ---- measuring ---- */

static void measure(const r2i_tokenizer *tokenizer, const char *name, const char *text,
                    size_t n_bytes, r2i_heap *heap) {
    r2i_encoder *encoder = NULL;
    r2i_buffer out;
    r2_error err = { 0 };
    const int32_t *ids = NULL;
    size_t n_ids = 0;
    double encode_ms = 1e30, decode_ms = 1e30;
    r2i_buffer_init(&out, heap, 1 << 30);
    for (int pass = 0; pass < N_PASSES; pass++) {
        r2i_encoder_destroy(encoder); /* a cold word cache in every pass */
        double begin = now_ms();
        if (r2i_encoder_create(&encoder, tokenizer, heap, &err) != R2_OK ||
            r2i_encoder_run_text(encoder, text, n_bytes, 0, &ids, &n_ids, &err) != R2_OK) {
            fprintf(stderr, "bench_tokenizer: %s: %s\n", name, err.text);
            exit(1);
        }
        encode_ms = now_ms() - begin < encode_ms ? now_ms() - begin : encode_ms;
        begin = now_ms();
        r2i_buffer_clear(&out);
        if (r2i_decode_text(tokenizer, ids, n_ids, 0, &out, &err) != R2_OK) exit(1);
        decode_ms = now_ms() - begin < decode_ms ? now_ms() - begin : decode_ms;
    }
    printf("encode %s,%zu,%zu,%.2f,%.2f\n", name, n_bytes, n_ids, encode_ms,
           (double)n_bytes * 1e-3 / encode_ms);
    printf("decode %s,%zu,%zu,%.2f,%.2f\n", name, out.n_bytes, n_ids, decode_ms,
           (double)out.n_bytes * 1e-3 / decode_ms);
    r2i_buffer_destroy(&out);
    r2i_encoder_destroy(encoder);
}

static size_t value_bytes(const r2i_gguf *gguf, const char *key) {
    const r2i_gguf_value *value = r2i_gguf_find(gguf, key);
    return value != NULL ? value->n_bytes : 0;
}

static r2i_tokenizer *build(const r2i_gguf *gguf, r2i_heap *heap) {
    r2i_tokenizer *tokenizer = NULL;
    r2_error err = { 0 };
    double best = 1e30;
    for (int pass = 0; pass < N_PASSES; pass++) {
        r2i_tokenizer_destroy(tokenizer);
        const double begin = now_ms();
        if (r2i_tokenizer_from_gguf(&tokenizer, gguf, heap, &err) != R2_OK || tokenizer == NULL) {
            fprintf(stderr, "bench_tokenizer: no vocabulary: %s\n", err.text);
            exit(1);
        }
        best = now_ms() - begin < best ? now_ms() - begin : best;
    }
    printf("build tables,%zu,%d,%.2f,\n",
           value_bytes(gguf, "tokenizer.ggml.tokens") + value_bytes(gguf, "tokenizer.ggml.merges"),
           (int)r2i_tokenizer_size(tokenizer), best);
    return tokenizer;
}

int main(int argc, char **argv) {
    r2i_heap heap;
    r2i_arena arena;
    r2i_gguf *gguf;
    r2_error err = { 0 };
    char *text = malloc(MAX_TEXT_BYTES);
    r2i_heap_init(&heap);
    r2i_arena_init(&arena, &heap, 1 << 16, 0);
    if (argc < 2 || text == NULL || r2i_gguf_open(&gguf, argv[1], &arena, &err) != R2_OK) {
        fprintf(stderr, "usage: bench_tokenizer MODEL.gguf [FILE...]  %s\n", err.text);
        return 2;
    }
    printf("what,bytes,tokens,ms,mb_s\n");
    r2i_tokenizer *tokenizer = build(gguf, &heap);
    for (int i = 2; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (file == NULL) return 2;
        const size_t n = fread(text, 1, MAX_TEXT_BYTES, file);
        fclose(file);
        measure(tokenizer, argv[i], text, n, &heap);
    }
    if (argc == 2) {
        measure(tokenizer, "english", text,
                make_text(text, ENGLISH, sizeof ENGLISH / sizeof *ENGLISH, " "), &heap);
        measure(tokenizer, "code", text, make_text(text, CODE, sizeof CODE / sizeof *CODE, ""),
                &heap);
        measure(tokenizer, "chinese", text,
                make_text(text, CHINESE, sizeof CHINESE / sizeof *CHINESE, ""), &heap);
    }
    r2i_tokenizer_destroy(tokenizer);
    r2i_gguf_close(gguf);
    r2i_arena_destroy(&arena);
    free(text);
    return 0;
}
