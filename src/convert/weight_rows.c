#include "convert/weight_rows.h"

#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "base/half.h"

enum { CHUNK_BYTES = 1 << 18 };

static void read_fp8_row(float *out, const r2i_stored_rows *s, int64_t row) {
    const uint8_t *codes = s->bytes + (size_t)row * s->row_bytes;
    const int64_t n_blocks = (s->n_cols + s->block_cols - 1) / s->block_cols;
    const uint8_t *scales = s->scales + 4 * (row / s->block_rows * n_blocks);
    for (int64_t b = 0; b < n_blocks; b++) {
        const int64_t first = b * s->block_cols, end = first + s->block_cols;
        float scale;
        memcpy(&scale, scales + 4 * b, sizeof scale);
        for (int64_t c = first; c < end && c < s->n_cols; c++)
            out[c] = r2i_f32_from_e4m3(codes[c]) * scale;
    }
}

static const uint8_t *row_at(const r2i_stored_rows *s, int64_t row) {
    return s->bytes + (size_t)row * s->row_bytes;
}

/* The sum over the ranks first, from the first to the last: what it comes to is small beside W. */
static void add_product(float *out, const r2i_row_addition *x, int64_t row, int64_t n_cols,
                        float *sum) {
    const float *b = x->b + row * x->rank;
    memset(sum, 0, (size_t)n_cols * sizeof *sum);
    for (int32_t r = 0; r < x->rank; r++) {
        const float *a = x->a + r * n_cols;
        for (int64_t c = 0; c < n_cols; c++)
            sum[c] += b[r] * a[c];
    }
    for (int64_t c = 0; c < n_cols; c++)
        out[c] += sum[c];
}

static void read_row(float *out, const r2i_stored_rows *s, int64_t row, const r2i_kernels *k) {
    if (s->is_fp8)
        read_fp8_row(out, s, row);
    else if (s->type == R2I_TYPE_F32)
        memcpy(out, row_at(s, row), (size_t)s->n_cols * sizeof *out);
    else
        k->dequantize[s->type](out, row_at(s, row), (int32_t)s->n_cols);
}

static void write_row(uint8_t *out, r2i_type type, const float *x, int64_t n) {
    if (type == R2I_TYPE_F32) {
        memcpy(out, x, (size_t)n * sizeof *x);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        const uint16_t h = type == R2I_TYPE_F16 ? r2i_f16_from_f32(x[i]) : r2i_bf16_from_f32(x[i]);
        memcpy(out + 2 * i, &h, sizeof h);
    }
}

/* As numbers of the type that is written? */
static bool are_finite(const float *x, int64_t n, r2i_type type) {
    const float end = type == R2I_TYPE_F16    ? 65520.0f /* from here on it rounds to infinity */
                      : type == R2I_TYPE_BF16 ? 0x1.ffp127f
                                              : INFINITY;
    bool are = true;
    for (int64_t i = 0; i < n; i++)
        are &= fabsf(x[i]) < end; /* not of NaN */
    return are;
}

/* One stored row as one written row.  False: with the addition a value is no finite number. */
static bool convert_row(const r2i_row_recipe *r, const r2i_stored_rows *s, int64_t row,
                        const r2i_kernels *k, uint8_t *out, float *scratch) {
    if (!s->is_fp8 && s->type == r->type && s->addition == NULL) {
        memcpy(out, row_at(s, row), s->row_bytes);
        return true;
    }
    read_row(scratch, s, row, k);
    if (s->addition != NULL) add_product(scratch, s->addition, row, r->n_cols, scratch + r->n_cols);
    write_row(out, r->type, scratch, r->n_cols);
    return s->addition == NULL || are_finite(scratch, r->n_cols, r->type);
}

static int64_t rows_per_part(const r2i_row_recipe *r) {
    return r->n_rows / r->n_parts;
}

/* Which stored row a written row is, for orders that move whole rows. */
static int64_t stored_row(const r2i_row_recipe *r, int64_t row) {
    const int64_t n = rows_per_part(r), half = n / 2, part = row / n, i = row % n;
    switch (r->order) {
    case R2I_ROWS_PAIR:
        return part * n + i / 2 + i % 2 * half;
    case R2I_ROWS_UNPAIR:
        return part * n + (i < half ? 2 * i : 2 * (i - half) + 1);
    case R2I_ROWS_VALUES:
        return part * (n + r->d_nope) + r->d_nope + i;
    default:
        return row;
    }
}

