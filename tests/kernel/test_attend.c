/* Attention over cache pages: storing rows, one chunk against ref, merging chunks. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "kernel_check.h"

typedef struct {
    r2i_row_kind kind;
    int32_t d_key, d_value, n_pages, n_rows, n_filled; /* slots written */
    int32_t first_position;
    const uint8_t *key_pages[R2I_CHUNK_PAGES], *value_pages[R2I_CHUNK_PAGES];
    float *q;
    size_t q_stride;
    int32_t *first_key, *end_key;
    float scale;
} attend_case;

typedef struct {
    float *max, *sum, *out;
} attend_result;

/* Slots that were never written hold what the allocator and earlier tokens left: finite numbers. */
static uint8_t *take_page(check_random *random, r2i_row_kind kind, size_t n_bytes) {
    uint8_t *page = check_take(n_bytes, true);
    const bool is_zero = check_below(random, 2) == 0;
    const float left = is_zero ? 0.0F : 1000.0F;
    const uint16_t half = r2i_bf16_from_f32(left);
    for (size_t i = 0; i < n_bytes; i += kind == R2I_ROWS_F32 ? 4 : 2) {
        memcpy(page + i, kind == R2I_ROWS_F32 ? (const void *)&left : (const void *)&half,
               kind == R2I_ROWS_F32 ? 4 : 2);
    }
    return page;
}

static void fill_pages(attend_case *ac, check_random *random, const r2i_kernels *kernels) {
    const size_t d_key = (size_t)ac->d_key, d_value = (size_t)ac->d_value;
    for (int32_t p = 0; p < ac->n_pages; p++) {
        uint8_t *keys = take_page(random, ac->kind, r2i_key_page_bytes(ac->kind, ac->d_key));
        uint8_t *values = take_page(random, ac->kind, r2i_value_page_bytes(ac->kind, ac->d_value));
        float *key = check_take(4 * d_key, true), *value = check_take(4 * d_value, true);
        for (int32_t slot = 0; slot < R2I_PAGE_TOKENS && p * R2I_PAGE_TOKENS + slot < ac->n_filled; slot++) {
            check_fill(random, key, d_key, 1.0F);
            check_fill(random, value, d_value, 1.0F);
            kernels->store_row(ac->kind, keys, values, slot, key, value, ac->d_key, ac->d_value);
        }
        ac->key_pages[p] = keys;
        ac->value_pages[p] = values;
    }
}

/* Causal rows, windows, and ranges that touch the chunk at one end, in the middle, or not at all. */
static void pick_range(attend_case *ac, check_random *random, int32_t row) {
    const int32_t first = ac->first_position, last = first + ac->n_filled;
    int32_t begin = 0, end = check_between(random, first, last);
    switch (check_below(random, 5)) {
    case 0: break;
    case 1: begin = end > 50 ? end - 50 : 0; break;
    case 2: begin = check_between(random, first, end); break;
    case 3: end = last; break;
    default: end = check_below(random, 2) == 0 ? first : last, begin = check_below(random, 2) == 0 ? end : 0; break;
    }
    ac->first_key[row] = begin;
    ac->end_key[row] = end;
}

static void make_case(attend_case *ac, check_random *random, r2i_row_kind kind, int32_t d_key, int32_t d_value) {
    *ac = (attend_case){.kind = kind, .d_key = d_key, .d_value = d_value};
    ac->n_pages = check_between(random, 1, check_below(random, 3) == 0 ? R2I_CHUNK_PAGES : 3);
    ac->n_filled = (ac->n_pages - 1) * R2I_PAGE_TOKENS + check_between(random, 1, R2I_PAGE_TOKENS);
    ac->first_position = R2I_CHUNK_PAGES * R2I_PAGE_TOKENS * check_below(random, 4);
    ac->n_rows = check_below(random, 3) == 0 ? check_between(random, 1, R2I_ATTEND_ROWS) : check_between(random, 1, 9);
    ac->q_stride = (size_t)(d_key + check_below(random, 20));
    ac->scale = 1.0F / sqrtf((float)d_key);
    const size_t n_q = (size_t)(ac->n_rows - 1) * ac->q_stride + (size_t)d_key;
    ac->q = check_take(4 * n_q, true);
    check_fill(random, ac->q, n_q, check_below(random, 4) == 0 ? 8.0F : 1.0F);
    ac->first_key = check_take(4 * (size_t)ac->n_rows, true);
    ac->end_key = check_take(4 * (size_t)ac->n_rows, true);
    for (int32_t i = 0; i < ac->n_rows; i++) pick_range(ac, random, i);
}

