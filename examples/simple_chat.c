/* simple_chat.c - one question to a model, the answer as it comes.
 *
 *   simple_chat MODEL.gguf "Why is the sky blue?" [SEED] */
#include <r2lm/text.h>
#include <stdio.h>
#include <stdlib.h>

static void check(r2_status status, const r2_error *err) {
    if (status == R2_OK) return;
    fprintf(stderr, "simple_chat: %s\n", err->text);
    exit(1);
}

int main(int argc, char **argv) {
    r2_error err;
    r2_model *model;
    r2_engine *engine;
    r2_prompt *prompt;
    r2_sequence *sequence;
    r2_detokenizer *text;
    if (argc < 3) {
        fprintf(stderr, "usage: simple_chat MODEL QUESTION [SEED]\n");
        return 2;
    }
    check(r2_model_open(&model, argv[1], NULL, &err), &err);
    check(r2_engine_create(&engine, model, NULL, &err), &err);

    const r2_chat_message messages[] = { { .role = "system", .content = "Answer briefly." },
                                         { .role = "user", .content = argv[2] } };
    check(r2_chat_render(&prompt, model, messages, 2, NULL, &err), &err);

    const r2_sequence_options options = {
        .sampling = { .temperature = argc > 3 ? 0.7f : 0,
                      .top_p = 0.95f,
                      .seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 0 },
        .max_new_tokens = 200,
        .think_budget = 100, /* models that think do so for at most 100 tokens */
    };
    check(r2_sequence_create(&sequence, engine, &options, &err), &err);
    check(r2_sequence_append(sequence, prompt->tokens, prompt->n_tokens, &err), &err);
    check(r2_detokenizer_create(&text, model, false, &err), &err);

    for (int32_t n_active = 1; n_active > 0;) {
        r2_generated token;
        check(r2_engine_step(engine, &n_active, &err), &err);
        while (r2_sequence_read(sequence, &token, 1) > 0) {
            if (!token.is_thinking) fputs(r2_detokenizer_feed(text, token.token), stdout);
        }
        fflush(stdout);
    }
    puts(r2_detokenizer_finish(text));

    r2_detokenizer_destroy(text);
    r2_sequence_destroy(sequence);
    r2_prompt_destroy(prompt);
    r2_engine_destroy(engine);
    r2_model_close(model);
    return 0;
}
