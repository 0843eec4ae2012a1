/* test_matrix.c - 8-bit weights with a scale for each block of 128 x 128: rows and panels, for a
 * whole matrix and for one whose rows are a part of another, as the heads of kv_b are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/half.h"
#include "base/random.h"
#include "model/matrix.h"

enum { N_ROWS = 300, N_COLS = 333, N_BLOCKS = 3, FIRST = 117, N_PART = 145 };

typedef struct {
    uint8_t codes[N_ROWS][N_COLS];
    uint8_t scale_bytes[1 + 4 * N_BLOCKS * N_BLOCKS]; /* factors lie one byte off their alignment */
    float expected[N_ROWS][N_COLS];
} weights;

static weights *make_weights(void) {
    weights *w = calloc(1, sizeof *w);
    float scales[N_BLOCKS * N_BLOCKS];
    for (uint64_t i = 0; i < N_BLOCKS * N_BLOCKS; i++)
        scales[i] = 0.01f + (float)r2i_random_unit(1, 1, i);
    memcpy(w->scale_bytes + 1, scales, sizeof scales);
    for (int32_t r = 0; r < N_ROWS; r++) {
        for (int32_t c = 0; c < N_COLS; c++) {
            const uint8_t code = (uint8_t)r2i_random_u64(2, (uint64_t)r, (uint64_t)c);
            w->codes[r][c] = (code & 0x7f) == 0x7f ? 0 : code; /* no NaN */
            w->expected[r][c] =
                r2i_f32_from_e4m3(w->codes[r][c]) * scales[r / 128 * N_BLOCKS + c / 128];
        }
    }
    return w;
}

static r2i_matrix part_of(const weights *w, int32_t first, int32_t n_rows, r2i_type layout) {
    return (r2i_matrix){ .n_rows = n_rows,
                         .n_cols = N_COLS,
                         .n_panels = (n_rows + R2I_PANEL_ROWS - 1) / R2I_PANEL_ROWS,
                         .type = R2I_TYPE_F8_E4M3,
                         .layout = layout,
                         .stored = w->codes[first],
                         .row_bytes = N_COLS,
                         .panel_bytes = r2i_panel_bytes(layout, N_COLS),
                         .scales = w->scale_bytes + 1,
                         .first_scale_row = first };
}

/* Row r, column c of packed panels (kernels.h draws them). */
static float panel_value(const r2i_matrix *m, const uint8_t *panels, int32_t r, int32_t c) {
    const uint8_t *panel = panels + (size_t)(r / R2I_PANEL_ROWS) * m->panel_bytes;
    const size_t lane = (size_t)(r % R2I_PANEL_ROWS);
    if (m->layout == R2I_TYPE_F32)
        return ((const float *)(const void *)panel)[(size_t)c * R2I_PANEL_ROWS + lane];
    const size_t at = ((size_t)c / 2 * R2I_PANEL_ROWS + lane) * 2 + (size_t)c % 2;
    return r2i_f32_from_bf16(((const uint16_t *)(const void *)panel)[at]);
}

static void check_part(const weights *w, const r2i_kernels *kernels, int32_t first, int32_t n_rows,
                       r2i_type layout) {
    r2i_matrix m = part_of(w, first, n_rows, layout);
    uint8_t *panels = malloc((size_t)m.n_panels * m.panel_bytes);
    float row[N_COLS];
    assert_non_null(panels);
    r2i_matrix_pack(&m, kernels, 0, m.n_panels, panels);
    for (int32_t r = 0; r < n_rows; r++) {
        r2i_matrix_read_row(&m, kernels, r, row);
        for (int32_t c = 0; c < N_COLS; c++) {
            const float x = w->expected[first + r][c];
            const float packed =
                layout == R2I_TYPE_F32 ? x : r2i_f32_from_bf16(r2i_bf16_from_f32(x));
            if (row[c] != x || panel_value(&m, panels, r, c) != packed)
                fail_msg("row %d, column %d: expected %g, found %g and %g", r, c, (double)x,
                         (double)row[c], (double)panel_value(&m, panels, r, c));
        }
    }
    for (int32_t r = n_rows; r < m.n_panels * R2I_PANEL_ROWS; r++)
        assert_true(panel_value(&m, panels, r, 0) == 0);
    free(panels);
}

static void test_scaled(void **state) {
    (void)state;
    weights *w = make_weights();
    r2i_cpu cpu;
    r2i_cpu_detect(&cpu);
    for (int level = R2I_LEVEL_REF; level < R2I_N_LEVELS; level++) {
        r2i_kernels kernels;
        r2i_kernels_init(&kernels, &cpu, (r2i_level)level);
        check_part(w, &kernels, 0, N_ROWS, R2I_TYPE_F32);
        check_part(w, &kernels, FIRST, N_PART, R2I_TYPE_F32);
        if (kernels.pack[R2I_TYPE_BF16] == NULL) continue;
        check_part(w, &kernels, 0, N_ROWS, R2I_TYPE_BF16);
        check_part(w, &kernels, FIRST, N_PART, R2I_TYPE_BF16);
    }
    free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_scaled) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
