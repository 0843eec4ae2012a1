/* mtp.c - multi-token prediction: a block that guesses the token after next (DeepSeek-V3,
 * arXiv:2412.19437, 2.2).
 *
 *     x_p = join [ RMSNorm(embedding of token p+1) ; RMSNorm(h_p) ],   h_p after the model's last norm
 *     logits of token p+2 = head RMSNorm(block(x)_p)
 *
 * The block is layer n_layers of the model with cache rows of its own in the same pages.  Its row made
 * from h_p lies in slot p: rotations enter scores only as differences of positions, so counting from p
 * instead of p + 1 changes nothing. */
#include <string.h>

#include "base/failure.h"
#include "model/forward_state.h"

bool r2i_mtp_is_there(const r2i_forward *f) {
    return f->parts.weights->has_mtp;
}

static void norm_rows(const r2i_forward *f, const float *weight, int32_t n_rows, float *out) {
    const r2i_config *c = f->parts.config;
    for (int32_t row = 0; row < n_rows; row++) {
        const size_t at = (size_t)row * (size_t)c->d_model;
        f->parts.kernels->rmsnorm(out + at, f->x + at, weight, c->d_model, c->norm_eps);
    }
}

void r2i_mtp_keep_rows(r2i_forward *f) {
    norm_rows(f, f->parts.weights->output_norm, f->batch.n_rows, f->mtp.hidden);
}

void r2i_mtp_run(r2i_forward *f, const r2i_mtp_batch *mtp) {
    const r2i_config *c = f->parts.config;
    r2i_mtp_weights *w = &f->parts.weights->mtp;
    const size_t d = (size_t)c->d_model;
    const int32_t n_rows = mtp->batch.n_rows;
    const float *source = mtp->is_own ? f->mtp.own : f->mtp.hidden;
    r2i_forward_start(f, &mtp->batch);
    for (int32_t row = 0; row < n_rows; row++) {
        float *joined = f->mtp.joined + (size_t)row * 2 * d;
        r2i_forward_embed(f, w->embedding, mtp->batch.tokens[row], joined);
        f->parts.kernels->rmsnorm(joined, joined, w->embedding_norm, c->d_model, c->norm_eps);
        f->parts.kernels->rmsnorm(joined + d, source + (size_t)mtp->source_rows[row] * d,
                                  w->hidden_norm, c->d_model, c->norm_eps);
    }
    r2i_forward_prepare(f, &f->mtp.join_act, f->mtp.joined, 2 * d, NULL, n_rows, 2 * c->d_model,
                        r2i_matrix_act_mask(&w->join));
    const r2i_linear_output join = { .matrix = &w->join, .y = f->x, .y_stride = d };
    r2i_linear(&f->linear, &join, 1, &f->mtp.join_act, n_rows);
    r2i_forward_layer(f, c->n_layers);
    norm_rows(f, w->output_norm, n_rows, f->mtp.own);
}

void r2i_mtp_logits(r2i_forward *f, const int32_t *rows, int32_t n, float *logits) {
    R2I_ASSERT(n <= f->limits.cap_logits);
    const size_t d = (size_t)f->parts.config->d_model;
    for (int32_t i = 0; i < n; i++) {
        memcpy(f->logit_rows + (size_t)i * d, f->mtp.own + (size_t)rows[i] * d,
               d * sizeof *f->mtp.own);
    }
    r2i_forward_select(f, rows, n);
    r2i_forward_head(f, NULL, f->parts.weights->mtp.head, n, logits);
}
