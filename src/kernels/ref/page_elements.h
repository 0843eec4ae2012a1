/* page_elements.h - single elements of cache pages (kernels.h), all kinds but Q8. */
#ifndef R2I_PAGE_ELEMENTS_H
#define R2I_PAGE_ELEMENTS_H
#include "base/half.h"
#include "kernels/kernels.h"
#include "kernels/page_rows.h"

/* Where channel c of the token in `slot` lives: BF16 keys come in pairs of channels, BF16 values in
 * pairs of tokens. */
static inline size_t ref_key_index(r2i_row_kind kind, int32_t c, int32_t slot) {
    const size_t channel = (size_t)c, token = (size_t)slot;
    if (kind != R2I_ROWS_BF16) return channel * R2I_PAGE_TOKENS + token;
    return (channel / 2 * R2I_PAGE_TOKENS + token) * 2 + channel % 2;
}

static inline size_t ref_value_index(r2i_row_kind kind, int32_t c, int32_t slot, int32_t d_value) {
    const size_t channel = (size_t)c, token = (size_t)slot, d = (size_t)d_value;
    if (kind != R2I_ROWS_BF16) return token * d + channel;
    return (token / 2 * d + channel) * 2 + token % 2;
}

static inline float ref_load(r2i_row_kind kind, const uint8_t *page, size_t index) {
    if (kind == R2I_ROWS_F32) return ((const float *)(const void *)page)[index];
    const uint16_t bits = ((const uint16_t *)(const void *)page)[index];
    return kind == R2I_ROWS_F16 ? r2i_f32_from_f16(bits) : r2i_f32_from_bf16(bits);
}

static inline void ref_store(r2i_row_kind kind, uint8_t *page, size_t index, float x) {
    if (kind == R2I_ROWS_F32) {
        ((float *)(void *)page)[index] = x;
        return;
    }
    ((uint16_t *)(void *)page)[index] =
        kind == R2I_ROWS_F16 ? r2i_f16_from_f32(r2i_within_f16(x)) : r2i_bf16_from_f32(x);
}
#endif
