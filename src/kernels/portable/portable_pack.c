/* portable_pack.c - panels of 16 rows from stored rows (panel_formats.h). */
#include <string.h>

#include "base/half.h"
#include "kernels/panel_formats.h"
#include "kernels/portable/portable_parts.h"
#include "kernels/stored_blocks.h"

enum { LANES = R2I_PANEL_ROWS };

/* Block `index` of a row as floats: one block of quantized types, up to 256 elements of others.
 * Returns the number of columns. */
static int32_t read_columns(float value[R2I_BLOCK_MAX], r2i_type type, const uint8_t *row, int32_t begin,
                            int32_t n_cols) {
    const int32_t block = r2i_type_get(type)->block_elements;
    const int32_t left = n_cols - begin, whole = block > 1 ? block : R2I_BLOCK_MAX;
    const int32_t n = left < whole ? left : whole;
    if (row == NULL) {
        memset(value, 0, R2I_BLOCK_MAX * sizeof *value);
    } else {
        r2i_stored_row_read(value, type, row + r2i_type_row_bytes(type, (size_t)begin), n);
    }
    return n;
}

static void pack_f32(uint8_t *panel, r2i_type type, const uint8_t *const rows[LANES], int32_t n_cols) {
    float *w = (float *)(void *)panel;
    for (int32_t begin = 0, n; begin < n_cols; begin += n) {
        n = 0;
        for (int r = 0; r < LANES; r++) {
            float value[R2I_BLOCK_MAX];
            n = read_columns(value, type, rows[r], begin, n_cols);
            for (int32_t c = 0; c < n; c++) w[(size_t)(begin + c) * LANES + (size_t)r] = value[c];
        }
    }
}

static void pack_bf16(uint8_t *panel, r2i_type type, const uint8_t *const rows[LANES], int32_t n_cols) {
    uint16_t *w = (uint16_t *)(void *)panel; /* [n_cols / 2, 16, 2] */
    for (int32_t begin = 0, n; begin < n_cols; begin += n) {
        n = 0;
        for (int r = 0; r < LANES; r++) {
            float value[R2I_BLOCK_MAX + 1];
            n = read_columns(value, type, rows[r], begin, n_cols);
            value[n] = 0.0F;
            for (int32_t c = 0; c < n + (n & 1); c++) {
                const size_t pair = (size_t)(begin + c) / 2;
                w[(pair * LANES + (size_t)r) * 2 + (size_t)(c & 1)] = r2i_bf16_from_f32(value[c]);
            }
        }
    }
}

static void pack_f16(uint8_t *panel, r2i_type type, const uint8_t *const rows[LANES], int32_t n_cols) {
    (void)type; /* F16 only: bits travel unchanged */
    for (int r = 0; r < LANES; r++) {
        for (int32_t c = 0; c < n_cols; c++) {
            uint8_t *to = panel + ((size_t)c * LANES + (size_t)r) * 2;
            if (rows[r] == NULL) {
                memset(to, 0, 2);
            } else {
                memcpy(to, rows[r] + 2 * (size_t)c, 2);
            }
        }
    }
}

/* Field writers.  `code` is the code of columns 0..31 of a group, for row r. */
static void put_nibbles(uint8_t *to, int r, const uint8_t code[32]) {
    for (int v = 0; v < 4; v++) {
        for (int j = 0; j < 4; j++) {
            const int c = 4 * v + j;
            to[64 * v + 4 * r + j] = (uint8_t)((code[c] & 15) | code[c + 16] << 4);
        }
    }
}

/* One bit (number `shift`) of every code. */
static void put_plane1(uint8_t *to, int r, const uint8_t code[32], int shift) {
    for (int j = 0; j < 4; j++) {
        unsigned bits = 0;
        for (int g = 0; g < 8; g++) bits |= (code[4 * g + j] >> shift & 1u) << g;
        to[4 * r + j] = (uint8_t)bits;
    }
}

