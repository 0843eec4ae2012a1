/* attend_pages_avx512.h - attention of a block of query rows over the pages of a chunk.
 *
 * Rows go in blocks of up to 6.  For each page, first every block: scores by tiles of 6 rows x
 * 64 tokens, their maximum and exp row by row; then every block: p * V by tiles of 6 rows x 64
 * channels, added to the rows' results so far.  So the keys, then the values of a page stay in
 * L1 or L2 while the blocks pass over them, and the other half is on its way from memory
 * meanwhile.  Vectors of tokens that no row of a block sees are skipped; inside the rest hidden
 * tokens weigh exactly 0, so a row's bits do not depend on the rows beside it.
 *
 * Included by attend_avx512.c and, compiled with -mavx512bf16, by attend_bf16_avx512.c. */
#ifndef R2I_ATTEND_PAGES_AVX512_H
#define R2I_ATTEND_PAGES_AVX512_H
#include "kernels/avx512/exp_avx512.h"
#include "kernels/avx512/tile_avx512.h"
#include "kernels/kernels.h"

TILE_TABLE(attend_tiles_f32, TILE_F32)
TILE_TABLE(attend_tiles_bf16, TILE_BF16)

enum { ATTEND_BLOCKS = (R2I_ATTEND_ROWS + TILE_ROWS - 1) / TILE_ROWS, ATTEND_FETCH_BLOCKS = 3 };

/* Query rows as the tiles read them, and the pages that any of them sees. */
typedef struct {
    const r2i_attend_job *job;
    const tile_function (*tiles)[TILE_ROWS + 1];
    const uint8_t *q; /* [n_rows] rows of 4-byte steps */
    size_t q_stride;
    int32_t n_blocks, first_page, end_page;
} attend_call;

/* A block of rows on one page. */
typedef struct {
    int32_t row, n_rows;
    int32_t begin[TILE_ROWS], end[TILE_ROWS]; /* slots that each row sees */
    int32_t first, last;                      /* slots that any row sees: [first, last) */
    int32_t first_vector, end_vector;         /* even numbers of vectors of 16 slots around them */
    float page_max[16], page_sum[16];
    float keep[16], add[16]; /* weights of the result so far and of this page's */
    float *s;                /* [TILE_ROWS, R2I_PAGE_TOKENS] scores; F32 pages: then p */
    uint32_t *p;             /* [TILE_ROWS, R2I_PAGE_TOKENS / 2] pairs of p in BF16 */
} attend_block;

static void attend_find_visible(attend_block *b, const r2i_attend_job *job, int32_t page) {
    const int32_t origin = job->first_position + page * R2I_PAGE_TOKENS;
    b->first = R2I_PAGE_TOKENS;
    b->last = 0;
    for (int32_t r = 0; r < b->n_rows; r++) {
        const int32_t from = job->first_key[b->row + r], to = job->end_key[b->row + r];
        const int32_t begin = from > origin ? from - origin : 0;
        const int32_t end = to - origin < R2I_PAGE_TOKENS ? to - origin : R2I_PAGE_TOKENS;
        b->begin[r] = begin < end ? begin : 0;
        b->end[r] = begin < end ? end : 0;
        if (begin >= end) continue;
        if (begin < b->first) b->first = begin;
        if (end > b->last) b->last = end;
    }
    b->first_vector = b->first / 32 * 2;
    b->end_vector = (b->last + 31) / 32 * 2;
}

/* Lets a tile of `width` vectors from v on prefetch its part of `page`, half a page ahead of its
 * use. The first blocks all ask for the whole page: the processor drops prefetches while its
 * queue to memory is full, and sharing them among the blocks cost a quarter of the speed (7
 * rows, Zen 5). */
static inline void attend_fetch(const attend_block *b, tile_job *t, int32_t v, int32_t width,
                                const uint8_t *page) {
    const bool is_wanted = page != NULL && b->row < ATTEND_FETCH_BLOCKS * TILE_ROWS;
    t->n_fetch_steps = is_wanted ? t->n_steps : 0;
    t->fetch_vector = 64;
    t->fetch_step = 64 * (size_t)width;
    t->fetch = is_wanted ? page + 64 * (size_t)v * (size_t)t->n_steps : t->b;
}

