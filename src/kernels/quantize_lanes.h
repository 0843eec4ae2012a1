/* quantize_lanes.h - rows of floats to the blocks of model files, for vectors of LANES floats.
 *
 * A UNIT is sixteen sub-blocks, groups of 16 or 32 columns that have a scale of their own: one block
 * of Q6_K, two of Q4_K, sixteen of Q8_0.  It is turned round, so that a vector holds one column of
 * LANES sub-blocks; every lane then does what a program for one sub-block would do, in the same
 * order, and nothing is summed across lanes.  So each level of the kernels, whatever its vectors,
 * writes the same bytes.
 *
 * The file that includes this defines LANES and, with its own instructions, lanes_max, lanes_min
 * (the second operand when one is no number), lanes_sqrt and lanes_add_if. */
#ifndef R2I_QUANTIZE_LANES_H
#define R2I_QUANTIZE_LANES_H
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "kernels/kernels.h"

enum { UNIT = 16, WIDEST = 32 };

typedef float lanes_f __attribute__((vector_size(4 * LANES)));
typedef int32_t lanes_i __attribute__((vector_size(4 * LANES)));
typedef uint8_t lanes_b __attribute__((vector_size(LANES)));

static inline lanes_f lanes_max(lanes_f a, lanes_f b);
static inline lanes_f lanes_min(lanes_f a, lanes_f b);
static inline lanes_f lanes_sqrt(lanes_f a);
/* sum + (a >= b ? step : 0) */
static inline lanes_f lanes_add_if(lanes_f sum, lanes_f a, float b, float step);

typedef struct {
    float x[WIDEST][UNIT], w[WIDEST][UNIT]; /* values and weights of their errors, by column */
    uint8_t code[UNIT][WIDEST];             /* what they become */
    float scale[UNIT], minimum[UNIT];
    int n_sub, width; /* sub-blocks in use, columns of each */
} quantize_unit;

