/* portable_pages.c - cache pages: storing rows, expanding them, values of latent rows. */
#include <string.h>

#include "kernels/page_rows.h"
#include "kernels/portable/portable_parts.h"

enum { SLOTS = R2I_PAGE_TOKENS };

static void store_f32(float *key_page, float *value_page, int32_t slot, const float *key,
                      const float *value, int32_t d_key, int32_t d_value) {
    for (int32_t c = 0; c < d_key; c++)
        key_page[(size_t)c * SLOTS + (size_t)slot] = key[c];
    if (d_value > 0)
        memcpy(value_page + (size_t)slot * (size_t)d_value, value, 4 * (size_t)d_value);
}

static void store_bf16(uint16_t *key_page, uint16_t *value_page, int32_t slot, const float *key,
                       const float *value, int32_t d_key, int32_t d_value) {
    uint16_t *k = key_page + 2 * slot;
    for (int32_t c = 0; c < d_key; c += 2, k += 2 * SLOTS) {
        k[0] = r2i_bf16_from_f32(key[c]);
        k[1] = c + 1 < d_key ? r2i_bf16_from_f32(key[c + 1]) : 0;
    }
    if (d_value == 0) return;
    uint16_t *v = value_page + (size_t)(slot / 2) * (size_t)d_value * 2 + slot % 2;
    for (int32_t c = 0; c < d_value; c++)
        v[2 * c] = r2i_bf16_from_f32(value[c]);
}

static void store_f16(uint16_t *key_page, uint16_t *value_page, int32_t slot, const float *key,
                      const float *value, int32_t d_key, int32_t d_value) {
    for (int32_t c = 0; c < d_key; c++)
        key_page[(size_t)c * SLOTS + (size_t)slot] = r2i_f16_from_f32(r2i_within_f16(key[c]));
    if (d_value == 0) return;
    uint16_t *v = value_page + (size_t)slot * (size_t)d_value;
    for (int32_t c = 0; c < d_value; c++)
        v[c] = r2i_f16_from_f32(r2i_within_f16(value[c]));
}

/* Codes of group g of a row of d channels, 0 beyond them; returns the scale.  Adding 1.5 * 2^23
 * rounds to nearest even, as rintf does. */
static uint16_t round_group(int8_t codes[R2I_Q8_GROUP], const float *row, int32_t g, int32_t d) {
    const int32_t left = d - g * R2I_Q8_GROUP;
    float x[R2I_Q8_GROUP] = { 0 };
    memcpy(x, row + (size_t)g * R2I_Q8_GROUP,
           sizeof *x * (size_t)(left < R2I_Q8_GROUP ? left : R2I_Q8_GROUP));
    uint32_t magnitude = 0;
    for (int i = 0; i < R2I_Q8_GROUP; i++) {
        const uint32_t bits = r2i_bits_from_f32(x[i]) & 0x7fffffffu;
        magnitude = bits > magnitude ? bits : magnitude;
    }
    const r2i_q8_scale s = r2i_q8_scale_of(magnitude);
    if (s.inverse == 0.0F) {
        memset(codes, 0, R2I_Q8_GROUP);
        return s.scale;
    }
    for (int i = 0; i < R2I_Q8_GROUP; i++)
        codes[i] = (int8_t)((x[i] * s.inverse + 0x1.8p23F) - 0x1.8p23F);
    return s.scale;
}

static void store_q8(uint8_t *key_page, uint8_t *value_page, int32_t slot, const float *key,
                     const float *value, int32_t d_key, int32_t d_value) {
    int8_t codes[R2I_Q8_GROUP];
    for (int32_t g = 0; g < r2i_q8_groups(d_key); g++) {
        const int32_t first = g * R2I_Q8_GROUP;
        const uint16_t scale = round_group(codes, key, g, d_key);
        memcpy(key_page + r2i_q8_key_scale_at(g) + 2 * slot, &scale, 2);
        uint8_t *y = key_page + r2i_q8_key_code_at(first) + 2 * slot;
        for (int32_t c = 0; c < R2I_Q8_GROUP && first + c < d_key; c += 2, y += R2I_Q8_KEY_LINE)
            memcpy(y, codes + c, 2);
    }
    for (int32_t g = 0; g < r2i_q8_groups(d_value); g++) {
        const int32_t first = g * R2I_Q8_GROUP;
        const uint16_t scale = round_group(codes, value, g, d_value);
        memcpy(value_page + r2i_q8_value_scale_at(slot / 2, g, d_value) + 2 * (slot % 2), &scale,
               2);
        uint8_t *y = value_page + r2i_q8_value_code_at(slot / 2, d_value) + 2 * first + slot % 2;
        for (int32_t c = 0; c < R2I_Q8_GROUP && first + c < d_value; c++)
            y[2 * c] = (uint8_t)codes[c];
    }
}

