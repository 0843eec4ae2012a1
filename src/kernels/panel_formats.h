/* panel_formats.h - packed panels of the quantized types.
 *
 * A panel is 16 rows; a block is one quantization block (32 or 256 columns) of all 16 rows, and a
 * panel is its blocks in column order.  "Group g" of a 32-column group means its columns 4g..4g+3,
 * g = 0..7.  A CODE VECTOR is 64 bytes: byte 4r+j belongs to row r and column j of a group of four,
 * which is what vpdpbusd and tdpbusd multiply.
 *
 *   nibbles of 32 columns, 256 bytes: 4 vectors; vector v = 0..3 holds group v in the low and group
 *            v+4 in the high nibbles.
 *   plane1 of 32 columns, 64 bytes: one vector; bit g of byte 4r+j is one more bit of group g.
 *   plane2 of 32 columns, 128 bytes: two vectors; vector h (groups 4h..4h+3): bits 2i, 2i+1 of a byte
 *            are two bits of group 4h+i.
 *   bytes of 32 columns, 512 bytes: 8 vectors, group g in vector g.
 *
 * Block = the fields in this order ([16] = one per row, f16 unless said otherwise):
 *   Q4_0, IQ4_NL  nibbles | d[16]                                            288
 *   Q4_1          nibbles | d[16] | m[16]                                    320
 *   MXFP4         nibbles | e[16] (bytes)                                    272
 *   Q5_0          nibbles | plane1 (bit 4) | d[16]                           352
 *   Q5_1          nibbles | plane1 (bit 4) | d[16] | m[16]                   384
 *   Q8_0          bytes (q XOR 0x80) | d[16]                                 544
 *   256-column blocks, 8 groups of 32 (i = 0..7), all code fields first:
 *   Q4_K          8 x nibbles | low[8][16] | high[4][16] | d[16] | dmin[16]  2304
 *   Q5_K          8 x (nibbles | plane1 (bit 4)) | low | high | d | dmin     2816
 *                 low[i][r]  = (sc & 15) | (mn & 15) << 4 of group i
 *                 high[i/2][r], nibble i%2: (sc >> 4) | (mn >> 4) << 2 of group i
 *   Q6_K          8 x (nibbles | plane2 (bits 4, 5)) | sc i8 [16][16] (per 16 columns) | d[16]   3360
 *   Q2_K          8 x plane2 (the code) | sc[16][16] bytes as in the file (scale | min << 4, per 16
 *                 columns) | d[16] | dmin[16]                                1344
 *   Q3_K          8 x (plane2 | plane1 (bit 2)) | low[8][16]: nibble k%2 of low[k/2] = low 4 bits of
 *                 scale k = 0..15 | high[4][16]: bits 2(k%4).. of high[k/4] = its 2 high bits | d[16]   1760
 *   IQ4_XS        8 x nibbles | low[4][16]: nibble i%2 of low[i/2] | high[2][16]: bits 2(i%4).. of
 *                 high[i/4] | d[16]                                          2176
 *
 * Value of a code c: value = scale * (c - offset) + minimum, with
 *   Q4_0 8, Q5_0 16, Q8_0 128, Q6_K 32, Q3_K 4 as offset, scale d (K: float(d) * sc in f32);
 *   IQ4_NL, IQ4_XS: c = T[code] + 128, offset 128; MXFP4: c = 2*FP4 + 16, offset 16, scale
 *   2^(e-128); Q4_1, Q5_1: minimum m, no offset; Q2_K, Q4_K, Q5_K: no offset, minimum
 *   -(float(dmin) * mn).
 * The int32 sum of a group starts at offset * -(sum q) + zero * W, W = sum over its columns of
 * (c - offset): the pair [W | offset] times start (act_rows.h).  W follows from the codes and is not
 * stored: a panel keeps the bytes of the file, which is what bounds decoding.
 * One group of 32 adds to a row's chain, in this order:
 *   acc = fma(float(isum) * scale_w, scale_a, acc), then with a minimum: acc = fma(minimum, ssum, acc).
 * Types with a scale per 16 columns do this for each half (half_start, shalf), first half first. */
#ifndef R2I_PANEL_FORMATS_H
#define R2I_PANEL_FORMATS_H

enum {
    R2I_NIBBLES_BYTES = 256,
    R2I_PLANE1_BYTES = 64,
    R2I_PLANE2_BYTES = 128,
    R2I_CODES8_BYTES = 512
};

/* IQ4 table + 128 and MXFP4 doubled values + 16, as unsigned codes. */
#define R2I_IQ4_CODES 1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241
#define R2I_FP4_CODES 16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4
#endif
