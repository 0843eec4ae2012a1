/* Guarded memory needs mmap and mprotect, which strict C11 headers hide. */
#define _GNU_SOURCE
#include "kernel_check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/half.h"
#include "kernels/act_rows.h"

enum { MAX_TAKEN = 4096 };

static struct {
    void *map;
    size_t bytes;
} taken[MAX_TAKEN];
static int n_taken;
static char case_text[512];

static void add_table(check_table *table, const r2i_cpu *cpu, r2i_level level, bool has_features) {
    r2i_cpu limited = *cpu;
    if (!has_features) limited.features = 0;
    r2i_kernels_init(&table->kernels, &limited, level);
    snprintf(table->name, sizeof table->name, "%s%s", r2i_level_name(level), has_features ? "" : " (no extras)");
}

/* How many entries a level has of its own. */
static int count_own(const r2i_kernels *kernels) {
    const r2i_kernels *portable = check_portable();
    int n = 0;
    for (int k = 0; k < R2I_TYPE_LIMIT; k++) {
        n += kernels->pack[k] != portable->pack[k];
        n += kernels->dequantize[k] != portable->dequantize[k];
        n += kernels->matmul[k] != portable->matmul[k];
    }
    for (int k = 0; k < 3; k++) n += kernels->act[k] != portable->act[k];
    n += (kernels->rmsnorm != portable->rmsnorm) + (kernels->silu_mul != portable->silu_mul);
    n += (kernels->rope != portable->rope) + (kernels->store_row != portable->store_row);
    n += (kernels->attend != portable->attend) + (kernels->attend_merge != portable->attend_merge);
    n += (kernels->expand_keys != portable->expand_keys);
    n += (kernels->expand_values != portable->expand_values);
    n += (kernels->latent_values != portable->latent_values);
    n += (kernels->log_sum_exp != portable->log_sum_exp) + (kernels->softmax != portable->softmax);
    return n;
}

int check_tables(const check_table **tables) {
    static check_table all[CHECK_MAX_TABLES];
    static int n = 0;
    *tables = all;
    if (n > 0) return n;
    r2i_cpu cpu;
    r2i_cpu_detect(&cpu);
    for (int level = R2I_LEVEL_PORTABLE; level < R2I_N_LEVELS; level++) {
        if (level > (int)cpu.level) {
            print_message("level %-8s ABSENT on this machine, not tested\n", r2i_level_name((r2i_level)level));
            continue;
        }
        add_table(&all[n++], &cpu, (r2i_level)level, true);
        print_message("level %-8s runs, %d entries other than portable's\n", r2i_level_name((r2i_level)level),
                      count_own(&all[n - 1].kernels));
        if (level > R2I_LEVEL_PORTABLE && cpu.features != 0) {
            add_table(&all[n++], &cpu, (r2i_level)level, false);
        }
    }
    return n;
}

const r2i_kernels *check_ref(void) {
    static r2i_kernels ref;
    const r2i_cpu cpu = {.level = R2I_LEVEL_PORTABLE};
    if (ref.rmsnorm == NULL) r2i_kernels_init(&ref, &cpu, R2I_LEVEL_REF);
    return &ref;
}

const r2i_kernels *check_portable(void) {
    static r2i_kernels portable;
    const r2i_cpu cpu = {.level = R2I_LEVEL_PORTABLE};
    if (portable.rmsnorm == NULL) r2i_kernels_init(&portable, &cpu, R2I_LEVEL_PORTABLE);
    return &portable;
}

void *check_take(size_t n_bytes, bool is_at_end) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t inside = n_bytes == 0 ? page : (n_bytes + page - 1) / page * page;
    uint8_t *map = mmap(NULL, inside + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || n_taken == MAX_TAKEN) check_failed("no memory for the test itself");
    if (mprotect(map + page, inside, PROT_READ | PROT_WRITE) != 0) check_failed("mprotect");
    taken[n_taken].map = map;
    taken[n_taken++].bytes = inside + 2 * page;
    memset(map + page, 0xa5, inside);
    return is_at_end ? map + page + inside - n_bytes : map + page;
}

void check_release(void) {
    while (n_taken > 0) {
        n_taken--;
        munmap(taken[n_taken].map, taken[n_taken].bytes);
    }
}

uint32_t check_bits(check_random *random) {
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)(z >> 32);
}

int32_t check_below(check_random *random, int32_t n) { return (int32_t)(check_bits(random) % (uint32_t)n); }

int32_t check_between(check_random *random, int32_t begin, int32_t end) {
    return begin + check_below(random, end - begin + 1);
}

float check_normal(check_random *random) {
    int32_t sum = 0;
    for (int i = 0; i < 4; i++) sum += (int32_t)(check_bits(random) >> 16) - 32768;
    return (float)sum * (1.0F / 37837.0F); /* four uniform numbers: deviation 2 * 65536 / sqrt(12) */
}

void check_fill(check_random *random, float *x, size_t n, float size) {
    for (size_t i = 0; i < n; i++) x[i] = size * check_normal(random);
}

/* Where the f16 scale and the f16 minimum of a block lie; -1: none. */
static void scale_places(r2i_type type, int *d, int *m) {
    *d = 0;
    *m = -1;
    switch (type) {
    case R2I_TYPE_Q4_1:
    case R2I_TYPE_Q5_1:
    case R2I_TYPE_Q4_K:
    case R2I_TYPE_Q5_K: *m = 2; break;
    case R2I_TYPE_Q2_K: *d = 80, *m = 82; break;
    case R2I_TYPE_Q3_K: *d = 108; break;
    case R2I_TYPE_Q6_K: *d = 208; break;
    default: break;
    }
}

