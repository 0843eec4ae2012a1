/* quantize_types.h - one writer per block format, for vectors of LANES floats (quantize_lanes.h).
 *
 * A file of each level includes this and calls add_quantize.  The bit layouts are drawn in
 * docs/formats.md; kernels/stored_blocks.c reads what is written here.
 *
 * Without importance Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 are what their formats' definition says: the
 * range of 32 values, cut evenly.  All others, and these with importance, search for the scales that
 * make the weighted error small. */
#ifndef R2I_QUANTIZE_TYPES_H
#define R2I_QUANTIZE_TYPES_H
#include "kernels/quantize_lanes.h"

static const quantize_levels levels_0_15 = { 0, 15, NULL, 0 }, levels_0_31 = { 0, 31, NULL, 0 },
                             levels_8 = { -8, 7, NULL, 0 }, levels_16 = { -16, 15, NULL, 0 },
                             levels_32 = { -32, 31, NULL, 0 };

/* ---- bits ---- */

static inline void put_nibbles(uint8_t *to, const uint8_t *low, const uint8_t *high, int n) {
    for (int i = 0; i < n; i++)
        to[i] = (uint8_t)((low[i] & 15) | (high[i] & 15) << 4);
}

/* Codes of 32 columns with 4 or 5 bits: columns 0..15 low, 16..31 high, fifth bits in front. */
static inline void put_codes_32(uint8_t *to, const uint8_t *code, bool has_fifth) {
    if (has_fifth) {
        uint32_t fifth = 0;
        for (int i = 0; i < 32; i++)
            fifth |= (uint32_t)(code[i] >> 4 & 1) << i;
        memcpy(to, &fifth, sizeof fifth);
        to += sizeof fifth;
    }
    put_nibbles(to, code, code + 16, 16);
}

/* ---- 32 columns with a scale of their own ---- */

/* d and perhaps a minimum in front of the codes. */
static inline void put_blocks_32(uint8_t *out, r2i_type type, const quantize_unit *u) {
    const bool has_minimum = type == R2I_TYPE_Q4_1 || type == R2I_TYPE_Q5_1,
               has_fifth = type == R2I_TYPE_Q5_0 || type == R2I_TYPE_Q5_1;
    const size_t n_bytes = (size_t)r2i_type_get(type)->block_bytes;
    for (int s = 0; s < u->n_sub; s++, out += n_bytes) {
        put_u16(out, stored_scale(u->scale[s]));
        if (has_minimum) put_u16(out + 2, stored_scale(u->minimum[s]));
        put_codes_32(out + (has_minimum ? 4 : 2), u->code[s], has_fifth);
    }
}

/* The widest value becomes the lowest level, the others are rounded to the nearest one. */
static inline void cut_symmetric(quantize_unit *u, int lane, float half,
                                 uint8_t codes[WIDEST][UNIT]) {
    const lanes_f d = widest_value(u, lane) / -half, inverse = inverse_of(d);
    for (int i = 0; i < u->width; i++) {
        const lanes_f x = lanes_load(&u->x[i][lane]);
        put_codes(codes, i, lane, lanes_clamp(x * inverse + (half + 0.5F), 0, 2 * half - 1));
    }
    lanes_store(&u->scale[lane], d);
}

/* The range from least to greatest in top equal steps. */
static inline void cut_range(quantize_unit *u, int lane, float top, uint8_t codes[WIDEST][UNIT]) {
    lanes_f least, greatest;
    range_of(u, lane, &least, &greatest);
    const lanes_f d = (greatest - least) / top, inverse = inverse_of(d);
    for (int i = 0; i < u->width; i++) {
        const lanes_f x = lanes_load(&u->x[i][lane]);
        put_codes(codes, i, lane, lanes_clamp((x - least) * inverse + 0.5F, 0, top));
    }
    lanes_store(&u->scale[lane], d);
    lanes_store(&u->minimum[lane], least);
}

