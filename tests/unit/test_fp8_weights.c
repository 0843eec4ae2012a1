/* test_fp8_weights.c - checkpoints of 8-bit blocks that lack what they need are refused in one line;
 * codes that are no numbers are read as such.  The golden checkpoint is copied with some bytes
 * changed. */
#define _GNU_SOURCE /* mkdtemp, memmem */
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

#include "r2lm/text.h"

enum { PATH_BYTES = 1024 };

typedef struct {
    uint8_t *bytes;
    size_t n_bytes;
} file;

static file read_file(const char *name) {
    char path[PATH_BYTES];
    const char *folder = getenv("R2LM_GOLDEN_DIR");
    snprintf(path, sizeof path, "%s/deepseek_v3_fp8/%s",
             folder != NULL && folder[0] != '\0' ? folder : R2LM_DEFAULT_GOLDEN_DIR, name);
    FILE *stream = fopen(path, "rb");
    if (stream == NULL) fail_msg("cannot open %s", path);
    fseek(stream, 0, SEEK_END);
    file f = { NULL, (size_t)ftell(stream) };
    rewind(stream);
    f.bytes = malloc(f.n_bytes);
    assert_int_equal(fread(f.bytes, 1, f.n_bytes, stream), f.n_bytes);
    fclose(stream);
    return f;
}

static void write_file(const char *folder, const char *name, const file *f) {
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *stream = fopen(path, "wb");
    assert_non_null(stream);
    assert_int_equal(fwrite(f->bytes, 1, f->n_bytes, stream), f->n_bytes);
    assert_int_equal(fclose(stream), 0);
}

static void make_folder(char folder[32], const file *tensors) {
    strcpy(folder, "/tmp/r2lm_fp8_XXXXXX");
    assert_non_null(mkdtemp(folder));
    const file config = read_file("config.json");
    write_file(folder, "config.json", &config);
    write_file(folder, "model.safetensors", tensors);
    free(config.bytes);
}

static void remove_folder(const char *folder) {
    static const char *const names[] = { "config.json", "model.safetensors" };
    char path[PATH_BYTES];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(rmdir(folder), 0);
}

/* In the header: `from`, the first one behind `after`, becomes `to` of the same length. */
static const struct {
    const char *after, *from, *to, *expected;
} cases[] = {
    { "model.layers.0.self_attn.q_a_proj.weight", "scale_inv", "scale_xxx",
      "model.layers.0.self_attn.q_a_proj.weight_scale_inv: expected a tensor" },
    { "model.layers.2.mlp.experts.7.up_proj.weight", "scale_inv", "scale_xxx",
      "model.layers.2.mlp.experts.7.up_proj.weight_scale_inv: expected a tensor" },
    { "model.layers.0.mlp.down_proj.weight_scale_inv", "[2,2]", "[4,1]",
      "model.layers.0.mlp.down_proj.weight_scale_inv: expected [1, 2, 2], found [1, 4, 1]" },
    { "model.layers.1.self_attn.kv_b_proj.weight_scale_inv", "F32", "I32", "I32" },
    { "model.layers.1.self_attn.o_proj.weight_scale_inv", "[2,1]", "[1,2]",
      "o_proj.weight_scale_inv: expected [1, 2, 1], found [1, 1, 2]" },
};

static void test_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char folder[32];
        r2_error err;
        r2_model *model;
        file f = read_file("model.safetensors");
        uint8_t *at = memmem(f.bytes, f.n_bytes, cases[i].after, strlen(cases[i].after));
        assert_non_null(at);
        at = memmem(at, f.n_bytes - (size_t)(at - f.bytes), cases[i].from, strlen(cases[i].from));
        assert_non_null(at);
        memcpy(at, cases[i].to, strlen(cases[i].to));
        make_folder(folder, &f);
        assert_int_not_equal(r2_model_open(&model, folder, NULL, &err), R2_OK);
        if (strstr(err.text, cases[i].expected) == NULL) fail_msg("case %zu: %s", i, err.text);
        remove_folder(folder);
        free(f.bytes);
    }
}

/* Logits behind a prompt of one token, with code `code` for all of the data's last bytes: the file's
 * last tensor is 8-bit. */
static float first_logit(uint8_t code, bool is_changed) {
    char folder[32];
    r2_error err;
    r2_model *model;
    r2_engine *engine;
    r2_sequence *s;
    int32_t n_active = 1;
    const r2_token token = 5;
    const r2_sequence_options manual = { .is_manual = true };
    file f = read_file("model.safetensors");
    if (is_changed) memset(f.bytes + f.n_bytes - 64, code, 64);
    make_folder(folder, &f);
    if (r2_model_open(&model, folder, NULL, &err) != R2_OK ||
        r2_engine_create(&engine, model, NULL, &err) != R2_OK ||
        r2_sequence_create(&s, engine, &manual, &err) != R2_OK ||
        r2_sequence_append(s, &token, 1, &err) != R2_OK)
        fail_msg("%s", err.text);
    while (n_active > 0) {
        if (r2_engine_step(engine, &n_active, &err) != R2_OK) fail_msg("%s", err.text);
    }
    const float logit = r2_sequence_logits(s)[0];
    r2_sequence_destroy(s);
    r2_engine_destroy(engine);
    r2_model_close(model);
    remove_folder(folder);
    free(f.bytes);
    return logit;
}

static void test_no_numbers(void **state) {
    (void)state;
    assert_true(isfinite(first_logit(0, false)));
    assert_true(isfinite(first_logit(0x7e, true))); /* 448, the greatest */
    assert_true(isnan(first_logit(0x7f, true)));
    assert_true(isnan(first_logit(0xff, true)));
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_refused),
                                        cmocka_unit_test(test_no_numbers) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
