#include "train_rig.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void train_set_up(train_rig *t, const char *path, const train_rig_options *o) {
    r2_error err;
    const r2_model_options options = { .cpu = o->cpu,
                                       .arithmetic =
                                           o->is_bf16 ? R2_ARITHMETIC_FAST : R2_ARITHMETIC_F32,
                                       .is_unpacked = true };
    const r2i_backward_limits limits = { .cap_rows = TRAIN_CAP_ROWS,
                                         .cap_documents = TRAIN_CAP_DOCUMENTS,
                                         .cap_logits = 24,
                                         .is_soft = true,
                                         .is_f32 = !o->is_bf16,
                                         .is_recomputing = o->is_recomputing };
    must(r2_model_open(&t->model, path, &options, &err), &err);
    r2_model *m = t->model;
    must(r2i_pool_create(&t->pool, o->n_threads, &m->heap, &err), &err);
    must(o->lora != NULL ? r2i_lora_parameters_create(&t->parameters, &m->config, &m->weights,
                                                      &m->kernels, o->lora, &m->arena, &err)
                         : r2i_parameters_create(&t->parameters, &m->config, &m->weights,
                                                 &m->kernels, !o->is_bf16, true, &m->arena, &err),
         &err);
    must(r2i_backward_create(&t->backward, &t->parameters, &m->kernels, t->pool, &limits, &m->arena,
                             &err),
         &err);
}

void train_tear_down(train_rig *t) {
    r2i_pool_destroy(t->pool);
    r2_model_close(t->model);
}

const r2i_parameter *train_find(const train_rig *t, const char *name) {
    for (int32_t i = 0; i < t->parameters.n; i++) {
        if (strcmp(t->parameters.list[i].name, name) == 0) return &t->parameters.list[i];
    }
    fail_msg("no parameter %s", name);
    return NULL;
}

double train_step_adamw(train_rig *t, r2i_adamw *adamw, const r2i_adamw_options *options) {
    const double norm = sqrt(r2i_adamw_squares(adamw, t->pool));
    r2i_adamw_apply(adamw, t->pool, options, norm);
    r2i_parameters_refresh(&t->parameters);
    return norm;
}

double train_step_muon(train_rig *t, r2i_muon *muon, const r2i_muon_options *options) {
    const double norm = sqrt(r2i_adamw_squares(&muon->adamw, t->pool));
    r2i_muon_apply(muon, t->pool, options, norm);
    r2i_parameters_refresh(&t->parameters);
    return norm;
}

static void set_weights(train_documents *d, int32_t n_rows) {
    for (int32_t i = 0; i < n_rows; i++) {
        if (d->weights[i] != 0) d->weights[i] = 1.0f / (float)d->n_targets;
    }
}

void train_read_documents(train_documents *d, const json_t *input_ids, const json_t *labels) {
    int32_t n = 0;
    memset(d, 0, sizeof *d);
    assert_true(json_array_size(input_ids) <= TRAIN_CAP_DOCUMENTS);
    for (size_t r = 0; r < json_array_size(input_ids); r++) {
        const json_t *ids = json_array_get(input_ids, r),
                     *row_labels = json_array_get(labels != NULL ? labels : input_ids, r);
        const size_t n_ids = json_array_size(ids);
        d->lengths[r] = (int32_t)n_ids;
        for (size_t i = 0; i < n_ids; i++, n++) {
            const json_int_t label =
                i + 1 < n_ids ? json_integer_value(json_array_get(row_labels, i + 1)) : -100;
            assert_true(n < TRAIN_CAP_ROWS);
            d->tokens[n] = (int32_t)json_integer_value(json_array_get(ids, i));
            d->targets[n] = label >= 0 ? (int32_t)label : 0;
            d->weights[n] = label >= 0 ? 1 : 0;
            d->n_targets += label >= 0;
        }
    }
    set_weights(d, n);
    d->batch = (r2i_train_batch){ .tokens = d->tokens,
                                  .n_rows = n,
                                  .lengths = d->lengths,
                                  .n_documents = (int32_t)json_array_size(input_ids),
                                  .targets = d->targets,
                                  .weights = d->weights };
}

double train_norm(const float *values, const r2i_parameter *p) {
    double sum = 0;
    for (size_t i = 0; i < r2i_parameter_size(p); i++)
        sum += (double)values[p->first + i] * (double)values[p->first + i];
    return sqrt(sum);
}
