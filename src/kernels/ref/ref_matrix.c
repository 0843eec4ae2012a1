/* ref_matrix.c - y = W x with W in F32 panels [n_cols][16]. */
#include <string.h>

#include "kernels/ref/ref_parts.h"
#include "kernels/stored_blocks.h"

static void pack_f32(uint8_t *panel, r2i_type type, const uint8_t *const rows[R2I_PANEL_ROWS],
                     int32_t n_cols) {
    const r2i_type_info *info = r2i_type_get(type);
    float *w = (float *)(void *)panel; /* [n_cols, 16] */
    for (int r = 0; r < R2I_PANEL_ROWS; r++) {
        for (int32_t begin = 0; begin < n_cols; begin += info->block_elements) {
            float value[R2I_BLOCK_MAX] = {0};
            if (rows[r] != NULL) {
                const uint8_t *block = rows[r] + r2i_type_row_bytes(type, (size_t)begin);
                r2i_stored_row_read(value, type, block, info->block_elements);
            }
            for (int32_t c = 0; c < info->block_elements; c++) {
                w[(size_t)(begin + c) * R2I_PANEL_ROWS + (size_t)r] = value[c];
            }
        }
    }
}

static void act_f32(uint8_t *row, const float *x, int32_t n_cols, int32_t begin, int32_t end) {
    (void)n_cols;
    if (end > begin) memcpy(row + 4 * (size_t)begin, x, 4 * (size_t)(end - begin));
}

/* Row r of a panel, which may lie at any address. */
static double dot_row(const uint8_t *panel, int32_t r, const float *x, int32_t n_cols) {
    double sum = 0.0;
    for (int32_t c = 0; c < n_cols; c++) {
        float w;
        memcpy(&w, panel + ((size_t)c * R2I_PANEL_ROWS + (size_t)r) * sizeof w, sizeof w);
        sum += (double)w * (double)x[c];
    }
    return sum;
}

static void matmul_f32(const r2i_matmul_job *job) {
    const size_t panel_bytes = r2i_panel_bytes(R2I_TYPE_F32, job->n_cols);
    for (int32_t t = 0; t < job->n_tokens; t++) {
        const uint8_t *act = job->act + (size_t)t * job->act_stride;
        float *y = job->y + (size_t)t * job->y_stride;
        for (int32_t r = 0; r < job->n_rows; r++) {
            const uint8_t *panel = job->panels + (size_t)(r / R2I_PANEL_ROWS) * panel_bytes;
            const float *x = (const float *)(const void *)act;
            double sum = dot_row(panel, r % R2I_PANEL_ROWS, x, job->n_cols);
            if (job->bias != NULL) sum += (double)job->bias[r];
            if (job->is_added) sum += (double)y[r];
            y[r] = (float)sum;
        }
    }
}

void r2i_ref_add_matrix(r2i_kernels *kernels) {
    kernels->pack[R2I_TYPE_F32] = pack_f32;
    kernels->act[R2I_ACT_F32] = act_f32;
    kernels->matmul[R2I_TYPE_F32] = matmul_f32;
}
