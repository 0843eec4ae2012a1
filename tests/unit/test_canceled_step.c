/* A step whose sequences are all canceled while it computes ends between two layers and leaves nothing behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/engine_state.h"
#include "engine_runs.h"

enum { N_PROMPT = 200, N_NEW = 8, CAP = 512 };

typedef struct {
    atomic_int n_products;
    r2_sequence *canceled[2]; /* at the first product; NULL: nobody */
} observer;

static void observe(void *user, const r2i_matrix *m, const uint8_t *act, size_t act_stride,
                    int32_t n_rows) {
    observer *o = user;
    (void)m;
    (void)act;
    (void)act_stride;
    (void)n_rows;
    if (atomic_fetch_add(&o->n_products, 1) > 0) return;
    for (int i = 0; i < 2; i++) {
        if (o->canceled[i] != NULL) r2_sequence_cancel(o->canceled[i]);
    }
}

static const r2_sequence_options greedy = { .max_new_tokens = N_NEW, .ignores_end = true };

static int step(r2_engine *engine, r2_sequence *a, r2_sequence *b) {
    observer o = { 0, { a, b } };
    int32_t n_active;
    r2_error err;
    r2i_forward_set_observer(engine->forward, observe, &o);
    must(r2_engine_step(engine, &n_active, &err), &err);
    r2i_forward_set_observer(engine->forward, NULL, NULL);
    return atomic_load(&o.n_products);
}

static r2_finish finish_of(const r2_sequence *s) {
    r2_sequence_status status;
    r2_sequence_get_status(s, &status);
    return status.finish;
}

static void answer(r2_engine *engine, int32_t out[N_PROMPT + N_NEW]) {
    r2_sequence *s = start_sequence(engine, &greedy, N_PROMPT, 7);
    run_engine(engine);
    assert_int_equal(finish_of(s), R2_FINISH_LENGTH);
    memcpy(out, s->tokens, (N_PROMPT + N_NEW) * sizeof *out);
    r2_sequence_destroy(s);
}

static void test_all_canceled(void **state) {
    int32_t expected[N_PROMPT + N_NEW], after[N_PROMPT + N_NEW];
    const r2_engine_options options = { .n_context = CAP, .n_batch_tokens = CAP };
    (void)state;
    r2_model *model = open_model("llama");
    r2_engine *engine = make_engine(model, &options);
    r2_sequence *s = start_sequence(engine, &greedy, N_PROMPT, 7);
    const int n_whole = step(engine, NULL, NULL);
    run_engine(engine);
    memcpy(expected, s->tokens, sizeof expected);
    r2_sequence_destroy(s);
    r2_engine_destroy(engine);

    engine = make_engine(model, &options);
    r2_sequence *a = start_sequence(engine, &greedy, N_PROMPT, 7),
                *b = start_sequence(engine, &greedy, N_PROMPT, 9);
    assert_true(step(engine, a, b) < n_whole);
    assert_int_equal(finish_of(a), R2_FINISH_CANCELED); /* within the step */
    assert_int_equal(finish_of(b), R2_FINISH_CANCELED);
    r2_sequence_destroy(a);
    r2_sequence_destroy(b);
    r2_engine_stats stats;
    r2_engine_get_stats(engine, &stats);
    assert_int_equal(stats.n_pages_used, 0);
    answer(engine, after); /* half a prompt's rows are nobody's prefix */
    assert_memory_equal(after, expected, sizeof expected);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

/* Who stays gets the whole step. */
static void test_one_canceled(void **state) {
    int32_t expected[N_PROMPT + N_NEW];
    const r2_engine_options options = { .n_context = CAP, .n_batch_tokens = CAP };
    (void)state;
    r2_model *model = open_model("llama");
    r2_engine *engine = make_engine(model, &options);
    answer(engine, expected);
    r2_engine_destroy(engine);
    engine = make_engine(model, &options);
    r2_sequence *a = start_sequence(engine, &greedy, N_PROMPT, 7),
                *b = start_sequence(engine, &greedy, N_PROMPT, 9);
    (void)step(engine, b, NULL);
    run_engine(engine);
    assert_int_equal(finish_of(a), R2_FINISH_LENGTH);
    assert_int_equal(finish_of(b), R2_FINISH_CANCELED);
    assert_memory_equal(a->tokens, expected, sizeof expected);
    r2_sequence_destroy(a);
    r2_sequence_destroy(b);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_canceled),
        cmocka_unit_test(test_one_canceled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
