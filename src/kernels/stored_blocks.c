/* stored_blocks.c - see stored_blocks.h; one reader per bit layout. */
#include "kernels/stored_blocks.h"

#include <string.h>

#include "base/half.h"

static uint16_t u16_at(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }

static uint32_t u32_at(const uint8_t *p) { return u16_at(p) | (uint32_t)u16_at(p + 2) << 16; }

/* n bytes: low nibbles are codes 0..n-1, high nibbles n..2n-1. */
static void read_nibbles(uint8_t *code, const uint8_t *q, int n) {
    for (int j = 0; j < n; j++) {
        code[j] = q[j] & 15;
        code[j + n] = q[j] >> 4;
    }
}

static void read_q4(r2i_stored_block *block, r2i_type type, const uint8_t *b) {
    block->d = u16_at(b);
    if (type == R2I_TYPE_Q4_1) block->m = u16_at(b + 2);
    read_nibbles(block->code, b + (type == R2I_TYPE_Q4_1 ? 4 : 2), 16);
}

static void read_mxfp4(r2i_stored_block *block, const uint8_t *b) {
    block->d = b[0];
    read_nibbles(block->code, b + 1, 16);
}

static void read_q5(r2i_stored_block *block, r2i_type type, const uint8_t *b) {
    const uint8_t *high = b + (type == R2I_TYPE_Q5_1 ? 4 : 2);
    const uint32_t fifth = u32_at(high);
    block->d = u16_at(b);
    if (type == R2I_TYPE_Q5_1) block->m = u16_at(b + 2);
    read_nibbles(block->code, high + 4, 16);
    for (int j = 0; j < 32; j++) block->code[j] |= (uint8_t)((fifth >> j & 1) << 4);
}

static void read_q8_0(r2i_stored_block *block, const uint8_t *b) {
    block->d = u16_at(b);
    for (int j = 0; j < 32; j++) block->code[j] = b[2 + j] ^ 0x80;
}

/* 64 bytes of two-bit codes: in each half of 32 bytes, bits 2j of byte l are column 32j + l. */
static void read_two_bits(uint8_t code[256], const uint8_t *q) {
    for (int half = 0; half < 2; half++) {
        for (int j = 0; j < 4; j++) {
            uint8_t *to = code + 128 * half + 32 * j;
            for (int l = 0; l < 32; l++) to[l] = q[32 * half + l] >> (2 * j) & 3;
        }
    }
}

static void read_q2_k(r2i_stored_block *block, const uint8_t *b) {
    for (int k = 0; k < 16; k++) {
        block->scale[k] = b[k] & 15;
        block->minimum[k] = b[k] >> 4;
    }
    read_two_bits(block->code, b + 16);
    block->d = u16_at(b + 80);
    block->m = u16_at(b + 82);
}

static void read_q3_k(r2i_stored_block *block, const uint8_t *b) {
    const uint8_t *s = b + 96;
    read_two_bits(block->code, b + 32);
    for (int i = 0; i < 8; i++) {
        uint8_t *to = block->code + 32 * i;
        for (int l = 0; l < 32; l++) to[l] |= (uint8_t)((b[l] >> i & 1) << 2);
    }
    for (int k = 0; k < 16; k++) {
        const int low = k < 8 ? s[k] & 15 : s[k - 8] >> 4, high = s[8 + k % 4] >> (2 * (k / 4)) & 3;
        block->scale[k] = (uint8_t)(low | high << 4);
    }
    block->d = u16_at(b + 108);
}

/* Eight six-bit scales and minimums in twelve bytes. */
static void read_scales_45(r2i_stored_block *block, const uint8_t *s) {
    for (int i = 0; i < 4; i++) {
        block->scale[i] = s[i] & 63;
        block->minimum[i] = s[i + 4] & 63;
        block->scale[i + 4] = (uint8_t)((s[i + 8] & 15) | s[i] >> 6 << 4);
        block->minimum[i + 4] = (uint8_t)(s[i + 8] >> 4 | s[i + 4] >> 6 << 4);
    }
}

static void read_q45_k(r2i_stored_block *block, r2i_type type, const uint8_t *b) {
    const uint8_t *q = b + (type == R2I_TYPE_Q4_K ? 16 : 48);
    block->d = u16_at(b);
    block->m = u16_at(b + 2);
    read_scales_45(block, b + 4);
    for (int k = 0; k < 4; k++) read_nibbles(block->code + 64 * k, q + 32 * k, 32);
    if (type == R2I_TYPE_Q4_K) return;
    for (int i = 0; i < 8; i++) {
        uint8_t *to = block->code + 32 * i;
        for (int l = 0; l < 32; l++) to[l] |= (uint8_t)((b[16 + l] >> i & 1) << 4);
    }
}

static void read_q6_k(r2i_stored_block *block, const uint8_t *b) {
    for (int half = 0; half < 2; half++) {
        const uint8_t *low = b + 64 * half, *high = b + 128 + 32 * half;
        uint8_t *to = block->code + 128 * half;
        read_nibbles(to, low, 64);
        for (int k = 0; k < 4; k++) {
            for (int l = 0; l < 32; l++) to[32 * k + l] |= (uint8_t)((high[l] >> (2 * k) & 3) << 4);
        }
    }
    memcpy(block->scale, b + 192, 16);
    block->d = u16_at(b + 208);
}

static void read_iq4_xs(r2i_stored_block *block, const uint8_t *b) {
    const unsigned high = u16_at(b + 2);
    block->d = u16_at(b);
    for (int i = 0; i < 8; i++) {
        const unsigned low = (unsigned)b[4 + i / 2] >> (4 * (i % 2)) & 15u;
        block->scale[i] = (uint8_t)(low | (high >> (2 * i) & 3) << 4);
        read_nibbles(block->code + 32 * i, b + 8 + 16 * i, 16);
    }
}

void r2i_stored_block_read(r2i_stored_block *block, r2i_type type, const uint8_t *bytes) {
    switch (type) {
    case R2I_TYPE_Q4_0:
    case R2I_TYPE_Q4_1:
    case R2I_TYPE_IQ4_NL: read_q4(block, type, bytes); break;
    case R2I_TYPE_MXFP4: read_mxfp4(block, bytes); break;
    case R2I_TYPE_Q5_0:
    case R2I_TYPE_Q5_1: read_q5(block, type, bytes); break;
    case R2I_TYPE_Q8_0: read_q8_0(block, bytes); break;
    case R2I_TYPE_Q2_K: read_q2_k(block, bytes); break;
    case R2I_TYPE_Q3_K: read_q3_k(block, bytes); break;
    case R2I_TYPE_Q4_K:
    case R2I_TYPE_Q5_K: read_q45_k(block, type, bytes); break;
    case R2I_TYPE_Q6_K: read_q6_k(block, bytes); break;
    case R2I_TYPE_IQ4_XS: read_iq4_xs(block, bytes); break;
    default: memset(block, 0, sizeof *block); break;
    }
}

float r2i_e8m0_half_scale(uint8_t e) {
    return r2i_f32_from_bits(e >= 2 ? (uint32_t)(e - 1) << 23 : 0x00200000u << e);
}
