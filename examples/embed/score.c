/* score.c - how likely does a model find a text?  Log-probabilities without generating anything.
 *
 *   score MODEL.gguf "The capital of France is Paris" */
#include <math.h>
#include <r2lm/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TOKENS = 512 };

static void check(r2_status status, const r2_error *err) {
    if (status == R2_OK) return;
    fprintf(stderr, "score: %s\n", err->text);
    exit(1);
}

int main(int argc, char **argv) {
    r2_token tokens[MAX_TOKENS];
    float logprobs[MAX_TOKENS], sum = 0;
    r2_model *model;
    r2_engine *engine;
    r2_sequence *sequence;
    r2_error err;
    int32_t n_tokens, n_scored;
    if (argc != 3) {
        fprintf(stderr, "usage: score MODEL TEXT\n");
        return 2;
    }
    check(r2_model_open(&model, argv[1], NULL, &err), &err);
    check(r2_engine_create(&engine, model, &(r2_engine_options){ .n_context = MAX_TOKENS }, &err),
          &err);
    check(r2_tokenize(model, argv[2], strlen(argv[2]), R2_TOKENIZE_START, tokens, MAX_TOKENS,
                      &n_tokens, &err),
          &err);

    const r2_sequence_options options = { .is_manual = true, .wants_prompt_logprobs = true };
    check(r2_sequence_create(&sequence, engine, &options, &err), &err);
    check(r2_sequence_append(sequence, tokens, n_tokens, &err), &err);
    for (int32_t n_active = 1; n_active > 0;)
        check(r2_engine_step(engine, &n_active, &err), &err);

    n_scored = r2_sequence_prompt_logprobs(sequence, logprobs, MAX_TOKENS);
    for (int32_t i = 0; i < n_scored; i++) {
        char bytes[64];
        const size_t n_bytes = r2_token_bytes(model, tokens[i + 1], bytes, sizeof bytes);
        printf("%8.3f  %.*s\n", (double)logprobs[i],
               (int)(n_bytes < sizeof bytes ? n_bytes : sizeof bytes), bytes);
        sum += logprobs[i];
    }
    printf("%8.3f  in all; perplexity %.2f\n", (double)sum,
           n_scored > 0 ? exp(-(double)sum / n_scored) : 0);

    r2_sequence_destroy(sequence);
    r2_engine_destroy(engine);
    r2_model_close(model);
    return 0;
}
