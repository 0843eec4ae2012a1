/* stored_blocks.h - the quantized blocks of model files, taken apart.
 *
 * Every format is the same idea: small unsigned codes, a scale per 16 or 32 columns, perhaps a
 * minimum.  r2i_stored_block_read brings a block of any type into one form, from which values are
 * computed (here) and panels are packed (portable/).  The bit layouts are drawn in
 * docs/formats.md. */
#ifndef R2I_STORED_BLOCKS_H
#define R2I_STORED_BLOCKS_H
#include "kernels/kernels.h"

enum { R2I_BLOCK_MAX = 256 }; /* columns of the widest block */

typedef struct {
    /* In column order: the unsigned code c of panel_formats.h; for IQ4_* and MXFP4 the 4-bit index
     * into their table; for Q8_0 q + 128. */
    uint8_t code[R2I_BLOCK_MAX];
    /* 256-column blocks: sub-block scale and minimum as stored (6 bits, 4 bits; Q6_K: the int8's
     * bits), per 16 columns in Q2_K, Q3_K, Q6_K, per 32 in Q4_K, Q5_K, IQ4_XS. */
    uint8_t scale[16], minimum[16];
    uint16_t d, m; /* f16 bits of the block's scale and of its minimum or dmin; MXFP4: d = e */
} r2i_stored_block;

/* `type` is a quantized type, `bytes` one of its blocks at any alignment. */
void r2i_stored_block_read(r2i_stored_block *block, r2i_type type, const uint8_t *bytes);
/* n elements of a stored row of any type to f32; n is a multiple of the type's block. */
void r2i_stored_row_read(float *y, r2i_type type, const uint8_t *row, int32_t n);
/* Fills `dequantize` of a table. */
void r2i_kernels_add_dequantize(r2i_kernels *kernels);

/* 2^(e-128), half of an E8M0 scale: MXFP4 with its values doubled.  Subnormal for e = 0, 1. */
float r2i_e8m0_half_scale(uint8_t e);
#endif
