/* portable_attend.c - attention over cache pages: scores of a page 128 keys at a time, sums of
 * values a channel row at a time.  A row's result depends on its own query and the pages only. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "kernels/portable/fast_exp.h"
#include "kernels/portable/portable_parts.h"

enum { SLOTS = R2I_PAGE_TOKENS };

/* What one row saw of a page, or of all pages so far. */
typedef struct {
    float max, sum;
    float out[R2I_MAX_HEAD];
} partial;

static float bf16_of(float x) { return r2i_f32_from_bf16(r2i_bf16_from_f32(x)); }

static void score_f32(float s[SLOTS], const float *q, const uint8_t *page, int32_t d) {
    const float *k = (const float *)(const void *)page;
    for (int32_t c = 0; c < d; c++, k += SLOTS) {
        for (int j = 0; j < SLOTS; j++) s[j] += q[c] * k[j];
    }
}

static void score_bf16(float s[SLOTS], const float *q, const uint8_t *page, int32_t d) {
    const uint16_t *k = (const uint16_t *)(const void *)page;
    for (int32_t c = 0; c < d; c += 2, k += 2 * SLOTS) {
        const float a = bf16_of(q[c]), b = c + 1 < d ? bf16_of(q[c + 1]) : 0.0F;
        for (int j = 0; j < SLOTS; j++) {
            s[j] += a * r2i_f32_from_bf16(k[2 * j]) + b * r2i_f32_from_bf16(k[2 * j + 1]);
        }
    }
}

static void add_values_f32(float *out, const float p[SLOTS], const uint8_t *page, int32_t d, int32_t begin,
                           int32_t end) {
    const float *v = (const float *)(const void *)page + (size_t)begin * (size_t)d;
    for (int32_t j = begin; j < end; j++, v += d) {
        for (int32_t c = 0; c < d; c++) out[c] += p[j] * v[c];
    }
}

static void add_values_bf16(float *out, const float p[SLOTS], const uint8_t *page, int32_t d, int32_t begin,
                            int32_t end) {
    const uint16_t *v = (const uint16_t *)(const void *)page + (size_t)(begin / 2) * (size_t)d * 2;
    for (int32_t j = begin & ~1; j < end; j += 2, v += 2 * d) {
        for (int32_t c = 0; c < d; c++) {
            out[c] += p[j] * r2i_f32_from_bf16(v[2 * c]) + p[j + 1] * r2i_f32_from_bf16(v[2 * c + 1]);
        }
    }
}

/* Scores to weights: p = exp(s - max) in the visible slots, 0 in the others. */
static void weigh(partial *part, float s[SLOTS], r2i_row_kind kind, float scale, int32_t begin, int32_t end) {
    float max = -INFINITY, sum = 0.0F;
    for (int32_t j = begin; j < end; j++) {
        s[j] *= scale;
        if (s[j] > max || isnan(s[j])) max = s[j];
    }
    for (int j = 0; j < SLOTS; j++) {
        const float p = fast_exp(s[j] - max);
        s[j] = j < begin || j >= end ? 0.0F : p;
    }
    if (kind == R2I_ROWS_BF16) {
        for (int j = 0; j < SLOTS; j++) s[j] = bf16_of(s[j]);
    }
    for (int j = 0; j < SLOTS; j++) sum += s[j];
    part->max = max;
    part->sum = sum;
}

static void attend_page(partial *part, const r2i_attend_job *job, const float *q, int32_t page, int32_t begin,
                        int32_t end) {
    float s[SLOTS] = {0};
    memset(part->out, 0, (size_t)job->d_value * sizeof *part->out);
    if (job->rows == R2I_ROWS_F32) {
        score_f32(s, q, job->key_pages[page], job->d_key);
        weigh(part, s, job->rows, job->scale, begin, end);
        add_values_f32(part->out, s, job->value_pages[page], job->d_value, begin, end);
    } else {
        score_bf16(s, q, job->key_pages[page], job->d_key);
        weigh(part, s, job->rows, job->scale, begin, end);
        add_values_bf16(part->out, s, job->value_pages[page], job->d_value, begin, end);
    }
}

/* exp(max - new_max); a part without keys weighs nothing. */
static float weight(float max, float new_max) { return max == -INFINITY ? 0.0F : fast_exp(max - new_max); }

static void attend_merge(float *max_a, float *sum_a, float *out_a, float max_b, float sum_b,
                         const float *out_b, int32_t d) {
    const float max = max_b < *max_a ? *max_a : max_b; /* NaN wins */
    const float a = weight(*max_a, max), b = weight(max_b, max);
    *sum_a = a * *sum_a + b * sum_b;
    for (int32_t c = 0; c < d; c++) out_a[c] = a * out_a[c] + b * out_b[c];
    *max_a = max;
}

static void attend_row(const r2i_attend_job *job, int32_t row) {
    const float *q = job->q + (size_t)row * job->q_stride;
    partial all = {.max = -INFINITY}, part;
    for (int32_t page = 0; page < job->n_pages; page++) {
        const int32_t first = job->first_position + page * SLOTS;
        int32_t begin = job->first_key[row] - first, end = job->end_key[row] - first;
        if (begin < 0) begin = 0;
        if (end > SLOTS) end = SLOTS;
        if (begin >= end) continue;
        attend_page(&part, job, q, page, begin, end);
        attend_merge(&all.max, &all.sum, all.out, part.max, part.sum, part.out, job->d_value);
    }
    job->out_max[row] = all.max;
    job->out_sum[row] = all.sum;
    if (job->d_value > 0) {
        memcpy(job->out + (size_t)row * (size_t)job->d_value, all.out, 4 * (size_t)job->d_value);
    }
}

static void attend(const r2i_attend_job *job) {
    for (int32_t row = 0; row < job->n_rows; row++) attend_row(job, row);
}

void r2i_portable_add_attend(r2i_kernels *kernels) {
    kernels->attend = attend;
    kernels->attend_merge = attend_merge;
}
