/* fuzz_gguf.c - any bytes as a GGUF file: refused with a message, or every view is readable. */
#include <stdint.h>
#include <stdlib.h>

#include "model/config_read.h"
#include "model/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

static uint64_t sum_of(const uint8_t *bytes, size_t n) {
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += bytes[i];
    return sum;
}

static uint64_t read_values(const r2i_gguf *g) {
    uint64_t sum = 0;
    for (size_t i = 0; i < r2i_gguf_n_values(g); i++) {
        const r2i_gguf_value *v = r2i_gguf_value_at(g, i), *array = NULL;
        r2i_gguf_text text;
        const uint8_t *at = NULL;
        int32_t x = 0;
        float f = 0;
        bool b = false;
        sum += sum_of(v->bytes, v->n_bytes);
        if (r2i_gguf_find(g, v->key) != v) abort();
        while (r2i_gguf_next_text(v, &at, &text))
            sum += sum_of((const uint8_t *)text.bytes, text.n_bytes);
        sum += r2i_gguf_get_i32(g, v->key, -100, 100, &x, NULL) == R2_OK;
        sum += r2i_gguf_get_f32(g, v->key, 0.0f, 1.0f, &f, NULL) == R2_OK;
        sum += r2i_gguf_try_bool(g, v->key, &b, NULL) == R2_OK;
        sum += r2i_gguf_get_text(g, v->key, &text, NULL) == R2_OK;
        if (r2i_gguf_get_array(g, v->key, R2I_GGUF_TEXT, 0, SIZE_MAX, &array, NULL) == R2_OK) {
            size_t n = 0;
            for (at = NULL; r2i_gguf_next_text(array, &at, &text);)
                n++;
            if (n != array->n_elements) abort();
        }
        if (r2i_gguf_get_array(g, v->key, R2I_GGUF_I64, 1, SIZE_MAX, &array, NULL) == R2_OK) {
            sum += (uint64_t)r2i_gguf_integer_at(array, array->n_elements - 1);
        }
        if (r2i_gguf_get_array(g, v->key, R2I_GGUF_F32, 1, SIZE_MAX, &array, NULL) == R2_OK) {
            sum += r2i_gguf_float_at(array, array->n_elements - 1) > 0.0;
        }
    }
    return sum;
}

/* The layer above: a configuration and all weights with the right shapes, or an error. */
static int load_model(const r2i_gguf *g, r2i_arena *arena) {
    static const r2i_cpu plain = { .level = R2I_LEVEL_PORTABLE };
    r2i_kernels kernels;
    r2i_config config;
    r2i_weights weights;
    r2_error err = { 0 };
    r2i_kernels_init(&kernels, &plain, R2I_LEVEL_PORTABLE);
    const r2i_weight_rules rules = { &kernels, false, false };
    const r2i_tensor_source source = { g, NULL };
    r2_status status = r2i_config_from_gguf(&config, g, arena, &err);
    if (status == R2_OK) status = r2i_weights_load(&weights, &config, &source, &rules, arena, &err);
    if (status != R2_OK && err.text[0] == '\0') abort();
    return status == R2_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    r2i_heap heap;
    r2i_arena arena;
    r2i_gguf *g;
    r2_error err = { 0 };
    static volatile uint64_t sink;
    r2i_heap_init(&heap);
    heap.limit_bytes = (size_t)64 << 20;
    r2i_arena_init(&arena, &heap, 1 << 14, 0);
    if (r2i_gguf_open_memory(&g, "fuzz.gguf", bytes, n_bytes, &arena, &err) == R2_OK) {
        sink = sink + read_values(g) + (uint64_t)load_model(g, &arena);
        for (size_t i = 0; i < r2i_gguf_n_tensors(g); i++) {
            const r2i_stored_tensor *t = r2i_gguf_tensor_at(g, i);
            if (r2i_gguf_find_tensor(g, t->name) != t) abort();
            sink = sink + sum_of(t->bytes, t->n_bytes);
        }
        r2i_gguf_close(g);
    } else if (g != NULL || err.text[0] == '\0' || err.code == R2_OK) {
        abort();
    }
    r2i_arena_destroy(&arena);
    if (heap.used_bytes != 0) abort();
    return 0;
}
