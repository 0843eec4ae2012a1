/* test_no_numbers.c - a model with one token whose embedding is NaN: it reaches what comes behind the
 * token and nothing else, neither in a batch nor as a guess that is not taken. */
#define _GNU_SOURCE /* mkdtemp */
#include <jansson.h>
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

#include "engine_runs.h"
#include "engine/engine_state.h"

enum { BAD_TOKEN = 7, N_PROMPT = 40, N_NEW = 24, FILE_BYTES = 1 << 20 };
static char folder[] = "/tmp/r2lm_no_numbers_XXXXXX";

static size_t read_golden(const char *name, uint8_t *bytes) {
    char path[1024];
    const char *golden = getenv("R2LM_GOLDEN_DIR");
    snprintf(path, sizeof path, "%.900s/qwen2/%s",
             golden != NULL && golden[0] != '\0' ? golden : R2LM_DEFAULT_GOLDEN_DIR, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    const size_t n = fread(bytes, 1, FILE_BYTES, file);
    fclose(file);
    assert_true(n > 0 && n < FILE_BYTES);
    return n;
}

static void write_copy(const char *name, const uint8_t *bytes, size_t n) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
}

/* The golden checkpoint with one row of the embedding overwritten. */
static int set_up(void **state) {
    static uint8_t bytes[FILE_BYTES];
    (void)state;
    assert_non_null(mkdtemp(folder));
    write_copy("config.json", bytes, read_golden("config.json", bytes));
    const size_t n = read_golden("model.safetensors", bytes);
    uint64_t header_bytes;
    memcpy(&header_bytes, bytes, sizeof header_bytes);
    json_t *header = json_loadb((const char *)bytes + 8, header_bytes, 0, NULL);
    const json_t *embedding = json_object_get(header, "model.embed_tokens.weight"),
                 *shape = json_object_get(embedding, "shape");
    const size_t d = (size_t)json_integer_value(json_array_get(shape, 1)),
                 offset = (size_t)json_integer_value(
                     json_array_get(json_object_get(embedding, "data_offsets"), 0));
    assert_string_equal(json_string_value(json_object_get(embedding, "dtype")), "F32");
    memset(bytes + 8 + header_bytes + offset + BAD_TOKEN * d * 4, 0xff, d * 4); /* NaN */
    json_decref(header);
    write_copy("model.safetensors", bytes, n);
    return 0;
}

static int tear_down(void **state) {
    char path[1024];
    (void)state;
    snprintf(path, sizeof path, "%s/config.json", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    unlink(path);
    return rmdir(folder);
}

typedef struct {
    float logprobs[N_PROMPT];
    r2_generated drawn[N_NEW];
    int32_t n_drawn;
    r2_finish finish;
} result;

static int32_t propose_bad(void *user, r2_sequence *s, int32_t cap, int32_t *out, int32_t *grade) {
    (void)user, (void)s;
    for (int32_t i = 0; i < cap; i++)
        out[i] = BAD_TOKEN;
    *grade = 0;
    return cap;
}

/* Place of the bad token in the prompt: -1 without. */
static void run(r2_cache_rows rows, const char *cpu, int32_t n_batch, int32_t bad_place,
                bool is_drafting, result *out) {
    static const r2i_drafter bad = { .propose = propose_bad, .is_eager = true };
    r2_error err;
    r2_model *model;
    r2_engine *engine;
    r2_sequence *s;
    r2_token prompt[N_PROMPT];
    const r2_logit_bias never = { BAD_TOKEN, -INFINITY };
    const r2_model_options model_options = { .cpu = cpu };
    const r2_engine_options options = { .n_batch_tokens = n_batch,
                                        .n_sequences = 2,
                                        .cache_rows = rows };
    const r2_sequence_options sequence_options = { .sampling = { .biases = &never, .n_biases = 1 },
                                                   .max_new_tokens = N_NEW,
                                                   .ignores_end = true,
                                                   .wants_prompt_logprobs = true,
                                                   .n_draft = is_drafting ? 5 : 0 };
    must(r2_model_open(&model, folder, &model_options, &err), &err);
    must(r2_engine_create(&engine, model, &options, &err), &err);
    if (is_drafting) r2i_engine_set_drafter(engine, &bad);
    must(r2_sequence_create(&s, engine, &sequence_options, &err), &err);
    for (int32_t i = 0; i < N_PROMPT; i++)
        prompt[i] = i == bad_place ? BAD_TOKEN : 10 + i * 3 % 80;
    must(r2_sequence_append(s, prompt, N_PROMPT, &err), &err);
    for (int32_t n_active = 1; n_active > 0;)
        must(r2_engine_step(engine, &n_active, &err), &err);
    r2_sequence_status status;
    r2_sequence_get_status(s, &status);
    memset(out, 0, sizeof *out);
    out->finish = status.finish;
    out->n_drawn = r2_sequence_read(s, out->drawn, N_NEW);
    (void)r2_sequence_prompt_logprobs(s, out->logprobs, N_PROMPT);
    r2_sequence_destroy(s);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

static const char *const levels[] = { "ref", "portable", "avx2", "avx512" };
enum { N_LEVELS = sizeof levels / sizeof *levels };

static void test_guess_not_taken(void **state) {
    (void)state;
    for (int l = 0; l < N_LEVELS; l++) {
        for (int rows = R2_CACHE_BF16; rows <= R2_CACHE_Q8; rows++) {
            result plain, drafted;
            run((r2_cache_rows)rows, levels[l], 64, -1, false, &plain);
            run((r2_cache_rows)rows, levels[l], 64, -1, true, &drafted);
            assert_int_equal(plain.finish, R2_FINISH_LENGTH);
            assert_int_equal(plain.n_drawn, N_NEW);
            assert_memory_equal(&plain, &drafted, sizeof plain);
        }
    }
}

static void test_before_and_behind(void **state) {
    (void)state;
    const int32_t place = 21;
    for (int l = 0; l < N_LEVELS; l++) {
        result clean, whole, single;
        run(R2_CACHE_BF16, levels[l], 64, -1, false, &clean);
        run(R2_CACHE_BF16, levels[l], 64, place, false, &whole);
        run(R2_CACHE_BF16, levels[l], 1, place, false, &single);
        assert_int_equal(whole.finish, R2_FINISH_ERROR);
        assert_int_equal(single.finish, R2_FINISH_ERROR);
        assert_int_equal(whole.n_drawn, 0);
        assert_int_equal(single.n_drawn, 0);
        /* Of the tokens before it, at [i - 1]. */
        const size_t n_bytes = (size_t)(place - 1) * sizeof(float);
        assert_memory_equal(clean.logprobs, whole.logprobs, n_bytes);
        assert_memory_equal(clean.logprobs, single.logprobs, n_bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_guess_not_taken),
                                        cmocka_unit_test(test_before_and_behind) };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
