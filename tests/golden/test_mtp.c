/* test_mtp.c - the multi-token prediction module against the golden logits, with the ref kernels.
 *
 * Row i of the files' `mtp` is made from the hidden row of position i and token i + 1; the last four
 * rows of each prompt are given.  All rows are computed at once, then again in two pieces over the
 * same cache.  In the engine, a sequence that is made to write the prompt's second half must get the
 * module's likeliest tokens as drafts. */
#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/engine_state.h"
#include "golden_cases.h"
#include "model/model.h"
#include "r2lm/engine.h"

enum { CAP_ROWS = R2I_PAGE_TOKENS, LAST = 4, PATH_BYTES = 1024 };
static const double tolerance = 2e-4;

/* A forward pass over one page. */
typedef struct {
    r2_model *model;
    r2i_pool *pool;
    r2i_cache_layout cache;
    r2i_forward *forward;
    uint8_t *page;
    float *logits;
    int32_t n_vocab;
} rig;

static void set_up(rig *t, const char *path) {
    r2_error err;
    const r2_model_options options = { .cpu = "ref" };
    must(r2_model_open(&t->model, path, &options, &err), &err);
    r2_model *m = t->model;
    must(r2i_pool_create(&t->pool, 2, &m->heap, &err), &err);
    must(r2i_cache_layout_create(&t->cache, &m->config, R2I_ROWS_F32, &m->arena, &err), &err);
    const r2i_forward_parts parts = { .config = &m->config,
                                      .weights = &m->weights,
                                      .kernels = &m->kernels,
                                      .pool = t->pool,
                                      .cache = &t->cache };
    const r2i_forward_limits limits = { CAP_ROWS, LAST, CAP_ROWS, false };
    must(r2i_forward_create(&t->forward, &parts, &limits, &m->arena, &err), &err);
    t->page = r2i_arena_push_array(&m->arena, 1, t->cache.page_bytes, 64);
    t->n_vocab = m->config.n_vocab;
    t->logits = R2I_ARENA_ARRAY(&m->arena, float, (size_t)LAST *(size_t)t->n_vocab);
    assert_non_null(t->page);
    assert_non_null(t->logits);
}

static void tear_down(rig *t) {
    r2i_pool_destroy(t->pool);
    r2_model_close(t->model);
}

/* Tokens [begin, end) through the model, then the module's rows made from them. */
static void run_piece(rig *t, const int32_t *ids, int32_t begin, int32_t end) {
    int32_t sources[CAP_ROWS];
    uint8_t *pages[1] = { t->page };
    const r2i_run run = { .n_rows = end - begin, .first_position = begin, .pages = pages };
    const r2i_batch main_batch = { ids + begin, end - begin, &run, 1 };
    r2i_forward_run(t->forward, &main_batch);
    r2i_mtp_keep_rows(t->forward);
    for (int32_t i = 0; i < end - begin; i++)
        sources[i] = i;
    const r2i_mtp_batch mtp = { .batch = { ids + begin + 1, end - begin, &run, 1 },
                                .source_rows = sources };
    r2i_mtp_run(t->forward, &mtp);
}

static double compare_last(rig *t, int32_t n_rows, const json_t *last4) {
    const int32_t rows[LAST] = { n_rows - 4, n_rows - 3, n_rows - 2, n_rows - 1 };
    double worst = 0;
    r2i_mtp_logits(t->forward, rows, LAST, t->logits);
    for (size_t r = 0; r < LAST; r++) {
        const json_t *expected = json_array_get(last4, r);
        assert_int_equal(json_array_size(expected), t->n_vocab);
        for (size_t i = 0; i < (size_t)t->n_vocab; i++) {
            const double e = fabs((double)t->logits[r * (size_t)t->n_vocab + i] -
                                  json_number_value(json_array_get(expected, i)));
            worst = e > worst || isnan(e) ? e : worst;
        }
    }
    return worst;
}

static void check_prompt(rig *t, const char *name, const json_t *prompt, const json_t *mtp) {
    int32_t ids[CAP_ROWS];
    const json_t *list = json_object_get(prompt, "input_ids"),
                 *last4 = json_object_get(mtp, "logits_last4");
    const int32_t n = (int32_t)json_array_size(list);
    assert_true(n > 2 * LAST && n <= CAP_ROWS);
    for (int32_t i = 0; i < n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(list, (size_t)i));
    run_piece(t, ids, 0, n - 1);
    const double whole = compare_last(t, n - 1, last4);
    const int32_t half = n / 2;
    run_piece(t, ids, 0, half);
    run_piece(t, ids, half, n - 1);
    const double pieces = compare_last(t, n - 1 - half, last4);
    printf("%-20s %3d tokens, module's logits within %.2g, in two pieces %.2g\n", name, n, whole,
           pieces);
    assert_true(whole <= tolerance && pieces <= tolerance);
}

