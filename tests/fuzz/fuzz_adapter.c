/* fuzz_adapter.c - any bytes as an adapter for a small model: refused with a message, or pairs that
 * fit its matrices.
 *
 * An input that begins with "GGUF" is a GGUF adapter; any other is adapter_config.json up to the
 * first zero byte, and adapter_model.safetensors behind it. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "files/json_read.h"
#include "model/adapter.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

enum { N_LAYERS = 2, D = 8, D_FFN = 12, N_VOCAB = 20 };

/* A llama whose matrices have shapes and no contents: binding an adapter reads none. */
typedef struct {
    r2i_config config;
    r2i_layer_config kinds[N_LAYERS];
    r2i_layer layers[N_LAYERS];
    r2i_weights weights;
    r2i_kernels kernels;
    r2i_adapter_base base;
} small_model;

static void set_shape(r2i_matrix *m, int32_t n_rows, int32_t n_cols) {
    m->n_rows = n_rows;
    m->n_cols = n_cols;
}

static void number(void *user, r2i_matrix *m) {
    int32_t *n = user;
    m->index = (*n)++;
}

static void make_model(small_model *s) {
    static const r2i_cpu plain = { .level = R2I_LEVEL_PORTABLE };
    memset(s, 0, sizeof *s);
    r2i_kernels_init(&s->kernels, &plain, R2I_LEVEL_PORTABLE);
    s->config = (r2i_config){ .family = R2I_FAMILY_LLAMA,
                              .architecture = "llama",
                              .n_layers = N_LAYERS,
                              .d_model = D,
                              .n_heads = 2,
                              .n_kv_heads = 1,
                              .d_head = 4,
                              .layers = s->kinds };
    for (int32_t i = 0; i < N_LAYERS; i++) {
        r2i_layer *layer = &s->layers[i];
        set_shape(&layer->q, D, D);
        set_shape(&layer->k, 4, D);
        set_shape(&layer->v, 4, D);
        set_shape(&layer->o, D, D);
        set_shape(&layer->gate, D_FFN, D);
        set_shape(&layer->up, D_FFN, D);
        set_shape(&layer->down, D, D_FFN);
    }
    s->weights.layers = s->layers;
    s->weights.lora_layout = R2I_TYPE_BF16;
    set_shape(&s->weights.head, N_VOCAB, D);
    r2i_weights_visit(&s->weights, &s->config, number, &s->weights.n_matrices);
    s->base = (r2i_adapter_base){ &s->config, &s->weights, &s->kernels };
}

static void check(const r2i_adapter_content *content, const r2i_adapter_base *base) {
    int32_t n_pairs = 0;
    if (content->n_pairs < 1 || content->rank < 1 || content->rank > R2I_MAX_RANK) abort();
    for (int32_t i = 0; base->weights != NULL && i < base->weights->n_matrices; i++) {
        const r2i_lora_pair *pair = &content->pairs[i];
        if (pair->rank == 0) continue;
        if (pair->a == NULL || pair->b == NULL || !isfinite(pair->scale)) abort();
        n_pairs++;
    }
    if (base->weights != NULL && n_pairs != content->n_pairs) abort();
}

static r2_status read_peft(r2i_adapter_source *source, const uint8_t *bytes, size_t n_bytes,
                           json_t **config, r2i_safetensors **file, r2i_arena *arena,
                           r2_error *err) {
    const uint8_t *end = memchr(bytes, 0, n_bytes);
    const size_t n_text = end != NULL ? (size_t)(end - bytes) : n_bytes,
                 n_rest = end != NULL ? n_bytes - n_text - 1 : 0;
    r2_status status =
        r2i_json_read(config, "adapter_config.json", bytes, n_text, &r2i_json_config_limits, err);
    if (status == R2_OK)
        status = r2i_safetensors_open_memory(file, "adapter_model.safetensors",
                                             bytes + (n_bytes - n_rest), n_rest, arena, err);
    if (status == R2_OK) status = r2i_adapter_read_peft(source, *config, *file, arena, err);
    return status;
}

static void try_adapter(const uint8_t *bytes, size_t n_bytes, const r2i_adapter_base *base) {
    r2i_heap heap;
    r2i_arena arena;
    r2i_gguf *gguf = NULL;
    json_t *config = NULL;
    r2i_safetensors *file = NULL;
    r2i_adapter_source source;
    r2i_adapter_content content;
    r2_error err = { R2_OK, "" };
    r2_status status;
    r2i_heap_init(&heap);
    r2i_arena_init(&arena, &heap, 4096, 1 << 26);
    if (n_bytes >= 4 && memcmp(bytes, "GGUF", 4) == 0) {
        status = r2i_gguf_open_memory(&gguf, "adapter.gguf", bytes, n_bytes, &arena, &err);
        if (status == R2_OK) status = r2i_adapter_read_gguf(&source, gguf, base, &arena, &err);
    } else {
        status = read_peft(&source, bytes, n_bytes, &config, &file, &arena, &err);
    }
    if (status == R2_OK) status = r2i_adapter_bind(&content, &source, base, &arena, &err);
    if (status == R2_OK)
        check(&content, base);
    else if (err.text[0] == '\0')
        abort();
    r2i_gguf_close(gguf);
    r2i_safetensors_close(file);
    json_decref(config);
    r2i_arena_destroy(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    static const r2i_adapter_base no_model = { NULL, NULL, NULL };
    small_model model;
    make_model(&model);
    try_adapter(bytes, n_bytes, &model.base);
    try_adapter(bytes, n_bytes, &no_model);
    return 0;
}
