/* fuzz_safetensors.c - any bytes as a safetensors file: refused, or every view is readable. */
#include <stdint.h>
#include <stdlib.h>

#include "files/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

static uint64_t read_tensor(const r2i_safetensors *file, const r2i_safetensor *t) {
    uint64_t sum = 0, n_elements = 1;
    r2i_stored_tensor view;
    if (r2i_safetensors_find(file, t->name) != t) abort();
    for (size_t i = 0; i < t->n_bytes; i++) sum += t->bytes[i];
    for (int32_t i = 0; i < t->n_dims; i++) n_elements *= (uint64_t)t->shape[i];
    if (t->n_bytes < n_elements && n_elements <= SIZE_MAX / 8) abort();
    if (r2i_safetensors_get(file, t->name, &view, NULL) == R2_OK) {
        const uint64_t product = (uint64_t)view.ne[0] * (uint64_t)view.ne[1] *
                                 (uint64_t)view.ne[2] * (uint64_t)view.ne[3];
        if (product != n_elements || view.bytes != t->bytes) abort();
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    r2i_heap heap;
    r2i_arena arena;
    r2i_safetensors *file;
    r2_error err = { 0 };
    static volatile uint64_t sink;
    r2i_heap_init(&heap);
    heap.limit_bytes = (size_t)64 << 20;
    r2i_arena_init(&arena, &heap, 1 << 14, 0);
    if (r2i_safetensors_open_memory(&file, "fuzz.safetensors", bytes, n_bytes, &arena, &err) ==
        R2_OK) {
        for (size_t i = 0; i < r2i_safetensors_n_tensors(file); i++) {
            sink = sink + read_tensor(file, r2i_safetensors_tensor_at(file, i));
        }
        const char *format = r2i_safetensors_metadata(file, "format");
        if (format != NULL) sink = sink + (uint64_t)format[0];
        r2i_safetensors_close(file);
    } else if (file != NULL || err.text[0] == '\0' || err.code == R2_OK) {
        abort();
    }
    r2i_arena_destroy(&arena);
    if (heap.used_bytes != 0) abort();
    return 0;
}
