/* kernels.h - the arithmetic of a transformer on plain pointers.
 *
 * One table, one pointer per operation, one contract per pointer.  `ref` (sums in double) is the
 * judge of all others, `portable` is plain C, and each instruction-set level overrides what it does
 * better.  The table is a const pointer in the engine, so a test can hold two levels together.
 *
 * Matrices.  A weight matrix W [n_rows, n_cols] is packed in PANELS of 16 rows: whatever vector
 * width a machine has, one load of a panel brings 4 (int8), 2 (BF16) or 1 (F32, F16) columns of 16
 * rows, products need no horizontal sums, and a panel has exactly as many bytes as its 16 rows have
 * in the file.  The layout of a panel is named by an element type (docs/formats.md draws them all):
 *     F32   [n_cols][16] f32               F16   [n_cols][16] f16
 *     BF16  [ceil(n_cols/2)][16][2] bf16   Q*    blocks of 32 or 256 columns, see panel_formats.h
 * The last panel is filled up with zero rows.
 *
 * Activations.  The layout fixes the arithmetic of the product: F32 and F16 panels take F32 rows,
 * BF16 panels take rows rounded to BF16, quantized panels take rows rounded to 256 levels between
 * the least and the greatest value of each group of 32 (act_rows.h: scale * (q + zero), q int8).
 * Quantized products are exact in int32 inside a group, then
 *     acc = fma(float(sum) * scale_w, scale_a, acc)      one f32 chain per output, columns ascending
 * so every level, every number of tokens and every split over threads gives the same bits.  F32,
 * F16 and BF16 products are one chain per output too: same bits within a level.
 *
 * Pointers may have any alignment unless said otherwise; outputs never overlap inputs except where
 * "in place" is said.  Nothing is read or written beyond the stated sizes.  All functions are
 * thread-safe and allocate nothing. */
#ifndef R2I_KERNELS_H
#define R2I_KERNELS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cpu.h"
#include "base/types.h"

enum {
    R2I_PANEL_ROWS = 16,
    R2I_GROUP = 32,         /* columns that share one activation scale */
    R2I_PAGE_TOKENS = 128,  /* tokens per cache page */
    R2I_CHUNK_PAGES = 8,    /* pages per partial attention result: fixed, so that splitting is exact */
    R2I_MAX_HEAD = 640      /* widest attention head; latent rows have 576 channels */
};

/* Bytes of a panel of the layout; n_cols must be a multiple of the type's block. */
size_t r2i_panel_bytes(r2i_type layout, int32_t n_cols);

/* How a layout wants its activations. */
typedef enum { R2I_ACT_F32, R2I_ACT_BF16, R2I_ACT_INT8 } r2i_act_kind;
r2i_act_kind r2i_act_kind_of(r2i_type layout);
/* Bytes of one prepared activation row, a multiple of 64. */
size_t r2i_act_row_bytes(r2i_act_kind kind, int32_t n_cols);

/* y[t][r] = bias[r] + sum_c W[r][c] x[t][c] (+ y[t][r] before, when is_added), for the rows of
 * n_panels panels and n_tokens prepared rows.  The sum is formed first, then bias, then y. */
typedef struct {
    const uint8_t *panels; /* n_panels consecutive panels of this layout */
    int32_t n_panels;
    int32_t n_rows;        /* rows to store: (n_panels-1)*16 < n_rows <= n_panels*16 */
    int32_t n_cols;
    const uint8_t *act;    /* prepared rows, aligned to 64 bytes */
    size_t act_stride;     /* bytes from row to row, a multiple of 64 */
    int32_t n_tokens;
    const float *bias;     /* [n_rows] or NULL */
    float *y;              /* [n_tokens, y_stride] */
    size_t y_stride;       /* floats from token to token */
    bool is_added;
} r2i_matmul_job;

/* y[r][c] (+)= sum_t a[t][r] b[t][c], t = 0..n_steps-1: a sum over tokens of two operands that lie as
 * panels, those of a as those of b.  One chain per output, t ascending, then y. */
typedef struct {
    const uint8_t *a, *b;      /* panels of columns r and c, aligned to 64 bytes */
    size_t a_stride, b_stride; /* bytes from panel to panel */
    int32_t n_rows, n_cols;    /* of y; panels are filled up */
    int32_t n_steps;
    float *y;                  /* [n_rows, y_stride] */
    size_t y_stride;
    bool is_added;
} r2i_paired_job;

/* Cached keys and values of one (layer, kv head).  A page holds R2I_PAGE_TOKENS tokens:
 *     rows BF16:  keys [ceil(d_key/2)][128][2] bf16   values [64][d_value][2] bf16 (pairs of tokens)
 *     rows F32:   keys [d_key][128] f32               values [128][d_value] f32
 *     rows F16, Q8: the same elements in half of the bytes (page_rows.h)
 * so that keys are read 16 tokens at a time and values 16 channels at a time, both without
 * transposing, by vector and by tile instructions alike.  F16 and Q8 rows are only stored: for
 * attention a page is expanded to F32 or BF16 rows.  Unused slots hold finite numbers. */
