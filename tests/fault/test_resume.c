/* test_resume.c - a run that is interrupted and resumed is, byte for byte, one that never was:
 *
 *   AdamW and Muon, dense, experts with balancing and a prediction module, two weighted sources, batches
 *   that make one step; interrupted behind any step; resumed with another number of threads
 *   adapters: their numbers alone are kept
 *   batches that make one step: as one large batch
 *   another model, optimizer, data, batch: refused, with what differs
 *   which checkpoints are kept */
#define _XOPEN_SOURCE 700
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/memory.h"
#include "files/state_folder.h"
#include "tiny_run.h"

static void must(r2_status status, const r2_error *err) {
    if (status != R2_OK) fail_msg("%s: %s", r2_status_name(status), err->text);
}

typedef struct {
    const char *golden;
    r2_optimizer optimizer;
    int32_t step_batches;
    r2_arithmetic arithmetic;
    bool is_recomputing;
    int32_t lora_rank;
} variety;

static void set_variety(r2_train_options *o, const variety *v) {
    o->trainer.optimizer = v->optimizer;
    o->trainer.arithmetic = v->arithmetic;
    o->trainer.is_recomputing = v->is_recomputing;
    o->step_batches = v->step_batches;
    o->trainer.lora.rank = v->lora_rank;
}

/* Interrupted behind `step`, resumed with two threads. */
static void check_interrupted(const tiny_place *place, const variety *v, int64_t step,
                              const tiny_log *whole, uint64_t hash) {
    char paths[2][TINY_PATH];
    r2_train_options o;
    r2_error err;
    tiny_log first, second;
    tiny_run_options(&o, place, "cut", paths, &first);
    set_variety(&o, v);
    first.stops_behind = step;
    must(r2_train(&o, &err), &err);
    assert_int_equal(first.saved_step, step);
    tiny_run_options(&o, place, "cut", paths, &second);
    set_variety(&o, v);
    o.trainer.n_threads = 2;
    o.is_resuming = true;
    must(r2_train(&o, &err), &err);
    for (int64_t i = 1; i <= o.n_steps; i++) {
        const double found = i <= step ? first.losses[i] : second.losses[i],
                     validated = i <= step ? first.validation[i] : second.validation[i];
        if (found != whole->losses[i] || validated != whole->validation[i])
            fail_msg("%s, cut behind %d: step %d: expected %.17g, found %.17g", v->golden,
                     (int)step, (int)i, whole->losses[i], found);
        assert_true((second.losses[i] != 0) == (i > step));
    }
    assert_true(tiny_model_hash(place, "cut") == hash);
    char run[TINY_PATH];
    snprintf(run, sizeof run, "%s/cut", place->folder);
    tiny_remove(run);
}

static void check_variety(const variety *v) {
    tiny_place place;
    char paths[2][TINY_PATH];
    r2_train_options o;
    r2_error err;
    tiny_log whole;
    tiny_place_make(&place, v->golden);
    tiny_run_options(&o, &place, "whole", paths, &whole);
    set_variety(&o, v);
    must(r2_train(&o, &err), &err);
    const uint64_t hash = tiny_model_hash(&place, "whole");
    assert_true(hash != 0 && whole.losses[1] != whole.losses[2]);
    for (int64_t step = 1; step < o.n_steps; step += 4)
        check_interrupted(&place, v, step, &whole, hash);
    tiny_place_remove(&place);
}

