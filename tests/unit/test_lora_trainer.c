/* test_lora_trainer.c - adapters over bases that stay as their files have them, quantized ones too.
 *
 *   forward      training's loss at a position is, bit for bit, what an engine that has loaded the saved
 *                adapter makes of it: F32, BF16, quantized; GQA, latent attention, experts; folder and GGUF
 *   gradients    F32 products on quantized files: central differences; BF16 panels and integer products:
 *                near those
 *   threads      one and two write the same bytes
 *   refusals     names that fit nothing, ranks, saving what is not trained */
#define _XOPEN_SOURCE 700 /* nftw, mkdtemp */
#include <ftw.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/random.h"
#include "files/mapping.h"
#include "model/model.h"
#include "r2lm/convert.h"
#include "train/backward/backward.h"
#include "train/lora/lora_parameters.h"

enum { PATH_BYTES = 1024, FIRST = 133, SECOND = 37, N_TOKENS = FIRST + SECOND, RANK = 5 };

static void must(r2_status status, const r2_error *err) {
    if (status != R2_OK) fail_msg("%s: %s", r2_status_name(status), err->text);
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *ftw) {
    (void)info;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static int remove_folder(void **state) {
    const int status = nftw(*state, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return status;
}

/* ---- models: random ones, and the same quantized ---- */

typedef struct {
    const char *name, *config;
    const char *roles[4];
    int32_t n_roles;
} base_model;

/* All experts are chosen: where a choice changes, the loss jumps, which no gradient tells. */
#define MLA_SIZES                                                                                  \
    "\"vocab_size\": 96, \"hidden_size\": 64, \"intermediate_size\": 96, "                         \
    "\"moe_intermediate_size\": 32,"                                                               \
    "\"num_hidden_layers\": 2, \"num_attention_heads\": 3, \"num_key_value_heads\": 3, "           \
    "\"n_shared_experts\": 1,"                                                                     \
    "\"n_routed_experts\": 4, \"num_experts_per_tok\": 4, \"kv_lora_rank\": 32, "                  \
    "\"qk_rope_head_dim\": 8,"                                                                     \
    "\"qk_nope_head_dim\": 32, \"v_head_dim\": 32, \"first_k_dense_replace\": 1, \"hidden_act\": " \
    "\"silu\","                                                                                    \
    "\"max_position_embeddings\": 512, \"rms_norm_eps\": 1e-6, \"rope_theta\": 10000, "            \
    "\"tie_word_embeddings\": false"
static const base_model bases[] = {
    { "llama",
      "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"vocab_size\": 100,"
      "\"hidden_size\": 96, \"intermediate_size\": 160, \"num_hidden_layers\": 3,"
      "\"num_attention_heads\": 6, \"num_key_value_heads\": 2, \"hidden_act\": \"silu\","
      "\"max_position_embeddings\": 512, \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000,"
      "\"tie_word_embeddings\": true}",
      { "attention=Q8_0", "ffn=Q4_0", "down=Q5_0", "ends=Q8_0" },
      4 },
    { "qwen2",
      "{\"architectures\": [\"Qwen2ForCausalLM\"], \"model_type\": \"qwen2\", \"vocab_size\": 100,"
      "\"hidden_size\": 256, \"intermediate_size\": 512, \"num_hidden_layers\": 2,"
      "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"hidden_act\": \"silu\","
      "\"max_position_embeddings\": 512, \"rms_norm_eps\": 1e-6, \"rope_theta\": 10000,"
      "\"tie_word_embeddings\": true}",
      { "attention=Q4_K", "ffn=Q6_K", "down=Q5_K", "ends=Q4_1" },
      4 },
    { "deepseek_v3",
      "{\"architectures\": [\"DeepseekV3ForCausalLM\"], \"model_type\": \"deepseek_v3\"," MLA_SIZES
      ", \"q_lora_rank\": 32, \"topk_method\": \"noaux_tc\", \"n_group\": 1, \"topk_group\": 1,"
      "\"scoring_func\": \"sigmoid\", \"norm_topk_prob\": true, \"routed_scaling_factor\": 1.5}",
      { "attention=Q8_0", "experts=Q4_0", "shared=Q5_1", "ffn=Q8_0" },
      4 },
    { "deepseek_v2",
      "{\"architectures\": [\"DeepseekV2ForCausalLM\"], \"model_type\": \"deepseek_v2\"," MLA_SIZES
      ", \"q_lora_rank\": null, \"topk_method\": \"greedy\", \"scoring_func\": \"softmax\","
      "\"norm_topk_prob\": false, \"routed_scaling_factor\": 1.0}",
      { "attention=Q8_0", "experts=Q8_0", "shared=Q4_0", "ffn=Q4_0" },
      4 },
};
enum { N_BASES = sizeof bases / sizeof *bases };

static const char *inside(void **state, const char *name, const char *end, char path[PATH_BYTES]) {
    snprintf(path, PATH_BYTES, "%.800s/%s%s", (const char *)*state, name, end);
    return path;
}

static void make_base(void **state, const base_model *b) {
    char path[PATH_BYTES], file[PATH_BYTES], out[PATH_BYTES];
    r2_error err;
    assert_int_equal(mkdir(inside(state, b->name, ".config", path), 0700), 0);
    snprintf(file, sizeof file, "%.1000s/config.json", path);
    FILE *config = fopen(file, "w");
    assert_non_null(config);
    assert_true(fputs(b->config, config) >= 0 && fclose(config) == 0);
    must(r2_model_init(path, inside(state, b->name, "", out), NULL, &err), &err);
    const r2_quantize_options how = {
        .type = "Q8_0", .roles = b->roles, .n_roles = b->n_roles, .n_threads = 2
    };
    must(r2_quantize(out, inside(state, b->name, ".gguf", path), &how, NULL, &err), &err);
}

static int make_bases(void **state) {
    char *folder = strdup("/tmp/r2lm_lora_XXXXXX");
    if (folder == NULL || mkdtemp(folder) == NULL) return -1;
    *state = folder;
    for (int i = 0; i < N_BASES; i++)
        make_base(state, &bases[i]);
    return 0;
}

/* ---- documents ---- */

typedef struct {
    r2_token tokens[N_TOKENS], targets[N_TOKENS];
    float weights[N_TOKENS];
    r2_training_batch batch;
} documents;

static void make_documents(documents *d, uint64_t seed) {
    static const int32_t lengths[] = { FIRST, SECOND };
    for (int32_t i = 0; i < N_TOKENS; i++) {
        d->tokens[i] = (r2_token)(r2i_random_u64(seed, 1, (uint64_t)i) % 96);
        d->weights[i] = 1;
    }
    for (int32_t i = 0; i < N_TOKENS; i++)
        d->targets[i] = i == FIRST - 1 || i == N_TOKENS - 1 ? -1 : d->tokens[i + 1];
    d->batch = (r2_training_batch){ .tokens = d->tokens,
                                    .targets = d->targets,
                                    .weights = d->weights,
                                    .n_tokens = N_TOKENS,
                                    .lengths = lengths,
                                    .n_documents = 2 };
}

/* ---- training's forward pass and the engine's ---- */

typedef struct {
    const char *path;
    r2_arithmetic arithmetic;
    int32_t n_threads;
    const char *targets;
    bool has_root_scale;
} lora_case;

static r2_trainer *open_trainer(const lora_case *c) {
    r2_error err;
    r2_trainer *t;
    const r2_trainer_options options = { .n_threads = c->n_threads,
                                         .batch_tokens = N_TOKENS,
                                         .document_tokens = FIRST,
                                         .arithmetic = c->arithmetic,
                                         .lora = { .rank = RANK,
                                                   .alpha = 20,
                                                   .targets = c->targets,
                                                   .has_root_scale = c->has_root_scale,
                                                   .seed = 3 } };
    must(r2_trainer_open(&t, c->path, &options, &err), &err);
    return t;
}

static void take_steps(r2_trainer *t, int n) {
    static const r2_step_options how = { .lr = 0.02, .weight_decay = 0.1 };
    static const r2_loss_weights weights = { .scale = 1.0f / N_TOKENS, .balance = 1e-3f };
    documents d;
    r2_error err;
    r2_training_loss loss;
    r2_step_result result;
    for (int i = 0; i < n; i++) {
        make_documents(&d, (uint64_t)i);
        must(r2_trainer_add(t, &d.batch, &weights, &loss, &err), &err);
        must(r2_trainer_step(t, &how, &result, &err), &err);
        assert_true(result.gradient_norm > 0);
    }
}

/* -log p of each token of the first document, as an engine has it. */
static void engine_losses(const lora_case *c, const char *adapter_path, double out[FIRST]) {
    const r2_model_options options = { .arithmetic = c->arithmetic };
    const r2_engine_options engine_options = { .n_threads = 1, .n_batch_tokens = 24 };
    documents d;
    r2_error err;
    r2_model *model;
    r2_engine *engine;
    r2_adapter *adapter;
    r2_sequence *s;
    make_documents(&d, 77);
    must(r2_model_open(&model, c->path, &options, &err), &err);
    must(r2_engine_create(&engine, model, &engine_options, &err), &err);
    must(r2_adapter_open(&adapter, model, adapter_path, &err), &err);
    const r2_sequence_options sequence = { .is_manual = true, .adapter = adapter };
    must(r2_sequence_create(&s, engine, &sequence, &err), &err);
    for (int32_t i = 0; i < FIRST - 1; i++) {
        must(r2_sequence_append(s, d.tokens + i, 1, &err), &err);
        for (int32_t n_active = 1; n_active > 0;)
            must(r2_engine_step(engine, &n_active, &err), &err);
        const float *logits = r2_sequence_logits(s);
        out[i] = (double)model->kernels.log_sum_exp(logits, model->config.n_vocab) -
                 (double)logits[d.targets[i]];
    }
    r2_sequence_destroy(s);
    r2_adapter_close(adapter);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

static double trainer_loss(r2_trainer *t, int32_t position) {
    documents d;
    r2_error err;
    r2_training_loss loss;
    make_documents(&d, 77);
    for (int32_t i = 0; i < N_TOKENS; i++)
        d.weights[i] = i == position ? 1 : 0;
    must(r2_trainer_evaluate(t, &d.batch, &loss, &err), &err);
    return loss.loss;
}

static void check_forward(void **state, const lora_case *c) {
    static const int32_t positions[] = { 0, 1, 30, 63, 127, 128, FIRST - 2 };
    char folder[PATH_BYTES], file[PATH_BYTES];
    double expected[FIRST], from_file[FIRST], worst = 0;
    r2_error err;
    r2_trainer *t = open_trainer(c);
    take_steps(t, 2);
    must(r2_trainer_save_adapter(t, inside(state, "adapter", "", folder), true, &err), &err);
    must(r2_trainer_save_adapter(t, inside(state, "adapter", ".gguf", file), true, &err), &err);
    engine_losses(c, folder, expected);
    engine_losses(c, file, from_file);
    for (size_t i = 0; i < sizeof positions / sizeof *positions; i++) {
        const double mine = trainer_loss(t, positions[i]);
        if (mine != expected[positions[i]])
            fail_msg("%s: position %d: training has %.9g, an engine %.9g", c->path, positions[i],
                     mine, expected[positions[i]]);
        /* A root scale is rounded once more there. */
        const double e = fabs(mine - from_file[positions[i]]);
        worst = isnan(e) ? INFINITY : fmax(worst, e);
    }
    assert_true(c->has_root_scale ? worst < 0.05 : worst == 0);
    r2_trainer_close(t);
}

static void test_forward(void **state) {
    char folder[PATH_BYTES], file[PATH_BYTES];
    for (int i = 0; i < N_BASES; i++) {
        inside(state, bases[i].name, "", folder);
        inside(state, bases[i].name, ".gguf", file);
        const lora_case cases[] = {
            { folder, R2_ARITHMETIC_F32, 2, NULL, false },
            { folder, R2_ARITHMETIC_FAST, 2, NULL, false },
            { file, R2_ARITHMETIC_FAST, 2, NULL, false },
            { file, R2_ARITHMETIC_FAST, 1, "o_proj,lm_head", true },
        };
        for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
            check_forward(state, &cases[k]);
    }
}

/* ---- threads ---- */

static uint64_t hash_of(const char *path) {
    r2_error err;
    r2i_mapping m;
    must(r2i_mapping_open(&m, path, &err), &err);
    const uint64_t hash = r2i_hash_bytes(R2I_HASH_SEED, m.bytes, m.n_bytes);
    r2i_mapping_close(&m);
    return hash;
}

static void test_threads(void **state) {
    char path[PATH_BYTES], out[PATH_BYTES];
    r2_error err;
    for (int i = 0; i < N_BASES; i++) {
        uint64_t hash[2];
        for (int32_t n = 1; n <= 2; n++) {
            const lora_case c = { .path = inside(state, bases[i].name, ".gguf", path),
                                  .n_threads = n };
            r2_trainer *t = open_trainer(&c);
            take_steps(t, 3);
            must(r2_trainer_save_adapter(t, inside(state, "threads", ".gguf", out), true, &err),
                 &err);
            r2_trainer_close(t);
            hash[n - 1] = hash_of(out);
        }
        assert_true(hash[0] == hash[1]);
    }
}

/* ---- gradients ---- */

typedef struct {
    r2_model *model;
    r2i_pool *pool;
    r2i_parameters parameters;
    r2i_backward *backward;
    documents d;
    int32_t targets[N_TOKENS];
    float weights[N_TOKENS];
    r2i_train_batch batch;
} rig;

static void open_rig(rig *g, const char *path, r2_arithmetic arithmetic) {
    const r2_model_options options = { .arithmetic = arithmetic, .is_unpacked = true };
    const r2i_lora_rules rules = { .rank = RANK, .alpha = 20, .seed = 5, .targets = "all-linear" };
    const r2i_backward_limits limits = { .cap_rows = N_TOKENS,
                                         .cap_documents = 2,
                                         .cap_logits = 50,
                                         .is_f32 = arithmetic == R2_ARITHMETIC_F32 };
    r2_error err;
    must(r2_model_open(&g->model, path, &options, &err), &err);
    r2_model *m = g->model;
    must(r2i_pool_create(&g->pool, 2, &m->heap, &err), &err);
    must(r2i_lora_parameters_create(&g->parameters, &m->config, &m->weights, &m->kernels, &rules,
                                    &m->arena, &err),
         &err);
    must(r2i_backward_create(&g->backward, &g->parameters, &m->kernels, g->pool, &limits, &m->arena,
                             &err),
         &err);
    /* B would have no say in what is behind it as zeros. */
    for (size_t i = 0; i < g->parameters.n_values; i++)
        g->parameters.values[i] += (float)(0.1 * (r2i_random_unit(9, 9, i) - 0.5));
    r2i_parameters_refresh(&g->parameters);
    make_documents(&g->d, 5);
    for (int32_t i = 0; i < N_TOKENS; i++) {
        g->targets[i] = g->d.targets[i] >= 0 ? g->d.targets[i] : 0;
        g->weights[i] = g->d.targets[i] >= 0 && i % 3 != 1 ? 1.0f / N_TOKENS : 0;
    }
    g->batch = (r2i_train_batch){ .tokens = g->d.tokens,
                                  .n_rows = N_TOKENS,
                                  .lengths = g->d.batch.lengths,
                                  .n_documents = 2,
                                  .targets = g->targets,
                                  .weights = g->weights };
}

static void close_rig(rig *g) {
    r2i_pool_destroy(g->pool);
    r2_model_close(g->model);
}

/* Loss with the parameter moved along its gradient. */
static double moved_loss(rig *g, const r2i_parameter *p, double step) {
    float *values = g->parameters.values + p->first;
    const float *direction = g->parameters.gradients + p->first;
    const size_t n = r2i_parameter_size(p);
    float *kept = malloc(n * sizeof *kept);
    assert_non_null(kept);
    memcpy(kept, values, n * sizeof *kept);
    for (size_t i = 0; i < n; i++)
        values[i] += (float)(step * (double)direction[i]);
    r2i_parameters_refresh(&g->parameters);
    const double loss = r2i_backward_evaluate(g->backward, &g->batch).loss;
    memcpy(values, kept, n * sizeof *kept);
    free(kept);
    return loss;
}

static double square(const float *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

/* A step that changes the loss by 2e-4 to both sides, where F32 sums leave 1e-6 in doubt; tensors that
 * would have to go far for it are compared by the golden cases alone. */
static void check_differences(rig *g, const char *name) {
    double worst = 0;
    for (int32_t i = 0; i < g->parameters.n; i++) {
        const r2i_parameter *p = &g->parameters.list[i];
        const double slope = square(g->parameters.gradients + p->first, r2i_parameter_size(p));
        if (slope < 1e-4) continue;
        const double h = 2e-4 / slope,
                     found = (moved_loss(g, p, h) - moved_loss(g, p, -h)) / (2 * h);
        const double e = fabs(found / slope - 1);
        if (e > 0.02) printf("%s: %s: slope %.5g, differences %.5g\n", name, p->name, slope, found);
        worst = isnan(e) ? INFINITY : fmax(worst, e); /* fmax passes over a NaN */
    }
    printf("%-12s differences along gradients within %.2g\n", name, worst);
    assert_true(worst <= 0.02);
}

/* Angle between the gradients of the two arithmetics, and ratio of their norms. */
static void check_rounded(const rig *exact, const rig *fast, const char *name) {
    double product = 0;
    const size_t n = exact->parameters.n_values;
    const float *a = exact->parameters.gradients, *b = fast->parameters.gradients;
    assert_true(n == fast->parameters.n_values);
    for (size_t i = 0; i < n; i++)
        product += (double)a[i] * (double)b[i];
    const double cosine = product / sqrt(square(a, n) * square(b, n)),
                 ratio = sqrt(square(b, n) / square(a, n));
    printf("%-12s fast against F32: cosine %.5f, norms %.4f\n", name, cosine, ratio);
    /* 8 bits of activations, weights and gradients: errors of 1 in 256 that fall to all sides. */
    assert_true(cosine > 0.9995 && fabs(ratio - 1) < 0.005);
}

static void test_gradients(void **state) {
    for (int i = 0; i < N_BASES; i++) {
        char path[PATH_BYTES];
        static rig exact, fast;
        inside(state, bases[i].name, ".gguf", path);
        open_rig(&exact, path, R2_ARITHMETIC_F32);
        open_rig(&fast, path, R2_ARITHMETIC_FAST);
        const double loss = r2i_backward_run(exact.backward, &exact.batch).loss;
        assert_true(loss == r2i_backward_evaluate(exact.backward, &exact.batch).loss);
        (void)r2i_backward_run(fast.backward, &fast.batch);
        check_rounded(&exact, &fast, bases[i].name);
        check_differences(&exact, bases[i].name);
        close_rig(&exact);
        close_rig(&fast);
    }
}

/* ---- refusals ---- */

static void refuse(const char *path, const r2_lora_options *lora, const char *text) {
    r2_error err = { R2_OK, "" };
    r2_trainer *t;
    const r2_trainer_options options = { .n_threads = 1, .batch_tokens = 32, .lora = *lora };
    assert_int_equal(r2_trainer_open(&t, path, &options, &err), R2_E_ARGUMENT);
    assert_null(t);
    if (strstr(err.text, text) == NULL) fail_msg("expected \"%s\" in: %s", text, err.text);
}

static void test_refusals(void **state) {
    char path[PATH_BYTES], out[PATH_BYTES];
    r2_error err;
    inside(state, "deepseek_v3", ".gguf", path);
    refuse(path, &(r2_lora_options){ .rank = 513 }, "rank of 1 to 512");
    refuse(path, &(r2_lora_options){ .rank = -1 }, "rank of 1 to 512");
    refuse(path, &(r2_lora_options){ .rank = 4, .alpha = NAN }, "alpha");
    refuse(path, &(r2_lora_options){ .rank = 4, .targets = " ," }, "expected names");
    refuse(path, &(r2_lora_options){ .rank = 4, .targets = "o_proj,kv_b_proj" }, "\"kv_b_proj\"");
    refuse(path, &(r2_lora_options){ .rank = 4, .targets = "proj" }, "q_a_proj");
    refuse(path, &(r2_lora_options){ .rank = 4, .targets = "experts.1.up_proj" }, "experts.1");
    r2_trainer *t;
    const r2_trainer_options plain = { .n_threads = 1, .batch_tokens = 32 };
    must(r2_trainer_open(&t, path, &plain, &err), &err);
    assert_int_equal(r2_trainer_save_adapter(t, inside(state, "none", "", out), false, &err),
                     R2_E_UNSUPPORTED);
    r2_trainer_close(t);
    const lora_case c = { .path = path, .n_threads = 1, .targets = "layers.1.self_attn.o_proj" };
    t = open_trainer(&c);
    r2_trainer_info info;
    r2_trainer_get_info(t, &info);
    assert_true(info.n_parameters == RANK * (64 + 96));
    assert_int_equal(r2_trainer_save(t, inside(state, "none", "", out), false, false, &err),
                     R2_E_UNSUPPORTED);
    must(r2_trainer_save_adapter(t, out, false, &err), &err);
    assert_int_equal(r2_trainer_save_adapter(t, out, false, &err), R2_E_ARGUMENT);
    r2_trainer_close(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, make_bases, remove_folder);
}