/* While scoring, this page's values are brought nearer. */
static void attend_score(const attend_call *call, attend_block *b, int32_t page) {
    const r2i_attend_job *job = call->job;
    const uint8_t *keys = job->key_pages[page], *values = job->value_pages[page];
    tile_job t = { .a = call->q + (size_t)b->row * call->q_stride,
                   .a_stride = call->q_stride,
                   .b_step = 4 * R2I_PAGE_TOKENS,
                   .b_vector = 64,
                   .last = 0xffff,
                   .c_stride = R2I_PAGE_TOKENS };
    t.n_steps = job->rows == R2I_ROWS_F32 ? job->d_key : (job->d_key + 1) / 2;
    for (int32_t v = b->first_vector; v < b->end_vector;) {
        const int32_t width = tile_width(b->end_vector - v);
        t.b = keys + 64 * (size_t)v;
        t.c = b->s + 16 * v;
        attend_fetch(b, &t, v, width, values);
        call->tiles[width][b->n_rows](&t);
        v += width;
    }
}

/* Scales the scores of row r, hides what it does not see and returns the maximum. */
static float attend_mask(attend_block *b, int32_t r, float scale) {
    const __m512 factor = _mm512_set1_ps(scale), hidden = _mm512_set1_ps(-INFINITY);
    const bool is_partial = b->begin[r] > 16 * b->first_vector || b->end[r] < 16 * b->end_vector;
    float *s = b->s + r * R2I_PAGE_TOKENS;
    __m512 m = hidden;
    for (int32_t v = b->first_vector; v < b->end_vector; v++) {
        __m512 x = _mm512_mul_ps(_mm512_load_ps(s + 16 * v), factor);
        if (is_partial) {
            const unsigned seen =
                lanes_avx512(b->end[r] - 16 * v) & ~(unsigned)lanes_avx512(b->begin[r] - 16 * v);
            x = _mm512_mask_mov_ps(hidden, (__mmask16)seen, x);
        }
        _mm512_store_ps(s + 16 * v, x);
        m = _mm512_max_ps(m, x);
    }
    return _mm512_reduce_max_ps(m);
}

/* p = exp(s - m) of row r in place; returns the sum. */
static float attend_exp_f32(attend_block *b, int32_t r, float m) {
    const __m512 maximum = _mm512_set1_ps(m == -INFINITY ? 0.0f : m);
    float *s = b->s + r * R2I_PAGE_TOKENS;
    __m512 sum = _mm512_setzero_ps();
    for (int32_t v = b->first_vector; v < b->end_vector; v++) {
        const __m512 e = exp_avx512(_mm512_sub_ps(_mm512_load_ps(s + 16 * v), maximum));
        _mm512_store_ps(s + 16 * v, e);
        sum = _mm512_add_ps(sum, e);
    }
    return _mm512_reduce_add_ps(sum);
}

/* Two vectors of f32 to one of BF16, whose pairs are added to sum. */
static inline __m512i attend_round(__m512 low, __m512 high, __m512 *sum) {
#if defined(__AVX512BF16__)
    const __m512bh pairs = _mm512_cvtne2ps_pbh(high, low);
    *sum = _mm512_dpbf16_ps(*sum, pairs, (__m512bh)_mm512_set1_epi32(0x3f803f80));
    return (__m512i)pairs;
#else
    const __m512i a = round_bf16_avx512(low), b = round_bf16_avx512(high);
    *sum = _mm512_add_ps(*sum, _mm512_castsi512_ps(_mm512_slli_epi32(a, 16)));
    *sum = _mm512_add_ps(*sum, _mm512_castsi512_ps(_mm512_slli_epi32(b, 16)));
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(a)),
                              _mm512_cvtepi32_epi16(b), 1);
#endif
}

/* The same for BF16 rows: p rounded. */
static float attend_exp_bf16(attend_block *b, int32_t r, float m) {
    const __m512 maximum = _mm512_set1_ps(m == -INFINITY ? 0.0f : m);
    const float *s = b->s + r * R2I_PAGE_TOKENS;
    uint32_t *p = b->p + r * R2I_PAGE_TOKENS / 2;
    __m512 sum = _mm512_setzero_ps();
    for (int32_t v = b->first_vector; v < b->end_vector; v += 2) {
        const __m512 low = exp_avx512(_mm512_sub_ps(_mm512_load_ps(s + 16 * v), maximum));
        const __m512 high = exp_avx512(_mm512_sub_ps(_mm512_load_ps(s + 16 * v + 16), maximum));
        _mm512_store_si512(p + 8 * v, attend_round(low, high, &sum));
    }
    return _mm512_reduce_add_ps(sum);
}

