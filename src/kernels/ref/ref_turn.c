/* ref_turn.c - transposes for products backward, and SwiGLU backward: one element at a time. */
#include <math.h>
#include <string.h>

#include "kernels/ref/ref_parts.h"

static void turn_panels_f32(uint8_t *panels, const float *x, size_t x_stride, int32_t n_rows, int32_t n_cols) {
    const size_t panel_bytes = r2i_panel_bytes(R2I_TYPE_F32, n_rows);
    for (int32_t c = 0; c < (n_cols + 15) / 16 * 16; c++) {
        uint8_t *panel = panels + (size_t)(c / R2I_PANEL_ROWS) * panel_bytes;
        for (int32_t r = 0; r < n_rows; r++) {
            const float value = c < n_cols ? x[(size_t)r * x_stride + (size_t)c] : 0.0F;
            memcpy(panel + ((size_t)r * R2I_PANEL_ROWS + (size_t)(c % R2I_PANEL_ROWS)) * sizeof value, &value,
                   sizeof value);
        }
    }
}

static void turn_rows_f32(uint8_t *rows, size_t stride, const float *x, size_t x_stride, int32_t n_rows,
                          int32_t n_cols) {
    for (int32_t c = 0; c < n_cols; c++) {
        memset(rows + (size_t)c * stride, 0, r2i_act_row_bytes(R2I_ACT_F32, n_rows));
        for (int32_t r = 0; r < n_rows; r++)
            memcpy(rows + (size_t)c * stride + 4 * (size_t)r, &x[(size_t)r * x_stride + (size_t)c], 4);
    }
}

static void silu_mul_backward(float *inner, float *g_gate, float *g_up, const float *gate, const float *up,
                              const float *g_inner, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        const double g = (double)gate[i], u = (double)up[i], d = (double)g_inner[i], s = 1.0 / (1.0 + exp(-g));
        inner[i] = (float)(g * s * u);
        g_gate[i] = (float)(d * u * s * (1.0 + g * (1.0 - s)));
        g_up[i] = (float)(d * g * s);
    }
}

static void add_outer(const r2i_outer_job *job) {
    for (int32_t r = 0; r < job->n_ranks; r++) {
        for (int32_t i = 0; i < job->n_cols; i++) {
            float *g = job->g + (size_t)r * job->g_stride + (size_t)i;
            double sum = 0;
            for (int32_t t = 0; t < job->n_tokens; t++)
                sum += (double)job->c[(size_t)t * job->c_stride + (size_t)r] *
                       (double)job->x[(size_t)t * job->x_stride + (size_t)i];
            *g = (float)((double)*g + sum);
        }
    }
}

void r2i_ref_add_turn(r2i_kernels *kernels) {
    kernels->turn_panels[R2I_TYPE_F32] = turn_panels_f32;
    kernels->turn_rows[R2I_ACT_F32] = turn_rows_f32;
    kernels->silu_mul_backward = silu_mul_backward;
    kernels->add_outer = add_outer;
}