/* The scale as a file holds it, so that codes are chosen for what will be read. */
static inline void store_scales(float *scale, int n) {
    for (int s = 0; s < n; s++)
        scale[s] = r2i_f32_from_f16(stored_scale(scale[s]));
}

static inline void quantize_q45(uint8_t *out, quantize_unit *u, const float *importance,
                                r2i_type type) {
    const bool has_minimum = type == R2I_TYPE_Q4_1 || type == R2I_TYPE_Q5_1,
               is_four = type == R2I_TYPE_Q4_0 || type == R2I_TYPE_Q4_1;
    const quantize_levels *levels =
        has_minimum ? (is_four ? &levels_0_15 : &levels_0_31) : (is_four ? &levels_8 : &levels_16);
    uint8_t codes[WIDEST][UNIT];
    if (importance != NULL) load_weights(u, importance, WEIGH_EQUAL);
    for (int lane = 0; lane < u->n_sub; lane += LANES) {
        if (importance == NULL) {
            if (has_minimum) {
                cut_range(u, lane, levels->high, codes);
            } else {
                cut_symmetric(u, lane, -levels->low, codes);
            }
            continue;
        }
        if (has_minimum) {
            fit_affine(u, lane, levels->high, true);
        } else {
            lanes_store(&u->scale[lane], fit_scale(u, lane, levels, 9, 0.1F));
            lanes_store(&u->minimum[lane], lanes_of(0));
        }
        store_scales(u->scale + lane, LANES);
        store_scales(u->minimum + lane, LANES);
        code_values_by(u, lane, lanes_load(&u->scale[lane]), lanes_load(&u->minimum[lane]), levels,
                       codes);
    }
    turn_codes(u, (const uint8_t(*)[UNIT])codes);
    put_blocks_32(out, type, u);
}

/* Half away from zero, as the format defines it; the magnitude is at most 127. */
static inline void cut_q8(quantize_unit *u, int lane, uint8_t codes[WIDEST][UNIT]) {
    const lanes_f d = lanes_abs(widest_value(u, lane)) / 127.0F, inverse = inverse_of(d);
    for (int i = 0; i < u->width; i++) {
        const lanes_f q = lanes_load(&u->x[i][lane]) * inverse,
                      a = lanes_min(lanes_abs(q), lanes_of(127));
        const lanes_f whole = __builtin_convertvector(__builtin_convertvector(a, lanes_i), lanes_f);
        const lanes_f rounded = whole + lanes_select(a - whole >= 0.5F, lanes_of(1), lanes_of(0));
        put_codes(codes, i, lane, 128.0F + lanes_select(q < 0.0F, -rounded, rounded));
    }
    lanes_store(&u->scale[lane], d);
}

/* 255 levels leave little to search for: importance is not used. */
static inline void quantize_q8(uint8_t *out, quantize_unit *u) {
    uint8_t codes[WIDEST][UNIT];
    for (int lane = 0; lane < u->n_sub; lane += LANES)
        cut_q8(u, lane, codes);
    turn_codes(u, (const uint8_t(*)[UNIT])codes);
    for (int s = 0; s < u->n_sub; s++, out += 34) {
        put_u16(out, stored_scale(u->scale[s]));
        for (int i = 0; i < 32; i++)
            out[2 + i] = u->code[s][i] ^ 0x80;
    }
}

static inline void quantize_iq4_nl(uint8_t *out, quantize_unit *u, const float *importance) {
    uint8_t codes[WIDEST][UNIT];
    load_weights(u, importance, WEIGH_SQUARE);
    for (int lane = 0; lane < u->n_sub; lane += LANES) {
        lanes_store(&u->scale[lane], fit_scale(u, lane, &iq4_levels, 7, 1));
        store_scales(u->scale + lane, LANES);
        code_values_by(u, lane, lanes_load(&u->scale[lane]), lanes_of(0), &iq4_levels, codes);
    }
    turn_codes(u, (const uint8_t(*)[UNIT])codes);
    put_blocks_32(out, R2I_TYPE_IQ4_NL, u);
}