static attend_result run(const attend_case *ac, const r2i_kernels *kernels, int32_t first_row, int32_t n_rows,
                         bool is_at_end) {
    const size_t n = (size_t)n_rows, d = (size_t)ac->d_value;
    const attend_result result = {check_take(4 * n, is_at_end), check_take(4 * n, is_at_end),
                                  check_take(4 * n * d, is_at_end)};
    const r2i_attend_job job = {
        .rows = ac->kind,
        .d_key = ac->d_key,
        .d_value = ac->d_value,
        .key_pages = ac->key_pages,
        .value_pages = ac->value_pages,
        .n_pages = ac->n_pages,
        .first_position = ac->first_position,
        .n_rows = n_rows,
        .q = ac->q + (size_t)first_row * ac->q_stride,
        .q_stride = ac->q_stride,
        .first_key = ac->first_key + first_row,
        .end_key = ac->end_key + first_row,
        .scale = ac->scale,
        .out_max = result.max,
        .out_sum = result.sum,
        .out = result.out,
    };
    kernels->attend(&job);
    return result;
}

/* Scores differ by f32 rounding: 256 products of size 8 (q) give up to about 3e-5, and weights by as
 * much relatively.  With BF16 rows a weight near the middle of two BF16 numbers may fall either way,
 * 2^-8 of it; that is rare, so few elements may be beyond the narrow bound. */
static void check_result(const attend_case *ac, const attend_result *found, const attend_result *expected) {
    const double wide = ac->kind == R2I_ROWS_BF16 ? 0x1p-8 : 2e-4, narrow = 2e-4;
    int32_t n_beyond = 0;
    for (int32_t i = 0; i < ac->n_rows; i++) {
        const double sum = (double)expected->sum[i], max = (double)expected->max[i];
        CHECK(check_near(found->max[i], max, 1.0 + fabs(max), 1e-5), "row %d: max %.9g, found %.9g", (int)i, max,
              (double)found->max[i]);
        CHECK(check_near(found->sum[i], sum, sum, wide), "row %d: sum %.9g, found %.9g", (int)i, sum,
              (double)found->sum[i]);
        if (max == -INFINITY) CHECK(found->sum[i] == 0.0F, "row %d sees nothing", (int)i);
        for (int32_t c = 0; c < ac->d_value; c++) {
            const size_t at = (size_t)i * (size_t)ac->d_value + (size_t)c;
            const double out = (double)expected->out[at], error = fabs((double)found->out[at] - out);
            /* Values are up to 3.5 in size. */
            CHECK(error <= 3.5 * wide * sum, "row %d channel %d: %.9g, found %.9g, sum %.9g", (int)i, (int)c, out,
                  (double)found->out[at], sum);
            n_beyond += error > narrow * sum;
        }
    }
    CHECK(n_beyond <= 4 + ac->n_rows * ac->d_value / 20, "%d of %d elements beyond the narrow bound", (int)n_beyond,
          (int)(ac->n_rows * ac->d_value));
}

static void check_rows_alone(const attend_case *ac, const r2i_kernels *kernels, const attend_result *all,
                             check_random *random) {
    const size_t d = (size_t)ac->d_value;
    for (int i = 0; i < 4; i++) {
        const int32_t first = check_below(random, ac->n_rows);
        const int32_t n = i < 2 ? 1 : check_between(random, 1, ac->n_rows - first);
        const attend_result some = run(ac, kernels, first, n, true);
        check_equal(some.max, all->max + first, (size_t)n, "max of rows alone");
        check_equal(some.sum, all->sum + first, (size_t)n, "sum of rows alone");
        check_equal(some.out, all->out + (size_t)first * d, (size_t)n * d, "out of rows alone");
    }
}

