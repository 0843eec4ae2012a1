/* test_latent_shapes.c - latent attention of shapes that no released model has: heads wider than the
 * latent row, odd sizes, layers that keep kv_b in different forms.  Both latent forms must agree on
 * them (R2_LATENT_FAST expands heads in scratch memory that is sized for a latent row). */
#define _GNU_SOURCE /* mkstemp */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine_runs.h"
#include "base/half.h"
#include "files/gguf_write.h"
#include "r2lm/engine.h"

enum { N_LAYERS = 2, N_TOKENS = 1100, N_VOCAB = 64, D_MODEL = 64, MAX_TENSORS = 64 };

typedef struct {
    r2i_type type;
    int32_t n_heads, kv_rank, d_rope, d_nope, d_value;
    bool is_split[N_LAYERS]; /* kv_b in its two parts */
} shape;

/* ---- a model file ---- */

typedef struct {
    r2i_gguf_writer *writer;
    r2_error err;
    uint32_t random;
    void *blocks[MAX_TENSORS]; /* borrowed by the writer */
    int n_blocks;
} maker;

static uint32_t next(maker *m) {
    m->random = m->random * 1664525u + 1013904223u;
    return m->random >> 8;
}

static void *take(maker *m, size_t n_bytes) {
    assert_true(m->n_blocks < MAX_TENSORS);
    void *block = malloc(n_bytes);
    assert_non_null(block);
    m->blocks[m->n_blocks++] = block;
    return block;
}