/* ---- MXFP4: a power of two and sixteen floats of four bits ---- */

static const float fp4_magnitudes[8] = { 0, 0.5F, 1, 1.5F, 2, 3, 4, 6 };
static const quantize_levels fp4_levels = { 0, 6, fp4_magnitudes, 8 };

/* Two scales come into question: the widest value at 4 to 8 times the scale, or at 2 to 4. */
static inline void fit_mxfp4(quantize_unit *u, int lane, uint8_t codes[WIDEST][UNIT]) {
    const lanes_f widest = lanes_abs(widest_value(u, lane));
    const lanes_i exponent = ((lanes_i)widest >> 23) - 2;
    lanes_f best = lanes_of(INFINITY), best_power = lanes_of(0);
    for (int k = 0; k <= 1; k++) {
        /* 2^-126 to 2^126, so that the inverse is a normal number too. */
        const lanes_f power = lanes_clamp(__builtin_convertvector(exponent + k, lanes_f), 1, 253);
        const lanes_i e = __builtin_convertvector(power, lanes_i);
        const lanes_f scale = (lanes_f)(e << 23), inverse = (lanes_f)((254 - e) << 23);
        lanes_f error = lanes_of(0);
        for (int i = 0; i < u->width; i++) {
            const lanes_f a = lanes_abs(lanes_load(&u->x[i][lane]));
            const lanes_f off = scale * nearest_level(a * inverse, &fp4_levels) - a;
            error += lanes_load(&u->w[i][lane]) * (off * off);
        }
        const lanes_i is_better = error < best;
        best = lanes_select(is_better, error, best);
        best_power = lanes_select(is_better, power, best_power);
    }
    best_power = lanes_select(widest == 0.0F, lanes_of(0), best_power);
    const lanes_i e = __builtin_convertvector(best_power, lanes_i);
    const lanes_f inverse = (lanes_f)((254 - e) << 23);
    for (int i = 0; i < u->width; i++) {
        const lanes_f x = lanes_load(&u->x[i][lane]);
        const lanes_f level = nearest_level(lanes_abs(x) * inverse, &fp4_levels);
        const lanes_i is_minus = (x < 0.0F) & (level > 0.0F);
        put_codes(codes, i, lane,
                  code_of_level(level, &fp4_levels) +
                      lanes_select(is_minus, lanes_of(8), lanes_of(0)));
    }
    lanes_store(&u->scale[lane], best_power);
}

static inline void quantize_mxfp4(uint8_t *out, quantize_unit *u, const float *importance) {
    uint8_t codes[WIDEST][UNIT];
    load_weights(u, importance, WEIGH_EQUAL);
    for (int lane = 0; lane < u->n_sub; lane += LANES)
        fit_mxfp4(u, lane, codes);
    turn_codes(u, (const uint8_t(*)[UNIT])codes);
    for (int s = 0; s < u->n_sub; s++, out += 17) {
        out[0] = (uint8_t)u->scale[s];
        put_codes_32(out + 1, u->code[s], false);
    }
}

/* ---- blocks of 256 columns ---- */

/* d (and m) of each block of n_sub sub-blocks, as stored, to all its sub-blocks. */
static inline void set_grid(quantize_grid *grid, const quantize_unit *u, int n_sub, float reach) {
    memset(grid->d, 0, sizeof grid->d);
    memset(grid->m, 0, sizeof grid->m);
    for (int first = 0; first < u->n_sub; first += n_sub) {
        const float d = widest_of(u->scale + first, n_sub) / reach,
                    m = -widest_of(u->minimum + first, n_sub) / reach;
        for (int s = first; s < first + n_sub; s++) {
            grid->d[s] = r2i_f32_from_f16(stored_scale(d));
            grid->m[s] = grid->has_minimum ? r2i_f32_from_f16(stored_scale(m)) : 0.0F;
        }
    }
}

