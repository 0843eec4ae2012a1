/* panel_pack_avx512.c - stored quantized rows to panels.
 *
 * Packing is one movement: 16 stored bytes of each of 16 rows, seen as a 16 x 4 matrix of dwords,
 * are transposed, which gives four code vectors (byte 4r+j: row r, byte j of the dword).  What is
 * left is to put bits together vector by vector; panel_formats.h draws the result.  A missing row
 * reads one block over and over that packs to zero bytes.  The bound is memory: each block also
 * fetches the same place of the next panel (28 instead of 6 GB/s, Zen 5). */
#include <immintrin.h>
#include <string.h>

#include "kernels/avx512/panel_avx512.h"
#include "kernels/avx512/panel_types_avx512.h"

enum { STORED_BLOCK_MAX = 210 };
static const uint8_t missing_block[STORED_BLOCK_MAX];
#define EIGHT_FLIPPED 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80
static const uint8_t missing_q8_0[34] = {
    0, 0, EIGHT_FLIPPED, EIGHT_FLIPPED, EIGHT_FLIPPED, EIGHT_FLIPPED
};

/* The current block of each row. */
typedef struct {
    const uint8_t *at[R2I_PANEL_ROWS];
    size_t step[R2I_PANEL_ROWS];
    size_t ahead; /* from a row to its like in the next panel, if rows lie side by side */
} row_cursor;

static void cursor_init(row_cursor *c, r2i_type type, const uint8_t *const rows[R2I_PANEL_ROWS],
                        size_t block_bytes, int32_t n_blocks) {
    const uint8_t *missing = type == R2I_TYPE_Q8_0 ? missing_q8_0 : missing_block;
    for (int r = 0; r < R2I_PANEL_ROWS; r++) {
        c->at[r] = rows[r] != NULL ? rows[r] : missing;
        c->step[r] = rows[r] != NULL ? block_bytes : 0;
    }
    c->ahead = R2I_PANEL_ROWS * block_bytes * (size_t)n_blocks;
}

static inline void cursor_next(row_cursor *c, size_t block_bytes) {
    for (int r = 0; r < R2I_PANEL_ROWS; r++) {
        for (size_t i = 0; i < block_bytes; i += 64) {
            _mm_prefetch((const char *)((uintptr_t)c->at[r] + c->ahead + i), _MM_HINT_T0);
        }
        c->at[r] += c->step[r];
    }
}

/* Bytes [offset, offset + 16) of every row: out[v] has dword v of row r in lane r. */
static inline void transpose16(__m512i out[4], const row_cursor *c, size_t offset) {
    __m512i x[4]; /* lane l of x[k]: row 4l + k */
    UNROLL
    for (int k = 0; k < 4; k++) {
        x[k] = _mm512_castsi128_si512(
            _mm_loadu_si128((const __m128i *)(const void *)(c->at[k] + offset)));
        UNROLL
        for (int l = 1; l < 4; l++) {
            const __m128i row =
                _mm_loadu_si128((const __m128i *)(const void *)(c->at[4 * l + k] + offset));
            x[k] = _mm512_mask_broadcast_i32x4(x[k], (__mmask16)(0xf << 4 * l), row);
        }
    }
    const __m512i low01 = _mm512_unpacklo_epi32(x[0], x[1]),
                  high01 = _mm512_unpackhi_epi32(x[0], x[1]);
    const __m512i low23 = _mm512_unpacklo_epi32(x[2], x[3]),
                  high23 = _mm512_unpackhi_epi32(x[2], x[3]);
    out[0] = _mm512_unpacklo_epi64(low01, low23);
    out[1] = _mm512_unpackhi_epi64(low01, low23);
    out[2] = _mm512_unpacklo_epi64(high01, high23);
    out[3] = _mm512_unpackhi_epi64(high01, high23);
}

