/* portable_int8.c - quantized panels times int8 rows, the definition that every level equals.
 *
 * A group of 32 columns of a panel is decoded once for a tile of tokens into codes, scales and
 * minimums as floats.  Sums of 32 products of an 8-bit code and an int8, and those of the zero of
 * the activations with the weights, stay below 2^24, where
 * floats are exact in any order, so the inner loop is float code that every compiler turns into
 * vectors and its result is the int32 sum. */
#include <string.h>

#include "base/half.h"
#include "kernels/act_rows.h"
#include "kernels/panel_formats.h"
#include "kernels/portable/fused_lanes.h"
#include "kernels/portable/portable_parts.h"
#include "kernels/portable/store_lanes.h"
#include "kernels/stored_blocks.h"

enum {
    LANES = R2I_PANEL_ROWS,
    VECTOR = 4 * LANES,   /* codes of one code vector */
    TILE_TOKENS = 32      /* tokens that share one decoding */
};

/* One group of 32 columns of 16 rows; scale and minimum per half of 16 columns. */
typedef struct {
    float code[8][VECTOR];
    float scale[2][LANES], minimum[2][LANES];
    float weight[2][LANES]; /* sums of code - offset */
} weight_group;

typedef struct {
    int32_t block_groups; /* groups of 32 columns per block */
    int32_t offset;       /* 2^k, or 0: codes are not shifted */
    bool has_halves;      /* a scale per 16 columns */
    bool has_minimum;
    void (*decode)(weight_group *group, const uint8_t *block, int32_t i);
} int8_format;

static uint16_t half_at(const uint8_t *p, int r) {
    uint16_t h;
    memcpy(&h, p + 2 * r, sizeof h);
    return h;
}

static void halves_of(float x[LANES], const uint8_t *p) {
    for (int r = 0; r < LANES; r++) x[r] = r2i_f32_from_f16(half_at(p, r));
}

static void codes_from_nibbles(uint8_t code[8][VECTOR], const uint8_t *nibbles) {
    for (int v = 0; v < 4; v++) {
        for (int i = 0; i < VECTOR; i++) {
            code[v][i] = nibbles[VECTOR * v + i] & 15;
            code[v + 4][i] = nibbles[VECTOR * v + i] >> 4;
        }
    }
}

/* Adds bit `shift` of every code from a plane. */
static void add_plane1(uint8_t code[8][VECTOR], const uint8_t *plane, int shift) {
    for (int g = 0; g < 8; g++) {
        for (int i = 0; i < VECTOR; i++) code[g][i] |= (uint8_t)((plane[i] >> g & 1) << shift);
    }
}

static void add_plane2(uint8_t code[8][VECTOR], const uint8_t *plane, int shift) {
    for (int g = 0; g < 8; g++) {
        const uint8_t *from = plane + VECTOR * (g / 4);
        for (int i = 0; i < VECTOR; i++) code[g][i] |= (uint8_t)((from[i] >> (2 * (g % 4)) & 3) << shift);
    }
}

static void widen_codes(weight_group *group, const uint8_t code[8][VECTOR]) {
    for (int g = 0; g < 8; g++) {
        for (int i = 0; i < VECTOR; i++) group->code[g][i] = (float)code[g][i];
    }
}

static void look_up(uint8_t code[8][VECTOR], const uint8_t table[16]) {
    for (int g = 0; g < 8; g++) {
        for (int i = 0; i < VECTOR; i++) code[g][i] = table[code[g][i]];
    }
}

static const uint8_t iq4_codes[16] = {R2I_IQ4_CODES}, fp4_codes[16] = {R2I_FP4_CODES};

static void decode_q4_0(weight_group *group, const uint8_t *block, int32_t i) {
    uint8_t code[8][VECTOR];
    (void)i;
    codes_from_nibbles(code, block);
    widen_codes(group, (const uint8_t(*)[VECTOR])code);
    halves_of(group->scale[0], block + R2I_NIBBLES_BYTES);
}

