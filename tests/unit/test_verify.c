/* test_verify.c - which bytes of a stored type make a value that is no number. */
#define _GNU_SOURCE /* mkstemp, unlink */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "files/gguf_write.h"
#include "engine_runs.h"
#include "r2lm/convert.h"

enum { N_COLS = 512, N_ROWS = 3 };

static char path[64];

/* A file of one tensor and no configuration: the engine cannot open it, but its values are looked
 * at. */
static void write_file(r2i_type type, const void *bytes) {
    r2i_heap heap;
    r2i_gguf_writer *w;
    r2_error err;
    const int64_t ne[] = { N_COLS, N_ROWS };
    r2i_heap_init(&heap);
    must(r2i_gguf_writer_create(&w, &heap, &err), &err);
    must(r2i_gguf_writer_add_text(w, "general.architecture", "none", 4, &err), &err);
    must(r2i_gguf_writer_add_tensor(w, "x.weight", type, 2, ne, bytes, &err), &err);
    must(r2i_gguf_writer_begin(w, path, &err), &err);
    must(r2i_gguf_writer_finish(w, &err), &err);
    r2i_gguf_writer_destroy(w);
}

static int n_faults;

static void count_fault(void *user, const char *line) {
    (void)user;
    n_faults += strstr(line, "finite") != NULL;
}

static int64_t count_bad(r2i_type type, const void *bytes) {
    r2_verify_report report;
    r2_error err;
    const r2_verify_options options = { .n_threads = 2, .fault = count_fault };
    write_file(type, bytes);
    n_faults = 0;
    assert_int_equal(r2_verify(path, &options, &report, &err), R2_E_UNSUPPORTED);
    assert_int_equal(report.n_tensors, 1);
    assert_int_equal(report.n_values, N_COLS * N_ROWS);
    assert_int_equal(n_faults, report.n_bad_tensors);
    return report.n_bad_tensors;
}

/* Where the scales of a block lie (docs/formats.md); -1: none. */
typedef struct {
    r2i_type type;
    int first, second;
} scale_place;

static const scale_place f16_scales[] = {
    { R2I_TYPE_F16, 0, -1 },    { R2I_TYPE_Q4_0, 0, -1 },   { R2I_TYPE_Q4_1, 0, 2 },
    { R2I_TYPE_Q5_0, 0, -1 },   { R2I_TYPE_Q5_1, 0, 2 },    { R2I_TYPE_Q8_0, 0, -1 },
    { R2I_TYPE_Q2_K, 80, 82 },  { R2I_TYPE_Q3_K, 108, -1 }, { R2I_TYPE_Q4_K, 0, 2 },
    { R2I_TYPE_Q5_K, 0, 2 },    { R2I_TYPE_Q6_K, 208, -1 }, { R2I_TYPE_IQ4_NL, 0, -1 },
    { R2I_TYPE_IQ4_XS, 0, -1 },
};

static size_t tensor_bytes(r2i_type type) {
    return N_ROWS * r2i_type_row_bytes(type, N_COLS);
}

/* All other bytes are 0x3c: as a float or a scale a finite number. */
static void spoil(uint8_t *bytes, r2i_type type, int place, uint16_t bits) {
    const size_t n = tensor_bytes(type), block = (size_t)r2i_type_get(type)->block_bytes;
    memset(bytes, 0x3c, n);
    memcpy(bytes + n - block + place, &bits, sizeof bits); /* of the last block */
}

static void test_scales_of_blocks(void **state) {
    (void)state;
    static uint8_t bytes[N_ROWS * N_COLS * 4];
    for (size_t i = 0; i < sizeof f16_scales / sizeof *f16_scales; i++) {
        const scale_place *p = &f16_scales[i];
        const int places[] = { p->first, p->second };
        for (int k = 0; k < 2 && places[k] >= 0; k++) {
            spoil(bytes, p->type, places[k], 0x7bff); /* the largest number */
            assert_int_equal(count_bad(p->type, bytes), 0);
            spoil(bytes, p->type, places[k], 0xfc00); /* -infinity */
            assert_int_equal(count_bad(p->type, bytes), 1);
            spoil(bytes, p->type, places[k], 0x7e01); /* NaN */
            assert_int_equal(count_bad(p->type, bytes), 1);
        }
        if (r2i_type_get(p->type)->block_elements == 1) continue;
        /* Codes may be anything. */
        memset(bytes, 0xff, sizeof bytes);
        const size_t block = (size_t)r2i_type_get(p->type)->block_bytes;
        for (size_t at = 0; at < tensor_bytes(p->type); at += block) {
            memset(bytes + at + p->first, 0, 2);
            if (p->second >= 0) memset(bytes + at + p->second, 0, 2);
        }
        assert_int_equal(count_bad(p->type, bytes), 0);
    }
}

static void test_powers_of_two(void **state) {
    (void)state;
    static uint8_t bytes[N_ROWS * N_COLS];
    memset(bytes, 0xfe, sizeof bytes);
    assert_int_equal(count_bad(R2I_TYPE_MXFP4, bytes), 0);
    bytes[17 * 5] = 0xff;
    assert_int_equal(count_bad(R2I_TYPE_MXFP4, bytes), 1);
    bytes[17 * 5] = 0xfe;
    bytes[17 * 5 + 1] = 0xff; /* a code */
    assert_int_equal(count_bad(R2I_TYPE_MXFP4, bytes), 0);
}

static void test_floats(void **state) {
    (void)state;
    static float x[N_ROWS * N_COLS];
    static uint16_t h[N_ROWS * N_COLS];
    x[7] = 3e38f;
    assert_int_equal(count_bad(R2I_TYPE_F32, x), 0);
    x[N_ROWS * N_COLS - 1] = (float)-INFINITY;
    assert_int_equal(count_bad(R2I_TYPE_F32, x), 1);
    h[9] = 0x7f7f;
    assert_int_equal(count_bad(R2I_TYPE_BF16, h), 0);
    h[N_ROWS * N_COLS - 1] = 0x7f80;
    assert_int_equal(count_bad(R2I_TYPE_BF16, h), 1);
}

static int make_path(void **state) {
    (void)state;
    strcpy(path, "/tmp/r2lm-verify-XXXXXX");
    const int fd = mkstemp(path);
    if (fd >= 0) close(fd);
    return fd >= 0 ? 0 : -1;
}

static int remove_path(void **state) {
    (void)state;
    return unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scales_of_blocks),
        cmocka_unit_test(test_powers_of_two),
        cmocka_unit_test(test_floats),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
