/* weight_rows.h - rows of stored weights as numbers, and numbers as rows of another file.
 *
 * A written tensor is a recipe: which rows of which stored tensors, in which order, in which type.
 * Rows are made in chunks; any chunk may be made by any thread, and chunks are all that memory ever
 * holds of a model. */
#ifndef R2I_WEIGHT_ROWS_H
#define R2I_WEIGHT_ROWS_H
#include <stdbool.h>
#include "files/gguf.h"
#include "files/safetensors.h"
#include "kernels/kernels.h"

/* s B A of an adapter, which is added to stored rows. */
typedef struct {
    int32_t rank;
    const float *a; /* [rank, n_cols] */
    const float *b; /* [n_rows, rank], s times B, by stored rows */
} r2i_row_addition;

/* A matrix as it lies in a file, outermost dimensions joined. */
typedef struct {
    const uint8_t *bytes; /* any alignment */
    int64_t n_rows, n_cols;
    size_t row_bytes;
    bool is_fp8; /* e4m3 with one scale per block; otherwise `type` */
    r2i_type type;
    const uint8_t *scales; /* FP8: F32 [ceil(n_rows/block_rows), ceil(n_cols/block_cols)] */
    int64_t block_rows, block_cols;
    int32_t shard;
    const r2i_row_addition *addition; /* NULL: none */
} r2i_stored_rows;

typedef enum {
    R2I_ROWS_JOIN, /* the rows of all sources one after the other */
    R2I_ROWS_PAIR, /* per part (of a bias: n_cols 1): row 2i is the stored row i, 2i + 1 the stored i + half */
    R2I_ROWS_UNPAIR,     /* the inverse */
    R2I_ROWS_KEYS,       /* of kv_b: per head the first rows, transposed */
    R2I_ROWS_VALUES,     /* of kv_b: per head the last rows */
    R2I_ROWS_KEYS_VALUES /* kv_b from its halves: sources[0] keys transposed, sources[1] values */
} r2i_row_order;

typedef struct {
    r2i_row_order order;
    const r2i_stored_rows *sources; /* [n_sources]; JOIN: all of one shape */
    int32_t n_sources;
    int32_t n_parts;        /* heads; 1 without */
    int64_t d_nope;         /* KEYS...: rows of keys per head */
    int64_t n_rows, n_cols; /* written */
    r2i_type type;          /* written: F32, F16, BF16, or that of the sources */
} r2i_row_recipe;

/* Rows that are made together, at least 1; every chunk but the last has as many. */
int64_t r2i_recipe_chunk_rows(const r2i_row_recipe *recipe);
/* Bytes of scratch memory that a thread needs for making a chunk. */
size_t r2i_recipe_scratch_bytes(const r2i_row_recipe *recipe);
/* Writes rows of chunk i, row after row; `dequantize` is that of a kernel table.  Rows that need no
 * conversion are copied bit by bit.  False: with what is added, a value is no finite number of the type. */
bool r2i_recipe_make(const r2i_row_recipe *recipe, const r2i_kernels *kernels, int64_t chunk,
                     uint8_t *out, float *scratch);
#endif