/* Two bits of every code. */
static void put_plane2(uint8_t *to, int r, const uint8_t code[32], int shift) {
    for (int h = 0; h < 2; h++) {
        for (int j = 0; j < 4; j++) {
            unsigned bits = 0;
            for (int i = 0; i < 4; i++) bits |= (code[16 * h + 4 * i + j] >> shift & 3u) << (2 * i);
            to[64 * h + 4 * r + j] = (uint8_t)bits;
        }
    }
}

static void put_codes8(uint8_t *to, int r, const uint8_t code[32]) {
    for (int g = 0; g < 8; g++) memcpy(to + 64 * g + 4 * r, code + 4 * g, 4);
}

static void put_u16(uint8_t *to, int r, uint16_t x) { memcpy(to + 2 * r, &x, sizeof x); }

static void put_small(uint8_t *to, r2i_type type, int r, const r2i_stored_block *b) {
    uint8_t *tail = to + R2I_NIBBLES_BYTES;
    if (type == R2I_TYPE_Q8_0) {
        put_codes8(to, r, b->code);
        put_u16(to + R2I_CODES8_BYTES, r, b->d);
        return;
    }
    put_nibbles(to, r, b->code);
    if (type == R2I_TYPE_Q5_0 || type == R2I_TYPE_Q5_1) {
        put_plane1(tail, r, b->code, 4);
        tail += R2I_PLANE1_BYTES;
    }
    if (type == R2I_TYPE_MXFP4) {
        tail[r] = (uint8_t)b->d;
        return;
    }
    put_u16(tail, r, b->d);
    if (type == R2I_TYPE_Q4_1 || type == R2I_TYPE_Q5_1) put_u16(tail + 32, r, b->m);
}

static void put_q45_k(uint8_t *to, r2i_type type, int r, const r2i_stored_block *b) {
    const int step = R2I_NIBBLES_BYTES + (type == R2I_TYPE_Q5_K ? R2I_PLANE1_BYTES : 0);
    uint8_t *low = to + 8 * step, *high = low + 128;
    for (int i = 0; i < 8; i++) {
        const int scale = b->scale[i], minimum = b->minimum[i];
        const int top = scale >> 4 | minimum >> 4 << 2;
        uint8_t *pair = high + 16 * (i / 2) + r;
        put_nibbles(to + step * i, r, b->code + 32 * i);
        if (type == R2I_TYPE_Q5_K) put_plane1(to + step * i + R2I_NIBBLES_BYTES, r, b->code + 32 * i, 4);
        low[16 * i + r] = (uint8_t)((scale & 15) | (minimum & 15) << 4);
        *pair = (uint8_t)(i % 2 == 0 ? top : *pair | top << 4);
    }
    put_u16(high + 64, r, b->d);
    put_u16(high + 96, r, b->m);
}

static void put_q6_k(uint8_t *to, int r, const r2i_stored_block *b) {
    const int step = R2I_NIBBLES_BYTES + R2I_PLANE2_BYTES;
    uint8_t *scales = to + 8 * step;
    for (int i = 0; i < 8; i++) {
        put_nibbles(to + step * i, r, b->code + 32 * i);
        put_plane2(to + step * i + R2I_NIBBLES_BYTES, r, b->code + 32 * i, 4);
    }
    for (int k = 0; k < 16; k++) scales[16 * k + r] = b->scale[k];
    put_u16(scales + 256, r, b->d);
}

static void put_q2_k(uint8_t *to, int r, const r2i_stored_block *b) {
    uint8_t *scales = to + 8 * R2I_PLANE2_BYTES;
    for (int i = 0; i < 8; i++) put_plane2(to + R2I_PLANE2_BYTES * i, r, b->code + 32 * i, 0);
    for (int k = 0; k < 16; k++) scales[16 * k + r] = (uint8_t)(b->scale[k] | b->minimum[k] << 4);
    put_u16(scales + 256, r, b->d);
    put_u16(scales + 288, r, b->m);
}

