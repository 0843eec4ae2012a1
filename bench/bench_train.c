/* bench_train.c - seconds of a training step (forward, backward, AdamW) on random tokens; CSV.
 *
 *   bench_train MODEL_FOLDER [--tokens 4096] [--document 256] [--threads N] [--steps 5] [--cpu LEVEL]
 *               [--arithmetic fast|f32] [--mtp WEIGHT] [--recompute]
 *
 * A folder with random weights comes from r2_model_init (`r2lm train init`); with a folder that holds a
 * configuration alone, one is made in --init DIR first.  gflops = 6 * active parameters * tokens /
 * seconds of the best step, attention's own products not counted. */
#define _POSIX_C_SOURCE 200809L /* clock_gettime */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "r2lm/train.h"

typedef struct {
    const char *folder, *init, *cpu;
    int32_t n_tokens, n_document, n_threads, n_steps;
    double mtp;
    bool is_f32, is_recomputing;
} options;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void must(r2_status status, const r2_error *err) {
    if (status == R2_OK) return;
    fprintf(stderr, "bench_train: %s\n", err->text);
    exit(1);
}

static options read_options(int argc, char **argv) {
    options o = { .n_tokens = 4096, .n_document = 256, .n_steps = 5 };
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (strncmp(name, "--", 2) != 0) {
            o.folder = name;
            continue;
        }
        if (strcmp(name, "--recompute") == 0) {
            o.is_recomputing = true;
            continue;
        }
        const char *value = i + 1 < argc ? argv[++i] : "0";
        const int n = (int)strtol(value, NULL, 10);
        if (strcmp(name, "--tokens") == 0) o.n_tokens = n;
        if (strcmp(name, "--document") == 0) o.n_document = n;
        if (strcmp(name, "--threads") == 0) o.n_threads = n;
        if (strcmp(name, "--steps") == 0) o.n_steps = n;
        if (strcmp(name, "--cpu") == 0) o.cpu = value;
        if (strcmp(name, "--init") == 0) o.init = value;
        if (strcmp(name, "--mtp") == 0) o.mtp = strtod(value, NULL);
        if (strcmp(name, "--arithmetic") == 0) o.is_f32 = strcmp(value, "f32") == 0;
    }
    if (o.folder == NULL || o.n_tokens < 1 || o.n_document < 1 || o.n_steps < 1) {
        fprintf(stderr, "bench_train: expected a model folder and numbers above 0\n");
        exit(2);
    }
    return o;
}

/* Documents of one length, random tokens. */
static r2_training_batch make_batch(const options *o, int32_t n_vocab) {
    const int32_t n = o->n_tokens / o->n_document * o->n_document, n_documents = n / o->n_document;
    r2_token *tokens = malloc((size_t)n * sizeof *tokens),
             *targets = malloc((size_t)n * sizeof *targets);
    int32_t *lengths = malloc((size_t)n_documents * sizeof *lengths);
    uint32_t x = 12345;
    if (tokens == NULL || targets == NULL || lengths == NULL) exit(1);
    for (int32_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        tokens[i] = (r2_token)((x >> 8) % (uint32_t)n_vocab);
        targets[i] = (r2_token)((x >> 4) % (uint32_t)n_vocab);
    }
    for (int32_t d = 0; d < n_documents; d++)
        lengths[d] = o->n_document;
    return (r2_training_batch){ .tokens = tokens,
                                .targets = targets,
                                .n_tokens = n,
                                .lengths = lengths,
                                .n_documents = n_documents };
}

static int32_t vocabulary_of(const char *folder) {
    r2_error err;
    r2_model *model;
    r2_model_info info;
    must(r2_model_open(&model, folder, NULL, &err), &err);
    r2_model_get_info(model, &info);
    const int32_t n = info.n_vocab;
    r2_model_close(model);
    return n;
}

int main(int argc, char **argv) {
    const options o = read_options(argc, argv);
    const r2_step_options adamw = { .lr = 1e-4, .weight_decay = 0.1, .clip = 1 };
    const r2_trainer_options how = { .n_threads = o.n_threads,
                                     .batch_tokens = o.n_tokens,
                                     .document_tokens = o.n_document,
                                     .arithmetic =
                                         o.is_f32 ? R2_ARITHMETIC_F32 : R2_ARITHMETIC_FAST,
                                     .is_recomputing = o.is_recomputing,
                                     .cpu = o.cpu };
    const char *folder = o.init != NULL ? o.init : o.folder;
    r2_error err;
    r2_trainer *t;
    r2_trainer_info info;
    double best_add = 1e30, best_step = 1e30, loss_sum = 0;
    if (o.init != NULL) {
        const r2_model_init_options init = { .seed = 1, .is_forced = true };
        must(r2_model_init(o.folder, o.init, &init, &err), &err);
    }
    const r2_training_batch batch = make_batch(&o, vocabulary_of(folder));
    must(r2_trainer_open(&t, folder, &how, &err), &err);
    const r2_loss_weights weights = { .scale = 1.0f / (float)batch.n_tokens, .mtp = (float)o.mtp };
    for (int32_t i = 0; i < o.n_steps; i++) {
        r2_training_loss loss;
        r2_step_result result;
        const double start = now();
        must(r2_trainer_add(t, &batch, &weights, &loss, &err), &err);
        const double middle = now();
        must(r2_trainer_step(t, &adamw, &result, &err), &err);
        const double end = now();
        if (middle - start < best_add) best_add = middle - start;
        if (end - middle < best_step) best_step = end - middle;
        loss_sum = loss.loss / batch.n_tokens;
    }
    r2_trainer_get_info(t, &info);
    const double seconds = best_add + best_step;
    printf("tokens,threads,parameters,active,seconds,optimizer_seconds,tokens_s,gflops,memory_mib,"
           "bytes_per_parameter,loss\n");
    printf("%d,%d,%lld,%lld,%.3f,%.3f,%.0f,%.0f,%.0f,%.1f,%.4f\n", batch.n_tokens, info.n_threads,
           (long long)info.n_parameters, (long long)info.n_active_parameters, seconds, best_step,
           batch.n_tokens / seconds,
           6e-9 * (double)info.n_active_parameters * batch.n_tokens / seconds,
           (double)info.memory_bytes / 1048576,
           (double)info.memory_bytes / (double)info.n_parameters, loss_sum);
    r2_trainer_close(t);
    return 0;
}
