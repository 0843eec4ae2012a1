/* test_engine.c - exactness and bookkeeping of engines on the golden toy checkpoints.
 *
 * The same tokens, bit for bit their log-probabilities, must come out whatever surrounds a sequence:
 * threads, batch size, company, cached prefix, fork, rewind, a file in between. */
#define _GNU_SOURCE /* mkstemp, truncate */
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
#include "r2lm/text.h"

enum { N_PROMPT = 300, N_NEW = 40, CAP = 512 };

typedef struct {
    int32_t n;
    r2_generated items[CAP];
} output;

static void read_all(r2_sequence *s, output *out) {
    out->n = r2_sequence_read(s, out->items, CAP);
}

static void assert_same(const output *a, const output *b) {
    assert_int_equal(a->n, b->n);
    for (int32_t i = 0; i < a->n; i++) {
        assert_int_equal(a->items[i].token, b->items[i].token);
        assert_memory_equal(&a->items[i].logprob, &b->items[i].logprob, sizeof(float));
    }
}

static const r2_sequence_options warm = {
    .sampling = { .temperature = 0.9f, .top_p = 0.95f, .seed = 7 },
    .max_new_tokens = N_NEW,
    .ignores_end = true
};

static void generate(r2_model *model, const r2_engine_options *options, output *out) {
    r2_engine *engine = make_engine(model, options);
    r2_sequence *s = start_sequence(engine, &warm, N_PROMPT, 1);
    run_engine(engine);
    read_all(s, out);
    r2_sequence_destroy(s);
    r2_engine_destroy(engine);
}

static void check_surroundings(const char *name) {
    r2_model *model = open_model(name);
    output base, other;
    generate(model, &(r2_engine_options){ .n_threads = 1, .n_context = CAP }, &base);
    assert_int_equal(base.n, N_NEW);
    generate(model, &(r2_engine_options){ .n_threads = 2, .n_context = CAP }, &other);
    assert_same(&base, &other);
    generate(model, &(r2_engine_options){ .n_threads = 3, .n_batch_tokens = 17, .n_context = CAP },
             &other);
    assert_same(&base, &other);
    generate(model, &(r2_engine_options){ .n_threads = 2, .n_batch_tokens = 1, .n_context = CAP },
             &other);
    assert_same(&base, &other);
    r2_model_close(model);
}

static void test_threads_and_batches(void **state) {
    (void)state;
    check_surroundings("llama");
    check_surroundings("qwen2_yarn");
    check_surroundings("qwen3_moe");
    check_surroundings("deepseek_v3");
}

static void check_unpacked(const char *name) {
    r2_error err;
    output packed, unpacked;
    r2_model *model = open_model(name);
    generate(model, NULL, &packed);
    r2_model_close(model);
    const r2_model_options options = { .is_unpacked = true };
    must(r2_model_open(&model, golden_path(name), &options, &err), &err);
    generate(model, NULL, &unpacked);
    r2_model_close(model);
    assert_same(&packed, &unpacked);
}

static void test_unpacked_same_bits(void **state) {
    (void)state;
    check_unpacked("qwen2");
    check_unpacked("deepseek_v2");
    check_unpacked("deepseek_v3/model.gguf");
}