static void decode_q4_1(weight_group *group, const uint8_t *block, int32_t i) {
    decode_q4_0(group, block, i);
    halves_of(group->minimum[0], block + R2I_NIBBLES_BYTES + 32);
}

static void decode_iq4_nl(weight_group *group, const uint8_t *block, int32_t i) {
    uint8_t code[8][VECTOR];
    (void)i;
    codes_from_nibbles(code, block);
    look_up(code, iq4_codes);
    widen_codes(group, (const uint8_t(*)[VECTOR])code);
    halves_of(group->scale[0], block + R2I_NIBBLES_BYTES);
}

static void decode_mxfp4(weight_group *group, const uint8_t *block, int32_t i) {
    uint8_t code[8][VECTOR];
    (void)i;
    codes_from_nibbles(code, block);
    look_up(code, fp4_codes);
    widen_codes(group, (const uint8_t(*)[VECTOR])code);
    for (int r = 0; r < LANES; r++) {
        group->scale[0][r] = r2i_e8m0_half_scale(block[R2I_NIBBLES_BYTES + r]);
    }
}

static void decode_q5_0(weight_group *group, const uint8_t *block, int32_t i) {
    uint8_t code[8][VECTOR];
    (void)i;
    codes_from_nibbles(code, block);
    add_plane1(code, block + R2I_NIBBLES_BYTES, 4);
    widen_codes(group, (const uint8_t(*)[VECTOR])code);
    halves_of(group->scale[0], block + R2I_NIBBLES_BYTES + R2I_PLANE1_BYTES);
}

static void decode_q5_1(weight_group *group, const uint8_t *block, int32_t i) {
    decode_q5_0(group, block, i);
    halves_of(group->minimum[0], block + R2I_NIBBLES_BYTES + R2I_PLANE1_BYTES + 32);
}

static void decode_q8_0(weight_group *group, const uint8_t *block, int32_t i) {
    (void)i;
    for (int g = 0; g < 8; g++) {
        for (int k = 0; k < VECTOR; k++) group->code[g][k] = (float)block[VECTOR * g + k];
    }
    halves_of(group->scale[0], block + R2I_CODES8_BYTES);
}

/* Q4_K, Q5_K: six-bit scales and minimums behind the codes (`fields`). */
static void decode_scales_45(weight_group *group, const uint8_t *fields, int32_t i) {
    const uint8_t *low = fields + 16 * i, *high = fields + 128 + 16 * (i / 2);
    float d[LANES], dmin[LANES];
    halves_of(d, fields + 192);
    halves_of(dmin, fields + 224);
    for (int r = 0; r < LANES; r++) {
        const int top = high[r] >> (4 * (i % 2)) & 15;
        const int scale = (low[r] & 15) | (top & 3) << 4, minimum = low[r] >> 4 | top >> 2 << 4;
        group->scale[0][r] = d[r] * (float)scale;
        group->minimum[0][r] = -(dmin[r] * (float)minimum);
    }
}

static void decode_q4_k(weight_group *group, const uint8_t *block, int32_t i) {
    uint8_t code[8][VECTOR];
    codes_from_nibbles(code, block + R2I_NIBBLES_BYTES * i);
    widen_codes(group, (const uint8_t(*)[VECTOR])code);
    decode_scales_45(group, block + 8 * R2I_NIBBLES_BYTES, i);
}

static void decode_q5_k(weight_group *group, const uint8_t *block, int32_t i) {
    const int32_t step = R2I_NIBBLES_BYTES + R2I_PLANE1_BYTES;
    uint8_t code[8][VECTOR];
    codes_from_nibbles(code, block + step * i);
    add_plane1(code, block + step * i + R2I_NIBBLES_BYTES, 4);
    widen_codes(group, (const uint8_t(*)[VECTOR])code);
    decode_scales_45(group, block + 8 * step, i);
}

