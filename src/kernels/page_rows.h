/* page_rows.h - cache pages of rows that are stored smaller than attention reads them.
 *
 *   F16   the layout of F32 pages in f16; numbers beyond 65504 are stored as 65504
 *   Q8    x ~= scale * q, one scale per token and group of 32 channels
 *         keys    per group of 32 channels: scales bf16 [128], codes int8 [16][128][2]
 *                 (pairs of channels, as in BF16 pages; the last group has as many pairs as it needs)
 *         values  scales bf16 [64][n_groups][2], then codes int8 [64][d_value][2] (pairs of tokens)
 *
 * So codes lie in the order of the BF16 page that they are expanded to, and the scales beside them.
 *
 * Rounding of a group, equal in every level, with m the greatest magnitude: scale = bf16(m / 127),
 * q = rint(x / scale) computed as x * (1 / scale).  Even where scale was rounded down most, |q| is
 * at most 127 (127 * (1 + 2^-8) < 127.5), so |x - scale q| <= scale / 2.  m < R2I_Q8_TINY: scale
 * and q are 0.  A NaN or infinity in the group: scale NaN, q 0.  Expanded: bf16(scale * q). */
#ifndef R2I_PAGE_ROWS_H
#define R2I_PAGE_ROWS_H
#include "base/half.h"
#include "kernels/kernels.h"

#define R2I_F16_MAX 65504.0F
#define R2I_Q8_TINY 0x1p-100F

enum {
    R2I_Q8_GROUP = 32,
    R2I_Q8_KEY_LINE = 2 * R2I_PAGE_TOKENS, /* bytes: scales of a group, or codes of a pair */
    R2I_Q8_KEY_GROUP = R2I_Q8_KEY_LINE * (1 + R2I_Q8_GROUP / 2),
    R2I_PAGE_STEP = 32 /* slots are expanded in multiples of this */
};

static inline int32_t r2i_q8_groups(int32_t d) {
    return (d + R2I_Q8_GROUP - 1) / R2I_Q8_GROUP;
}
/* Slots to expand when n_slots are wanted. */
static inline int32_t r2i_page_slots(int32_t n_slots) {
    return (n_slots + R2I_PAGE_STEP - 1) / R2I_PAGE_STEP * R2I_PAGE_STEP;
}

/* Bytes from the page's begin: a group's scale of slot 0 (the next slot's 2 further), and the codes
 * of an even channel and its partner. */
static inline size_t r2i_q8_key_scale_at(int32_t group) {
    return (size_t)group * R2I_Q8_KEY_GROUP;
}
static inline size_t r2i_q8_key_code_at(int32_t channel) {
    return r2i_q8_key_scale_at(channel / R2I_Q8_GROUP) +
           (size_t)(1 + channel % R2I_Q8_GROUP / 2) * R2I_Q8_KEY_LINE;
}
/* The two scales of a pair of tokens (slots 2 pair, 2 pair + 1), and their codes of channel 0. */
static inline size_t r2i_q8_value_scale_at(int32_t pair, int32_t group, int32_t d_value) {
    return 4 * ((size_t)pair * (size_t)r2i_q8_groups(d_value) + (size_t)group);
}
static inline size_t r2i_q8_value_code_at(int32_t pair, int32_t d_value) {
    return 2 * R2I_PAGE_TOKENS * (size_t)r2i_q8_groups(d_value) +
           2 * (size_t)pair * (size_t)d_value;
}

typedef struct {
    uint16_t scale; /* bf16 */
    float inverse;  /* 0 where q is 0 */
} r2i_q8_scale;

/* From the bits of the greatest magnitude: NaN and infinity are above every number. */
static inline r2i_q8_scale r2i_q8_scale_of(uint32_t magnitude_bits) {
    r2i_q8_scale s = { 0, 0.0F };
    if (magnitude_bits >= 0x7f800000u) {
        s.scale = 0x7fc0;
        return s;
    }
    const float m = r2i_f32_from_bits(magnitude_bits);
    if (m < R2I_Q8_TINY) return s;
    s.scale = r2i_bf16_from_f32(m / 127.0F);
    s.inverse = 1.0F / r2i_f32_from_bf16(s.scale);
    return s;
}

/* Keeps a number within F16; NaN stays NaN. */
static inline float r2i_within_f16(float x) {
    return x > R2I_F16_MAX ? R2I_F16_MAX : x < -R2I_F16_MAX ? -R2I_F16_MAX : x;
}
#endif