static void add_vector(maker *m, const char *name, int64_t n) {
    float *x = take(m, (size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = 1;
    must(r2i_gguf_writer_add_tensor(m->writer, name, R2I_TYPE_F32, 1, &n, x, &m->err), &m->err);
}

/* Numbers of a standard deviation of about 0.15. */
static void add_matrix(maker *m, const char *name, r2i_type type, int64_t n_stacked, int64_t n_rows,
                       int64_t n_cols) {
    const int64_t ne[3] = { n_cols, n_rows, n_stacked };
    const size_t n = (size_t)(n_cols * n_rows * n_stacked);
    float *floats = take(m, n * sizeof *floats);
    uint8_t *bytes = (uint8_t *)floats;
    for (size_t i = 0; type == R2I_TYPE_F32 && i < n; i++)
        floats[i] = (float)((int)(next(m) % 512) - 256) * 0.001f;
    for (size_t b = 0; type == R2I_TYPE_Q8_0 && b < n / 32; b++, bytes += 34) {
        const uint16_t scale = r2i_f16_from_f32(0.002f);
        memcpy(bytes, &scale, sizeof scale);
        for (int i = 0; i < 32; i++)
            bytes[2 + i] = (uint8_t)next(m);
    }
    must(r2i_gguf_writer_add_tensor(m->writer, name, type, n_stacked > 1 ? 3 : 2, ne, floats,
                                    &m->err),
         &m->err);
}

static void add_number(maker *m, const char *key, int64_t x) {
    char full[64];
    snprintf(full, sizeof full, "deepseek2.%s", key);
    must(r2i_gguf_writer_add_integer(m->writer, full, R2I_GGUF_U32, x, &m->err), &m->err);
}

static void add_header(maker *m, const shape *s) {
    must(r2i_gguf_writer_add_text(m->writer, "general.architecture", "deepseek2", 9, &m->err),
         &m->err);
    must(r2i_gguf_writer_add_f32(m->writer, "deepseek2.attention.layer_norm_rms_epsilon", 1e-6f,
                                 &m->err),
         &m->err);
    const struct {
        const char *key;
        int64_t x;
    } numbers[] = {
        { "block_count", N_LAYERS },
        { "embedding_length", D_MODEL },
        { "feed_forward_length", 64 },
        { "context_length", 2048 },
        { "attention.head_count", s->n_heads },
        { "attention.kv_lora_rank", s->kv_rank },
        { "attention.key_length_mla", s->d_nope + s->d_rope },
        { "attention.value_length_mla", s->d_value },
        { "rope.dimension_count", s->d_rope },
        { "leading_dense_block_count", N_LAYERS },
        { "expert_count", 1 },
        { "expert_used_count", 1 },
        { "expert_feed_forward_length", 1 },
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        add_number(m, numbers[i].key, numbers[i].x);
}

static void add_layer(maker *m, const shape *s, int i) {
    const int64_t h = s->n_heads, d_head = s->d_nope + s->d_rope;
    const bool is_split = s->is_split[i];
    const struct {
        const char *name;
        int64_t n_stacked, n_rows, n_cols; /* n_rows 0: not in this form of file */
    } matrices[] = {
        { "attn_q", 1, h * d_head, D_MODEL },
        { "attn_kv_a_mqa", 1, s->kv_rank + s->d_rope, D_MODEL },
        { "attn_k_b", h, is_split ? s->kv_rank : 0, s->d_nope },
        { "attn_v_b", h, is_split ? s->d_value : 0, s->kv_rank },
        { "attn_kv_b", 1, is_split ? 0 : h * (s->d_nope + s->d_value), s->kv_rank },
        { "attn_output", 1, D_MODEL, h * s->d_value },
        { "ffn_gate", 1, 64, D_MODEL },
        { "ffn_up", 1, 64, D_MODEL },
        { "ffn_down", 1, D_MODEL, 64 },
    };
    const struct {
        const char *name;
        int64_t n;
    } vectors[] = { { "attn_norm", D_MODEL },
                    { "ffn_norm", D_MODEL },
                    { "attn_kv_a_norm", s->kv_rank } };
    char name[64];
    for (size_t j = 0; j < sizeof matrices / sizeof *matrices; j++) {
        snprintf(name, sizeof name, "blk.%d.%s.weight", i, matrices[j].name);
        if (matrices[j].n_rows > 0)
            add_matrix(m, name, s->type, matrices[j].n_stacked, matrices[j].n_rows,
                       matrices[j].n_cols);
    }
    for (size_t j = 0; j < sizeof vectors / sizeof *vectors; j++) {
        snprintf(name, sizeof name, "blk.%d.%s.weight", i, vectors[j].name);
        add_vector(m, name, vectors[j].n);
    }
}

static void write_model(const char *path, const shape *s) {
    r2i_heap heap;
    maker m = { .random = 1 };
    r2i_heap_init(&heap);
    must(r2i_gguf_writer_create(&m.writer, &heap, &m.err), &m.err);
    add_header(&m, s);
    add_matrix(&m, "token_embd.weight", s->type, 1, N_VOCAB, D_MODEL);
    add_matrix(&m, "output.weight", s->type, 1, N_VOCAB, D_MODEL);
    add_vector(&m, "output_norm.weight", D_MODEL);
    for (int i = 0; i < N_LAYERS; i++)
        add_layer(&m, s, i);
    must(r2i_gguf_writer_begin(m.writer, path, &m.err), &m.err);
    must(r2i_gguf_writer_finish(m.writer, &m.err), &m.err);
    r2i_gguf_writer_destroy(m.writer);
    for (int i = 0; i < m.n_blocks; i++)
        free(m.blocks[i]);
}

/* ---- what it computes ---- */

static void run_prompt(const char *path, r2_arithmetic arithmetic, r2_latent_form form,
                       r2_cache_rows rows, float *out) {
    r2_error err;
    r2_model *model;
    r2_engine *engine;
    r2_sequence *s;
    r2_token tokens[N_TOKENS];
    const r2_model_options mo = { .arithmetic = arithmetic, .latent_form = form };
    const r2_engine_options eo = {
        .n_threads = 2, .n_context = 1280, .n_sequences = 1, .cache_rows = rows
    };
    const r2_sequence_options reads = { .wants_prompt_logprobs = true, .is_manual = true };
    must(r2_model_open(&model, path, &mo, &err), &err);
    must(r2_engine_create(&engine, model, &eo, &err), &err);
    must(r2_sequence_create(&s, engine, &reads, &err), &err);
    for (int i = 0; i < N_TOKENS; i++)
        tokens[i] = (i * 37 + i * i % 23) % N_VOCAB;
    must(r2_sequence_append(s, tokens, N_TOKENS, &err), &err);
    for (int32_t n_active = 1; n_active > 0;)
        must(r2_engine_step(engine, &n_active, &err), &err);
    assert_int_equal(r2_sequence_prompt_logprobs(s, out, N_TOKENS), N_TOKENS - 1);
    r2_sequence_destroy(s);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

static double largest_difference(const float *a, const float *b) {
    double largest = 0;
    for (int i = 0; i < N_TOKENS - 1; i++) {
        const double e = fabs((double)a[i] - (double)b[i]);
        assert_true(e == e);
        largest = e > largest ? e : largest;
    }
    return largest;
}

static void check(const shape *s) {
    static float exact[N_TOKENS], fast[N_TOKENS];
    char path[] = "/tmp/r2lm_shape_XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    write_model(path, s);
    run_prompt(path, R2_ARITHMETIC_F32, R2_LATENT_EXACT, R2_CACHE_BF16, exact);
    run_prompt(path, R2_ARITHMETIC_F32, R2_LATENT_FAST, R2_CACHE_BF16, fast);
    const double same_rows = largest_difference(exact, fast);
    run_prompt(path, R2_ARITHMETIC_F32, R2_LATENT_FAST, R2_CACHE_F16, fast);
    const double f16_rows = largest_difference(exact, fast);
    run_prompt(path, R2_ARITHMETIC_FAST, R2_LATENT_EXACT, R2_CACHE_Q8, exact);
    run_prompt(path, R2_ARITHMETIC_FAST, R2_LATENT_FAST, R2_CACHE_Q8, fast);
    const double rounded = largest_difference(exact, fast);
    printf(
        "%d heads of %d + %d, values of %d, rank %d: F32 within %.2g, F16 rows %.2g, fast %.2g\n",
        s->n_heads, s->d_nope, s->d_rope, s->d_value, s->kv_rank, same_rows, f16_rows, rounded);
    unlink(path);
    assert_true(same_rows > 0 && same_rows <= 2e-4);
    assert_true(f16_rows <= 5e-3);
    assert_true(rounded <= 0.5);
}

static void test_wide_heads(void **state) {
    (void)state;
    check(&(shape){ R2I_TYPE_F32, 3, 8, 4, 300, 500, { true, true } });
    check(&(shape){ R2I_TYPE_F32, 3, 8, 4, 300, 6, { false, false } });
    check(&(shape){ R2I_TYPE_F32, 3, 8, 4, 4, 500, { false, false } });
}

static void test_odd_sizes(void **state) {
    (void)state;
    check(&(shape){ R2I_TYPE_F32, 5, 33, 2, 13, 11, { false, false } });
    check(&(shape){ R2I_TYPE_F32, 70, 5, 2, 3, 1, { true, true } });
}

/* Where all stored matrices take int8 rows, only those made from others take BF16 ones. */
static void test_mixed_layers(void **state) {
    (void)state;
    check(&(shape){ R2I_TYPE_Q8_0, 2, 32, 32, 32, 32, { true, false } });
    check(&(shape){ R2I_TYPE_Q8_0, 2, 32, 32, 32, 32, { false, true } });
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_wide_heads),
                                        cmocka_unit_test(test_odd_sizes),
                                        cmocka_unit_test(test_mixed_layers) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