/* Eight six-bit scales and minimums in twelve bytes. */
static inline void put_scales_45(uint8_t *to, const float *scale, const float *minimum) {
    for (int i = 0; i < 4; i++) {
        const unsigned a = (unsigned)scale[i], b = (unsigned)scale[i + 4], c = (unsigned)minimum[i],
                       d = (unsigned)minimum[i + 4];
        to[i] = (uint8_t)(a | b >> 4 << 6);
        to[i + 4] = (uint8_t)(c | d >> 4 << 6);
        to[i + 8] = (uint8_t)((b & 15) | (d & 15) << 4);
    }
}

static inline void put_q45_k(uint8_t *out, const quantize_unit *u, int first,
                             const quantize_grid *grid, bool has_fifth) {
    const uint8_t(*code)[WIDEST] = u->code + first;
    put_u16(out, stored_scale(grid->d[first]));
    put_u16(out + 2, stored_scale(grid->m[first]));
    put_scales_45(out + 4, u->scale + first, u->minimum + first);
    uint8_t *to = out + 16;
    if (has_fifth) {
        memset(to, 0, 32);
        for (int i = 0; i < 8; i++) {
            for (int l = 0; l < 32; l++)
                to[l] |= (uint8_t)((code[i][l] >> 4 & 1) << i);
        }
        to += 32;
    }
    for (int k = 0; k < 4; k++)
        put_nibbles(to + 32 * k, code[2 * k], code[2 * k + 1], 32);
}

static inline void quantize_q45_k(uint8_t *out, quantize_unit *u, const float *importance,
                                  r2i_type type) {
    const bool has_fifth = type == R2I_TYPE_Q5_K;
    const quantize_levels *levels = has_fifth ? &levels_0_31 : &levels_0_15;
    quantize_grid grid = { .low = 0, .high = 63, .has_minimum = true };
    load_weights(u, importance, WEIGH_MAGNITUDE);
    for (int lane = 0; lane < u->n_sub; lane += LANES)
        fit_affine(u, lane, levels->high, false);
    set_grid(&grid, u, 8, 63);
    settle(u, &grid, levels);
    for (int first = 0; first < u->n_sub; first += 8, out += has_fifth ? 176 : 144)
        put_q45_k(out, u, first, &grid, has_fifth);
}

static inline void put_q6_k(uint8_t *out, const quantize_unit *u, float d) {
    uint8_t code[256];
    for (int s = 0; s < 16; s++)
        memcpy(code + 16 * s, u->code[s], 16);
    for (int half = 0; half < 2; half++) {
        const uint8_t *c = code + 128 * half;
        uint8_t *high = out + 128 + 32 * half;
        put_nibbles(out + 64 * half, c, c + 64, 64);
        for (int l = 0; l < 32; l++) {
            high[l] = (uint8_t)(c[l] >> 4 | c[l + 32] >> 4 << 2 | c[l + 64] >> 4 << 4 |
                                c[l + 96] >> 4 << 6);
        }
    }
    for (int s = 0; s < 16; s++)
        out[192 + s] = (uint8_t)(int8_t)u->scale[s];
    put_u16(out + 208, stored_scale(d));
}

static inline void quantize_q6_k(uint8_t *out, quantize_unit *u, const float *importance) {
    quantize_grid grid = { .low = -128, .high = 127, .has_minimum = false };
    load_weights(u, importance, WEIGH_SQUARE);
    for (int lane = 0; lane < u->n_sub; lane += LANES) {
        lanes_store(&u->scale[lane], fit_scale(u, lane, &levels_32, 9, 0.1F));
        lanes_store(&u->minimum[lane], lanes_of(0));
    }
    set_grid(&grid, u, 16, -128);
    settle(u, &grid, &levels_32);
    put_q6_k(out, u, grid.d[0]);
}

