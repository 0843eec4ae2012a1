/* ref_pages.c - cache pages, one element at a time. */
#include "kernels/ref/page_elements.h"
#include "kernels/ref/ref_parts.h"

static void store_row(r2i_row_kind kind, uint8_t *key_page, uint8_t *value_page, int32_t slot,
                      const float *key, const float *value, int32_t d_key, int32_t d_value) {
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

static void latent_values(r2i_row_kind kind, uint8_t *value_page, const uint8_t *key_page,
                          int32_t n_slots, int32_t d_value) {
    const int32_t end = (n_slots + 31) / 32 * 32;
    for (int32_t slot = 0; slot < end; slot++) {
        for (int32_t c = 0; c < d_value; c++) {
            const float x = ref_load(kind, key_page, ref_key_index(kind, c, slot));
            ref_store(kind, value_page, ref_value_index(kind, c, slot, d_value), x);
        }
    }
}

void r2i_ref_add_pages(r2i_kernels *kernels) {
    kernels->store_row = store_row;
    kernels->latent_values = latent_values;
}
