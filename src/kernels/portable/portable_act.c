/* portable_act.c - activation rows as the products want them (act_rows.h). */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "kernels/act_rows.h"
#include "kernels/portable/portable_parts.h"

static void act_f32(uint8_t *row, const float *x, int32_t n_cols, int32_t begin, int32_t end) {
    (void)n_cols;
    if (end > begin) memcpy(row + 4 * (size_t)begin, x, 4 * (size_t)(end - begin));
}

static void act_bf16(uint8_t *row, const float *x, int32_t n_cols, int32_t begin, int32_t end) {
    uint16_t *y = (uint16_t *)(void *)row;
    for (int32_t c = begin; c < end; c++) y[c] = r2i_bf16_from_f32(x[c - begin]);
    if (end == n_cols && n_cols % 2 != 0) y[n_cols] = 0;
}

/* The largest magnitude as a bit pattern: NaN and infinity come out on top. */
static uint32_t max_magnitude(const float x[R2I_GROUP]) {
    uint32_t max = 0;
    for (int i = 0; i < R2I_GROUP; i++) {
        const uint32_t a = r2i_bits_from_f32(x[i]) & 0x7fffffffu;
        max = a > max ? a : max;
    }
    return max;
}

/* 16 rounded values and the negative of their sum. */
static int32_t round_half(int8_t q[16], const float x[16], float inverse) {
    int32_t sum = 0;
    for (int i = 0; i < 16; i++) {
        /* Adding 1.5 * 2^23 leaves no fraction bits: rounds to nearest even, as rintf does. */
        const float rounded = (x[i] * inverse + 0x1.8p23F) - 0x1.8p23F;
        const int32_t v = (int32_t)rounded;
        q[i] = (int8_t)v;
        sum -= v;
    }
    return sum;
}

typedef struct {
    int8_t *q;
    float *scale;
    int32_t *nsum, *nhalf;
    float *ssum, *shalf;
} int8_parts;

static int8_parts parts_of(uint8_t *row, int32_t n_cols) {
    const size_t groups = (size_t)n_cols / R2I_GROUP;
    float *scale = (float *)(void *)(row + n_cols);
    int32_t *nsum = (int32_t *)(void *)(scale + groups);
    float *ssum = scale + 4 * groups;
    return (int8_parts){(int8_t *)row, scale, nsum, nsum + groups, ssum, ssum + groups};
}

static void round_group(const int8_parts *to, int32_t g, const float x[R2I_GROUP]) {
    int8_t *q = to->q + (size_t)g * R2I_GROUP;
    const uint32_t bits = max_magnitude(x);
    const float max = r2i_f32_from_bits(bits);
    const bool is_finite = bits < 0x7f800000u;
    float scale = max / 127.0F;
    int32_t half[2] = {0, 0};
    if (is_finite && max >= R2I_ACT_TINY) {
        const float inverse = 127.0F / max;
        half[0] = round_half(q, x, inverse);
        half[1] = round_half(q + 16, x + 16, inverse);
    } else { /* nothing to tell apart from zero, or no number at all */
        memset(q, 0, R2I_GROUP);
        scale = is_finite ? 0.0F : NAN;
    }
    to->scale[g] = scale;
    to->nsum[g] = half[0] + half[1];
    to->ssum[g] = scale * (float)-(half[0] + half[1]);
    for (int h = 0; h < 2; h++) {
        to->nhalf[2 * g + h] = half[h];
        to->shalf[2 * g + h] = scale * (float)-half[h];
    }
}

static void act_int8(uint8_t *row, const float *x, int32_t n_cols, int32_t begin, int32_t end) {
    const int8_parts to = parts_of(row, n_cols);
    for (int32_t c = begin; c < end; c += R2I_GROUP) round_group(&to, c / R2I_GROUP, x + (c - begin));
}

void r2i_portable_add_act(r2i_kernels *kernels) {
    kernels->act[R2I_ACT_F32] = act_f32;
    kernels->act[R2I_ACT_BF16] = act_bf16;
    kernels->act[R2I_ACT_INT8] = act_int8;
}