typedef enum { R2I_ROWS_F32, R2I_ROWS_BF16, R2I_ROWS_F16, R2I_ROWS_Q8 } r2i_row_kind;
/* "F32", "BF16", "F16", "Q8". */
const char *r2i_row_kind_name(r2i_row_kind kind);
/* The kind that attend reads pages of `kind` as: F16 as F32, Q8 as BF16, the others as they are. */
r2i_row_kind r2i_attended_rows(r2i_row_kind kind);
size_t r2i_key_page_bytes(r2i_row_kind kind, int32_t d_key);     /* multiple of 64 */
size_t r2i_value_page_bytes(r2i_row_kind kind, int32_t d_value); /* multiple of 64 */

/* Attention of n_rows query rows (token x head of the group) over the pages of one chunk.
 * For row i and each visible key j in this chunk (first_key[i] <= j < end_key[i], absolute):
 *     s_j = scale * q_i . k_j
 * and with the maximum m over those keys, p_j = exp(s_j - m):
 *     out_max[i] = m, out_sum[i] = sum p_j, out[i] = sum p_j v_j          (BF16 rows: p_j rounded to
 * BF16 in both sums, q rounded to BF16).  Pages are taken in order, each with its own maximum, and
 * combined pairwise; a row that sees no key of the chunk gets max -INFINITY, sum 0 and zeros. */
typedef struct {
    r2i_row_kind rows; /* F32 or BF16 */
    int32_t d_key, d_value;
    const uint8_t *const *key_pages;   /* [n_pages] pages of this chunk, n_pages <= R2I_CHUNK_PAGES */
    const uint8_t *const *value_pages; /* [n_pages] aligned to 64 bytes */
    int32_t n_pages;
    int32_t first_position;            /* absolute position of the chunk's first slot */
    int32_t n_rows;                    /* <= R2I_ATTEND_ROWS */
    const float *q;                    /* [n_rows, q_stride] */
    size_t q_stride;
    const int32_t *first_key, *end_key; /* [n_rows] */
    float scale;
    float *out_max, *out_sum;          /* [n_rows] */
    float *out;                        /* [n_rows, d_value] */
} r2i_attend_job;
enum { R2I_ATTEND_ROWS = 64 };

/* g[r][j] += sum_t c[t][r] x[t][j], j < n_cols: each output one chain over the tokens in order. */
typedef struct {
    const float *c; /* [n_tokens, c_stride] */
    const float *x; /* [n_tokens, x_stride] */
    float *g;       /* [n_ranks, g_stride] */
    size_t c_stride, x_stride, g_stride;
    int32_t n_tokens, n_ranks, n_cols;
} r2i_outer_job;