static void run_case(r2i_row_kind kind, int32_t d_key, int32_t d_value, unsigned seed) {
    const check_table *tables;
    const int n_tables = check_tables(&tables);
    check_random random = {seed};
    attend_case ac;
    make_case(&ac, &random, kind, d_key, d_value);
    fill_pages(&ac, &random, check_ref());
    const attend_result expected = run(&ac, check_ref(), 0, ac.n_rows, true);
    for (int i = 0; i < n_tables; i++) {
        check_case("%s: %s rows, seed %u, d_key %d, d_value %d, rows %d, pages %d, filled %d", tables[i].name,
                   kind == R2I_ROWS_F32 ? "F32" : "BF16", seed, (int)d_key, (int)d_value, (int)ac.n_rows,
                   (int)ac.n_pages, (int)ac.n_filled);
        const attend_result found = run(&ac, &tables[i].kernels, 0, ac.n_rows, seed % 2 == 0);
        check_result(&ac, &found, &expected);
        check_rows_alone(&ac, &tables[i].kernels, &found, &random);
    }
    check_release();
}

static void test_attend(void **state) {
    (void)state;
    static const int32_t widths[] = {16, 32, 48, 64, 80, 96, 112, 128, 176, 192, 256, 1, 17, 33, 90};
    enum { N_WIDTHS = sizeof widths / sizeof *widths };
    for (unsigned seed = 0; seed < 4 * N_WIDTHS; seed++) {
        const int32_t d_key = widths[seed % N_WIDTHS], d_value = widths[(seed * 7 + seed / N_WIDTHS) % N_WIDTHS];
        run_case(R2I_ROWS_F32, d_key, seed % 3 == 0 ? d_value : d_key, seed);
        run_case(R2I_ROWS_BF16, d_key, seed % 3 == 0 ? d_value : d_key, seed);
    }
    run_case(R2I_ROWS_F32, R2I_MAX_HEAD, R2I_MAX_HEAD, 5);
    run_case(R2I_ROWS_BF16, R2I_MAX_HEAD, R2I_MAX_HEAD, 5);
    run_case(R2I_ROWS_F32, 576, 512, 6); /* latent attention's */
    run_case(R2I_ROWS_BF16, 576, 512, 6);
}

/* All slots of a page in any order: the same bytes as ref's, and no other byte touched. */
static void check_store(const check_table *table, r2i_row_kind kind, int32_t d_key, int32_t d_value) {
    const size_t key_bytes = r2i_key_page_bytes(kind, d_key), value_bytes = r2i_value_page_bytes(kind, d_value);
    check_random random = {(uint64_t)(d_key * 1000 + d_value)};
    uint8_t *keys[2], *values[2];
    for (int i = 0; i < 2; i++) {
        keys[i] = check_take(key_bytes, true);
        values[i] = check_take(value_bytes, true);
    }
    float *key = check_take(4 * (size_t)d_key, true), *value = check_take(4 * (size_t)d_value, true);
    check_case("%s: store_row %s, d_key %d, d_value %d", table->name, r2i_row_kind_name(kind), (int)d_key,
               (int)d_value);
    for (int k = 0; k < 70; k++) {
        const int32_t slot = check_below(&random, R2I_PAGE_TOKENS);
        check_fill(&random, key, (size_t)d_key, 1.0F);
        check_fill(&random, value, (size_t)d_value, 1.0F);
        check_ref()->store_row(kind, keys[0], values[0], slot, key, value, d_key, d_value);
        table->kernels.store_row(kind, keys[1], values[1], slot, key, value, d_key, d_value);
        CHECK(memcmp(keys[0], keys[1], key_bytes) == 0, "keys differ after slot %d", (int)slot);
        CHECK(memcmp(values[0], values[1], value_bytes) == 0, "values differ after slot %d", (int)slot);
    }
    check_release();
}

static void test_store_row(void **state) {
    (void)state;
    static const int32_t widths[] = {1, 2, 15, 16, 17, 48, 64, 80, 128, 192, 255, 256};
    const check_table *tables;
    const int n_tables = check_tables(&tables);
    for (int i = 0; i < n_tables; i++) {
        for (size_t k = 0; k < sizeof widths / sizeof *widths; k++) {
            for (int kind = R2I_ROWS_F32; kind <= R2I_ROWS_Q8; kind++)
                check_store(&tables[i], (r2i_row_kind)kind, widths[k], widths[(k * 5 + 3) % 12]);
        }
    }
}

