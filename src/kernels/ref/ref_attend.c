/* ref_attend.c - attention over cache pages, one query row, one key, one channel at a time. */
#include <math.h>
#include <string.h>

#include "kernels/ref/page_elements.h"
#include "kernels/ref/ref_parts.h"

static float rounded(r2i_row_kind kind, float x) {
    return kind == R2I_ROWS_F32 ? x : r2i_f32_from_bf16(r2i_bf16_from_f32(x));
}

static double score(const r2i_attend_job *job, int32_t row, int32_t page, int32_t slot) {
    const float *q = job->q + (size_t)row * job->q_stride;
    double sum = 0.0;
    for (int32_t c = 0; c < job->d_key; c++) {
        const float k = ref_load(job->rows, job->key_pages[page], ref_key_index(job->rows, c, slot));
        sum += (double)rounded(job->rows, q[c]) * (double)k;
    }
    return (double)job->scale * sum;
}

/* Row `row` over the visible slots [begin, end) of one page. */
static void attend_page(const r2i_attend_job *job, int32_t row, int32_t page, int32_t begin, int32_t end,
                        double *max, double *sum, double out[R2I_MAX_HEAD]) {
    double s[R2I_PAGE_TOKENS];
    *max = -INFINITY;
    *sum = 0.0;
    memset(out, 0, R2I_MAX_HEAD * sizeof *out);
    for (int32_t j = begin; j < end; j++) {
        s[j] = score(job, row, page, j);
        if (s[j] > *max || isnan(s[j])) *max = s[j];
    }
    for (int32_t j = begin; j < end; j++) {
        const double p = (double)rounded(job->rows, (float)exp(s[j] - *max));
        *sum += p;
        for (int32_t c = 0; c < job->d_value; c++) {
            const size_t at = ref_value_index(job->rows, c, j, job->d_value);
            out[c] += p * (double)ref_load(job->rows, job->value_pages[page], at);
        }
    }
}

static double weight(double max, double new_max) { return max == -INFINITY ? 0.0 : exp(max - new_max); }

static void attend_row(const r2i_attend_job *job, int32_t row) {
    double max = -INFINITY, sum = 0.0, out[R2I_MAX_HEAD] = {0};
    for (int32_t page = 0; page < job->n_pages; page++) {
        const int32_t first = job->first_position + page * R2I_PAGE_TOKENS;
        int32_t begin = job->first_key[row] - first, end = job->end_key[row] - first;
        double page_max, page_sum, page_out[R2I_MAX_HEAD];
        if (begin < 0) begin = 0;
        if (end > R2I_PAGE_TOKENS) end = R2I_PAGE_TOKENS;
        if (begin >= end) continue;
        attend_page(job, row, page, begin, end, &page_max, &page_sum, page_out);
        const double new_max = page_max < max ? max : page_max;
        const double a = weight(max, new_max), b = weight(page_max, new_max);
        sum = a * sum + b * page_sum;
        for (int32_t c = 0; c < job->d_value; c++) out[c] = a * out[c] + b * page_out[c];
        max = new_max;
    }
    job->out_max[row] = (float)max;
    job->out_sum[row] = (float)sum;
    for (int32_t c = 0; c < job->d_value; c++) {
        job->out[(size_t)row * (size_t)job->d_value + (size_t)c] = (float)out[c];
    }
}

static void attend(const r2i_attend_job *job) {
    for (int32_t row = 0; row < job->n_rows; row++) attend_row(job, row);
}

static void attend_merge(float *max_a, float *sum_a, float *out_a, float max_b, float sum_b,
                         const float *out_b, int32_t d) {
    const double max = (double)(*max_a > max_b ? *max_a : max_b);
    const double a = weight((double)*max_a, max), b = weight((double)max_b, max);
    *sum_a = (float)(a * (double)*sum_a + b * (double)sum_b);
    for (int32_t c = 0; c < d; c++) out_a[c] = (float)(a * (double)out_a[c] + b * (double)out_b[c]);
    *max_a = (float)max;
}

void r2i_ref_add_attend(r2i_kernels *kernels) {
    kernels->attend = attend;
    kernels->attend_merge = attend_merge;
}