static void put_scale(check_random *random, uint8_t *to) {
    const uint16_t h = r2i_f16_from_f32(0.01F * check_normal(random));
    memcpy(to, &h, sizeof h);
}

static void put_scales(check_random *random, r2i_type type, uint8_t *block) {
    int d, m;
    if (type == R2I_TYPE_MXFP4) {
        block[0] = (uint8_t)check_between(random, 115, 125);
        return;
    }
    scale_places(type, &d, &m);
    put_scale(random, block + d);
    if (m >= 0) put_scale(random, block + m);
}

void check_fill_codes(check_random *random, r2i_type type, uint8_t *rows, int32_t n_rows, int32_t n_cols, int byte) {
    const r2i_type_info *info = r2i_type_get(type);
    const int64_t n_blocks = (int64_t)n_rows * n_cols / info->block_elements;
    for (int64_t k = 0; k < n_blocks; k++, rows += info->block_bytes) {
        for (int32_t i = 0; i < info->block_bytes; i++) rows[i] = (uint8_t)(byte < 0 ? (int)check_bits(random) : byte);
        put_scales(random, type, rows);
    }
}

void check_fill_stored(check_random *random, r2i_type type, uint8_t *rows, int32_t n_rows, int32_t n_cols) {
    const int64_t n = (int64_t)n_rows * n_cols;
    if (check_is_quantized(type)) {
        check_fill_codes(random, type, rows, n_rows, n_cols, -1);
        return;
    }
    for (int64_t k = 0; k < n; k++, rows += r2i_type_get(type)->block_bytes) {
        const float x = 0.05F * check_normal(random);
        const uint16_t f16 = r2i_f16_from_f32(x), bf16 = r2i_bf16_from_f32(x);
        if (type == R2I_TYPE_F32) {
            memcpy(rows, &x, sizeof x);
        } else {
            memcpy(rows, type == R2I_TYPE_F16 ? &f16 : &bf16, sizeof f16);
        }
    }
}

void check_case(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(case_text, sizeof case_text, format, args);
    va_end(args);
}

void check_failed(const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    print_error("case: %s\n  %s\n", case_text, text);
    fail();
    abort(); /* fail() does not return, but does not say so */
}

bool check_same(float a, float b) {
    return (isnan(a) && isnan(b)) || r2i_bits_from_f32(a) == r2i_bits_from_f32(b);
}

void check_equal(const float *found, const float *expected, size_t n, const char *what) {
    for (size_t i = 0; i < n; i++) {
        CHECK(check_same(found[i], expected[i]), "%s: element %zu: expected %.9g (%08x), found %.9g (%08x)", what, i,
              (double)expected[i], r2i_bits_from_f32(expected[i]), (double)found[i], r2i_bits_from_f32(found[i]));
    }
}

bool check_near(float found, double expected, double size, double tolerance) {
    if (isnan(expected)) return isnan(found);
    if (isinf(expected) || (float)expected != (float)expected) return (double)found == expected;
    return fabs((double)found - expected) <= tolerance * size + 0x1p-120; /* below: flushed to 0 */
}

int check_types(r2i_type types[R2I_TYPE_LIMIT]) {
    int n = 0;
    for (unsigned id = 0; id < R2I_TYPE_LIMIT; id++) {
        if (r2i_type_find(id) != NULL) types[n++] = (r2i_type)id;
    }
    return n;
}

bool check_is_quantized(r2i_type type) { return r2i_type_get(type)->block_elements > 1; }

const uint8_t *check_pack(const r2i_kernels *kernels, r2i_type layout, r2i_type type, const uint8_t *rows,
                          int32_t n_rows, int32_t n_cols) {
    const int32_t n_panels = (n_rows + R2I_PANEL_ROWS - 1) / R2I_PANEL_ROWS;
    const size_t panel_bytes = r2i_panel_bytes(layout, n_cols), row_bytes = r2i_type_row_bytes(type, (size_t)n_cols);
    uint8_t *packed = check_take(panel_bytes * (size_t)n_panels, true);
    uint8_t *panel = check_take(panel_bytes + 64, false); /* aligned, unlike a panel in the row of panels */
    for (int32_t p = 0; p < n_panels; p++) {
        const uint8_t *from[R2I_PANEL_ROWS] = {NULL};
        for (int32_t r = 0; r < R2I_PANEL_ROWS && p * R2I_PANEL_ROWS + r < n_rows; r++) {
            from[r] = rows + (size_t)(p * R2I_PANEL_ROWS + r) * row_bytes;
        }
        kernels->pack[layout](panel, type, from, n_cols);
        memcpy(packed + panel_bytes * (size_t)p, panel, panel_bytes);
    }
    return packed;
}

const uint8_t *check_act(const r2i_kernels *kernels, r2i_act_kind kind, const float *x, int32_t n_tokens,
                         int32_t n_cols) {
    const size_t stride = r2i_act_row_bytes(kind, n_cols);
    uint8_t *rows = check_take(stride * (size_t)n_tokens, true);
    for (int32_t t = 0; t < n_tokens; t++) {
        kernels->act[kind](rows + (size_t)t * stride, x + (size_t)t * (size_t)n_cols, n_cols, 0, n_cols);
    }
    return rows;
}

double check_act_value(r2i_act_kind kind, const uint8_t *row, int32_t c) {
    if (kind == R2I_ACT_F32) return (double)((const float *)(const void *)row)[c];
    if (kind == R2I_ACT_BF16) return (double)r2i_f32_from_bf16(((const uint16_t *)(const void *)row)[c]);
    const r2i_act_group *group = &r2i_act_groups(row)[c / R2I_GROUP];
    const int32_t level = group->q[c % R2I_GROUP] + r2i_start_zero(group->start);
    return (double)level * (double)group->scale;
}
