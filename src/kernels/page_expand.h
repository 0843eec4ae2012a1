/* page_expand.h - the table's entries that expand pages, over a level's own loops.  Include it behind
 *     expand_f16(to, from, n)                          n elements, a multiple of 32
 *     expand_keys_q8, expand_values_q8(page, stored, n_slots, d)   n_slots a multiple of R2I_PAGE_STEP */
#ifndef R2I_PAGE_EXPAND_H
#define R2I_PAGE_EXPAND_H
#include "kernels/page_rows.h"

static void expand_keys(r2i_row_kind kind, uint8_t *page, const uint8_t *stored, int32_t n_slots,
                        int32_t d_key) {
    const int32_t end = r2i_page_slots(n_slots);
    if (kind == R2I_ROWS_Q8) {
        expand_keys_q8(page, stored, end, d_key);
        return;
    }
    for (size_t at = 0; at < (size_t)d_key * R2I_PAGE_TOKENS; at += R2I_PAGE_TOKENS)
        expand_f16(page + 4 * at, stored + 2 * at, (size_t)end);
}

static void expand_values(r2i_row_kind kind, uint8_t *page, const uint8_t *stored, int32_t n_slots,
                          int32_t d_value) {
    const int32_t end = r2i_page_slots(n_slots);
    if (kind == R2I_ROWS_Q8)
        expand_values_q8(page, stored, end, d_value);
    else
        expand_f16(page, stored, (size_t)end * (size_t)d_value);
}

static void add_expand(r2i_kernels *kernels) {
    kernels->expand_keys = expand_keys;
    kernels->expand_values = expand_values;
}
#endif