static bool make_rows(const r2i_row_recipe *r, const r2i_kernels *k, int64_t first, int64_t end,
                      uint8_t *out, float *scratch) {
    const size_t row_bytes = r2i_type_row_bytes(r->type, (size_t)r->n_cols);
    bool is_good = true;
    for (int64_t row = first; row < end; row++, out += row_bytes) {
        const int64_t at = stored_row(r, row);
        const r2i_stored_rows *s = r->sources;
        if (r->order == R2I_ROWS_JOIN) {
            is_good &= convert_row(r, &s[at / s->n_rows], at % s->n_rows, k, out, scratch);
        } else {
            is_good &= convert_row(r, s, at, k, out, scratch);
        }
    }
    return is_good;
}

static bool is_transposed(r2i_row_order order) {
    return order == R2I_ROWS_KEYS || order == R2I_ROWS_KEYS_VALUES;
}

/* n_rows stored rows from `first` on, written as columns: out[c][i] = stored[first + i][c]. */
static void make_columns(const r2i_row_recipe *r, const r2i_stored_rows *s, int64_t first,
                         int64_t n_rows, const r2i_kernels *k, uint8_t *out, float *scratch) {
    const size_t row_bytes = r2i_type_row_bytes(r->type, (size_t)n_rows);
    float *column = scratch + n_rows * s->n_cols;
    for (int64_t i = 0; i < n_rows; i++)
        read_row(scratch + i * s->n_cols, s, first + i, k);
    for (int64_t c = 0; c < s->n_cols; c++, out += row_bytes) {
        for (int64_t i = 0; i < n_rows; i++)
            column[i] = scratch[i * s->n_cols + c];
        write_row(out, r->type, column, n_rows);
    }
}

/* A chunk is a head. */
static void make_head(const r2i_row_recipe *r, const r2i_kernels *k, int64_t head, uint8_t *out,
                      float *scratch) {
    const r2i_stored_rows *keys = &r->sources[0], *values = &r->sources[1];
    if (r->order == R2I_ROWS_KEYS) {
        make_columns(r, keys, head * (keys->n_rows / r->n_parts), r->d_nope, k, out, scratch);
        return;
    }
    const size_t row_bytes = r2i_type_row_bytes(r->type, (size_t)r->n_cols);
    const int64_t n_values = rows_per_part(r) - r->d_nope;
    make_columns(r, keys, head * r->n_cols, r->n_cols, k, out, scratch);
    out += (size_t)r->d_nope * row_bytes;
    for (int64_t i = 0; i < n_values; i++, out += row_bytes)
        (void)convert_row(r, values, head * n_values + i, k, out, scratch);
}

int64_t r2i_recipe_chunk_rows(const r2i_row_recipe *recipe) {
    const r2i_row_recipe *r = recipe;
    if (is_transposed(r->order)) return rows_per_part(r);
    const size_t row_bytes = r2i_type_row_bytes(r->type, (size_t)r->n_cols);
    const int64_t n = (int64_t)(CHUNK_BYTES / r2i_max_size(row_bytes, 1));
    return n < 1 ? 1 : n > r->n_rows ? r->n_rows : n;
}

size_t r2i_recipe_scratch_bytes(const r2i_row_recipe *recipe) {
    const r2i_row_recipe *r = recipe;
    int64_t n = r->sources[0].addition != NULL ? 2 * r->n_cols : r->n_cols;
    if (is_transposed(r->order)) {
        const int64_t n_rows = r->order == R2I_ROWS_KEYS ? r->d_nope : r->n_cols,
                      n_cols = r->sources[0].n_cols;
        n = n_rows * (n_cols + 1);
    }
    return (size_t)n * sizeof(float);
}

bool r2i_recipe_make(const r2i_row_recipe *recipe, const r2i_kernels *kernels, int64_t chunk,
                     uint8_t *out, float *scratch) {
    const int64_t n = r2i_recipe_chunk_rows(recipe), first = chunk * n,
                  end = first + n < recipe->n_rows ? first + n : recipe->n_rows;
    if (!is_transposed(recipe->order)) return make_rows(recipe, kernels, first, end, out, scratch);
    make_head(recipe, kernels, chunk, out, scratch); /* nothing is added to these */
    return true;
}