typedef struct r2i_kernels {
    r2i_level level;
    uint32_t features; /* R2I_CPU_* bits in use */

    /* Panel of 16 rows from stored rows of `type`.  rows[i] may be NULL: a zero row.
     * pack[layout] accepts type == layout; F32 and BF16 layouts accept every type, F16 accepts F16.
     * Values are converted by round-to-nearest-even.  `panel` has any alignment. */
    void (*pack[R2I_TYPE_LIMIT])(uint8_t *panel, r2i_type type, const uint8_t *const rows[R2I_PANEL_ROWS],
                                 int32_t n_cols);
    /* One row of n stored elements to f32.  n is a multiple of the type's block. */
    void (*dequantize[R2I_TYPE_LIMIT])(float *y, const uint8_t *row, int32_t n);
    /* The other way: n floats to one stored row.  importance [n] (>= 0) says how much the error of a
     * column counts, NULL: the type's own weighing.  n is a multiple of the type's block.  Every level
     * writes the same bytes; values that are no finite numbers give a block without meaning.  NULL
     * for types that are only read (Q2_K, Q3_K). */
    void (*quantize[R2I_TYPE_LIMIT])(uint8_t *row, const float *x, const float *importance, int32_t n);
    /* Prepares columns [begin, end) of an activation row of n_cols columns; begin is a multiple of
     * 32, end too or equal to n_cols.  x points to column `begin`.  int8: per group of 32, with
     * 0 among the values, scale = (max - min) / 255 and x ~= scale * (q + zero), equal in every
     * level (act_rows.h); a NaN, an infinity or a range beyond F32 makes scale NaN, q 0. */
    void (*act[3])(uint8_t *row, const float *x, int32_t n_cols, int32_t begin, int32_t end);
    /* The product for panels of each layout; NULL where a level does not have it (ref: only F32). */
    void (*matmul[R2I_TYPE_LIMIT])(const r2i_matmul_job *job);

    /* y = w * x / sqrt(mean(x^2) + eps); may be in place. */
    void (*rmsnorm)(float *y, const float *x, const float *w, int32_t n, float eps);
    /* y = silu(gate) * up; may be in place of either. */
    void (*silu_mul)(float *y, const float *gate, const float *up, int32_t n);
    /* Rotates x [d] in place by cos, sin [d/2]: pairs (i, i + d/2), or (2i, 2i+1) if interleaved. */
    void (*rope)(float *x, const float *cosine, const float *sine, int32_t d, bool is_interleaved);
    /* Stores one token's key [d_key] and value [d_value] in slot 0..127 of a page.  Writes this slot's
     * elements only: other threads may be storing its neighbours.  d_value 0: a key alone, value and
     * its page may be NULL. */
    void (*store_row)(r2i_row_kind kind, uint8_t *key_page, uint8_t *value_page, int32_t slot,
                      const float *key, const float *value, int32_t d_key, int32_t d_value);
    /* Page of r2i_attended_rows(kind) from a stored page of kind F16 or Q8, both aligned to 64 bytes.
     * Slots below n_slots, 1..128, rounded up to a multiple of 32 are written, which is what attend may
     * read; the rest of the page stays as it was.  Equal in every level. */
    void (*expand_keys)(r2i_row_kind kind, uint8_t *page, const uint8_t *stored, int32_t n_slots, int32_t d_key);
    void (*expand_values)(r2i_row_kind kind, uint8_t *page, const uint8_t *stored, int32_t n_slots,
                          int32_t d_value);
    /* Latent attention, whose value is the first d_value channels of the key: value page of a key page,
     * F32 or BF16, with slots and alignment as above. */
    void (*latent_values)(r2i_row_kind kind, uint8_t *value_page, const uint8_t *key_page, int32_t n_slots,
                          int32_t d_value);
    void (*attend)(const r2i_attend_job *job);
    /* Adds a later chunk's partial result (max, sum, out [d]) to an earlier one's, in place:
     * M = max(max_a, max_b), a = exp(max_a - M), b = exp(max_b - M). */
    void (*attend_merge)(float *max_a, float *sum_a, float *out_a, float max_b, float sum_b, const float *out_b,
                         int32_t d);
    /* log(sum exp(x_i)) with the maximum subtracted; -INFINITY entries count nothing. */
    float (*log_sum_exp)(const float *x, int32_t n);
    /* p = softmax(x) in f32; may be in place. */
    void (*softmax)(float *p, const float *x, int32_t n);

    /* Training.  Products backward sum over what was an output, or over tokens: their operands are the
     * transposes of rows x [n_rows, x_stride], columns [0, n_cols), F32.  Every level writes the same
     * bytes.  turn_panels, F32 and BF16 layouts: ceil(n_cols / 16) panels of n_rows columns, row c of
     * them is column c.  turn_rows, F32 and BF16 (ref: F32): n_cols prepared rows of n_rows columns
     * each, `stride` bytes apart, written up to a multiple of 64 bytes. */
    void (*turn_panels[R2I_TYPE_LIMIT])(uint8_t *panels, const float *x, size_t x_stride, int32_t n_rows,
                                        int32_t n_cols);
    void (*turn_rows[3])(uint8_t *rows, size_t stride, const float *x, size_t x_stride, int32_t n_rows,
                         int32_t n_cols);
    /* What turn_panels makes, from prepared rows (F32, BF16) instead: panels of columns [0, n_cols) lie
     * panel_stride bytes apart, a part of longer ones; filled up with zeros, an odd row too. */
    void (*pair_rows[3])(uint8_t *panels, size_t panel_stride, const uint8_t *rows, size_t stride,
                         int32_t n_rows, int32_t n_cols);
    /* Products of two such operands; NULL where a level does not have it. */
    void (*matmul_paired[R2I_TYPE_LIMIT])(const r2i_paired_job *job);
    void (*add_outer)(const r2i_outer_job *job);
    /* inner = silu(gate) * up, and from g_inner, the gradient of inner:  g_gate = g_inner up silu'(gate),
     * g_up = g_inner silu(gate).  g_inner may be any of the outputs, gate inner, up g_up. */
    void (*silu_mul_backward)(float *inner, float *g_gate, float *g_up, const float *gate, const float *up,
                              const float *g_inner, int32_t n);
} r2i_kernels;

/* Fills the table for a machine: ref (level REF alone) or portable, then each level up to the
 * smaller of cpu->level and cap. */
void r2i_kernels_init(r2i_kernels *kernels, const r2i_cpu *cpu, r2i_level cap);

/* Fills `quantize` of a table with plain C; lies in portable/, serves ref too. */
void r2i_kernels_add_quantize(r2i_kernels *kernels);
/* `pair_rows` likewise. */
void r2i_kernels_add_pairs(r2i_kernels *kernels);
/* Each level's additions, called in order by r2i_kernels_init. */
void r2i_kernels_add_ref(r2i_kernels *kernels);
void r2i_kernels_add_portable(r2i_kernels *kernels);
void r2i_kernels_add_avx2(r2i_kernels *kernels);
void r2i_kernels_add_avx512(r2i_kernels *kernels);
void r2i_kernels_add_amx(r2i_kernels *kernels);
#endif