/* n six-bit scales: nibble k%2 of low[k/2], bits 2(k%4) of high[k/4]. */
static void put_scales6(uint8_t *low, uint8_t *high, int r, const uint8_t *scale, int n) {
    for (int k = 0; k < n; k += 4) {
        unsigned top = 0;
        for (int i = 0; i < 4; i++) top |= (scale[k + i] >> 4 & 3u) << (2 * i);
        low[16 * (k / 2) + r] = (uint8_t)((scale[k] & 15) | scale[k + 1] << 4);
        low[16 * (k / 2 + 1) + r] = (uint8_t)((scale[k + 2] & 15) | scale[k + 3] << 4);
        high[16 * (k / 4) + r] = (uint8_t)top;
    }
}

static void put_q3_k(uint8_t *to, int r, const r2i_stored_block *b) {
    const int step = R2I_PLANE2_BYTES + R2I_PLANE1_BYTES;
    uint8_t *low = to + 8 * step, *high = low + 128;
    for (int i = 0; i < 8; i++) {
        put_plane2(to + step * i, r, b->code + 32 * i, 0);
        put_plane1(to + step * i + R2I_PLANE2_BYTES, r, b->code + 32 * i, 2);
    }
    put_scales6(low, high, r, b->scale, 16);
    put_u16(high + 64, r, b->d);
}

static void put_iq4_xs(uint8_t *to, int r, const r2i_stored_block *b) {
    uint8_t *low = to + 8 * R2I_NIBBLES_BYTES, *high = low + 64;
    for (int i = 0; i < 8; i++) put_nibbles(to + R2I_NIBBLES_BYTES * i, r, b->code + 32 * i);
    put_scales6(low, high, r, b->scale, 8);
    put_u16(high + 32, r, b->d);
}

static void put_block(uint8_t *to, r2i_type type, int r, const r2i_stored_block *block) {
    switch (type) {
    case R2I_TYPE_Q2_K: put_q2_k(to, r, block); break;
    case R2I_TYPE_Q3_K: put_q3_k(to, r, block); break;
    case R2I_TYPE_Q4_K:
    case R2I_TYPE_Q5_K: put_q45_k(to, type, r, block); break;
    case R2I_TYPE_Q6_K: put_q6_k(to, r, block); break;
    case R2I_TYPE_IQ4_XS: put_iq4_xs(to, r, block); break;
    default: put_small(to, type, r, block); break;
    }
}

/* A missing row: bytes 0 in every field, which is scale 0 and so value 0, except for MXFP4, whose
 * smallest scale is not 0 but whose code 0 is. */
static void pack_quantized(uint8_t *panel, r2i_type type, const uint8_t *const rows[LANES], int32_t n_cols) {
    const r2i_type_info *info = r2i_type_get(type);
    const size_t stored = (size_t)info->block_bytes;
    const int32_t n_blocks = n_cols / info->block_elements;
    r2i_stored_block block, zero;
    memset(&zero, 0, sizeof zero);
    memset(&block, 0, sizeof block);
    for (int32_t k = 0; k < n_blocks; k++) {
        uint8_t *to = panel + (size_t)k * LANES * stored;
        for (int r = 0; r < LANES; r++) {
            if (rows[r] != NULL) r2i_stored_block_read(&block, type, rows[r] + (size_t)k * stored);
            put_block(to, type, r, rows[r] != NULL ? &block : &zero);
        }
    }
}

void r2i_portable_add_pack(r2i_kernels *kernels) {
    for (int type = 0; type < R2I_TYPE_LIMIT; type++) {
        const r2i_type_info *info = r2i_type_find((uint64_t)type);
        if (info != NULL && info->block_elements > 1) kernels->pack[type] = pack_quantized;
    }
    kernels->pack[R2I_TYPE_F32] = pack_f32;
    kernels->pack[R2I_TYPE_BF16] = pack_bf16;
    kernels->pack[R2I_TYPE_F16] = pack_f16;
}