static inline void store64(uint8_t *p, __m512i x) {
    _mm512_storeu_si512(p, x);
}
static inline __m512i bits_of(__m512i x, int mask) {
    return _mm512_and_si512(x, _mm512_set1_epi8((char)mask));
}
/* (a & mask) | (b & ~mask) */
static inline __m512i merged(__m512i a, __m512i b, int mask) {
    return _mm512_ternarylogic_epi64(_mm512_set1_epi8((char)mask), a, b, 0xca);
}

/* Byte 4r+j to byte 16j+r: four fields per row become four rows of 16. */
static inline __m512i fields_apart(__m512i x) {
    const __m128i by_byte = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(order, _mm512_shuffle_epi8(x, _mm512_broadcast_i32x4(by_byte)));
}
static inline __m128i quarter(__m512i x, int i) {
    switch (i) {
    case 0:
        return _mm512_castsi512_si128(x);
    case 1:
        return _mm512_extracti32x4_epi32(x, 1);
    case 2:
        return _mm512_extracti32x4_epi32(x, 2);
    default:
        return _mm512_extracti32x4_epi32(x, 3);
    }
}
static inline void store16(uint8_t *p, __m128i x) {
    _mm_storeu_si128((__m128i *)(void *)p, x);
}

/* The 16-bit field at `offset` of every row. */
static inline void gather_f16(uint8_t *out, const row_cursor *c, size_t offset) {
    UNROLL
    for (int r = 0; r < R2I_PANEL_ROWS; r++)
        memcpy(out + 2 * r, c->at[r] + offset, 2);
}
/* Low and high half of a dword of every row, as 16 words each. */
static inline void store_low_words(uint8_t *out, __m512i x) {
    _mm256_storeu_si256((__m256i *)(void *)out, _mm512_cvtepi32_epi16(x));
}
static inline void store_high_words(uint8_t *out, __m512i x) {
    store_low_words(out, _mm512_srli_epi32(x, 16));
}

/* ---- Blocks of 32 ---- */

static inline void pack_nibbles16(uint8_t *out, const row_cursor *c, size_t offset) {
    __m512i codes[4];
    transpose16(codes, c, offset);
    UNROLL
    for (int v = 0; v < 4; v++)
        store64(out + 64 * v, codes[v]);
}

/* Swaps bit positions of every dword: the bits under `mask` with those `shift` above. */
static inline __m512i swapped_bits(__m512i x, unsigned mask, int shift) {
    const __m512i t = _mm512_and_si512(_mm512_xor_si512(x, _mm512_srli_epi32(x, (uint8_t)shift)),
                                       _mm512_set1_epi32((int)mask));
    return _mm512_xor_si512(x, _mm512_xor_si512(t, _mm512_slli_epi32(t, (uint8_t)shift)));
}

/* Bit 4g+j of a dword to bit g of byte j, that is 8j+g: as a number of five binary digits the
 * position (g2 g1 g0 j1 j0) becomes (j1 j0 g2 g1 g0), four exchanges of two digits. */
static inline __m512i plane1_from_bits(__m512i x) {
    x = swapped_bits(x, 0x0000aaaau, 15);   /* digits 0 and 4: (j0 g1 g0 j1 g2) */
    x = swapped_bits(x, 0x00cc00ccu, 6);    /* digits 1 and 3: (j0 j1 g0 g1 g2) */
    x = swapped_bits(x, 0x0000ff00u, 8);    /* digits 3 and 4: (j1 j0 g0 g1 g2) */
    return swapped_bits(x, 0x0a0a0a0au, 3); /* digits 0 and 2: (j1 j0 g2 g1 g0) */
}

static inline __m512i gather_u32(const row_cursor *c, size_t offset) {
    __m512i words[4];
    transpose16(words, c, offset);
    return words[0];
}

static void pack_q4_0(uint8_t *out, const row_cursor *c) {
    pack_nibbles16(out, c, 2);
    gather_f16(out + 256, c, 0);
}

static void pack_q4_1(uint8_t *out, const row_cursor *c) {
    pack_nibbles16(out, c, 4);
    const __m512i head = gather_u32(c, 0);
    store_low_words(out + 256, head);
    store_high_words(out + 288, head);
}

