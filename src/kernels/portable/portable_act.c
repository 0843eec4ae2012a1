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

/* The limits of the 256 levels: 0 and what lies beyond it on either side. */
typedef struct {
    float lo, hi;
    bool is_finite;
} group_range;

static group_range range_of(const float x[R2I_GROUP]) {
    group_range range = {0.0F, 0.0F, true};
    uint32_t max = 0; /* of the magnitudes as bits: NaN and infinity come out on top */
    for (int i = 0; i < R2I_GROUP; i++) {
        const uint32_t a = r2i_bits_from_f32(x[i]) & 0x7fffffffu;
        max = a > max ? a : max;
        range.lo = x[i] < range.lo ? x[i] : range.lo;
        range.hi = x[i] > range.hi ? x[i] : range.hi;
    }
    range.is_finite = max < 0x7f800000u && isfinite(range.hi - range.lo);
    return range;
}

/* Adding 1.5 * 2^23 leaves no fraction bits: rounds to nearest even, as rintf does. */
static int32_t round_even(float x) {
    return (int32_t)((x + 0x1.8p23F) - 0x1.8p23F);
}

/* 16 rounded values and their sum. */
static int32_t round_half(int8_t q[16], const float x[16], float inverse, int32_t low) {
    int32_t sum = 0;
    for (int i = 0; i < 16; i++) {
        const int32_t level = round_even(x[i] * inverse) - low;
        const int32_t clamped = level < 0 ? 0 : level > 255 ? 255 : level;
        q[i] = (int8_t)(clamped - 128);
        sum += clamped - 128;
    }
    return sum;
}

static void round_group(r2i_act_group *to, const float x[R2I_GROUP]) {
    int8_t *q = to->q;
    const group_range limits = range_of(x);
    const float range = limits.hi - limits.lo;
    float scale = range / 255.0F;
    int32_t half[2] = {0, 0}, zero = 0;
    if (limits.is_finite && range >= R2I_ACT_TINY) {
        const float inverse = 255.0F / range;
        const int32_t low = round_even(limits.lo * inverse);
        zero = low + 128;
        half[0] = round_half(q, x, inverse, low);
        half[1] = round_half(q + 16, x + 16, inverse, low);
    } else { /* nothing to tell apart from zero, or no number at all */
        memset(q, 0, R2I_GROUP);
        scale = limits.is_finite ? 0.0F : NAN;
    }
    const int32_t sum = half[0] + half[1];
    to->unused = 0;
    to->scale = scale;
    to->start = r2i_start_of(zero, -sum);
    to->ssum = scale * (float)(sum + 32 * zero);
    for (int h = 0; h < 2; h++) {
        to->half_start[h] = r2i_start_of(zero, -half[h]);
        to->shalf[h] = scale * (float)(half[h] + 16 * zero);
    }
}

static void act_int8(uint8_t *row, const float *x, int32_t n_cols, int32_t begin, int32_t end) {
    r2i_act_group *groups = (r2i_act_group *)(void *)row;
    (void)n_cols;
    for (int32_t c = begin; c < end; c += R2I_GROUP) round_group(&groups[c / R2I_GROUP], x + (c - begin));
}

void r2i_portable_add_act(r2i_kernels *kernels) {
    kernels->act[R2I_ACT_F32] = act_f32;
    kernels->act[R2I_ACT_BF16] = act_bf16;
    kernels->act[R2I_ACT_INT8] = act_int8;
}