static void store_row(r2i_row_kind kind, uint8_t *key_page, uint8_t *value_page, int32_t slot,
                      const float *key, const float *value, int32_t d_key, int32_t d_value) {
    uint16_t *keys = (uint16_t *)(void *)key_page, *values = (uint16_t *)(void *)value_page;
    switch (kind) {
    case R2I_ROWS_F32:
        store_f32((float *)(void *)key_page, (float *)(void *)value_page, slot, key, value, d_key,
                  d_value);
        break;
    case R2I_ROWS_BF16:
        store_bf16(keys, values, slot, key, value, d_key, d_value);
        break;
    case R2I_ROWS_F16:
        store_f16(keys, values, slot, key, value, d_key, d_value);
        break;
    case R2I_ROWS_Q8:
        store_q8(key_page, value_page, slot, key, value, d_key, d_value);
        break;
    }
}

static void expand_f16(uint8_t *to, const uint8_t *from, size_t n) {
    float *y = (float *)(void *)to;
    const uint16_t *x = (const uint16_t *)(const void *)from;
    for (size_t i = 0; i < n; i++)
        y[i] = r2i_f32_from_f16(x[i]);
}

static uint16_t expand_code(float scale, uint8_t code) {
    return r2i_bf16_from_f32(scale * (float)(int8_t)code);
}

static void expand_keys_q8(uint8_t *to, const uint8_t *stored, int32_t n_slots, int32_t d) {
    uint16_t *page = (uint16_t *)(void *)to;
    for (int32_t c = 0; c < d; c += 2, page += 2 * SLOTS) {
        const uint16_t *scales =
            (const uint16_t *)(const void *)(stored + r2i_q8_key_scale_at(c / R2I_Q8_GROUP));
        const uint8_t *codes = stored + r2i_q8_key_code_at(c);
        for (int32_t j = 0; j < n_slots; j++) {
            const float scale = r2i_f32_from_bf16(scales[j]);
            page[2 * j] = expand_code(scale, codes[2 * j]);
            page[2 * j + 1] = expand_code(scale, codes[2 * j + 1]);
        }
    }
}

static void expand_values_q8(uint8_t *page, const uint8_t *stored, int32_t n_slots,
                             int32_t d_value) {
    uint16_t *y = (uint16_t *)(void *)page;
    for (int32_t pair = 0; pair < n_slots / 2; pair++) {
        const uint16_t *scales =
            (const uint16_t *)(const void *)(stored + r2i_q8_value_scale_at(pair, 0, d_value));
        const uint8_t *codes = stored + r2i_q8_value_code_at(pair, d_value);
        for (int32_t c = 0; c < d_value; c++, y += 2, codes += 2) {
            const uint16_t *both = scales + c / R2I_Q8_GROUP * 2;
            y[0] = expand_code(r2i_f32_from_bf16(both[0]), codes[0]);
            y[1] = expand_code(r2i_f32_from_bf16(both[1]), codes[1]);
        }
    }
}

#include "kernels/page_expand.h"

/* A block of channels at a time, so that the lines of keys read and of values written stay near. */
enum { BLOCK_CHANNELS = 16 };

static void latent_f32(float *values, const float *keys, int32_t n_slots, int32_t d) {
    for (int32_t first = 0; first < d; first += BLOCK_CHANNELS) {
        const int32_t end = first + BLOCK_CHANNELS < d ? first + BLOCK_CHANNELS : d;
        for (int32_t slot = 0; slot < n_slots; slot++) {
            float *v = values + (size_t)slot * (size_t)d;
            const float *k = keys + slot;
            for (int32_t c = first; c < end; c++)
                v[c] = k[(size_t)c * SLOTS];
        }
    }
}

/* Two tokens of two channels change places. */
static void latent_bf16(uint16_t *values, const uint16_t *keys, int32_t n_slots, int32_t d) {
    for (int32_t first = 0; first < d; first += BLOCK_CHANNELS) {
        const int32_t end = first + BLOCK_CHANNELS < d ? first + BLOCK_CHANNELS : d;
        for (int32_t slot = 0; slot < n_slots; slot += 2) {
            uint16_t *v = values + (size_t)slot * (size_t)d;
            const uint16_t *k = keys + 2 * slot;
            for (int32_t c = first; c < end; c++) {
                v[2 * c] = k[(size_t)(c / 2) * (2 * SLOTS) + (size_t)(c % 2)];
                v[2 * c + 1] = k[(size_t)(c / 2) * (2 * SLOTS) + (size_t)(2 + c % 2)];
            }
        }
    }
}

static void latent_values(r2i_row_kind kind, uint8_t *value_page, const uint8_t *key_page,
                          int32_t n_slots, int32_t d_value) {
    const int32_t end = r2i_page_slots(n_slots);
    if (kind == R2I_ROWS_F32) {
        latent_f32((float *)(void *)value_page, (const float *)(const void *)key_page, end,
                   d_value);
    } else {
        latent_bf16((uint16_t *)(void *)value_page, (const uint16_t *)(const void *)key_page, end,
                    d_value);
    }
}

void r2i_portable_add_pages(r2i_kernels *kernels) {
    kernels->store_row = store_row;
    add_expand(kernels);
    kernels->latent_values = latent_values;
}