static void pack_mxfp4(uint8_t *out, const row_cursor *c) {
    pack_nibbles16(out, c, 1);
    UNROLL
    for (int r = 0; r < R2I_PANEL_ROWS; r++)
        out[256 + r] = c->at[r][0];
}

static void pack_q5_0(uint8_t *out, const row_cursor *c) {
    pack_nibbles16(out, c, 6);
    store64(out + 256, plane1_from_bits(gather_u32(c, 2)));
    gather_f16(out + 320, c, 0);
}

static void pack_q5_1(uint8_t *out, const row_cursor *c) {
    __m512i head[4];
    pack_nibbles16(out, c, 8);
    transpose16(head, c, 0);
    store64(out + 256, plane1_from_bits(head[1]));
    store_low_words(out + 320, head[0]);
    store_high_words(out + 352, head[0]);
}

static void pack_q8_0(uint8_t *out, const row_cursor *c) {
    const __m512i flip = _mm512_set1_epi8((char)0x80);
    UNROLL
    for (int h = 0; h < 2; h++) {
        __m512i codes[4];
        transpose16(codes, c, 2 + 16 * (size_t)h);
        UNROLL
        for (int v = 0; v < 4; v++)
            store64(out + 256 * h + 64 * v, _mm512_xor_si512(codes[v], flip));
    }
    gather_f16(out + 512, c, 0);
}

/* ---- Blocks of 256 ---- */

/* Stored 32 bytes whose low nibbles are one unit and whose high nibbles are another. */
static inline void pack_nibble_pair(uint8_t *low, uint8_t *high, const row_cursor *c,
                                    size_t offset) {
    __m512i a[4], b[4];
    transpose16(a, c, offset);
    transpose16(b, c, offset + 16);
    UNROLL
    for (int v = 0; v < 4; v++) {
        store64(low + 64 * v, merged(a[v], _mm512_slli_epi16(b[v], 4), 0x0f));
        store64(high + 64 * v, merged(_mm512_srli_epi16(a[v], 4), b[v], 0x0f));
    }
}

/* Exchanges the bits `shift` up of a with those `shift` down of b: one step of transposing bits. */
static inline void exchange_bits(__m512i *a, __m512i *b, int shift, int low_mask) {
    const __m512i x = merged(*a, _mm512_slli_epi16(*b, (uint8_t)shift), low_mask);
    *b = merged(_mm512_srli_epi16(*a, (uint8_t)shift), *b, low_mask);
    *a = x;
}

/* Stored 32 bytes, bit i of byte l belonging to column l of unit i, to a plane1 for every unit. */
static inline void pack_plane1_of_8(uint8_t *plane, size_t unit_bytes, const row_cursor *c,
                                    size_t offset) {
    __m512i x[8];
    transpose16(x, c, offset);
    transpose16(x + 4, c, offset + 16);
    UNROLL
    for (int i = 0; i < 4; i++)
        exchange_bits(&x[i], &x[i + 4], 4, 0x0f);
    UNROLL
    for (int i = 0; i < 2; i++) {
        exchange_bits(&x[i], &x[i + 2], 2, 0x33);
        exchange_bits(&x[i + 4], &x[i + 6], 2, 0x33);
    }
    UNROLL
    for (int i = 0; i < 8; i += 2)
        exchange_bits(&x[i], &x[i + 1], 1, 0x55);
    UNROLL
    for (int i = 0; i < 8; i++)
        store64(plane + (size_t)i * unit_bytes, x[i]);
}

/* Four vectors of four 2-bit fields each: field k of vector i to field i of vector k. */
static inline void transpose_pairs(__m512i x[4]) {
    exchange_bits(&x[0], &x[2], 4, 0x0f);
    exchange_bits(&x[1], &x[3], 4, 0x0f);
    exchange_bits(&x[0], &x[1], 2, 0x33);
    exchange_bits(&x[2], &x[3], 2, 0x33);
}