static void test_byte_for_byte(void **state) {
    static const variety varieties[] = {
        { "llama", R2_OPTIMIZER_ADAMW, 1, R2_ARITHMETIC_F32, false, 0 },
        { "llama", R2_OPTIMIZER_MUON, 3, R2_ARITHMETIC_FAST, true, 0 },
        { "deepseek_v3", R2_OPTIMIZER_ADAMW, 2, R2_ARITHMETIC_FAST, false, 0 },
        { "deepseek_v3", R2_OPTIMIZER_MUON, 1, R2_ARITHMETIC_F32, false, 0 },
        { "qwen3_moe", R2_OPTIMIZER_ADAMW, 1, R2_ARITHMETIC_FAST, true, 0 },
        { "llama", R2_OPTIMIZER_ADAMW, 1, R2_ARITHMETIC_F32, false, 4 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof varieties / sizeof *varieties; i++)
        check_variety(&varieties[i]);
}

/* ---- batches of one step ---- */

/* Two batches of one run with 12 and 3 targets are a batch of two runs: the loss is the mean over 15. */
static void test_accumulated(void **state) {
    (void)state;
    tiny_place place;
    tiny_log logs[2];
    tiny_place_make(&place, "llama");
    for (int32_t i = 0; i < 2; i++) {
        char paths[2][TINY_PATH];
        r2_train_options o;
        r2_error err;
        const char *data = place.even;
        tiny_run_options(&o, &place, i == 0 ? "one" : "two", paths, &logs[i]);
        o.data = &data;
        o.shares = NULL;
        o.n_data = 1;
        o.validate_every = 0;
        o.checkpoint_every = 0;
        o.trainer.batch_tokens = i == 0 ? 24 : 12;
        o.step_batches = 1 + i;
        must(r2_train(&o, &err), &err);
    }
    for (int step = 1; step <= 8; step++) {
        const double one = logs[0].losses[step], two = logs[1].losses[step];
        if (!(fabs(one - two) < 1e-5 * one)) fail_msg("step %d: %.9g and %.9g", step, one, two);
    }
    assert_true(logs[0].losses[8] < 0.99 * logs[0].losses[1]);
    tiny_place_remove(&place);
}

/* ---- which are kept ---- */

static int count_steps(const char *folder, int64_t steps[16]) {
    r2i_heap heap;
    int64_t *found;
    size_t n;
    r2_error err;
    r2i_heap_init(&heap);
    must(r2i_state_list(&found, &n, folder, &heap, &err), &err);
    assert_true(n <= 16);
    if (n > 0) memcpy(steps, found, n * sizeof *steps);
    if (found != NULL) r2i_heap_give(&heap, found, n * sizeof *found);
    return (int)n;
}

static void test_kept(void **state) {
    (void)state;
    tiny_place place;
    char paths[2][TINY_PATH];
    r2_train_options o;
    r2_error err;
    tiny_log log;
    int64_t steps[16];
    tiny_place_make(&place, "llama");
    tiny_run_options(&o, &place, "run", paths, &log);
    o.checkpoint_every = 1;
    o.validate_every = 3; /* behind 3, 6 and 8 */
    log.stops_behind = 3;
    must(r2_train(&o, &err), &err);
    log.stops_behind = 0;
    o.is_resuming = true;
    o.step.lr = 3; /* much too high: the first one stays the best */
    must(r2_train(&o, &err), &err);
    assert_true(log.validation[3] < log.validation[6] && log.validation[3] < log.validation[8]);
    assert_int_equal(count_steps(paths[1], steps), 3);
    assert_true(steps[0] == 8 && steps[1] == 7 && steps[2] == 3);
    /* One more than all: nothing is left to do. */
    const uint64_t hash = tiny_model_hash(&place, "run");
    must(r2_train(&o, &err), &err);
    assert_true(tiny_model_hash(&place, "run") == hash);
    /* Of a new run the first step removes them. */
    o.is_resuming = false;
    o.is_forced = true;
    o.checkpoint_every = 0;
    must(r2_train(&o, &err), &err);
    assert_int_equal(count_steps(paths[1], steps), 0);
    tiny_place_remove(&place);
}

/* ---- what is refused ---- */

static void refuse(const r2_train_options *o, r2_status expected, const char *says) {
    r2_error err;
    const r2_status status = r2_train(o, &err);
    if (status != expected || strstr(err.text, says) == NULL)
        fail_msg("expected %s with \"%s\", found %s: %s", r2_status_name(expected), says,
                 r2_status_name(status), status == R2_OK ? "" : err.text);
}

static void test_refused(void **state) {
    (void)state;
    tiny_place place, other;
    char paths[2][TINY_PATH];
    r2_train_options o;
    r2_error err;
    tiny_log log;
    tiny_place_make(&place, "llama");
    tiny_place_make(&other, "qwen2");
    tiny_run_options(&o, &place, "run", paths, &log);
    o.is_resuming = true;
    refuse(&o, R2_E_NOT_FOUND, "no checkpoint");
    o.is_resuming = false;
    log.stops_behind = 3;
    must(r2_train(&o, &err), &err);
    log.stops_behind = 0;
    o.is_resuming = true;
    r2_train_options changed = o;
    changed.trainer.optimizer = R2_OPTIMIZER_MUON;
    refuse(&changed, R2_E_MISMATCH, "optimizer: expected \"muon\"");
    changed = o;
    changed.model = other.model;
    refuse(&changed, R2_E_MISMATCH, "checkpoint: architecture");
    changed = o;
    changed.trainer.batch_tokens = 32;
    refuse(&changed, R2_E_MISMATCH, "tokens of a batch: expected 32");
    changed = o;
    changed.seed = 6;
    refuse(&changed, R2_E_MISMATCH, "seed");
    changed = o;
    changed.shares = NULL;
    refuse(&changed, R2_E_MISMATCH, "data 2");
    const char *turned[TINY_SETS] = { place.sets[1], place.sets[0] };
    changed = o;
    changed.data = turned;
    refuse(&changed, R2_E_MISMATCH, "data 1");
    changed = o;
    changed.trainer.lora.rank = 4;
    changed.out = NULL;
    refuse(&changed, R2_E_MISMATCH, "tensors");
    changed = o;
    changed.n_steps = 2;
    changed.warmup_steps = 0;
    refuse(&changed, R2_E_ARGUMENT, "at least the 3 steps that are done, found 2");
    changed = o;
    changed.checkpoints = NULL;
    refuse(&changed, R2_E_ARGUMENT, "folder for checkpoints");
    /* The rate may change. */
    o.step.lr = 0.001;
    must(r2_train(&o, &err), &err);
    tiny_place_remove(&place);
    tiny_place_remove(&other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_byte_for_byte),
        cmocka_unit_test(test_accumulated),
        cmocka_unit_test(test_kept),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
