/* test_expert_routes.c - experts that a batch comes with (routing replay).
 *
 *   told: what the routers choose, and nothing else changes; given again: the same bits
 *   given: they are taken whatever the routers now say, forward, backward and recomputing
 *   gradients, the routers' too, are those of differences along them: no choice flips on the way
 *   equal bits for any number of threads */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/random.h"
#include "train/backward/backward_state.h"
#include "train_rig.h"

enum { PATH_BYTES = 1024, N_ROWS = 57, CAP_ROUTES = 4096 };
static const int32_t lengths[] = { 9, 1, 30, 17 };
/* Softmax; softmax of groups; sigmoid with a bias, groups, shared experts and a prediction module. */
static const char *const models[] = { "qwen3_moe", "deepseek_v2_group", "deepseek_v3" };

typedef struct {
    train_rig rig;
    const r2i_config *config;
    int32_t tokens[N_ROWS], targets[N_ROWS];
    float weights[N_ROWS];
    uint16_t experts[CAP_ROUTES];
    r2_expert_routes routes;
    r2i_train_batch batch;
} lesson;

static void start(lesson *l, const char *model, const train_rig_options *how) {
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%.900s/%.60s", golden_folder(), model);
    memset(l, 0, sizeof *l);
    train_set_up(&l->rig, path, how);
    l->config = &l->rig.model->config;
    assert_true(N_ROWS * l->config->n_layers * l->config->n_active <= CAP_ROUTES);
    for (uint64_t i = 0; i < N_ROWS; i++) {
        l->tokens[i] = (int32_t)(r2i_random_unit(5, 0, i) * l->config->n_vocab);
        l->targets[i] = (int32_t)(r2i_random_unit(5, 1, i) * l->config->n_vocab);
        l->weights[i] = (float)r2i_random_unit(5, 2, i) / N_ROWS;
    }
    l->routes.experts = l->experts;
    l->batch = (r2i_train_batch){ .tokens = l->tokens,
                                  .n_rows = N_ROWS,
                                  .lengths = lengths,
                                  .n_documents = sizeof lengths / sizeof *lengths,
                                  .targets = l->targets,
                                  .weights = l->weights,
                                  .mtp_weight = 0.3f };
}

/* Different experts for each row and layer, whatever their routers may say. */
static void draw_routes(lesson *l) {
    const r2i_config *c = l->config;
    for (int32_t i = 0; i < N_ROWS * c->n_layers; i++) {
        const int32_t first = (int32_t)(r2i_random_unit(6, 0, (uint64_t)i) * c->n_experts);
        for (int32_t k = 0; k < c->n_active; k++)
            l->experts[i * c->n_active + k] = (uint16_t)((first + k) % c->n_experts);
    }
    l->routes.is_given = true;
    l->batch.routes = &l->routes;
}

/* The loss; the gradients' bits. */
static double run(lesson *l, uint64_t *bits) {
    float *gradients = l->rig.parameters.gradients;
    const size_t n_bytes = l->rig.parameters.n_values * sizeof *gradients;
    memset(gradients, 0, n_bytes);
    const r2i_train_loss loss = r2i_backward_run(l->rig.backward, &l->batch);
    *bits = r2i_hash_bytes(R2I_HASH_SEED, gradients, n_bytes);
    return loss.loss + (double)l->batch.mtp_weight * loss.mtp_loss;
}

/* Rows and layers where the last pass went to others than `routes`. */
static int32_t count_others(const lesson *l, const uint16_t *routes) {
    const r2i_config *c = l->config;
    int32_t n = 0;
    for (int32_t i = 0; i < N_ROWS * c->n_layers * c->n_active; i++) {
        const int32_t k = i % c->n_active, layer = i / c->n_active % c->n_layers,
                      row = i / c->n_active / c->n_layers;
        if (c->layers[layer].ffn != R2I_FFN_MOE) continue;
        n += l->rig.backward->saved[layer].moe.chosen[row * c->n_active + k] != routes[i];
    }
    return n;
}

static void check_told(const char *model) {
    static lesson l;
    uint64_t plain, told, given;
    start(&l, model, &(train_rig_options){ .n_threads = 2 });
    const double loss = run(&l, &plain);
    memset(l.experts, 0xff, sizeof l.experts);
    l.batch.routes = &l.routes;
    assert_true(run(&l, &told) == loss && told == plain);
    assert_int_equal(count_others(&l, l.experts), 0);
    l.routes.is_given = true;
    assert_true(run(&l, &given) == loss && given == plain);
    assert_true(r2i_backward_evaluate(l.rig.backward, &l.batch).loss > 0);
    train_tear_down(&l.rig);
}

static void test_told(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        check_told(models[i]);
}