static inline lanes_f lanes_of(float x) {
    lanes_f v;
    for (int i = 0; i < LANES; i++)
        v[i] = x;
    return v;
}
static inline lanes_f lanes_load(const float *p) {
    lanes_f v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline void lanes_store(float *p, lanes_f v) {
    memcpy(p, &v, sizeof v);
}
static inline lanes_f lanes_select(lanes_i mask, lanes_f a, lanes_f b) {
    return (lanes_f)((mask & (lanes_i)a) | (~mask & (lanes_i)b));
}
static inline lanes_f lanes_abs(lanes_f v) {
    return (lanes_f)((lanes_i)v & 0x7fffffff);
}
static inline lanes_f lanes_clamp(lanes_f v, float low, float high) {
    return lanes_min(lanes_max(v, lanes_of(low)), lanes_of(high));
}
/* To nearest even; |v| < 2^22. */
static inline lanes_f lanes_round(lanes_f v) {
    return (v + 12582912.0F) - 12582912.0F;
}

/* Codes of one column of the lanes from `lane` on. */
static inline void put_codes(uint8_t codes[WIDEST][UNIT], int column, int lane, lanes_f code) {
    const lanes_b bytes = __builtin_convertvector(__builtin_convertvector(code, lanes_i), lanes_b);
    memcpy(&codes[column][lane], &bytes, sizeof bytes);
}
static inline void turn_codes(quantize_unit *u, const uint8_t codes[WIDEST][UNIT]) {
    for (int s = 0; s < u->n_sub; s++) {
        for (int i = 0; i < u->width; i++)
            u->code[s][i] = codes[i][s];
    }
}

/* A scale as stored; one that F16 cannot hold becomes the largest that it can. */
static inline uint16_t stored_scale(float d) {
    const float held = d > 65504.0F ? 65504.0F : d < -65504.0F ? -65504.0F : d;
    return r2i_f16_from_f32(held);
}
static inline void put_u16(uint8_t *to, uint16_t x) {
    to[0] = (uint8_t)(x & 255);
    to[1] = (uint8_t)(x >> 8);
}

/* ---- values and weights of a unit ---- */

typedef float quad __attribute__((vector_size(16)));

/* Four columns of four sub-blocks: rows at x, x + stride, ... become columns at to, to + UNIT, ... */
static inline void turn_quad(float *to, const float *x, int stride) {
    quad a, b, c, d;
    memcpy(&a, x, sizeof a);
    memcpy(&b, x + stride, sizeof b);
    memcpy(&c, x + 2 * stride, sizeof c);
    memcpy(&d, x + 3 * stride, sizeof d);
    const quad ab = __builtin_shufflevector(a, b, 0, 4, 1, 5),
               cd = __builtin_shufflevector(c, d, 0, 4, 1, 5),
               ef = __builtin_shufflevector(a, b, 2, 6, 3, 7),
               gh = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    const quad out[4] = { __builtin_shufflevector(ab, cd, 0, 1, 4, 5),
                          __builtin_shufflevector(ab, cd, 2, 3, 6, 7),
                          __builtin_shufflevector(ef, gh, 0, 1, 4, 5),
                          __builtin_shufflevector(ef, gh, 2, 3, 6, 7) };
    for (int i = 0; i < 4; i++)
        memcpy(to + i * UNIT, &out[i], sizeof out[i]);
}

static inline void load_values(quantize_unit *u, const float *x, int n_sub, int width) {
    u->n_sub = n_sub;
    u->width = width;
    if (n_sub < UNIT) memset(u->x, 0, sizeof u->x);
    int s = 0;
    for (; s + 4 <= n_sub; s += 4) {
        for (int i = 0; i < width; i += 4)
            turn_quad(&u->x[i][s], x + s * width + i, width);
    }
    for (; s < n_sub; s++) {
        for (int i = 0; i < width; i++)
            u->x[i][s] = x[s * width + i];
    }
}

/* How much an error counts where the caller does not say. */
typedef enum {
    WEIGH_EQUAL,     /* 1 */
    WEIGH_MAGNITUDE, /* root mean square of the sub-block + |x| */
    WEIGH_SQUARE     /* x^2 */
} quantize_weighing;

/* The caller's importance of column c times sqrt(mean square of the sub-block + x^2), or `weighing`. */
static inline void load_weights(quantize_unit *u, const float *importance,
                                quantize_weighing weighing) {
    if (importance != NULL) {
        for (int s = 0; s < UNIT; s++) {
            for (int i = 0; i < u->width; i++)
                u->w[i][s] = s < u->n_sub ? importance[s * u->width + i] : 0.0F;
        }
    }
    for (int lane = 0; lane < u->n_sub; lane += LANES) {
        lanes_f sum = lanes_of(0);
        for (int i = 0; i < u->width; i++) {
            const lanes_f x = lanes_load(&u->x[i][lane]);
            sum += x * x;
        }
        const lanes_f mean = sum / (float)u->width, root = lanes_sqrt(mean);
        for (int i = 0; i < u->width; i++) {
            const lanes_f x = lanes_load(&u->x[i][lane]);
            lanes_f w = lanes_of(1);
            if (importance != NULL)
                w = lanes_load(&u->w[i][lane]) * lanes_sqrt(mean + x * x);
            else if (weighing == WEIGH_MAGNITUDE)
                w = root + lanes_abs(x);
            else if (weighing == WEIGH_SQUARE)
                w = x * x;
            lanes_store(&u->w[i][lane], w);
        }
    }
}

/* The value of greatest magnitude, the first of several; 0 in lanes of zeros. */
static inline lanes_f widest_value(const quantize_unit *u, int lane) {
    lanes_f most = lanes_of(0), widest = lanes_of(0);
    for (int i = 0; i < u->width; i++) {
        const lanes_f x = lanes_load(&u->x[i][lane]), a = lanes_abs(x);
        const lanes_i is_wider = most < a;
        most = lanes_select(is_wider, a, most);
        widest = lanes_select(is_wider, x, widest);
    }
    return widest;
}

static inline void range_of(const quantize_unit *u, int lane, lanes_f *least, lanes_f *greatest) {
    *least = *greatest = lanes_load(&u->x[0][lane]);
    for (int i = 1; i < u->width; i++) {
        const lanes_f x = lanes_load(&u->x[i][lane]);
        *least = lanes_min(*least, x);
        *greatest = lanes_max(*greatest, x);
    }
}

/* 1 / v, 0 for 0. */
static inline lanes_f inverse_of(lanes_f v) {
    const lanes_i is_zero = v == 0.0F;
    return lanes_select(is_zero, lanes_of(0), 1.0F / lanes_select(is_zero, lanes_of(1), v));
}

/* ---- the nearest member of a set of values ---- */

/* Whole numbers from `low` to `high`, or a table. */
typedef struct {
    float low, high;
    const float *values; /* [n_values] ascending, or NULL: every whole number */
    int n_values;
} quantize_levels;

static const float quantize_iq4_values[16] = { -127, -104, -83, -65, -49, -35, -22, -10,
                                               1,    13,   25,  38,  53,  69,  89,  113 };
static const quantize_levels iq4_levels = { -127, 113, quantize_iq4_values, 16 };

static inline lanes_f nearest_level(lanes_f v, const quantize_levels *levels) {
    if (levels->values == NULL) return lanes_round(lanes_clamp(v, levels->low, levels->high));
    lanes_f q = lanes_of(levels->low);
    for (int k = 1; k < levels->n_values; k++) {
        const float below = levels->values[k - 1], above = levels->values[k];
        q = lanes_add_if(q, v, 0.5F * (below + above), above - below);
    }
    return q;
}

/* Code of a level: its distance from the lowest, or its place in the table. */
static inline lanes_f code_of_level(lanes_f q, const quantize_levels *levels) {
    if (levels->values == NULL) return q - levels->low;
    lanes_f code = lanes_of(0);
    for (int k = 1; k < levels->n_values; k++)
        code = lanes_add_if(code, q, levels->values[k], 1);
    return code;
}

/* ---- fits ---- */

/* The best scale so far, and how much it lowers the error. */
typedef struct {
    lanes_f scale, gain;
} scale_fit;

/* Levels q for x ~= s q come from a trial scale, given by its inverse; for these q the best s is
 * sum wxq / sum wq^2 and lowers the error by (sum wxq)^2 / sum wq^2. */
static inline void try_scale(scale_fit *fit, const quantize_unit *u, int lane, lanes_f inverse,
                             const quantize_levels *levels) {
    lanes_f xq = lanes_of(0), qq = lanes_of(0);
    for (int i = 0; i < u->width; i++) {
        const lanes_f x = lanes_load(&u->x[i][lane]);
        const lanes_f q = nearest_level(inverse * x, levels);
        const lanes_f wq = lanes_load(&u->w[i][lane]) * q;
        xq += wq * x;
        qq += wq * q;
    }
    const lanes_f scale = xq * inverse_of(qq), gain = scale * xq;
    const lanes_i is_better = gain > fit->gain;
    fit->scale = lanes_select(is_better, scale, fit->scale);
    fit->gain = lanes_select(is_better, gain, fit->gain);
}

/* Tries scales around the one that puts the widest value on the lowest level, and with a table, whose
 * ends differ more, those around the highest too. */
static inline lanes_f fit_scale(const quantize_unit *u, int lane, const quantize_levels *levels,
                                int n_steps, float step) {
    const lanes_f per_level = inverse_of(widest_value(u, lane));
    scale_fit fit = { lanes_of(0), lanes_of(0) };
    for (int k = -n_steps; k <= n_steps; k++) {
        try_scale(&fit, u, lane, (levels->low + (float)k * step) * per_level, levels);
        if (levels->values != NULL)
            try_scale(&fit, u, lane, (levels->high + (float)k * step) * per_level, levels);
    }
    return fit.scale;
}

/* Weighted sums of one choice of levels. */
typedef struct {
    lanes_f w, x, q, qq, xq;
} affine_sums;

static inline affine_sums sum_affine(const quantize_unit *u, int lane, lanes_f inverse,
                                     lanes_f least, float top) {
    affine_sums s = { lanes_of(0), lanes_of(0), lanes_of(0), lanes_of(0), lanes_of(0) };
    for (int i = 0; i < u->width; i++) {
        const lanes_f x = lanes_load(&u->x[i][lane]), w = lanes_load(&u->w[i][lane]);
        const lanes_f q = lanes_round(lanes_clamp(inverse * (x - least), 0, top));
        const lanes_f wq = w * q;
        s.w += w;
        s.x += w * x;
        s.q += wq;
        s.qq += wq * q;
        s.xq += wq * x;
    }
    return s;
}

/* The best scale and minimum so far, with its error less the sum of w x^2. */
typedef struct {
    lanes_f scale, minimum, error;
} affine_fit;

/* The same with a minimum b: levels from a trial, then the best (s, b) for them by least squares. */
static inline void try_affine(affine_fit *fit, const quantize_unit *u, int lane, lanes_f inverse,
                              lanes_f least, float top, bool is_free) {
    const affine_sums s = sum_affine(u, lane, inverse, least, top);
    const lanes_f part = inverse_of(s.w * s.qq - s.q * s.q);
    lanes_f a = (s.w * s.xq - s.x * s.q) * part, b = (s.qq * s.x - s.q * s.xq) * part;
    if (!is_free) {
        const lanes_i is_above = b > 0.0F;
        a = lanes_select(is_above, s.xq * inverse_of(s.qq), a);
        b = lanes_select(is_above, lanes_of(0), b);
    }
    const lanes_f error =
        a * (a * s.qq + 2.0F * b * s.q - 2.0F * s.xq) + b * (b * s.w - 2.0F * s.x);
    const lanes_i is_better = (error < fit->error) & (a > 0.0F);
    fit->scale = lanes_select(is_better, a, fit->scale);
    fit->minimum = lanes_select(is_better, b, fit->minimum);
    fit->error = lanes_select(is_better, error, fit->error);
}

/* Scale s and minimum b for x ~= s q + b, 0 <= q <= top; b <= 0 unless it is free.  Scales around
 * range / top are tried, then the best result is tried anew, twice. */
static inline void fit_affine(quantize_unit *u, int lane, float top, bool is_free) {
    lanes_f least, greatest;
    range_of(u, lane, &least, &greatest);
    if (!is_free) least = lanes_min(least, lanes_of(0));
    const lanes_f range = greatest - least, per_level = inverse_of(range);
    affine_fit fit = { range / top, least, lanes_of(INFINITY) };
    /* A free minimum has blocks of 32 for itself: finer steps cost little there. */
    const int n_steps = is_free ? 20 : 10;
    const float step = 1.0F / (float)n_steps;
    for (int k = -n_steps; k < n_steps; k++)
        try_affine(&fit, u, lane, (top + step * (float)k) * per_level, least, top, is_free);
    for (int k = 0; k < 2; k++)
        try_affine(&fit, u, lane, inverse_of(fit.scale), fit.minimum, top, is_free);
    lanes_store(&u->scale[lane], fit.scale);
    lanes_store(&u->minimum[lane], fit.minimum);
}

/* ---- stored scales, and the codes that go with them ---- */

/* Sum of w (s q + b - x)^2 with the nearest levels. */
static inline lanes_f error_of(const quantize_unit *u, int lane, lanes_f s, lanes_f b,
                               const quantize_levels *levels) {
    const lanes_f inverse = inverse_of(s);
    lanes_f sum = lanes_of(0);
    for (int i = 0; i < u->width; i++) {
        const lanes_f x = lanes_load(&u->x[i][lane]);
        const lanes_f off = s * nearest_level((x - b) * inverse, levels) + b - x;
        sum += lanes_load(&u->w[i][lane]) * (off * off);
    }
    return sum;
}

static inline void code_values_by(quantize_unit *u, int lane, lanes_f s, lanes_f b,
                                  const quantize_levels *levels, uint8_t codes[WIDEST][UNIT]) {
    const lanes_f inverse = inverse_of(s);
    for (int i = 0; i < u->width; i++) {
        const lanes_f x = lanes_load(&u->x[i][lane]);
        put_codes(codes, i, lane, code_of_level(nearest_level((x - b) * inverse, levels), levels));
    }
}

/* Sub-block scales (and minimums) are whole multiples of the block's d (and m): the nearest multiple
 * and its neighbours are tried with the codes they lead to, and the codes of the best are kept.
 * u->scale and u->minimum hold fitted values before and the multiples afterwards. */
typedef struct {
    float d[UNIT], m[UNIT]; /* of each sub-block's block, as stored */
    float low, high;        /* multiples of d; those of m are 0..high */
    bool has_minimum;
} quantize_grid;

static inline void settle_lanes(quantize_unit *u, int lane, const quantize_grid *grid,
                                const quantize_levels *levels, uint8_t codes[WIDEST][UNIT]) {
    const lanes_f d = lanes_load(&grid->d[lane]), m = lanes_load(&grid->m[lane]);
    const lanes_f scale = lanes_round(
        lanes_clamp(lanes_load(&u->scale[lane]) * inverse_of(d), grid->low, grid->high));
    const lanes_f minimum =
        lanes_round(lanes_clamp(-lanes_load(&u->minimum[lane]) * inverse_of(m), 0, grid->high));
    lanes_f best = lanes_of(INFINITY), best_scale = scale, best_minimum = minimum;
    const int reach = grid->has_minimum ? 1 : 0;
    for (int j = -reach; j <= reach; j++) {
        for (int k = -1; k <= 1; k++) {
            const lanes_f a = lanes_clamp(scale + (float)k, grid->low, grid->high);
            const lanes_f b = lanes_clamp(minimum + (float)j, 0, grid->high);
            const lanes_f error = error_of(u, lane, d * a, -(m * b), levels);
            const lanes_i is_better = error < best;
            best = lanes_select(is_better, error, best);
            best_scale = lanes_select(is_better, a, best_scale);
            best_minimum = lanes_select(is_better, b, best_minimum);
        }
    }
    lanes_store(&u->scale[lane], best_scale);
    lanes_store(&u->minimum[lane], best_minimum);
    code_values_by(u, lane, d * best_scale, -(m * best_minimum), levels, codes);
}

static inline void settle(quantize_unit *u, const quantize_grid *grid,
                          const quantize_levels *levels) {
    uint8_t codes[WIDEST][UNIT];
    for (int lane = 0; lane < u->n_sub; lane += LANES)
        settle_lanes(u, lane, grid, levels, codes);
    turn_codes(u, (const uint8_t(*)[UNIT])codes);
}

/* The one of n numbers whose magnitude is greatest. */
static inline float widest_of(const float *x, int n) {
    float widest = 0;
    for (int i = 0; i < n; i++) {
        if (fabsf(x[i]) > fabsf(widest)) widest = x[i];
    }
    return widest;
}
#endif
