/* train_step.c - teaches a model one text by heart, step by step, and saves it.
 *
 *   train_step MODEL_FOLDER TEXT_FILE OUT_FOLDER [STEPS] */
#include <r2lm/text.h>
#include <r2lm/train.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_TOKENS = 1024 };

static void check(r2_status status, const r2_error *err) {
    if (status == R2_OK) return;
    fprintf(stderr, "train_step: %s\n", err->text);
    exit(1);
}

/* The file's first tokens; the model is opened for its tokenizer alone. */
static int32_t read_tokens(const char *folder, const char *path, r2_token *tokens) {
    static char text[MAX_TOKENS];
    const r2_model_options text_only = { .is_text_only = true };
    r2_model *model;
    r2_error err;
    int32_t n = 0;
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "train_step: %s cannot be read\n", path);
        exit(1);
    }
    const size_t n_bytes = fread(text, 1, MAX_TOKENS, file); /* a token has a byte at least */
    fclose(file);
    check(r2_model_open(&model, folder, &text_only, &err), &err);
    check(r2_tokenize(model, text, n_bytes, 0, tokens, MAX_TOKENS, &n, &err), &err);
    r2_model_close(model);
    return n;
}

int main(int argc, char **argv) {
    static r2_token tokens[MAX_TOKENS], targets[MAX_TOKENS];
    const int n_steps = argc == 5 ? atoi(argv[4]) : 20;
    r2_trainer *trainer;
    r2_error err;
    if (argc != 4 && argc != 5) {
        fprintf(stderr, "usage: train_step MODEL_FOLDER TEXT_FILE OUT_FOLDER [STEPS]\n");
        return 2;
    }
    const int32_t n = read_tokens(argv[1], argv[2], tokens);
    if (n < 2) {
        fprintf(stderr, "train_step: %s: expected two tokens or more\n", argv[2]);
        return 1;
    }
    for (int32_t i = 0; i < n; i++)
        targets[i] = i + 1 < n ? tokens[i + 1] : -1; /* nothing follows the last one */
    const r2_training_batch batch = {
        .tokens = tokens, .targets = targets, .n_tokens = n, .lengths = &n, .n_documents = 1
    };
    const r2_trainer_options room = { .batch_tokens = MAX_TOKENS };
    const r2_loss_weights weights = { .scale = 1.0f / (float)(n - 1), .mtp = 0.3f };
    const r2_step_options adamw = { .lr = 1e-3, .weight_decay = 0.1, .clip = 1 };
    check(r2_trainer_open(&trainer, argv[1], &room, &err), &err);
    for (int step = 1; step <= n_steps; step++) {
        r2_training_loss loss;
        r2_step_result result;
        check(r2_trainer_add(trainer, &batch, &weights, &loss, &err), &err);
        check(r2_trainer_step(trainer, &adamw, &result, &err), &err);
        printf("step %d: loss %.4f, gradient %.3f\n", step, loss.loss / loss.n_targets,
               result.gradient_norm);
    }
    check(r2_trainer_save(trainer, argv[3], false, false, &err), &err);
    r2_trainer_close(trainer);
    return 0;
}
