/* test_scheduling.c - which sequences a step advances: turns of clients, portions of prompts, pages that
 * are taken from the young for the old; and what the tree of known pages is worth.
 *
 * Every answer is compared with what its sequence writes alone in an engine of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine_runs.h"

enum { CAP = 2048, MANY = 32, N_NEW = 24, PAGE = 128 };

typedef struct {
    int32_t n;
    r2_generated items[CAP];
} output;

static const r2_sequence_options warm = {
    .sampling = { .temperature = 0.9f, .top_p = 0.95f, .seed = 7 },
    .max_new_tokens = N_NEW,
    .ignores_end = true
};

static void assert_same(const output *a, const output *b) {
    assert_int_equal(a->n, b->n);
    for (int32_t i = 0; i < a->n; i++) {
        assert_int_equal(a->items[i].token, b->items[i].token);
        assert_memory_equal(&a->items[i].logprob, &b->items[i].logprob, sizeof(float));
    }
}

static r2_sequence_status status_of(const r2_sequence *s) {
    r2_sequence_status status;
    r2_sequence_get_status(s, &status);
    return status;
}

static void write_alone(r2_model *model, const r2_sequence_options *options, int32_t n_prompt,
                        int32_t salt, output *out) {
    r2_engine *engine =
        make_engine(model, &(r2_engine_options){ .n_context = CAP, .has_no_prefix_cache = true });
    r2_sequence *s = start_sequence(engine, options, n_prompt, salt);
    run_engine(engine);
    out->n = r2_sequence_read(s, out->items, CAP);
    r2_sequence_destroy(s);
    r2_engine_destroy(engine);
}

static r2_engine *make_pages(r2_model *model, int32_t n_pages, int32_t n_batch, bool has_cache) {
    r2_model_info info;
    r2_model_get_info(model, &info);
    return make_engine(model, &(r2_engine_options){ .n_context = CAP,
                                                    .n_batch_tokens = n_batch,
                                                    .has_no_prefix_cache = !has_cache,
                                                    .cache_bytes = (int64_t)n_pages * PAGE *
                                                                   info.cache_bytes_per_token });
}

/* Steps until `s` has drawn its first token; how many that took. */
static int32_t steps_to_first(r2_engine *engine, const r2_sequence *s) {
    r2_error err;
    int32_t n = 0;
    for (int32_t n_active; status_of(s).n_generated == 0; n++) {
        assert_true(n < 1000);
        must(r2_engine_step(engine, &n_active, &err), &err);
    }
    return n;
}

/* ---- portions and turns ---- */