static void check_merge(const r2i_kernels *kernels, int32_t d, float max_a, float max_b, unsigned seed) {
    check_random random = {seed};
    const size_t n = (size_t)d;
    float *a = check_take(4 * n, seed % 2 == 0), *b = check_take(4 * n, true), *before = check_take(4 * n, true);
    check_fill(&random, a, n, max_a == -INFINITY ? 0.0F : 1.0F);
    check_fill(&random, b, n, max_b == -INFINITY ? 0.0F : 1.0F);
    memcpy(before, a, 4 * n);
    const float sum_b = max_b == -INFINITY ? 0.0F : 3.0F, old_sum = max_a == -INFINITY ? 0.0F : 2.0F;
    float max = max_a, sum = old_sum;
    kernels->attend_merge(&max, &sum, a, max_b, sum_b, b, d);
    const double top = fmax((double)max_a, (double)max_b);
    const double x = max_a == -INFINITY ? 0.0 : exp((double)max_a - top);
    const double y = max_b == -INFINITY ? 0.0 : exp((double)max_b - top);
    CHECK((double)max == top, "max %g, found %g", top, (double)max);
    CHECK(check_near(sum, x * (double)old_sum + y * (double)sum_b, 5.0, 1e-6), "sum %g", (double)sum);
    for (int32_t c = 0; c < d; c++) {
        const double e = x * (double)before[c] + y * (double)b[c];
        CHECK(check_near(a[c], e, 4.0, 1e-6), "channel %d: expected %.9g, found %.9g", (int)c, e, (double)a[c]);
        if (max_b == -INFINITY) CHECK(a[c] == before[c], "channel %d changed by an empty part", (int)c);
    }
    check_release();
}

static void test_merge(void **state) {
    (void)state;
    static const float maxima[] = {0.0F, 1.5F, -3.0F, 90.0F, -200.0F, -INFINITY};
    const check_table *tables;
    const int n_tables = check_tables(&tables);
    for (int i = -1; i < n_tables; i++) {
        for (int32_t d = 0; d <= 200; d++) {
            const float a = maxima[d % 6], b = maxima[d / 6 % 6];
            check_case("%s: merge, d and seed %d, maxima %g %g", i < 0 ? "ref" : tables[i].name, (int)d, (double)a,
                       (double)b);
            check_merge(i < 0 ? check_ref() : &tables[i].kernels, d, a, b, (unsigned)d);
        }
    }
}

/* A NaN in a visible key or value makes the rows NaN that see it, and leaves the others alone. */
static void test_nan(void **state) {
    (void)state;
    const check_table *tables;
    const int n_tables = check_tables(&tables);
    for (int i = -1; i < n_tables; i++) {
        const r2i_kernels *kernels = i < 0 ? check_ref() : &tables[i].kernels;
        for (int k = 0; k < 4; k++) {
            const r2i_row_kind kind = k % 2 == 0 ? R2I_ROWS_F32 : R2I_ROWS_BF16;
            check_random random = {3};
            attend_case ac;
            make_case(&ac, &random, kind, 64, 64);
            fill_pages(&ac, &random, kernels);
            for (int32_t row = 0; row < ac.n_rows; row++) {
                ac.first_key[row] = ac.first_position;
                ac.end_key[row] = ac.first_position + 1 + row % 2 * (ac.n_filled - 1);
            }
            const int32_t slot = (ac.n_filled - 1) % R2I_PAGE_TOKENS;
            float key[64] = {0}, value[64] = {0};
            *(k < 2 ? &key[5] : &value[5]) = NAN;
            uint8_t *pages[2];
            for (int j = 0; j < 2; j++) {
                const size_t n = j == 0 ? r2i_key_page_bytes(kind, 64) : r2i_value_page_bytes(kind, 64);
                pages[j] = check_take(n, true);
                memcpy(pages[j], j == 0 ? ac.key_pages[ac.n_pages - 1] : ac.value_pages[ac.n_pages - 1], n);
            }
            kernels->store_row(kind, pages[0], pages[1], slot, key, value, 64, 64);
            ac.key_pages[ac.n_pages - 1] = pages[0];
            ac.value_pages[ac.n_pages - 1] = pages[1];
            check_case("%s: NaN in a %s, %s rows", i < 0 ? "ref" : tables[i].name, k < 2 ? "key" : "value",
                       kind == R2I_ROWS_F32 ? "F32" : "BF16");
            const attend_result found = run(&ac, kernels, 0, ac.n_rows, true);
            for (int32_t row = 1; row < ac.n_rows; row += 2) {
                CHECK(isnan(found.out[row * 64 + 5]), "row %d saw it", (int)row);
            }
            check_release();
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store_row),
        cmocka_unit_test(test_attend),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
