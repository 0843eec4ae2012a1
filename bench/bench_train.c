/* bench_train.c - seconds and memory of a training step (forward, backward, AdamW) on random tokens; JSON.
 *
 *   bench_train MODEL_FOLDER [--tokens 4096] [--document 256] [--threads N] [--steps 5] [--cpu LEVEL]
 *               [--arithmetic fast|f32] [--mtp WEIGHT] [--recompute] [--muon] [--lora RANK]
 *
 * With --lora an adapter of all linear layers is trained, and the model may be a GGUF file.
 * A folder with random weights comes from r2_model_init (`r2lm train init`); with a folder that holds a
 * configuration alone, one is made in --init DIR first.  gflops = 6 * active parameters * tokens /
 * seconds of the best step, attention's own products not counted.  cpu_seconds is the processor time of the
 * cheapest step: comparable where other programs disturb. */
#define _POSIX_C_SOURCE 200809L /* clock_gettime */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "r2lm/train.h"

typedef struct {
    const char *folder, *init, *cpu;
    int32_t n_tokens, n_document, n_threads, n_steps, lora_rank;
    double mtp;
    bool is_f32, is_recomputing, has_muon;
} options;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Processor seconds so far of all threads, the kernel's included. */
static double processor_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double peak_bytes(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? 1024 * (double)usage.ru_maxrss : 0;
}

static double smaller(double a, double b) {
    return a < b ? a : b;
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
        if (strcmp(name, "--muon") == 0) {
            o.has_muon = true;
            continue;
        }
        const char *value = i + 1 < argc ? argv[++i] : "0";
        const int n = (int)strtol(value, NULL, 10);
        if (strcmp(name, "--tokens") == 0) o.n_tokens = n;
        if (strcmp(name, "--document") == 0) o.n_document = n;
        if (strcmp(name, "--threads") == 0) o.n_threads = n;
        if (strcmp(name, "--steps") == 0) o.n_steps = n;
        if (strcmp(name, "--lora") == 0) o.lora_rank = n;
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

typedef struct {
    double add, step, cpu; /* seconds of the best */
    double loss;           /* of the last step, per token */
} result;

static result run_steps(r2_trainer *t, const options *o, const r2_training_batch *batch) {
    const r2_step_options how = { .lr = 1e-4, .weight_decay = 0.1, .clip = 1 };
    const r2_loss_weights weights = { .scale = 1.0f / (float)batch->n_tokens,
                                      .mtp = (float)o->mtp };
    result out = { 1e30, 1e30, 1e30, 0 };
    for (int32_t i = 0; i < o->n_steps; i++) {
        r2_error err;
        r2_training_loss loss;
        r2_step_result step;
        const double start = now(), cpu = processor_seconds();
        must(r2_trainer_add(t, batch, &weights, &loss, &err), &err);
        const double middle = now();
        must(r2_trainer_step(t, &how, &step, &err), &err);
        out.add = smaller(out.add, middle - start);
        out.step = smaller(out.step, now() - middle);
        out.cpu = smaller(out.cpu, processor_seconds() - cpu);
        out.loss = loss.loss / batch->n_tokens;
    }
    return out;
}

static void print_result(const r2_trainer_info *info, const result *r, int32_t n_tokens) {
    const double seconds = r->add + r->step;
    printf("{\"tokens\": %d, \"threads\": %d, \"parameters\": %lld, \"active\": %lld, ", n_tokens,
           info->n_threads, (long long)info->n_parameters, (long long)info->n_active_parameters);
    printf("\"seconds\": %.4f, \"optimizer_seconds\": %.4f, \"cpu_seconds\": %.4f, ", seconds,
           r->step, r->cpu);
    printf("\"tokens_s\": %.0f, \"gflops\": %.1f, \"loss\": %.4f,\n", n_tokens / seconds,
           6e-9 * (double)info->n_active_parameters * n_tokens / seconds, r->loss);
    printf(" \"masters_bytes\": %lld, \"gradients_bytes\": %lld, \"moments_bytes\": %lld, ",
           (long long)info->masters_bytes, (long long)info->gradients_bytes,
           (long long)info->moments_bytes);
    printf("\"activation_bytes\": %lld, \"kept_bytes\": %lld, \"memory_bytes\": %lld, "
           "\"peak_bytes\": %.0f}\n",
           (long long)info->activations_bytes, (long long)info->kept_bytes,
           (long long)info->memory_bytes, peak_bytes());
}

int main(int argc, char **argv) {
    const options o = read_options(argc, argv);
    const r2_trainer_options how = { .n_threads = o.n_threads,
                                     .batch_tokens = o.n_tokens,
                                     .document_tokens = o.n_document,
                                     .arithmetic =
                                         o.is_f32 ? R2_ARITHMETIC_F32 : R2_ARITHMETIC_FAST,
                                     .optimizer =
                                         o.has_muon ? R2_OPTIMIZER_MUON : R2_OPTIMIZER_ADAMW,
                                     .is_recomputing = o.is_recomputing,
                                     .lora = { .rank = o.lora_rank },
                                     .cpu = o.cpu };
    const char *folder = o.init != NULL ? o.init : o.folder;
    r2_error err;
    r2_trainer *t;
    r2_trainer_info info;
    if (o.init != NULL) {
        const r2_model_init_options init = { .seed = 1, .is_forced = true };
        must(r2_model_init(o.folder, o.init, &init, &err), &err);
    }
    const r2_training_batch batch = make_batch(&o, vocabulary_of(folder));
    must(r2_trainer_open(&t, folder, &how, &err), &err);
    const result r = run_steps(t, &o, &batch);
    r2_trainer_get_info(t, &info);
    print_result(&info, &r, batch.n_tokens);
    r2_trainer_close(t);
    return 0;
}
