/* dequantize.c - values of stored rows: y = scale * (code - offset) + minimum, in f32.
 *
 * The order of the operations is that of the formats' own reference code, so the values are equal
 * to it bit for bit: scale = d * sub-block scale first, then times the code. */
#include <string.h>

#include "base/half.h"
#include "kernels/stored_blocks.h"

static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};
/* FP4 doubled, so that they are whole; the scale is halved instead. */
static const float fp4_values[16] = {0.0F,  1.0F,  2.0F,  3.0F,  4.0F,  6.0F,  8.0F,  12.0F,
                                     -0.0F, -1.0F, -2.0F, -3.0F, -4.0F, -6.0F, -8.0F, -12.0F};

/* What codes of a type mean. */
static void code_values(float value[256], r2i_type type) {
    int offset = 0;
    if (type == R2I_TYPE_Q4_0) offset = 8;
    if (type == R2I_TYPE_Q5_0) offset = 16;
    if (type == R2I_TYPE_Q8_0) offset = 128;
    if (type == R2I_TYPE_Q6_K) offset = 32;
    if (type == R2I_TYPE_Q3_K) offset = 4;
    for (int c = 0; c < 256; c++) value[c] = (float)(c - offset);
    for (int c = 0; c < 16; c++) {
        if (type == R2I_TYPE_IQ4_NL || type == R2I_TYPE_IQ4_XS) value[c] = iq4_values[c];
        if (type == R2I_TYPE_MXFP4) value[c] = fp4_values[c];
    }
}

/* Scale and minimum of the k-th 16 columns of a block. */
static void scale_of(const r2i_stored_block *block, r2i_type type, int k, float *scale, float *minimum) {
    const float d = r2i_f32_from_f16(block->d), m = r2i_f32_from_f16(block->m);
    *scale = d;
    *minimum = 0.0F;
    switch (type) {
    case R2I_TYPE_MXFP4: *scale = r2i_e8m0_half_scale((uint8_t)block->d); break;
    case R2I_TYPE_Q4_1:
    case R2I_TYPE_Q5_1: *minimum = m; break;
    case R2I_TYPE_Q2_K:
        *scale = d * (float)block->scale[k];
        *minimum = -(m * (float)block->minimum[k]);
        break;
    case R2I_TYPE_Q4_K:
    case R2I_TYPE_Q5_K:
        *scale = d * (float)block->scale[k / 2];
        *minimum = -(m * (float)block->minimum[k / 2]);
        break;
    case R2I_TYPE_Q3_K: *scale = d * (float)(block->scale[k] - 32); break;
    case R2I_TYPE_Q6_K: *scale = d * (float)(int8_t)block->scale[k]; break;
    case R2I_TYPE_IQ4_XS: *scale = d * (float)(block->scale[k / 2] - 32); break;
    default: break;
    }
}

static bool has_minimum(r2i_type type) {
    return type == R2I_TYPE_Q4_1 || type == R2I_TYPE_Q5_1 || type == R2I_TYPE_Q2_K ||
           type == R2I_TYPE_Q4_K || type == R2I_TYPE_Q5_K;
}

static void read_blocks(float *y, r2i_type type, const uint8_t *row, int32_t n) {
    const r2i_type_info *info = r2i_type_get(type);
    const bool is_shifted = has_minimum(type);
    r2i_stored_block block;
    float value[256];
    memset(&block, 0, sizeof block);
    code_values(value, type);
    for (int32_t begin = 0; begin < n; begin += info->block_elements, row += info->block_bytes) {
        r2i_stored_block_read(&block, type, row);
        for (int k = 0; k < info->block_elements / 16; k++) {
            float scale, minimum;
            scale_of(&block, type, k, &scale, &minimum);
            for (int c = 16 * k; c < 16 * k + 16; c++) {
                const float x = scale * value[block.code[c]];
                y[begin + c] = is_shifted ? x + minimum : x;
            }
        }
    }
}

static void read_f16(float *y, const uint8_t *row, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, row + 2 * (size_t)i, sizeof h);
        y[i] = r2i_f32_from_f16(h);
    }
}

static void read_bf16(float *y, const uint8_t *row, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, row + 2 * (size_t)i, sizeof h);
        y[i] = r2i_f32_from_bf16(h);
    }
}

static void read_e4m3(float *y, const uint8_t *row, int32_t n) {
    for (int32_t i = 0; i < n; i++) y[i] = r2i_f32_from_e4m3(row[i]);
}

void r2i_stored_row_read(float *y, r2i_type type, const uint8_t *row, int32_t n) {
    if (n <= 0) return;
    if (type == R2I_TYPE_F32) {
        memcpy(y, row, 4 * (size_t)n);
    } else if (type == R2I_TYPE_F16) {
        read_f16(y, row, n);
    } else if (type == R2I_TYPE_BF16) {
        read_bf16(y, row, n);
    } else if (type == R2I_TYPE_F8_E4M3) {
        read_e4m3(y, row, n);
    } else {
        read_blocks(y, type, row, n);
    }
}

/* One function per type, since a table entry knows its type only by its place. */
#define DEQUANTIZE(id, number, name, n_block, bytes)                                               \
    static void dequantize_##number(float *y, const uint8_t *row, int32_t n) {                     \
        r2i_stored_row_read(y, id, row, n);                                                        \
    }
R2I_TYPE_LIST(DEQUANTIZE)

void r2i_kernels_add_dequantize(r2i_kernels *kernels) {
#define ADD(id, number, name, n_block, bytes) kernels->dequantize[id] = dequantize_##number;
    R2I_TYPE_LIST(ADD)
}