static void move_routers(lesson *l) {
    for (int32_t i = 0; i < l->rig.parameters.n; i++) {
        const r2i_parameter *p = &l->rig.parameters.list[i];
        if (strstr(p->name, "mlp.gate.weight") == NULL) continue;
        for (size_t j = 0; j < r2i_parameter_size(p); j++)
            l->rig.parameters.values[p->first + j] *= -1;
    }
    r2i_parameters_refresh(&l->rig.parameters);
}

static void check_kept(const char *model) {
    static lesson l;
    uint64_t bits;
    static uint16_t then[CAP_ROUTES];
    start(&l, model, &(train_rig_options){ .n_threads = 2 });
    l.batch.routes = &l.routes;
    (void)run(&l, &bits);
    memcpy(then, l.experts, sizeof then);
    move_routers(&l);
    l.batch.routes = NULL;
    const double free_loss = run(&l, &bits);
    assert_true(count_others(&l, then) > 0);
    l.batch.routes = &l.routes;
    l.routes.is_given = true;
    assert_true(run(&l, &bits) != free_loss);
    assert_int_equal(count_others(&l, then), 0);
    assert_memory_equal(then, l.experts, sizeof then); /* read alone */
    train_tear_down(&l.rig);
}

static void test_kept(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        check_kept(models[i]);
}

/* ---- gradients ---- */

static double loss_of(lesson *l) {
    r2i_parameters_refresh(&l->rig.parameters);
    const r2i_train_loss loss = r2i_backward_evaluate(l->rig.backward, &l->batch);
    return loss.loss + (double)l->batch.mtp_weight * loss.mtp_loss;
}

/* Along a tensor's gradient the loss rises by its norm. */
static double tensor_error(lesson *l, const r2i_parameter *p, const float *gradient, double norm) {
    const size_t n = r2i_parameter_size(p);
    float *w = l->rig.parameters.values + p->first, *before = test_malloc(n * sizeof *w);
    double best = INFINITY;
    memcpy(before, w, n * sizeof *w);
    for (double h = 2e-2; best >= 2e-3 && h > 1e-3; h /= 2) {
        double loss[2];
        for (int side = 0; side < 2; side++) {
            for (size_t i = 0; i < n; i++)
                w[i] = before[i] + (float)((side == 0 ? h : -h) * (double)gradient[i] / norm);
            loss[side] = loss_of(l);
        }
        best = fmin(best, fabs((loss[0] - loss[1]) / (2 * h) - norm) / norm);
    }
    memcpy(w, before, n * sizeof *w);
    test_free(before);
    return best;
}

static void check_gradients(const char *model) {
    static lesson l;
    uint64_t bits;
    int32_t n_routers = 0, n_checked = 0;
    double worst = 0;
    start(&l, model, &(train_rig_options){ .n_threads = 2 });
    draw_routes(&l);
    l.batch.mtp_weight = 0; /* its router is free: choices would flip */
    (void)run(&l, &bits);
    const size_t n = l.rig.parameters.n_values;
    float *gradients = test_malloc(n * sizeof *gradients);
    memcpy(gradients, l.rig.parameters.gradients, n * sizeof *gradients);
    for (int32_t i = 0; i < l.rig.parameters.n; i++) {
        const r2i_parameter *p = &l.rig.parameters.list[i];
        const double norm = train_norm(gradients, p);
        if (p->is_fixed || norm < 1e-4) continue;
        const double e = tensor_error(&l, p, gradients + p->first, norm);
        if (!(e <= 5e-3)) fail_msg("%s: %s: off by %.3g", model, p->name, e);
        n_routers += strstr(p->name, "mlp.gate.weight") != NULL;
        n_checked++;
        worst = fmax(worst, e);
    }
    printf("%-18s %d tensors, %d routers, differences within %.2g\n", model, n_checked, n_routers,
           worst);
    assert_true(n_routers > 0 && n_checked > l.rig.parameters.n / 3);
    test_free(gradients);
    train_tear_down(&l.rig);
}

static void test_gradients(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        check_gradients(models[i]);
}

static void test_same_bits(void **state) {
    static const train_rig_options ways[] = { { .n_threads = 1 },
                                              { .n_threads = 3 },
                                              { .n_threads = 2, .is_recomputing = true } };
    static lesson l;
    (void)state;
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        uint64_t bits[3];
        double losses[3];
        for (int i = 0; i < 3; i++) {
            start(&l, models[m], &ways[i]);
            draw_routes(&l);
            losses[i] = run(&l, &bits[i]);
            train_tear_down(&l.rig);
        }
        assert_true(losses[0] == losses[1] && losses[0] == losses[2]);
        assert_true(bits[0] == bits[1] && bits[0] == bits[2]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_told), cmocka_unit_test(test_kept),
                                        cmocka_unit_test(test_gradients),
                                        cmocka_unit_test(test_same_bits) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