/* Stored 32 bytes, bits 2k, 2k+1 of byte l belonging to column l of unit k, to 4 plane2. */
static inline void pack_plane2_of_4(uint8_t *plane, size_t unit_bytes, const row_cursor *c,
                                    size_t offset) {
    UNROLL
    for (int h = 0; h < 2; h++) {
        __m512i x[4];
        transpose16(x, c, offset + 16 * (size_t)h);
        transpose_pairs(x);
        UNROLL
        for (int k = 0; k < 4; k++)
            store64(plane + (size_t)k * unit_bytes + 64 * h, x[k]);
    }
}

/* Bytes 2i and 2i+1 of a row, both below 16, become low and high nibble of byte 2i. */
static inline __m512i nibbles_joined(__m512i x) {
    return _mm512_or_si512(x, _mm512_srli_epi16(x, 4));
}

/* Stored d | dmin | scales[12] (get_scale_min_k4 elsewhere) to low | high | d | dmin. */
static inline void pack_scales_q4_q5_k(uint8_t *out, const row_cursor *c) {
    __m512i x[4]; /* x[1..3]: scale bytes 0..3, 4..7, 8..11 */
    transpose16(x, c, 0);
    store64(out, fields_apart(merged(x[1], _mm512_slli_epi16(x[2], 4), 0x0f)));
    store64(out + 64, fields_apart(x[3]));
    UNROLL
    for (int h = 0; h < 2; h++) {
        const int at = 4 + 2 * h;
        const __m512i sc = bits_of(_mm512_srli_epi16(x[1], (uint8_t)at), 3);
        const __m512i mn = bits_of(_mm512_srli_epi16(x[2], (uint8_t)at), 3);
        const __m512i high =
            fields_apart(nibbles_joined(_mm512_or_si512(sc, _mm512_slli_epi16(mn, 2))));
        store16(out + 128 + 32 * h, quarter(high, 0));
        store16(out + 144 + 32 * h, quarter(high, 2));
    }
    store_low_words(out + 192, x[0]);
    store_high_words(out + 224, x[0]);
}

static void pack_q4_k(uint8_t *out, const row_cursor *c) {
    for (size_t i = 0; i < 4; i++)
        pack_nibble_pair(out + 512 * i, out + 512 * i + 256, c, 16 + 32 * i);
    pack_scales_q4_q5_k(out + 2048, c);
}

static void pack_q5_k(uint8_t *out, const row_cursor *c) {
    for (size_t i = 0; i < 4; i++)
        pack_nibble_pair(out + 640 * i, out + 640 * i + 320, c, 48 + 32 * i);
    pack_plane1_of_8(out + 256, 320, c, 16);
    pack_scales_q4_q5_k(out + 2560, c);
}

/* Stored 16 scale bytes of each row to [16][16]. */
static inline void pack_bytes_of_16(uint8_t *out, const row_cursor *c, size_t offset) {
    __m512i x[4];
    transpose16(x, c, offset);
    UNROLL
    for (int v = 0; v < 4; v++)
        store64(out + 64 * v, fields_apart(x[v]));
}

static void pack_q6_k(uint8_t *out, const row_cursor *c) {
    for (size_t h = 0; h < 2; h++) {
        uint8_t *units = out + 4 * 384 * h;
        pack_nibble_pair(units, units + 2 * 384, c, 64 * h);
        pack_nibble_pair(units + 384, units + 3 * 384, c, 64 * h + 32);
        pack_plane2_of_4(units + 256, 384, c, 128 + 32 * h);
    }
    pack_bytes_of_16(out + 3072, c, 192);
    gather_f16(out + 3328, c, 208);
}

static void pack_q2_k(uint8_t *out, const row_cursor *c) {
    pack_plane2_of_4(out, 128, c, 16);
    pack_plane2_of_4(out + 512, 128, c, 48);
    pack_bytes_of_16(out + 1024, c, 0);
    gather_f16(out + 1280, c, 80);
    gather_f16(out + 1312, c, 82);
}

