/* mtp_backward.c - training of the prediction module (model/mtp.c), behind the main pass.
 *
 * Row p of a document is made from the main row p and token p + 1 and predicts the token after that,
 * which is the target of row p + 1: documents lose their last row.  Gradients reach the module, the
 * shared embedding and head, and through the hidden rows the main model. */
#include <string.h>

#include "base/checked.h"
#include "train/backward/backward_state.h"

enum { GRAIN_ROWS = 8 };

/* The module's batch: rows of documents of one token are left out with their runs. */
static int32_t set_rows(r2i_backward *b, const r2i_train_batch *batch, r2i_batch *out) {
    int32_t n_rows = 0, n_runs = 0, first = 0;
    for (int32_t doc = 0; doc < batch->n_documents; first += batch->lengths[doc++]) {
        const int32_t n = batch->lengths[doc] - 1;
        if (n < 1) continue;
        b->mtp.runs[n_runs++] =
            (r2i_run){ .first_row = n_rows, .n_rows = n, .pages = b->runs[doc].pages };
        for (int32_t i = 0; i < n; i++, n_rows++) {
            b->mtp.tokens[n_rows] = batch->tokens[first + i + 1];
            b->mtp.sources[n_rows] = first + i;
            b->mtp.targets[n_rows] = batch->targets[first + i + 1];
            b->mtp.weights[n_rows] = batch->weights[first + i + 1];
        }
    }
    *out = (r2i_batch){ b->mtp.tokens, n_rows, b->mtp.runs, n_runs };
    return n_rows;
}

/* What the module's join was given, again: [ norm of the embedding ; norm of the hidden row ]. */
static void joined_rows(void *argument, int32_t begin, int32_t end, int32_t worker) {
    r2i_backward *b = argument;
    const r2i_config *c = b->config;
    const r2i_mtp_weights *w = &b->weights->mtp;
    const size_t d = (size_t)c->d_model;
    (void)worker;
    for (size_t row = (size_t)begin; row < (size_t)end; row++) {
        float *embedded = b->mtp.embedded + row * d, *hidden = b->mtp.hidden + row * d,
              *joined = b->mtp.joined + row * 2 * d;
        r2i_matrix_read_row(w->embedding, b->kernels, b->mtp.tokens[row], embedded);
        b->kernels->rmsnorm(hidden, b->x_out + (size_t)b->mtp.sources[row] * d,
                            b->weights->output_norm, c->d_model, c->norm_eps);
        b->kernels->rmsnorm(joined, embedded, w->embedding_norm, c->d_model, c->norm_eps);
        b->kernels->rmsnorm(joined + d, hidden, w->hidden_norm, c->d_model, c->norm_eps);
    }
}

/* One half of g_joined back through its norm, to dense rows. */
static void half_backward(r2i_backward *b, const float *x, const float *weight, const float *g_half,
                          float *g_x, int32_t n_rows) {
    const size_t d = (size_t)b->config->d_model;
    const r2i_norm_backward norm = { .n_rows = n_rows,
                                     .n_cols = b->config->d_model,
                                     .eps = b->config->norm_eps,
                                     .weight = weight,
                                     .x = x,
                                     .g_y = g_half,
                                     .g_x = g_x,
                                     .x_stride = d,
                                     .g_y_stride = 2 * d,
                                     .g_x_stride = d,
                                     .g_weight = r2i_gradient_of(b->parameters, weight),
                                     .row_scales = b->row_scales };
    r2i_norm_run_backward(b->pool, &norm);
}

/* From the gradient of the block's input rows (g_x) to embedding and main rows. */
static void join_backward(r2i_backward *b, int32_t n_rows) {
    const r2i_mtp_weights *w = &b->weights->mtp;
    const size_t d = (size_t)b->config->d_model;
    r2i_pool_run(b->pool, n_rows, GRAIN_ROWS, joined_rows, b);
    r2i_linear_backward(b, &w->join, b->g_x, b->mtp.joined, b->mtp.g_joined, false, n_rows);
    half_backward(b, b->mtp.embedded, w->embedding_norm, b->mtp.g_joined, b->g_normed, n_rows);
    r2i_embedding_backward(b, b->mtp.tokens, b->g_normed, n_rows);
    half_backward(b, b->mtp.hidden, w->hidden_norm, b->mtp.g_joined + d, b->g_normed, n_rows);
    /* Through the main model's last norm, of the rows that the hidden ones were made of. */
    for (int32_t row = 0; row < n_rows; row++)
        memcpy(b->mtp.hidden + (size_t)row * d, b->x_out + (size_t)b->mtp.sources[row] * d,
               d * sizeof(float));
    memset(b->normed, 0, (size_t)n_rows * d * sizeof(float));
    r2i_block_norm_backward(b, b->mtp.hidden, b->weights->output_norm, b->g_normed, b->normed,
                            n_rows);
    for (size_t row = 0; row < (size_t)n_rows; row++) {
        float *out = b->mtp.g_main + (size_t)b->mtp.sources[row] * d;
        for (size_t i = 0; i < d; i++)
            out[i] += b->normed[row * d + i];
    }
}

double r2i_mtp_train(r2i_backward *b, const r2i_train_batch *batch, bool has_gradients) {
    r2i_mtp_batch module = { .source_rows = b->mtp.sources };
    const int32_t n_rows = set_rows(b, batch, &module.batch), d = b->config->d_model;
    const r2i_head_loss_job head = { .targets = b->mtp.targets,
                                     .weights = b->mtp.weights,
                                     .x = r2i_forward_rows(b->forward),
                                     .norm = b->weights->mtp.output_norm,
                                     .matrix = b->weights->mtp.head,
                                     .n_rows = n_rows,
                                     .scale = batch->mtp_weight,
                                     .is_module = true,
                                     .g_x = has_gradients ? b->g_x : NULL };
    if (n_rows == 0) return 0;
    r2i_mtp_keep_rows(b->forward);
    r2i_mtp_run(b->forward, &module);
    memset(b->g_x, 0, (size_t)n_rows * (size_t)d * sizeof(float));
    const double loss = r2i_head_loss(b, &head);
    if (!has_gradients) return loss;
    r2i_layer_backward(b, &module.batch, b->config->n_layers);
    join_backward(b, n_rows);
    return loss;
}
