/* portable_quantize.c - rows of floats to stored rows of every type, four sub-blocks at a time. */
#define LANES 4
#include "kernels/quantize_types.h"

#include "kernels/portable/portable_parts.h"

static inline lanes_f lanes_max(lanes_f a, lanes_f b) {
    return lanes_select(a > b, a, b);
}

static inline lanes_f lanes_min(lanes_f a, lanes_f b) {
    return lanes_select(a < b, a, b);
}

static inline lanes_f lanes_sqrt(lanes_f a) {
    lanes_f root = a;
    for (int i = 0; i < LANES; i++)
        root[i] = sqrtf(a[i]);
    return root;
}

static inline lanes_f lanes_add_if(lanes_f sum, lanes_f a, float b, float step) {
    return sum + lanes_select(a >= b, lanes_of(step), lanes_of(0));
}

static void to_f32(uint8_t *row, const float *x, const float *importance, int32_t n) {
    (void)importance;
    memcpy(row, x, 4 * (size_t)n);
}

static void to_f16(uint8_t *row, const float *x, const float *importance, int32_t n) {
    (void)importance;
    for (int32_t i = 0; i < n; i++) {
        const uint16_t h = r2i_f16_from_f32(x[i]);
        memcpy(row + 2 * (size_t)i, &h, sizeof h);
    }
}

static void to_bf16(uint8_t *row, const float *x, const float *importance, int32_t n) {
    (void)importance;
    for (int32_t i = 0; i < n; i++) {
        const uint16_t h = r2i_bf16_from_f32(x[i]);
        memcpy(row + 2 * (size_t)i, &h, sizeof h);
    }
}

void r2i_kernels_add_quantize(r2i_kernels *kernels) {
    kernels->quantize[R2I_TYPE_F32] = to_f32;
    kernels->quantize[R2I_TYPE_F16] = to_f16;
    kernels->quantize[R2I_TYPE_BF16] = to_bf16;
    add_quantize(kernels);
}