static void decode_q6_k(weight_group *group, const uint8_t *block, int32_t i) {
    const int32_t step = R2I_NIBBLES_BYTES + R2I_PLANE2_BYTES;
    const uint8_t *scales = block + 8 * step;
    uint8_t code[8][VECTOR];
    float d[LANES];
    codes_from_nibbles(code, block + step * i);
    add_plane2(code, block + step * i + R2I_NIBBLES_BYTES, 4);
    widen_codes(group, (const uint8_t(*)[VECTOR])code);
    halves_of(d, scales + 256);
    for (int h = 0; h < 2; h++) {
        for (int r = 0; r < LANES; r++) {
            group->scale[h][r] = d[r] * (float)(int8_t)scales[16 * (2 * i + h) + r];
        }
    }
}

static void decode_q2_k(weight_group *group, const uint8_t *block, int32_t i) {
    const uint8_t *scales = block + 8 * R2I_PLANE2_BYTES;
    uint8_t code[8][VECTOR];
    float d[LANES], dmin[LANES];
    memset(code, 0, sizeof code);
    add_plane2(code, block + R2I_PLANE2_BYTES * i, 0);
    widen_codes(group, (const uint8_t(*)[VECTOR])code);
    halves_of(d, scales + 256);
    halves_of(dmin, scales + 288);
    for (int h = 0; h < 2; h++) {
        for (int r = 0; r < LANES; r++) {
            const uint8_t sc = scales[16 * (2 * i + h) + r];
            group->scale[h][r] = d[r] * (float)(sc & 15);
            group->minimum[h][r] = -(dmin[r] * (float)(sc >> 4));
        }
    }
}

static void decode_q3_k(weight_group *group, const uint8_t *block, int32_t i) {
    const int32_t step = R2I_PLANE2_BYTES + R2I_PLANE1_BYTES;
    const uint8_t *low = block + 8 * step, *high = low + 128;
    uint8_t code[8][VECTOR];
    float d[LANES];
    memset(code, 0, sizeof code);
    add_plane2(code, block + step * i, 0);
    add_plane1(code, block + step * i + R2I_PLANE2_BYTES, 2);
    widen_codes(group, (const uint8_t(*)[VECTOR])code);
    halves_of(d, high + 64);
    for (int h = 0; h < 2; h++) {
        const int32_t k = 2 * i + h;
        for (int r = 0; r < LANES; r++) {
            const int a = low[16 * (k / 2) + r] >> (4 * (k % 2)) & 15;
            const int b = high[16 * (k / 4) + r] >> (2 * (k % 4)) & 3;
            group->scale[h][r] = d[r] * (float)((a | b << 4) - 32);
        }
    }
}

static void decode_iq4_xs(weight_group *group, const uint8_t *block, int32_t i) {
    const uint8_t *low = block + 8 * R2I_NIBBLES_BYTES, *high = low + 64;
    uint8_t code[8][VECTOR];
    float d[LANES];
    codes_from_nibbles(code, block + R2I_NIBBLES_BYTES * i);
    look_up(code, iq4_codes);
    widen_codes(group, (const uint8_t(*)[VECTOR])code);
    halves_of(d, high + 32);
    for (int r = 0; r < LANES; r++) {
        const int a = low[16 * (i / 2) + r] >> (4 * (i % 2)) & 15;
        const int b = high[16 * (i / 4) + r] >> (2 * (i % 4)) & 3;
        group->scale[0][r] = d[r] * (float)((a | b << 4) - 32);
    }
}