static void test_writers_go_on_beside_a_long_prompt(void **state) {
    (void)state;
    r2_error err;
    r2_model *model = open_model("llama");
    r2_engine *engine = make_engine(
        model,
        &(r2_engine_options){ .n_context = CAP, .n_batch_tokens = 256, .n_reading_tokens = 64 });
    r2_sequence_options endless = warm;
    endless.max_new_tokens = 200;
    r2_sequence *writer = start_sequence(engine, &endless, 20, 1);
    int32_t n_active, n_steps = 0;
    (void)steps_to_first(engine, writer);
    r2_sequence *reader = start_sequence(engine, &warm, 1000, 2);
    for (; status_of(reader).n_generated == 0; n_steps++) {
        const int32_t before = status_of(writer).n_generated,
                      computed = status_of(reader).n_computed;
        must(r2_engine_step(engine, &n_active, &err), &err);
        assert_int_equal(status_of(writer).n_generated, before + 1); /* a token in every step */
        assert_in_range(status_of(reader).n_computed - computed, 1, 64);
    }
    assert_int_equal(n_steps, (1000 + 63) / 64);
    r2_sequence_destroy(writer);
    r2_sequence_destroy(reader);
    /* Nobody writes: as much as a batch holds. */
    reader = start_sequence(engine, &warm, 600, 3);
    must(r2_engine_step(engine, &n_active, &err), &err);
    assert_int_equal(status_of(reader).n_computed, 256);
    r2_sequence_destroy(reader);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

static void test_short_prompts_pass_long_ones(void **state) {
    (void)state;
    r2_error err;
    int32_t n_active;
    output alone, beside;
    r2_model *model = open_model("llama");
    r2_engine *engine =
        make_engine(model, &(r2_engine_options){ .n_context = CAP, .n_batch_tokens = 64 });
    write_alone(model, &warm, 20, 2, &alone);
    r2_sequence_options other = warm;
    other.client = 1;
    r2_sequence *longer = start_sequence(engine, &warm, 1500, 1);
    must(r2_engine_step(engine, &n_active, &err), &err);
    r2_sequence *shorter = start_sequence(engine, &other, 20, 2);
    assert_int_equal(steps_to_first(engine, shorter), 1); /* in the next step */
    assert_int_equal(status_of(longer).n_generated, 0);
    run_engine(engine);
    beside.n = r2_sequence_read(shorter, beside.items, CAP);
    assert_same(&alone, &beside);
    r2_sequence_destroy(longer);
    r2_sequence_destroy(shorter);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

/* A client with many prompts and one with one: the one waits for one of the many, not for all. */
static void test_clients_take_turns(void **state) {
    (void)state;
    r2_model *model = open_model("llama");
    r2_engine *engine = make_pages(model, 100, 64, true);
    r2_sequence *many[MANY];
    r2_sequence_options other = warm;
    other.client = 9;
    for (int32_t i = 0; i < MANY; i++)
        many[i] = start_sequence(engine, &warm, 120, 50 + i);
    r2_sequence *one = start_sequence(engine, &other, 120, 3);
    const int32_t n_steps = steps_to_first(engine, one);
    int32_t n_before = 0;
    for (int32_t i = 0; i < MANY; i++)
        n_before += status_of(many[i]).n_generated > 0;
    assert_in_range(n_steps, 2, 8); /* 120 tokens of each, 64 at a time: alone it would take 2 */
    assert_in_range(n_before, 0, 3);
    run_engine(engine);
    for (int32_t i = 0; i < MANY; i++)
        r2_sequence_destroy(many[i]);
    r2_sequence_destroy(one);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

/* Short prompts without end do not keep a long one waiting for ever. */
static void test_long_prompts_are_read_beside_a_flood(void **state) {
    (void)state;
    r2_error err;
    int32_t n_steps = 0, n_active;
    r2_model *model = open_model("llama");
    r2_engine *engine =
        make_engine(model, &(r2_engine_options){ .n_context = CAP, .n_batch_tokens = 64 });
    r2_sequence_options brief = warm;
    brief.max_new_tokens = 1;
    r2_sequence *longer = start_sequence(engine, &warm, 600, 1);
    for (; status_of(longer).n_generated == 0; n_steps++) {
        assert_true(n_steps < 200);
        brief.client = (uint64_t)(1 + n_steps);
        r2_sequence *a = start_sequence(engine, &brief, 100, 100 + n_steps);
        must(r2_engine_step(engine, &n_active, &err), &err);
        must(r2_engine_step(engine, &n_active, &err), &err);
        r2_sequence_destroy(a);
    }
    r2_sequence_destroy(longer);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

/* ---- pages ---- */

/* Two that need more than half of the cache each, and grow: both finish, the older one first. */
static void check_two_halves(const char *name, int32_t n_prompt, int32_t n_new, bool has_cache) {
    output alone[2], out;
    r2_model *model = open_model(name);
    r2_engine *engine = make_pages(model, 4, 0, has_cache);
    r2_sequence_options longer = warm;
    longer.max_new_tokens = n_new;
    r2_sequence *both[2];
    for (int32_t i = 0; i < 2; i++) {
        write_alone(model, &longer, n_prompt, 5 + i, &alone[i]);
        both[i] = start_sequence(engine, &longer, n_prompt, 5 + i);
    }
    r2_error err;
    for (int32_t n_active = 1, n_steps = 0; n_active > 0; n_steps++) {
        assert_true(n_steps < 2000);
        must(r2_engine_step(engine, &n_active, &err), &err);
        if (both[0] == NULL || status_of(both[0]).finish == R2_FINISH_NONE) continue;
        assert_int_equal(status_of(both[1]).finish, R2_FINISH_NONE);
        assert_int_equal(status_of(both[0]).n_preempted, 0);
        out.n = r2_sequence_read(both[0], out.items, CAP);
        assert_same(&alone[0], &out);
        r2_sequence_destroy(both[0]);
        both[0] = NULL;
    }
    /* It began if there was room for its prompt, and then gave way. */
    assert_int_equal(status_of(both[1]).n_preempted > 0, n_prompt < PAGE);
    assert_int_equal(status_of(both[1]).finish, R2_FINISH_LENGTH);
    assert_int_equal(status_of(both[1]).n_generated, n_new);
    out.n = r2_sequence_read(both[1], out.items, CAP);
    assert_same(&alone[1], &out);
    r2_sequence_destroy(both[1]);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

static void test_two_halves(void **state) {
    (void)state;
    check_two_halves("llama", 200, 200, true);
    check_two_halves("llama", 100, 270, true);
    check_two_halves("llama", 100, 270, false);
    check_two_halves("deepseek_v3", 100, 270, true); /* latent rows */
}

static void test_many_in_a_small_cache(void **state) {
    (void)state;
    r2_error err;
    static output alone[MANY], out;
    r2_engine_stats stats;
    r2_model *model = open_model("llama");
    r2_engine *engine = make_pages(model, 6, 0, true);
    r2_sequence *all[MANY];
    r2_sequence_options longer = warm;
    longer.max_new_tokens = 200;
    for (int32_t i = 0; i < MANY; i++) {
        longer.client = (uint64_t)(i % 3);
        write_alone(model, &longer, 90 + i, 60 + i, &alone[i]);
        all[i] = start_sequence(engine, &longer, 90 + i, 60 + i);
    }
    int32_t n_left = MANY;
    for (int32_t n_active = 1, n_steps = 0; n_left > 0; n_steps++) {
        assert_true(n_steps < 20000);
        must(r2_engine_step(engine, &n_active, &err), &err);
        for (int32_t i = 0; i < MANY; i++) {
            if (all[i] == NULL || status_of(all[i]).finish == R2_FINISH_NONE) continue;
            assert_int_equal(status_of(all[i]).finish, R2_FINISH_LENGTH);
            out.n = r2_sequence_read(all[i], out.items, CAP);
            assert_same(&alone[i], &out);
            r2_sequence_destroy(all[i]);
            all[i] = NULL;
            n_left--;
        }
    }
    r2_engine_get_stats(engine, &stats);
    assert_true(stats.n_preempted > 0);
    assert_int_equal(stats.n_pages_used, 0);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

/* A sequence that is taken back while it waits for pages, or while its prompt is read. */
static void test_cancel_while_waiting(void **state) {
    (void)state;
    r2_error err;
    int32_t n_active;
    r2_model *model = open_model("llama");
    r2_engine *engine = make_pages(model, 4, 0, true);
    r2_sequence_options longer = warm;
    longer.max_new_tokens = 100;
    r2_sequence *first = start_sequence(engine, &longer, 380, 1),
                *waits = start_sequence(engine, &longer, 380, 2);
    must(r2_engine_step(engine, &n_active, &err), &err);
    assert_int_equal(n_active, 2);
    assert_int_equal(status_of(waits).n_computed, 0);
    r2_sequence_cancel(waits);
    r2_sequence_cancel(first);
    must(r2_engine_step(engine, &n_active, &err), &err);
    assert_int_equal(n_active, 0);
    assert_int_equal(status_of(waits).finish, R2_FINISH_CANCELED);
    assert_int_equal(status_of(first).finish, R2_FINISH_CANCELED);
    r2_sequence_destroy(first);
    r2_sequence_destroy(waits);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

/* ---- what is known ---- */

static r2_sequence *run_tokens(r2_engine *engine, const r2_sequence_options *options,
                               const r2_token *tokens, int32_t n) {
    r2_error err;
    r2_sequence *s;
    must(r2_sequence_create(&s, engine, options, &err), &err);
    must(r2_sequence_append(s, tokens, n, &err), &err);
    run_engine(engine);
    return s;
}

static void expect_miss(r2_engine *engine, const r2_sequence_options *options,
                        const r2_token *tokens, int32_t n, int32_t n_cached, r2_cache_miss miss,
                        int32_t n_matched) {
    r2_sequence *s = run_tokens(engine, options, tokens, n);
    const r2_sequence_status status = status_of(s);
    assert_int_equal(status.n_cached, n_cached);
    assert_int_equal(status.miss, miss);
    assert_int_equal(status.n_matched, n_matched);
    r2_sequence_destroy(s);
}

static void test_reasons(void **state) {
    (void)state;
    r2_token tokens[600], other[600];
    r2_model *model = open_model("llama");
    r2_engine *engine = make_engine(model, &(r2_engine_options){ .n_context = CAP });
    r2_sequence_options one = warm, elsewhere = warm;
    one.max_new_tokens = 1;
    elsewhere.max_new_tokens = 1;
    elsewhere.cache_domain = 5;
    for (int32_t i = 0; i < 600; i++)
        tokens[i] = other[i] = (i * 29 + i * i % 31) % 120;
    other[300] ^= 1;
    expect_miss(engine, &one, tokens, 200, 0, R2_MISS_FIRST_SEEN, 0);
    expect_miss(engine, &one, tokens, 200, 199, R2_MISS_NONE, 199);
    expect_miss(engine, &one, tokens, 400, 200, R2_MISS_GROWN, 200);
    expect_miss(engine, &one, other, 400, 300, R2_MISS_DIVERGED, 300);
    expect_miss(engine, &one, other, 350, 349, R2_MISS_NONE, 349);
    expect_miss(engine, &one, tokens, 256, 255, R2_MISS_NONE, 255); /* rows of a full page */
    expect_miss(engine, &one, tokens, 600, 400, R2_MISS_GROWN, 400);
    expect_miss(engine, &one, tokens + 7, 100, 0, R2_MISS_FIRST_SEEN, 0);
    expect_miss(engine, &elsewhere, tokens, 600, 0, R2_MISS_FIRST_SEEN, 0);
    elsewhere.wants_prompt_logprobs = true;
    expect_miss(engine, &elsewhere, tokens, 600, 0, R2_MISS_OFF, 0);
    r2_engine_destroy(engine);
    engine = make_pages(model, 6, 0, true);
    expect_miss(engine, &one, tokens, 500, 0, R2_MISS_FIRST_SEEN, 0);
    expect_miss(engine, &one, tokens + 7, 500, 0, R2_MISS_FIRST_SEEN, 0);
    const r2_sequence_status back = { .miss = R2_MISS_EVICTED };
    r2_sequence *s = run_tokens(engine, &one, tokens, 500);
    assert_int_equal(status_of(s).miss, back.miss);
    r2_sequence_destroy(s);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

/* A conversation of 20 turns: what was read or written once is never read again. */
static void test_conversation(void **state) {
    (void)state;
    enum { TURNS = 20, ADDED = 70 };
    r2_token tokens[CAP];
    int32_t n = 0, n_again = 0, n_sum = 0;
    r2_model *model = open_model("llama");
    r2_engine *engine = make_engine(model, &(r2_engine_options){ .n_context = CAP });
    r2_sequence_options o = warm;
    for (int32_t turn = 0; turn < TURNS; turn++) {
        const int32_t n_before = n;
        for (int32_t i = 0; i < ADDED; i++, n++)
            tokens[n] = (n * 13 + turn * 7 + i * i % 19) % 120;
        o.sampling.seed = (uint64_t)turn;
        r2_sequence *s = run_tokens(engine, &o, tokens, n);
        int32_t n_all;
        const r2_token *all = r2_sequence_tokens(s, &n_all);
        n_sum += n;
        n_again += n_before - status_of(s).n_cached;
        assert_in_range(n_before - status_of(s).n_cached, 0, 1); /* the last one drawn */
        memcpy(tokens, all, (size_t)n_all * sizeof *tokens);
        n = n_all;
        r2_sequence_destroy(s);
    }
    assert_true(n_again <= TURNS);
    assert_true(n_again * 100 < n_sum);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

/* Equal prompts at the same time: read once. */
static void test_equal_prompts_at_once(void **state) {
    (void)state;
    output alone, out;
    r2_engine_stats stats;
    r2_model *model = open_model("llama");
    write_alone(model, &warm, 700, 4, &alone);
    r2_engine *engine =
        make_engine(model, &(r2_engine_options){ .n_context = CAP, .n_batch_tokens = 64 });
    r2_sequence *all[8];
    for (int32_t i = 0; i < 8; i++)
        all[i] = start_sequence(engine, &warm, 700, 4);
    run_engine(engine);
    for (int32_t i = 0; i < 8; i++) {
        out.n = r2_sequence_read(all[i], out.items, CAP);
        assert_same(&alone, &out);
        r2_sequence_destroy(all[i]);
    }
    r2_engine_get_stats(engine, &stats);
    assert_int_equal(stats.n_prompt_tokens, 640 + 8 * 60);
    assert_int_equal(stats.n_cached_tokens, 7 * 640);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writers_go_on_beside_a_long_prompt),
        cmocka_unit_test(test_short_prompts_pass_long_ones),
        cmocka_unit_test(test_clients_take_turns),
        cmocka_unit_test(test_long_prompts_are_read_beside_a_flood),
        cmocka_unit_test(test_two_halves),
        cmocka_unit_test(test_many_in_a_small_cache),
        cmocka_unit_test(test_cancel_while_waiting),
        cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_conversation),
        cmocka_unit_test(test_equal_prompts_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
