/* portable_pages.c - cache pages: storing rows, values of latent rows. */
#include <string.h>

#include "base/half.h"
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

static void store_row(r2i_row_kind kind, uint8_t *key_page, uint8_t *value_page, int32_t slot,
                      const float *key, const float *value, int32_t d_key, int32_t d_value) {
    if (kind == R2I_ROWS_F32) {
        store_f32((float *)(void *)key_page, (float *)(void *)value_page, slot, key, value, d_key,
                  d_value);
    } else {
        store_bf16((uint16_t *)(void *)key_page, (uint16_t *)(void *)value_page, slot, key, value,
                   d_key, d_value);
    }
}

/* A block of channels at a time, so that the lines of keys read and of values written stay near. */
enum { BLOCK_CHANNELS = 16, SLOT_STEP = 32 };

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
    const int32_t end = (n_slots + SLOT_STEP - 1) / SLOT_STEP * SLOT_STEP;
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
    kernels->latent_values = latent_values;
}
