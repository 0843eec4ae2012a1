/* ref_pages.c - cache pages, one element at a time. */
#include <math.h>
#include <string.h>

#include "kernels/ref/page_elements.h"
#include "kernels/ref/ref_parts.h"

/* One group of n <= 32 channels; codes beyond n are 0. */
static uint16_t round_group(int8_t codes[R2I_Q8_GROUP], const float *x, int32_t n) {
    uint32_t magnitude = 0;
    for (int32_t i = 0; i < n; i++) {
        const uint32_t bits = r2i_bits_from_f32(x[i]) & 0x7fffffffu;
        if (bits > magnitude) magnitude = bits;
    }
    const r2i_q8_scale s = r2i_q8_scale_of(magnitude);
    memset(codes, 0, R2I_Q8_GROUP);
    for (int32_t i = 0; i < n; i++) {
        if (s.inverse > 0.0F) codes[i] = (int8_t)rintf(x[i] * s.inverse);
    }
    return s.scale;
}

static int32_t group_size(int32_t d, int32_t group) {
    const int32_t left = d - group * R2I_Q8_GROUP;
    return left < R2I_Q8_GROUP ? left : R2I_Q8_GROUP;
}

static void store_q8(uint8_t *key_page, uint8_t *value_page, int32_t slot, const float *key,
                     const float *value, int32_t d_key, int32_t d_value) {
    int8_t codes[R2I_Q8_GROUP];
    for (int32_t g = 0; g < r2i_q8_groups(d_key); g++) {
        const int32_t first = g * R2I_Q8_GROUP, n = group_size(d_key, g);
        const uint16_t scale = round_group(codes, key + first, n);
        memcpy(key_page + r2i_q8_key_scale_at(g) + 2 * slot, &scale, 2);
        for (int32_t c = 0; c < n; c += 2)
            memcpy(key_page + r2i_q8_key_code_at(first + c) + 2 * slot, codes + c, 2);
    }
    for (int32_t g = 0; g < r2i_q8_groups(d_value); g++) {
        const int32_t first = g * R2I_Q8_GROUP, n = group_size(d_value, g);
        const uint16_t scale = round_group(codes, value + first, n);
        memcpy(value_page + r2i_q8_value_scale_at(slot / 2, g, d_value) + 2 * (slot % 2), &scale,
               2);
        uint8_t *y = value_page + r2i_q8_value_code_at(slot / 2, d_value) + slot % 2;
        for (int32_t c = 0; c < n; c++)
            y[2 * (first + c)] = (uint8_t)codes[c];
    }
}

static void store_row(r2i_row_kind kind, uint8_t *key_page, uint8_t *value_page, int32_t slot,
                      const float *key, const float *value, int32_t d_key, int32_t d_value) {
    if (kind == R2I_ROWS_Q8) {
        store_q8(key_page, value_page, slot, key, value, d_key, d_value);
        return;
    }
    for (int32_t c = 0; c < d_key; c++)
        ref_store(kind, key_page, ref_key_index(kind, c, slot), key[c]);
    if (kind == R2I_ROWS_BF16 && d_key % 2 != 0) {
        ref_store(kind, key_page, ref_key_index(kind, d_key, slot),
                  0.0F); /* the pair's empty half */
    }
    for (int32_t c = 0; c < d_value; c++) {
        ref_store(kind, value_page, ref_value_index(kind, c, slot, d_value), value[c]);
    }
}

static float q8_key(const uint8_t *page, int32_t c, int32_t slot) {
    uint16_t scale;
    memcpy(&scale, page + r2i_q8_key_scale_at(c / R2I_Q8_GROUP) + 2 * slot, 2);
    const int8_t code = (int8_t)page[r2i_q8_key_code_at(c) + 2 * (size_t)slot + (size_t)(c % 2)];
    return r2i_f32_from_bf16(scale) * (float)code;
}

static float q8_value(const uint8_t *page, int32_t c, int32_t slot, int32_t d) {
    uint16_t scale;
    memcpy(&scale,
           page + r2i_q8_value_scale_at(slot / 2, c / R2I_Q8_GROUP, d) + 2 * (size_t)(slot % 2), 2);
    const size_t at = r2i_q8_value_code_at(slot / 2, d) + 2 * (size_t)c + (size_t)(slot % 2);
    return r2i_f32_from_bf16(scale) * (float)(int8_t)page[at];
}

static void expand_keys(r2i_row_kind kind, uint8_t *page, const uint8_t *stored, int32_t n_slots,
                        int32_t d_key) {
    const r2i_row_kind to = r2i_attended_rows(kind);
    const int32_t end_channel = kind == R2I_ROWS_Q8 ? d_key + d_key % 2 : d_key;
    for (int32_t slot = 0; slot < r2i_page_slots(n_slots); slot++) {
        for (int32_t c = 0; c < end_channel; c++) {
            const float x = kind == R2I_ROWS_Q8
                                ? q8_key(stored, c, slot)
                                : ref_load(kind, stored, ref_key_index(kind, c, slot));
            ref_store(to, page, ref_key_index(to, c, slot), x);
        }
    }
}

static void expand_values(r2i_row_kind kind, uint8_t *page, const uint8_t *stored, int32_t n_slots,
                          int32_t d_value) {
    const r2i_row_kind to = r2i_attended_rows(kind);
    for (int32_t slot = 0; slot < r2i_page_slots(n_slots); slot++) {
        for (int32_t c = 0; c < d_value; c++) {
            const float x = kind == R2I_ROWS_Q8
                                ? q8_value(stored, c, slot, d_value)
                                : ref_load(kind, stored, ref_value_index(kind, c, slot, d_value));
            ref_store(to, page, ref_value_index(to, c, slot, d_value), x);
        }
    }
}

static void latent_values(r2i_row_kind kind, uint8_t *value_page, const uint8_t *key_page,
                          int32_t n_slots, int32_t d_value) {
    for (int32_t slot = 0; slot < r2i_page_slots(n_slots); slot++) {
        for (int32_t c = 0; c < d_value; c++) {
            const float x = ref_load(kind, key_page, ref_key_index(kind, c, slot));
            ref_store(kind, value_page, ref_value_index(kind, c, slot, d_value), x);
        }
    }
}

void r2i_ref_add_pages(r2i_kernels *kernels) {
    kernels->store_row = store_row;
    kernels->expand_keys = expand_keys;
    kernels->expand_values = expand_values;
    kernels->latent_values = latent_values;
}