static void pack_q3_k(uint8_t *out, const row_cursor *c) {
    pack_plane2_of_4(out, 192, c, 32);
    pack_plane2_of_4(out + 4 * 192, 192, c, 64);
    pack_plane1_of_8(out + 128, 192, c, 0);
    uint8_t *low = out + 1536, *high = low + 128;
    __m512i x[4]; /* x[1..3]: scale bytes 0..3, 4..7, 8..11; the load begins 4 bytes before them */
    transpose16(x, c, 92);
    UNROLL
    for (int k = 0; k < 4; k++) { /* scales 4k..4k+3 */
        const __m512i s = k < 2 ? x[1 + k] : _mm512_srli_epi16(x[k - 1], 4);
        const __m512i pairs = fields_apart(nibbles_joined(bits_of(s, 15)));
        store16(low + 32 * k, quarter(pairs, 0));
        store16(low + 32 * k + 16, quarter(pairs, 2));
    }
    const __m512i tops = fields_apart(x[3]);
    __m512i fields[4];
    UNROLL
    for (int i = 0; i < 4; i++)
        fields[i] = _mm512_castsi128_si512(quarter(tops, i));
    transpose_pairs(fields);
    UNROLL
    for (int i = 0; i < 4; i++)
        store16(high + 16 * i, _mm512_castsi512_si128(fields[i]));
    gather_f16(out + 1728, c, 108);
}

static void pack_iq4_xs(uint8_t *out, const row_cursor *c) {
    for (size_t i = 0; i < 8; i++)
        pack_nibbles16(out + 256 * i, c, 8 + 16 * i);
    __m512i head[4]; /* d | scales_h, scales_l[4] */
    transpose16(head, c, 0);
    store64(out + 2048, fields_apart(head[1]));
    const __m512i high = fields_apart(head[0]);
    store16(out + 2112, quarter(high, 2));
    store16(out + 2128, quarter(high, 3));
    store_low_words(out + 2144, head[0]);
}

/* ---- One pack per layout ---- */

/* clang-format off */
/* X(layout, function, columns and stored bytes per block); 16 rows pack to 16 times the bytes. */
#define QUANTIZED(X)                                                                             \
    X(Q4_0, pack_q4_0, 32, 18)   X(Q4_1, pack_q4_1, 32, 20)   X(Q5_0, pack_q5_0, 32, 22)         \
    X(Q5_1, pack_q5_1, 32, 24)   X(Q8_0, pack_q8_0, 32, 34)   X(IQ4_NL, pack_q4_0, 32, 18)       \
    X(MXFP4, pack_mxfp4, 32, 17) X(Q2_K, pack_q2_k, 256, 84)  X(Q3_K, pack_q3_k, 256, 110)       \
    X(Q4_K, pack_q4_k, 256, 144) X(Q5_K, pack_q5_k, 256, 176) X(Q6_K, pack_q6_k, 256, 210)       \
    X(IQ4_XS, pack_iq4_xs, 256, 136)
/* clang-format on */

#define DEFINE_PACK(name, pack_block, cols, stored_bytes)                                      \
    static void pack_panel_##name(uint8_t *panel, r2i_type type,                               \
                                  const uint8_t *const rows[R2I_PANEL_ROWS], int32_t n_cols) { \
        row_cursor cursor;                                                                     \
        cursor_init(&cursor, type, rows, stored_bytes, n_cols / (cols));                       \
        for (int32_t n = 0; n < n_cols / (cols); n++) {                                        \
            pack_block(panel, &cursor);                                                        \
            cursor_next(&cursor, stored_bytes);                                                \
            panel += R2I_PANEL_ROWS * (stored_bytes);                                          \
        }                                                                                      \
    }
QUANTIZED(DEFINE_PACK)

void r2i_avx512_add_panel_pack(r2i_kernels *kernels) {
#define ADD_PACK(name, pack_block, cols, stored_bytes) \
    kernels->pack[R2I_TYPE_##name] = pack_panel_##name;
    QUANTIZED(ADD_PACK)
#undef ADD_PACK
}
