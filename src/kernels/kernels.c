/* kernels.c - sizes of packed things, and the choice of a table for a machine. */
#include "kernels/kernels.h"

#include <string.h>

#include "kernels/act_rows.h"
#include "kernels/page_rows.h"

static size_t round_up_64(size_t n) { return (n + 63) & ~(size_t)63; }

size_t r2i_panel_bytes(r2i_type layout, int32_t n_cols) {
    size_t n = (size_t)n_cols;
    if (layout == R2I_TYPE_BF16) n += n & 1; /* columns travel in pairs */
    return R2I_PANEL_ROWS * r2i_type_row_bytes(layout, n);
}

r2i_act_kind r2i_act_kind_of(r2i_type layout) {
    if (layout == R2I_TYPE_F32 || layout == R2I_TYPE_F16) return R2I_ACT_F32;
    return layout == R2I_TYPE_BF16 ? R2I_ACT_BF16 : R2I_ACT_INT8;
}

size_t r2i_act_row_bytes(r2i_act_kind kind, int32_t n_cols) {
    const size_t n = (size_t)n_cols;
    if (kind == R2I_ACT_F32) return round_up_64(4 * n);
    if (kind == R2I_ACT_BF16) return round_up_64(2 * (n + (n & 1)));
    return n / R2I_GROUP * sizeof(r2i_act_group);
}

const char *r2i_row_kind_name(r2i_row_kind kind) {
    static const char *const names[] = { "F32", "BF16", "F16", "Q8" };
    return names[kind];
}

r2i_row_kind r2i_attended_rows(r2i_row_kind kind) {
    return kind == R2I_ROWS_F16 ? R2I_ROWS_F32 : kind == R2I_ROWS_Q8 ? R2I_ROWS_BF16 : kind;
}

size_t r2i_key_page_bytes(r2i_row_kind kind, int32_t d_key) {
    const size_t d = (size_t)d_key, even = d + (d & 1);
    switch (kind) {
    case R2I_ROWS_F32: return 4 * d * R2I_PAGE_TOKENS;
    case R2I_ROWS_BF16: return 2 * even * R2I_PAGE_TOKENS;
    case R2I_ROWS_F16: return 2 * d * R2I_PAGE_TOKENS;
    default: return (2 * (size_t)r2i_q8_groups(d_key) + even) * R2I_PAGE_TOKENS;
    }
}

size_t r2i_value_page_bytes(r2i_row_kind kind, int32_t d_value) {
    const size_t d = (size_t)d_value;
    if (kind == R2I_ROWS_F32) return 4 * d * R2I_PAGE_TOKENS;
    if (kind != R2I_ROWS_Q8) return 2 * d * R2I_PAGE_TOKENS;
    return (2 * (size_t)r2i_q8_groups(d_value) + d) * R2I_PAGE_TOKENS;
}

void r2i_kernels_init(r2i_kernels *kernels, const r2i_cpu *cpu, r2i_level cap) {
    const r2i_level level = cpu->level < cap ? cpu->level : cap;
    memset(kernels, 0, sizeof *kernels);
    kernels->level = level;
    if (level == R2I_LEVEL_REF) {
        r2i_kernels_add_ref(kernels);
        return;
    }
    r2i_kernels_add_portable(kernels);
#if defined(__x86_64__)
    if (level >= R2I_LEVEL_AVX2) {
        kernels->features = cpu->features;
        r2i_kernels_add_avx2(kernels);
    }
    if (level >= R2I_LEVEL_AVX512) r2i_kernels_add_avx512(kernels);
    if (level >= R2I_LEVEL_AMX) r2i_kernels_add_amx(kernels);
#endif
}