/* exp(m - M) of both maxima with M the larger one, and the new maximum and sum of each row. */
static void attend_new_maximum(const r2i_attend_job *job, attend_block *b) {
    const __mmask16 m = lanes_avx512(b->n_rows);
    float *out_max = job->out_max + b->row, *out_sum = job->out_sum + b->row;
    const __m512 old = _mm512_maskz_loadu_ps(m, out_max),
                 page = _mm512_maskz_loadu_ps(m, b->page_max);
    const __m512 both = _mm512_max_ps(old, page);
    const __mmask16 is_empty = _mm512_cmp_ps_mask(both, _mm512_set1_ps(-INFINITY), _CMP_EQ_OQ);
    const __m512 base = _mm512_mask_mov_ps(both, is_empty, _mm512_setzero_ps());
    const __m512 keep = exp_avx512(_mm512_sub_ps(old, base)),
                 add = exp_avx512(_mm512_sub_ps(page, base));
    const __m512 page_sum = _mm512_mul_ps(add, _mm512_maskz_loadu_ps(m, b->page_sum));
    _mm512_mask_storeu_ps(out_sum, m,
                          _mm512_fmadd_ps(keep, _mm512_maskz_loadu_ps(m, out_sum), page_sum));
    _mm512_mask_storeu_ps(out_max, m, both);
    _mm512_storeu_ps(b->keep, keep);
    _mm512_storeu_ps(b->add, add);
}

/* out = keep * out + add * c for n channels from `channel` on. */
static void attend_combine(const r2i_attend_job *job, const attend_block *b, const float *c,
                           int32_t channel, int32_t n) {
    for (int32_t r = 0; r < b->n_rows; r++, c += TILE_COLUMNS) {
        const __m512 keep = _mm512_set1_ps(b->keep[r]), add = _mm512_set1_ps(b->add[r]);
        float *out = job->out + (size_t)(b->row + r) * (size_t)job->d_value + channel;
        for (int32_t i = 0; i < n; i += 16) {
            const __mmask16 m = lanes_avx512(n - i);
            const __m512 scaled = _mm512_mul_ps(keep, _mm512_maskz_loadu_ps(m, out + i));
            _mm512_mask_storeu_ps(out + i, m, _mm512_fmadd_ps(add, _mm512_load_ps(c + i), scaled));
        }
    }
}

/* While the values are added, the next page's keys are brought nearer. */
static void attend_add_values(const attend_call *call, const attend_block *b, int32_t page) {
    const r2i_attend_job *job = call->job;
    const uint8_t *values = job->value_pages[page];
    const uint8_t *next = page + 1 < call->end_page ? job->key_pages[page + 1] : NULL;
    const bool is_f32 = job->rows == R2I_ROWS_F32;
    const int32_t first = is_f32 ? b->first : b->first / 2,
                  end = is_f32 ? b->last : (b->last + 1) / 2;
    const uint8_t *p = is_f32 ? (const uint8_t *)b->s : (const uint8_t *)b->p;
    const int32_t n_vectors = (job->d_value + 15) / 16;
    float c[TILE_ROWS * TILE_COLUMNS] __attribute__((aligned(64)));
    tile_job t = { .a = p + 4 * (size_t)first,
                   .a_stride = is_f32 ? 4 * R2I_PAGE_TOKENS : 2 * R2I_PAGE_TOKENS,
                   .b_step = 4 * (size_t)job->d_value,
                   .b_vector = 64,
                   .n_steps = end - first,
                   .c = c,
                   .c_stride = TILE_COLUMNS };
    for (int32_t v = 0; v < n_vectors;) {
        const int32_t width = tile_width(n_vectors - v), left = job->d_value - 16 * v;
        t.b = values + (size_t)first * t.b_step + 64 * (size_t)v;
        t.last = lanes_avx512(left - 16 * (width - 1));
        attend_fetch(b, &t, v, width, next);
        call->tiles[width][b->n_rows](&t);
        attend_combine(job, b, c, 16 * v, left < 16 * width ? left : 16 * width);
        v += width;
    }
}

static void attend_weights(const attend_call *call, attend_block *b, int32_t page) {
    const r2i_attend_job *job = call->job;
    attend_score(call, b, page);
    for (int32_t r = 0; r < b->n_rows; r++) {
        const float m = attend_mask(b, r, job->scale);
        b->page_max[r] = m;
        b->page_sum[r] =
            job->rows == R2I_ROWS_F32 ? attend_exp_f32(b, r, m) : attend_exp_bf16(b, r, m);
    }
    attend_new_maximum(job, b);
}