static inline void put_iq4_xs(uint8_t *out, const quantize_unit *u, int first, float d) {
    unsigned high = 0;
    put_u16(out, stored_scale(d));
    memset(out + 4, 0, 4);
    for (int i = 0; i < 8; i++) {
        const unsigned scale = (unsigned)((int)u->scale[first + i] + 32);
        out[4 + i / 2] |= (uint8_t)((scale & 15) << (4 * (i % 2)));
        high |= scale >> 4 << (2 * i);
        put_nibbles(out + 8 + 16 * i, u->code[first + i], u->code[first + i] + 16, 16);
    }
    put_u16(out + 2, (uint16_t)high);
}

static inline void quantize_iq4_xs(uint8_t *out, quantize_unit *u, const float *importance) {
    quantize_grid grid = { .low = -32, .high = 31, .has_minimum = false };
    load_weights(u, importance, WEIGH_SQUARE);
    for (int lane = 0; lane < u->n_sub; lane += LANES) {
        lanes_store(&u->scale[lane], fit_scale(u, lane, &iq4_levels, 7, 1));
        lanes_store(&u->minimum[lane], lanes_of(0));
    }
    set_grid(&grid, u, 8, -32);
    settle(u, &grid, &iq4_levels);
    for (int first = 0; first < u->n_sub; first += 8, out += 136)
        put_iq4_xs(out, u, first, grid.d[first]);
}

/* ---- rows ---- */

static inline void quantize_unit_to(uint8_t *out, quantize_unit *u, const float *importance,
                                    r2i_type type) {
    switch (type) {
    case R2I_TYPE_Q4_0:
    case R2I_TYPE_Q4_1:
    case R2I_TYPE_Q5_0:
    case R2I_TYPE_Q5_1:
        quantize_q45(out, u, importance, type);
        break;
    case R2I_TYPE_Q8_0:
        quantize_q8(out, u);
        break;
    case R2I_TYPE_Q4_K:
    case R2I_TYPE_Q5_K:
        quantize_q45_k(out, u, importance, type);
        break;
    case R2I_TYPE_Q6_K:
        quantize_q6_k(out, u, importance);
        break;
    case R2I_TYPE_IQ4_NL:
        quantize_iq4_nl(out, u, importance);
        break;
    case R2I_TYPE_IQ4_XS:
        quantize_iq4_xs(out, u, importance);
        break;
    case R2I_TYPE_MXFP4:
        quantize_mxfp4(out, u, importance);
        break;
    default:
        break;
    }
}

static inline void quantize_row(uint8_t *row, const float *x, const float *importance, int32_t n,
                                r2i_type type) {
    const int32_t width = type == R2I_TYPE_Q6_K ? 16 : 32, step = UNIT * width;
    const size_t step_bytes = r2i_type_row_bytes(type, (size_t)step);
    quantize_unit u;
    memset(&u, 0, sizeof u);
    for (int32_t begin = 0; begin < n; begin += step, row += step_bytes) {
        const int32_t n_cols = n - begin < step ? n - begin : step;
        load_values(&u, x + begin, n_cols / width, width);
        quantize_unit_to(row, &u, importance == NULL ? NULL : importance + begin, type);
    }
}

/* One function per type, since a table entry knows its type only by its place. */
#define QUANTIZE_TYPES(X) \
    X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q8_0) X(Q4_K) X(Q5_K) X(Q6_K) X(IQ4_NL) X(IQ4_XS) X(MXFP4)
#define QUANTIZE(name)                                                                     \
    static void quantize_row_##name(uint8_t *row, const float *x, const float *importance, \
                                    int32_t n) {                                           \
        quantize_row(row, x, importance, n, R2I_TYPE_##name);                              \
    }
QUANTIZE_TYPES(QUANTIZE)

static inline void add_quantize(r2i_kernels *kernels) {
#define ADD_QUANTIZE(name) kernels->quantize[R2I_TYPE_##name] = quantize_row_##name;
    QUANTIZE_TYPES(ADD_QUANTIZE)
}
#endif