static const int8_format formats[R2I_TYPE_LIMIT] = {
    [R2I_TYPE_Q4_0] = {1, 8, false, false, decode_q4_0},
    [R2I_TYPE_Q4_1] = {1, 0, false, true, decode_q4_1},
    [R2I_TYPE_Q5_0] = {1, 16, false, false, decode_q5_0},
    [R2I_TYPE_Q5_1] = {1, 0, false, true, decode_q5_1},
    [R2I_TYPE_Q8_0] = {1, 128, false, false, decode_q8_0},
    [R2I_TYPE_IQ4_NL] = {1, 128, false, false, decode_iq4_nl},
    [R2I_TYPE_MXFP4] = {1, 16, false, false, decode_mxfp4},
    [R2I_TYPE_Q2_K] = {8, 0, true, true, decode_q2_k},
    [R2I_TYPE_Q3_K] = {8, 4, true, false, decode_q3_k},
    [R2I_TYPE_Q4_K] = {8, 0, false, true, decode_q4_k},
    [R2I_TYPE_Q5_K] = {8, 0, false, true, decode_q5_k},
    [R2I_TYPE_Q6_K] = {8, 32, true, false, decode_q6_k},
    [R2I_TYPE_IQ4_XS] = {8, 128, false, false, decode_iq4_xs},
};

/* Adds to sum[r] the codes times q over n_vectors code vectors. */
static void dot_codes(float sum[LANES], const float (*code)[VECTOR], const float *q, int n_vectors) {
    float part[VECTOR] = {0};
    for (int g = 0; g < n_vectors; g++) {
        for (int r = 0; r < LANES; r++) {
            for (int j = 0; j < 4; j++) part[4 * r + j] += code[g][4 * r + j] * q[4 * g + j];
        }
    }
    for (int r = 0; r < LANES; r++) {
        const float *p = part + 4 * r;
        sum[r] += (p[0] + p[1]) + (p[2] + p[3]);
    }
}

/* What the zero of an activation group is multiplied with, per row; exact like all sums here. */
static void weigh_codes(weight_group *w, const int8_format *format) {
    const int n_parts = format->has_halves ? 2 : 1, n_vectors = 8 / n_parts;
    float ones[R2I_GROUP];
    for (int c = 0; c < R2I_GROUP; c++) ones[c] = 1.0F;
    for (int h = 0; h < n_parts; h++) {
        for (int r = 0; r < LANES; r++) w->weight[h][r] = (float)(-4 * n_vectors * format->offset);
        dot_codes(w->weight[h], (const float(*)[VECTOR])w->code + n_vectors * h, ones, n_vectors);
    }
}

/* Adds a group of one token to its 16 chains. */
static void add_group(float acc[LANES], const int8_format *format, const weight_group *w,
                      const r2i_act_group *x) {
    const int n_parts = format->has_halves ? 2 : 1, part_cols = R2I_GROUP / n_parts;
    float q[R2I_GROUP], sum[LANES];
    for (int c = 0; c < R2I_GROUP; c++) q[c] = (float)x->q[c];
    for (int h = 0; h < n_parts; h++) {
        const int32_t start = n_parts == 2 ? x->half_start[h] : x->start;
        const float zero = (float)r2i_start_zero(start);
        const float first_sum = (float)(r2i_start_minus_sum(start) * format->offset);
        const int first = part_cols / 4 * h;
        for (int r = 0; r < LANES; r++) sum[r] = first_sum + zero * w->weight[h][r];
        dot_codes(sum, (const float(*)[VECTOR])w->code + first, q + part_cols * h, part_cols / 4);
        for (int r = 0; r < LANES; r++) sum[r] *= w->scale[h][r];
        fused_lanes(acc, sum, x->scale);
        if (format->has_minimum) {
            fused_lanes(acc, w->minimum[h], n_parts == 2 ? x->shalf[h] : x->ssum);
        }
    }
}

static void multiply_tile(const r2i_matmul_job *job, const int8_format *format, const uint8_t *panel,
                          size_t block_bytes, int32_t first_token, int32_t n_tokens, float acc[][LANES]) {
    const int32_t n_groups = job->n_cols / R2I_GROUP;
    weight_group group;
    for (int32_t g = 0; g < n_groups; g++) {
        const uint8_t *block = panel + (size_t)(g / format->block_groups) * block_bytes;
        format->decode(&group, block, g % format->block_groups);
        weigh_codes(&group, format);
        for (int32_t t = 0; t < n_tokens; t++) {
            const uint8_t *act = job->act + (size_t)(first_token + t) * job->act_stride;
            add_group(acc[t], format, &group, &r2i_act_groups(act)[g]);
        }
    }
}