static void check_company(const char *name) {
    r2_model *model = open_model(name);
    output alone, among;
    generate(model, NULL, &alone);
    r2_engine *engine = make_engine(model, &(r2_engine_options){ .n_batch_tokens = 64 });
    r2_sequence *others[6];
    for (int32_t i = 0; i < 6; i++)
        others[i] = start_sequence(engine, &warm, 50 + 31 * i, 40 + i);
    r2_sequence *s = start_sequence(engine, &warm, N_PROMPT, 1);
    run_engine(engine);
    read_all(s, &among);
    assert_same(&alone, &among);
    for (int32_t i = 0; i < 6; i++)
        r2_sequence_destroy(others[i]);
    r2_sequence_destroy(s);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

static void test_company(void **state) {
    (void)state;
    check_company("qwen3");
    check_company("deepseek_v3"); /* latent rows */
}

static void check_prefix_cache(const char *name) {
    r2_model *model = open_model(name);
    r2_engine *engine = make_engine(model, NULL);
    output cold, cached, foreign;
    r2_sequence_status status;
    r2_sequence *s = start_sequence(engine, &warm, N_PROMPT, 1);
    run_engine(engine);
    read_all(s, &cold);
    r2_sequence_destroy(s);
    s = start_sequence(engine, &warm, N_PROMPT, 1);
    run_engine(engine);
    read_all(s, &cached);
    r2_sequence_get_status(s, &status);
    assert_int_equal(status.n_cached, N_PROMPT - 1);
    assert_same(&cold, &cached);
    r2_sequence_destroy(s);
    r2_sequence_options elsewhere = warm;
    elsewhere.cache_domain = 5;
    s = start_sequence(engine, &elsewhere, N_PROMPT, 1);
    run_engine(engine);
    read_all(s, &foreign);
    r2_sequence_get_status(s, &status);
    assert_int_equal(status.n_cached, 0); /* another domain sees nothing */
    assert_same(&cold, &foreign);
    r2_sequence_destroy(s);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

static void test_prefix_cache(void **state) {
    (void)state;
    check_prefix_cache("llama");
    check_prefix_cache("deepseek_v3"); /* latent rows */
}

static void check_fork_and_rewind(const char *name) {
    r2_error err;
    r2_model *model = open_model(name);
    r2_engine *engine = make_engine(model, NULL);
    output first, again, forked;
    r2_sequence *s = start_sequence(engine, &warm, N_PROMPT, 1), *fork;
    run_engine(engine);
    read_all(s, &first);
    must(r2_sequence_rewind(s, N_PROMPT, &err), &err);
    must(r2_sequence_fork(&fork, s, &warm, &err), &err);
    must(r2_sequence_set_options(s, &warm, &err), &err);
    run_engine(engine); /* both write from the same half-filled page: copies must part */
    read_all(s, &again);
    read_all(fork, &forked);
    assert_same(&first, &again);
    assert_same(&first, &forked);
    assert_int_equal(r2_sequence_rewind(s, 10000, &err), R2_E_RANGE);
    r2_sequence_destroy(s);
    r2_sequence_destroy(fork);
    r2_engine_stats stats;
    r2_engine_get_stats(engine, &stats);
    assert_int_equal(stats.n_pages_used, 0);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

static void test_fork_and_rewind(void **state) {
    (void)state;
    check_fork_and_rewind("llama");
    check_fork_and_rewind("deepseek_v3"); /* latent rows */
}

static void check_save_and_load(const char *name) {
    r2_error err;
    char path[] = "/tmp/r2lm_sequence_XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    r2_model *model = open_model(name), *other = open_model("qwen2");
    r2_engine *engine = make_engine(model, NULL), *foreign = make_engine(other, NULL);
    output first, loaded;
    r2_sequence *s = start_sequence(engine, &warm, N_PROMPT, 1), *restored = NULL;
    run_engine(engine);
    read_all(s, &first);
    must(r2_sequence_rewind(s, N_PROMPT, &err), &err);
    must(r2_sequence_save(s, path, &err), &err);
    must(r2_sequence_load(&restored, engine, path, &warm, &err), &err);
    r2_sequence_destroy(s);
    run_engine(engine);
    read_all(restored, &loaded);
    assert_same(&first, &loaded);
    r2_sequence_destroy(restored);
    assert_int_equal(r2_sequence_load(&restored, foreign, path, NULL, &err), R2_E_MISMATCH);
    assert_null(restored);
    /* Any flipped bit is found; so is a missing end. */
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    for (long at = 70; at < 100000; at += 9973) {
        fseek(file, at, SEEK_SET);
        const int byte = fgetc(file);
        if (byte == EOF) break;
        fseek(file, at, SEEK_SET);
        fputc(byte ^ 16, file);
        fflush(file);
        assert_int_not_equal(r2_sequence_load(&restored, engine, path, NULL, &err), R2_OK);
        fseek(file, at, SEEK_SET);
        fputc(byte, file);
        fflush(file);
    }
    fclose(file);
    must(r2_sequence_load(&restored, engine, path, NULL, &err), &err);
    r2_sequence_destroy(restored);
    assert_int_equal(truncate(path, 1000), 0);
    assert_int_equal(r2_sequence_load(&restored, engine, path, NULL, &err), R2_E_FORMAT);
    assert_int_equal(r2_sequence_load(&restored, engine, "/nowhere/at/all", NULL, &err),
                     R2_E_NOT_FOUND);
    unlink(path);
    r2_engine_destroy(foreign);
    r2_engine_destroy(engine);
    r2_model_close(other);
    r2_model_close(model);
}

static void test_save_and_load(void **state) {
    (void)state;
    check_save_and_load("llama");
    check_save_and_load("deepseek_v3");
}

static void test_cancel_and_limits(void **state) {
    (void)state;
    r2_error err;
    r2_model *model = open_model("llama");
    r2_engine *engine =
        make_engine(model, &(r2_engine_options){ .n_context = 400, .n_sequences = 2 });
    r2_sequence_options endless = warm;
    endless.max_new_tokens = 0;
    r2_sequence *s = start_sequence(engine, &endless, 20, 3),
                *t = start_sequence(engine, &endless, 20, 4), *none;
    r2_sequence_status status;
    int32_t n_active;
    assert_int_equal(r2_sequence_create(&none, engine, NULL, &err), R2_E_FULL);
    must(r2_engine_step(engine, &n_active, &err), &err);
    assert_int_equal(n_active, 2);
    r2_sequence_cancel(s);
    run_engine(engine);
    r2_sequence_get_status(s, &status);
    assert_int_equal(status.finish, R2_FINISH_CANCELED);
    r2_sequence_get_status(t, &status);
    assert_int_equal(status.finish, R2_FINISH_LENGTH);
    assert_int_equal(status.n_tokens, 400);
    const r2_token outside = 100000, inside = 3;
    assert_int_equal(r2_sequence_append(s, &outside, 1, &err), R2_E_RANGE);
    assert_int_equal(r2_sequence_append(t, &inside, 1, &err), R2_E_FULL);
    r2_sequence_destroy(s);
    r2_sequence_destroy(t);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

/* A context that the prompt, a fork or a file fills to the last token has no place for another. */
static void test_full_prompt(void **state) {
    (void)state;
    r2_error err;
    r2_model *model = open_model("llama");
    r2_engine *engine = make_engine(model, &(r2_engine_options){ .n_context = 64 });
    r2_sequence *s = start_sequence(engine, &warm, 64, 1), *copy;
    must(r2_sequence_fork(&copy, s, &warm, &err), &err);
    run_engine(engine);
    r2_sequence *const both[] = { s, copy };
    for (int i = 0; i < 2; i++) {
        r2_sequence_status status;
        output out;
        r2_sequence_get_status(both[i], &status);
        assert_int_equal(status.finish, R2_FINISH_LENGTH);
        assert_int_equal(status.n_tokens, 64);
        assert_int_equal(status.n_generated, 0);
        read_all(both[i], &out);
        assert_int_equal(out.n, 0);
        r2_sequence_destroy(both[i]);
    }
    r2_engine_destroy(engine);
    r2_model_close(model);
}

/* What was canceled goes on after a rewind. */
static void test_rewind_after_cancel(void **state) {
    (void)state;
    r2_error err;
    r2_model *model = open_model("llama");
    r2_engine *engine = make_engine(model, &(r2_engine_options){ .n_context = CAP });
    r2_sequence *s = start_sequence(engine, &warm, 20, 3);
    r2_sequence_status status;
    r2_sequence_cancel(s);
    run_engine(engine);
    r2_sequence_get_status(s, &status);
    assert_int_equal(status.finish, R2_FINISH_CANCELED);
    must(r2_sequence_rewind(s, 20, &err), &err);
    run_engine(engine);
    r2_sequence_get_status(s, &status);
    assert_int_equal(status.finish, R2_FINISH_LENGTH);
    assert_int_equal(status.n_generated, N_NEW);
    r2_sequence_destroy(s);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

/* Two pages in all, three wanted by each of two sequences: one ends for lack of memory, with a reason. */
static void test_cache_full(void **state) {
    (void)state;
    r2_model *model = open_model("llama");
    r2_model_info info;
    r2_model_get_info(model, &info);
    const r2_engine_options small = { .n_context = 400,
                                      .cache_bytes = 2 * 128 * info.cache_bytes_per_token };
    r2_engine *engine = make_engine(model, &small);
    r2_sequence *s = start_sequence(engine, &warm, 300, 1);
    run_engine(engine);
    r2_sequence_status status;
    r2_sequence_get_status(s, &status);
    assert_int_equal(status.finish, R2_FINISH_MEMORY);
    r2_sequence_destroy(s);
    s = start_sequence(engine, &warm, 200, 1);
    run_engine(engine);
    r2_sequence_get_status(s, &status);
    assert_int_equal(status.n_generated, N_NEW);
    r2_sequence_destroy(s);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

static bool allow_only_even(void *user, const r2_sequence *s, uint32_t *allowed, int32_t n_vocab) {
    (void)s;
    for (int32_t i = 0; i <= n_vocab / 32; i++)
        allowed[i] &= 0x55555555u;
    ++*(int *)user;
    return true;
}

static bool allow_nothing(void *user, const r2_sequence *s, uint32_t *allowed, int32_t n_vocab) {
    (void)user;
    (void)s;
    memset(allowed, 0, ((size_t)n_vocab / 32 + 1) * sizeof *allowed);
    return true;
}

static void test_mask(void **state) {
    (void)state;
    r2_error err;
    int n_calls = 0;
    output out;
    r2_model *model = open_model("llama");
    r2_engine *engine = make_engine(model, NULL);
    r2_sequence_options masked = warm;
    masked.mask = allow_only_even;
    masked.user = &n_calls;
    r2_sequence *s = start_sequence(engine, &masked, 20, 1);
    run_engine(engine);
    read_all(s, &out);
    assert_int_equal(n_calls, N_NEW);
    for (int32_t i = 0; i < out.n; i++)
        assert_int_equal(out.items[i].token % 2, 0);
    r2_sequence_destroy(s);
    masked.mask = allow_nothing;
    s = start_sequence(engine, &masked, 20, 1);
    run_engine(engine);
    r2_sequence_status status;
    r2_sequence_get_status(s, &status);
    assert_int_equal(status.finish, R2_FINISH_ERROR);
    r2_sequence_destroy(s);
    /* By hand: logits, then a draw with a mask for this call. */
    const r2_sequence_options manual = { .is_manual = true };
    r2_token token = -1;
    s = start_sequence(engine, &manual, 20, 1);
    assert_int_equal(r2_sequence_sample(s, NULL, NULL, &token, &err), R2_E_STATE);
    run_engine(engine);
    assert_non_null(r2_sequence_logits(s));
    must(r2_sequence_sample(s, allow_only_even, &n_calls, &token, &err), &err);
    assert_int_equal(token % 2, 0);
    assert_int_equal(r2_sequence_sample(s, allow_nothing, NULL, &token, &err), R2_E_NOT_FOUND);
    r2_sequence_destroy(s);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

typedef struct {
    int32_t n_rows, next;
} hidden_count;

static void count_hidden(void *user, int32_t position, const float *row, int32_t d_model) {
    hidden_count *count = user;
    assert_int_equal(position, count->next);
    assert_true(d_model > 0 && row[0] == row[0]);
    count->n_rows++;
    count->next++;
}

static void test_prompt_logprobs_and_hidden(void **state) {
    (void)state;
    hidden_count count = { 0, 0 };
    float whole[CAP], split[CAP];
    r2_model *model = open_model("llama");
    r2_sequence_options options = {
        .is_manual = true, .wants_prompt_logprobs = true, .hidden = count_hidden, .user = &count
    };
    r2_engine *engine = make_engine(model, NULL);
    r2_sequence *s = start_sequence(engine, &options, N_PROMPT, 1);
    run_engine(engine);
    assert_int_equal(r2_sequence_prompt_logprobs(s, whole, CAP), N_PROMPT - 1);
    assert_int_equal(count.n_rows, N_PROMPT);
    r2_sequence_destroy(s);
    r2_engine_destroy(engine);
    engine = make_engine(model, &(r2_engine_options){ .n_batch_tokens = 13 });
    count = (hidden_count){ 0, 0 };
    s = start_sequence(engine, &options, N_PROMPT, 1);
    run_engine(engine);
    assert_int_equal(r2_sequence_prompt_logprobs(s, split, CAP), N_PROMPT - 1);
    assert_memory_equal(whole, split, (N_PROMPT - 1) * sizeof(float));
    for (int32_t i = 0; i < N_PROMPT - 1; i++)
        assert_true(whole[i] < 0);
    r2_sequence_destroy(s);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

/* ---- memory: an allocator that counts, and one that refuses ---- */

static int n_live, n_calls_made, refuse_at = -1;

static void *count_allocate(void *user, size_t n_bytes) {
    (void)user;
    if (n_calls_made++ == refuse_at) return NULL;
    n_live++;
    return aligned_alloc(16, (n_bytes + 15) / 16 * 16);
}

static void count_release(void *user, void *memory, size_t n_bytes) {
    (void)user;
    (void)n_bytes;
    n_live--;
    free(memory);
}

static void test_no_allocation_between_tokens(void **state) {
    (void)state;
    r2_error err;
    r2_model *model;
    const r2_model_options options = { .host = { .allocate = count_allocate,
                                                 .release = count_release } };
    must(r2_model_open(&model, golden_path("qwen3_moe"), &options, &err), &err);
    r2_engine *engine = make_engine(model, NULL);
    r2_sequence *s = start_sequence(engine, &warm, N_PROMPT, 1);
    const int before = n_calls_made;
    run_engine(engine);
    assert_int_equal(n_calls_made, before);
    r2_sequence_destroy(s);
    r2_engine_destroy(engine);
    r2_model_close(model);
    assert_int_equal(n_live, 0);
}

/* Every allocation of open and create refused once: an error each time, nothing leaked. */
static void test_refused_allocations(void **state) {
    (void)state;
    r2_error err;
    const r2_model_options options = { .host = { .allocate = count_allocate,
                                                 .release = count_release } };
    int n_refused = 0;
    for (int k = 0; k < 2000; k++) {
        r2_model *model = NULL;
        r2_engine *engine = NULL;
        n_calls_made = 0;
        refuse_at = k;
        r2_status status = r2_model_open(&model, golden_path("llama"), &options, &err);
        if (status == R2_OK) status = r2_engine_create(&engine, model, NULL, &err);
        r2_engine_destroy(engine);
        r2_model_close(model);
        assert_int_equal(n_live, 0);
        if (status == R2_OK) break;
        assert_int_equal(status, R2_E_NOMEM);
        assert_true(err.text[0] != '\0');
        n_refused++;
    }
    refuse_at = -1;
    assert_true(n_refused > 3);
    printf("%d allocations refused one by one\n", n_refused);
}

static void test_bad_options(void **state) {
    (void)state;
    r2_error err;
    r2_model *model = NULL;
    r2_engine *engine = NULL;
    r2_sequence *s = NULL;
    const r2_model_options bad_cpu = { .cpu = "abacus" };
    assert_int_equal(r2_model_open(&model, golden_path("llama"), &bad_cpu, &err), R2_E_ARGUMENT);
    const r2_model_options escaping = { .cpu = "\x1b[2J\xc2\x9b"
                                               "2J" };
    assert_int_equal(r2_model_open(&model, golden_path("llama"), &escaping, &err), R2_E_ARGUMENT);
    assert_null(strchr(err.text, '\x1b'));
    assert_null(strstr(err.text, "\xc2\x9b"));
    assert_int_equal(r2_model_open(&model, "/nowhere/model.gguf", NULL, &err), R2_E_NOT_FOUND);
    const r2_model_options for_text = { .is_text_only = true };
    assert_int_equal(r2_model_open(&model, golden_path("llama"), &for_text, &err), R2_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "tokenizer.json"));
    model = open_model("llama");
    const r2_engine_options bad_threads = { .n_threads = -3 };
    assert_int_equal(r2_engine_create(&engine, model, &bad_threads, &err), R2_E_RANGE);
    assert_null(engine);
    engine = make_engine(model, NULL);
    const r2_sequence_options hot = { .sampling.temperature = -1 };
    assert_int_equal(r2_sequence_create(&s, engine, &hot, &err), R2_E_RANGE);
    const r2_logit_bias far = { 1 << 20, 1 };
    const r2_sequence_options biased = { .sampling = { .biases = &far, .n_biases = 1 } };
    assert_int_equal(r2_sequence_create(&s, engine, &biased, &err), R2_E_RANGE);
    assert_null(s);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_and_batches),
        cmocka_unit_test(test_unpacked_same_bits),
        cmocka_unit_test(test_company),
        cmocka_unit_test(test_prefix_cache),
        cmocka_unit_test(test_fork_and_rewind),
        cmocka_unit_test(test_save_and_load),
        cmocka_unit_test(test_cancel_and_limits),
        cmocka_unit_test(test_full_prompt),
        cmocka_unit_test(test_rewind_after_cancel),
        cmocka_unit_test(test_cache_full),
        cmocka_unit_test(test_mask),
        cmocka_unit_test(test_prompt_logprobs_and_hidden),
        cmocka_unit_test(test_no_allocation_between_tokens),
        cmocka_unit_test(test_refused_allocations),
        cmocka_unit_test(test_bad_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