/* ---- in the engine ---- */

typedef struct {
    const int32_t *ids;
    int32_t n;
} dictation;

static bool allow_dictated(void *user, const r2_sequence *s, uint32_t *allowed, int32_t n_vocab) {
    const dictation *d = user;
    int32_t n_tokens;
    (void)r2_sequence_tokens(s, &n_tokens);
    for (int32_t i = 0; i < n_vocab; i++) {
        if (n_tokens >= d->n || i != d->ids[n_tokens])
            allowed[i / 32] &= ~((uint32_t)1 << (i % 32));
    }
    return true;
}

/* One guess at a time, so that it can be seen behind at least every other position. */
static void check_drafts(const char *path, const json_t *prompt, const json_t *mtp) {
    static const r2i_drafter module_alone = { .uses_module = true, .is_eager = true };
    const json_t *list = json_object_get(prompt, "input_ids"),
                 *likeliest = json_object_get(mtp, "argmax_all");
    int32_t ids[CAP_ROWS];
    const int32_t n = (int32_t)json_array_size(list);
    for (int32_t i = 0; i < n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(list, (size_t)i));
    dictation d = { ids, n };
    const r2_model_options options = { .cpu = "ref" };
    const r2_sequence_options drafting = { .mask = allow_dictated, .user = &d, .n_draft = 1 };
    const r2_engine_options small = { .n_batch_tokens = 5, .n_sequences = 2 };
    r2_error err;
    r2_model *model;
    r2_engine *engine;
    r2_sequence *s;
    must(r2_model_open(&model, path, &options, &err), &err);
    must(r2_engine_create(&engine, model, &small, &err), &err);
    r2i_engine_set_drafter(engine, &module_alone);
    must(r2_sequence_create(&s, engine, &drafting, &err), &err);
    must(r2_sequence_append(s, ids, n / 2, &err), &err);
    int32_t n_seen = 0, n_active = 1;
    while (n_active > 0 && s->n_tokens < n) {
        must(r2_engine_step(engine, &n_active, &err), &err);
        if (s->ready_at != s->n_tokens) continue;
        const size_t row = (size_t)(s->n_tokens - 2);
        assert_int_equal(s->n_ready, 1);
        assert_int_equal(s->draft[0], json_integer_value(json_array_get(likeliest, row)));
        n_seen++;
    }
    assert_true(n_seen >= (n - n / 2) / 2);
    r2_sequence_destroy(s);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

/* Returns how many prompts were checked. */
static size_t check_case(const char *folder, const char *name) {
    char path[PATH_BYTES], file[PATH_BYTES];
    snprintf(path, sizeof path, "%.500s/%.300s", folder, name);
    snprintf(file, sizeof file, "%.900s/expected.json", path);
    json_t *expected = json_load_file(file, 0, NULL);
    const json_t *mtp = json_object_get(json_object_get(expected, "mtp"), "prompts"),
                 *prompts = json_object_get(expected, "prompts");
    const size_t n = json_array_size(mtp);
    r2_model *probe = NULL;
    r2_error err;
    const bool is_known = n > 0 && r2_model_open(&probe, path, NULL, &err) == R2_OK;
    r2_model_close(probe);
    if (is_known) {
        rig t = { 0 };
        set_up(&t, path);
        assert_true(r2i_mtp_is_there(t.forward));
        for (size_t p = 0; p < n; p++) {
            check_prompt(&t, name, json_array_get(prompts, p), json_array_get(mtp, p));
            check_drafts(path, json_array_get(prompts, p), json_array_get(mtp, p));
        }
        tear_down(&t);
    }
    json_decref(expected);
    return is_known ? n : 0;
}

static void test_all_cases(void **state) {
    (void)state;
    const char *folder = golden_folder();
    DIR *listing = opendir(folder);
    size_t n_prompts = 0;
    if (listing == NULL) fail_msg("cannot list %s", folder);
    for (struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing)) {
        if (entry->d_name[0] != '.') n_prompts += check_case(folder, entry->d_name);
    }
    closedir(listing);
    assert_true(n_prompts > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_all_cases) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