static void matmul_int8(const r2i_matmul_job *job, r2i_type layout) {
    const int8_format *format = &formats[layout];
    const size_t block_bytes = (size_t)LANES * (size_t)r2i_type_get(layout)->block_bytes;
    const size_t panel_bytes = r2i_panel_bytes(layout, job->n_cols);
    float acc[TILE_TOKENS][LANES];
    for (int32_t p = 0; p < job->n_panels; p++) {
        for (int32_t t = 0; t < job->n_tokens; t += TILE_TOKENS) {
            const int32_t left = job->n_tokens - t, n = left < TILE_TOKENS ? left : TILE_TOKENS;
            memset(acc, 0, sizeof acc);
            multiply_tile(job, format, job->panels + (size_t)p * panel_bytes, block_bytes, t, n, acc);
            for (int32_t i = 0; i < n; i++) store_lanes(job, p, t + i, acc[i]);
        }
    }
}

static void matmul_q4_0(const r2i_matmul_job *job) { matmul_int8(job, R2I_TYPE_Q4_0); }
static void matmul_q4_1(const r2i_matmul_job *job) { matmul_int8(job, R2I_TYPE_Q4_1); }
static void matmul_q5_0(const r2i_matmul_job *job) { matmul_int8(job, R2I_TYPE_Q5_0); }
static void matmul_q5_1(const r2i_matmul_job *job) { matmul_int8(job, R2I_TYPE_Q5_1); }
static void matmul_q8_0(const r2i_matmul_job *job) { matmul_int8(job, R2I_TYPE_Q8_0); }
static void matmul_q2_k(const r2i_matmul_job *job) { matmul_int8(job, R2I_TYPE_Q2_K); }
static void matmul_q3_k(const r2i_matmul_job *job) { matmul_int8(job, R2I_TYPE_Q3_K); }
static void matmul_q4_k(const r2i_matmul_job *job) { matmul_int8(job, R2I_TYPE_Q4_K); }
static void matmul_q5_k(const r2i_matmul_job *job) { matmul_int8(job, R2I_TYPE_Q5_K); }
static void matmul_q6_k(const r2i_matmul_job *job) { matmul_int8(job, R2I_TYPE_Q6_K); }
static void matmul_iq4_nl(const r2i_matmul_job *job) { matmul_int8(job, R2I_TYPE_IQ4_NL); }
static void matmul_iq4_xs(const r2i_matmul_job *job) { matmul_int8(job, R2I_TYPE_IQ4_XS); }
static void matmul_mxfp4(const r2i_matmul_job *job) { matmul_int8(job, R2I_TYPE_MXFP4); }

void r2i_portable_add_int8(r2i_kernels *kernels) {
    kernels->matmul[R2I_TYPE_Q4_0] = matmul_q4_0;
    kernels->matmul[R2I_TYPE_Q4_1] = matmul_q4_1;
    kernels->matmul[R2I_TYPE_Q5_0] = matmul_q5_0;
    kernels->matmul[R2I_TYPE_Q5_1] = matmul_q5_1;
    kernels->matmul[R2I_TYPE_Q8_0] = matmul_q8_0;
    kernels->matmul[R2I_TYPE_Q2_K] = matmul_q2_k;
    kernels->matmul[R2I_TYPE_Q3_K] = matmul_q3_k;
    kernels->matmul[R2I_TYPE_Q4_K] = matmul_q4_k;
    kernels->matmul[R2I_TYPE_Q5_K] = matmul_q5_k;
    kernels->matmul[R2I_TYPE_Q6_K] = matmul_q6_k;
    kernels->matmul[R2I_TYPE_IQ4_NL] = matmul_iq4_nl;
    kernels->matmul[R2I_TYPE_IQ4_XS] = matmul_iq4_xs;
    kernels->matmul[R2I_TYPE_MXFP4] = matmul_mxfp4;
}
