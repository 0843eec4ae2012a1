/* batch.c - many prompts at once: the engine computes them together, each answer is the same as alone.
 *
 *   batch MODEL.gguf < prompts.txt        (a prompt per line, at most 32) */
#include <r2lm/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PROMPTS = 32, MAX_LINE = 4096, MAX_TOKENS = 1024, N_NEW = 32 };

static void check(r2_status status, const r2_error *err) {
    if (status == R2_OK) return;
    fprintf(stderr, "batch: %s\n", err->text);
    exit(1);
}

int main(int argc, char **argv) {
    static char lines[MAX_PROMPTS][MAX_LINE];
    r2_sequence *sequences[MAX_PROMPTS];
    r2_model *model;
    r2_engine *engine;
    r2_detokenizer *text;
    r2_error err;
    int n = 0;
    if (argc != 2) {
        fprintf(stderr, "usage: batch MODEL < PROMPTS\n");
        return 2;
    }
    check(r2_model_open(&model, argv[1], NULL, &err), &err);
    const r2_engine_options room = { .n_sequences = MAX_PROMPTS };
    check(r2_engine_create(&engine, model, &room, &err), &err);
    check(r2_detokenizer_create(&text, model, false, &err), &err);

    for (; n < MAX_PROMPTS && fgets(lines[n], MAX_LINE, stdin) != NULL; n++) {
        r2_token tokens[MAX_TOKENS];
        int32_t n_tokens;
        lines[n][strcspn(lines[n], "\n")] = '\0';
        check(r2_tokenize(model, lines[n], strlen(lines[n]), R2_TOKENIZE_START, tokens, MAX_TOKENS,
                          &n_tokens, &err),
              &err);
        const r2_sequence_options options = { .max_new_tokens = N_NEW };
        check(r2_sequence_create(&sequences[n], engine, &options, &err), &err);
        check(r2_sequence_append(sequences[n], tokens, n_tokens, &err), &err);
    }
    for (int32_t n_active = 1; n_active > 0;)
        check(r2_engine_step(engine, &n_active, &err), &err);
    for (int i = 0; i < n; i++) {
        r2_generated token;
        printf("%s", lines[i]);
        while (r2_sequence_read(sequences[i], &token, 1) > 0)
            fputs(r2_detokenizer_feed(text, token.token), stdout);
        printf("%s\n", r2_detokenizer_finish(text));
        r2_sequence_destroy(sequences[i]);
    }
    r2_detokenizer_destroy(text);
    r2_engine_destroy(engine);
    r2_model_close(model);
    return 0;
}