static void attend_page(const attend_call *call, attend_block blocks[ATTEND_BLOCKS], int32_t page) {
    for (int32_t i = 0; i < call->n_blocks; i++) {
        attend_find_visible(&blocks[i], call->job, page);
        if (blocks[i].first < blocks[i].last) attend_weights(call, &blocks[i], page);
    }
    for (int32_t i = 0; i < call->n_blocks; i++) {
        if (blocks[i].first < blocks[i].last) attend_add_values(call, &blocks[i], page);
    }
}

static void attend_round_queries(uint32_t *pairs, const r2i_attend_job *job, int32_t n_pairs) {
    for (int32_t r = 0; r < job->n_rows; r++) {
        const float *q = job->q + (size_t)r * job->q_stride;
        uint32_t *y = pairs + (size_t)r * (size_t)n_pairs;
        y[n_pairs - 1] = 0; /* the second half of an odd d_key's last pair */
        for (int32_t i = 0; i < job->d_key; i += 16) {
            const __mmask16 m = lanes_avx512(job->d_key - i);
            const __m512i bits = round_bf16_avx512(_mm512_maskz_loadu_ps(m, q + i));
            _mm256_mask_storeu_epi16(y + i / 2, m, _mm512_cvtepi32_epi16(bits));
        }
    }
}

/* Pages between the first and the last key that any row sees. */
static void attend_find_pages(attend_call *call) {
    const r2i_attend_job *job = call->job;
    const int32_t end_slot = job->n_pages * R2I_PAGE_TOKENS;
    int32_t first = end_slot, end = 0;
    for (int32_t r = 0; r < job->n_rows; r++) {
        const int32_t from =
            job->first_key[r] > job->first_position ? job->first_key[r] - job->first_position : 0;
        const int32_t to = job->end_key[r] - job->first_position;
        if (from >= to || from >= end_slot) continue;
        if (from < first) first = from;
        if (to > end) end = to < end_slot ? to : end_slot;
    }
    call->first_page = first / R2I_PAGE_TOKENS;
    call->end_page = (end + R2I_PAGE_TOKENS - 1) / R2I_PAGE_TOKENS;
}

static void attend_clear(const r2i_attend_job *job) {
    for (int32_t r = 0; r < job->n_rows; r++) {
        job->out_max[r] = -INFINITY;
        job->out_sum[r] = 0.0f;
        memset(job->out + (size_t)r * (size_t)job->d_value, 0, 4 * (size_t)job->d_value);
    }
}

/* Splits the rows.  weights: [R2I_ATTEND_ROWS, R2I_PAGE_TOKENS] f32 or half of it as BF16;
 * scores of BF16 pages share one block's worth of memory. */
static void attend_split(attend_call *call, attend_block blocks[ATTEND_BLOCKS], float *weights,
                         float *scores) {
    const r2i_attend_job *job = call->job;
    call->n_blocks = (job->n_rows + TILE_ROWS - 1) / TILE_ROWS;
    int32_t row = 0;
    for (int32_t i = 0; i < call->n_blocks; i++) {
        attend_block *b = &blocks[i];
        float *mine = weights + row * R2I_PAGE_TOKENS;
        b->row = row;
        b->n_rows = tile_height(job->n_rows - row);
        b->s = job->rows == R2I_ROWS_F32 ? mine : scores;
        b->p = (uint32_t *)(void *)weights + row * R2I_PAGE_TOKENS / 2;
        row += b->n_rows;
    }
}

static void attend(const r2i_attend_job *job) {
    uint32_t pairs[R2I_ATTEND_ROWS * R2I_MAX_HEAD / 2] __attribute__((aligned(64)));
    float weights[R2I_ATTEND_ROWS * R2I_PAGE_TOKENS] __attribute__((aligned(64)));
    float scores[TILE_ROWS * R2I_PAGE_TOKENS] __attribute__((aligned(64)));
    attend_block blocks[ATTEND_BLOCKS];
    attend_call call = { .job = job,
                         .tiles = attend_tiles_f32,
                         .q = (const uint8_t *)job->q,
                         .q_stride = 4 * job->q_stride };
    if (job->rows == R2I_ROWS_BF16) {
        const int32_t n_pairs = (job->d_key + 1) / 2;
        attend_round_queries(pairs, job, n_pairs);
        call.tiles = attend_tiles_bf16;
        call.q = (const uint8_t *)pairs;
        call.q_stride = 4 * (size_t)n_pairs;
    }
    attend_clear(job);
    attend_find_pages(&call);
    attend_split(&call, blocks, weights, scores);
    for (int32_t page = call.first_page; page < call.end_page; page++)
        attend_page(&call, blocks, page);
}
#endif
