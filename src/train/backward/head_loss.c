/* head_loss.c - cross entropy fused with the output head: logits of a few rows at a time, so that
 * those of a whole batch never exist at once.  Rows that do not count are skipped. */
#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "train/backward/backward_state.h"
#include "train/reinforce/policy_loss.h"
#include "train/distill/soft_targets.h"

enum { GRAIN_ROWS = 4 };

typedef struct {
    r2i_backward *b;
    const r2i_head_loss_job *job;
    const int32_t *rows; /* of the chunk */
} head_region;

/* A teacher's targets: their loss at temperature T counts T^2 times, so that gradients do not shrink
 * with it (arXiv:1503.02531, section 2); gradients here are of logits / T. */
static float soft_scale(const r2_soft_targets *soft) {
    return soft->share * (soft->temperature > 0 ? soft->temperature : 1);
}

/* The row's part of the loss of a teacher's targets; returns the gradient for add_soft, or NULL: there is
 * no teacher. */
static float *soften(const head_region *region, int32_t i, int32_t worker) {
    r2i_backward *b = region->b;
    const size_t n_vocab = (size_t)b->config->n_vocab, row = (size_t)region->rows[i];
    const r2_soft_targets *soft = region->job->soft;
    if (soft == NULL) return NULL;
    const r2i_soft_row one = r2i_soft_row_at(soft, row);
    float *g = b->head.soft + (size_t)worker * n_vocab;
    const double loss = r2i_soft_loss(&one, b->kernels, b->head.logits + (size_t)i * n_vocab,
                                      b->config->n_vocab, region->job->g_x != NULL, g);
    const double t = (double)one.temperature;
    b->head.soft_losses[i] = (double)region->job->weights[row] * t * t * loss;
    return g;
}

static void add_soft(float *g_logits, const float *g, float scale, int32_t n_vocab) {
    for (int32_t v = 0; v < n_vocab; v++)
        g_logits[v] += scale * g[v];
}

/* The row's loss; its gradient is *factor times that of -log p.  As a float log p is the engine's. */
static double row_loss(const head_region *region, size_t row, const float *logits, float *factor) {
    const r2i_backward *b = region->b;
    const float target = logits[region->job->targets[row]],
                total = b->kernels->log_sum_exp(logits, b->config->n_vocab);
    *factor = 1;
    if (region->job->policy == NULL) return (double)total - (double)target;
    return r2i_policy_row(region->job->policy, row, target - total, factor);
}

static void read_rows(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const head_region *region = argument;
    const r2i_backward *b = region->b;
    const int32_t n_vocab = b->config->n_vocab;
    (void)worker;
    for (int32_t i = begin; i < end; i++) {
        const size_t row = (size_t)region->rows[i];
        const float *logits = b->head.logits + (size_t)i * (size_t)n_vocab;
        region->job->policy->logprobs[row] =
            logits[region->job->targets[row]] - b->kernels->log_sum_exp(logits, n_vocab);
    }
}

/* loss = w (log sum exp(l) - l[target]);   g_l = w scale factor (softmax(l) - [target]). */
static void loss_rows(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const head_region *region = argument;
    r2i_backward *b = region->b;
    const int32_t n_vocab = b->config->n_vocab;
    const size_t d = (size_t)b->config->d_model;
    for (int32_t i = begin; i < end; i++) {
        const size_t row = (size_t)region->rows[i];
        const int32_t target = region->job->targets[row];
        const float weight = region->job->weights[row];
        float *logits = b->head.logits + (size_t)i * (size_t)n_vocab, factor;
        b->head.losses[i] = (double)weight * row_loss(region, row, logits, &factor);
        const float scale = weight * region->job->scale * factor;
        float *soft = soften(region, i, worker);
        if (region->job->g_x == NULL) continue;
        const float hard_scale = soft != NULL ? scale * (1 - region->job->soft->share) : scale;
        if (hard_scale != 0) b->kernels->softmax(logits, logits, n_vocab);
        logits[target] -= 1;
        for (int32_t v = 0; v < n_vocab; v++)
            logits[v] *= hard_scale;
        if (soft != NULL) add_soft(logits, soft, soft_scale(region->job->soft) * scale, n_vocab);
        float *x = b->head.x + (size_t)i * d;
        memcpy(x, region->job->x + row * d, d * sizeof *x);
        b->kernels->rmsnorm(b->head.normed + (size_t)i * d, x, region->job->norm,
                            b->config->d_model, b->config->norm_eps);
    }
}

static void add_rows(const r2i_backward *b, const r2i_head_loss_job *job, const int32_t *rows,
                     int32_t n) {
    const size_t d = (size_t)b->config->d_model;
    for (size_t i = 0; i < (size_t)n; i++) {
        float *out = job->g_x + (size_t)rows[i] * d;
        for (size_t j = 0; j < d; j++)
            out[j] += b->head.g_x[i * d + j];
    }
}

static double run_chunk(r2i_backward *b, const r2i_head_loss_job *job, const int32_t *rows,
                        int32_t n) {
    head_region region = { b, job, rows };
    double loss = 0;
    if (job->is_module)
        r2i_mtp_logits(b->forward, rows, n, b->head.logits);
    else
        r2i_forward_logits(b->forward, rows, n, b->head.logits);
    r2i_pool_run(b->pool, n, GRAIN_ROWS, loss_rows, &region);
    for (int32_t i = 0; i < n; i++) {
        loss += b->head.losses[i];
        if (job->soft != NULL) *job->soft_loss += b->head.soft_losses[i];
    }
    if (job->g_x == NULL) return loss;
    /* g_normed goes to where normed rows were: the norm reads x. */
    r2i_linear_backward(b, job->matrix, b->head.logits, b->head.normed, b->head.g_x, false, n);
    memcpy(b->head.normed, b->head.g_x, (size_t)(n * b->config->d_model) * sizeof(float));
    memset(b->head.g_x, 0, (size_t)(n * b->config->d_model) * sizeof(float));
    r2i_block_norm_backward(b, b->head.x, job->norm, b->head.normed, b->head.g_x, n);
    add_rows(b, job, rows, n);
    return loss;
}

/* What losses of whole documents need first. */
static double read_documents(r2i_backward *b, const r2i_head_loss_job *job, int32_t n) {
    const r2i_policy_batch batch = { .policy = job->policy,
                                     .targets = job->targets,
                                     .lengths = job->lengths,
                                     .weights = job->weights,
                                     .n_documents = job->n_documents };
    for (int32_t first = 0; first < n; first += b->limits.cap_logits) {
        head_region region = { b, job, b->head.rows + first };
        const int32_t n_chunk = r2i_min_i32(b->limits.cap_logits, n - first);
        r2i_forward_logits(b->forward, region.rows, n_chunk, b->head.logits);
        r2i_pool_run(b->pool, n_chunk, GRAIN_ROWS, read_rows, &region);
    }
    return r2i_policy_documents(&batch);
}

double r2i_head_loss(r2i_backward *b, const r2i_head_loss_job *job) {
    int32_t n = 0;
    double loss = 0;
    for (int32_t row = 0; row < job->n_rows; row++) {
        if (job->weights[row] != 0) b->head.rows[n++] = row;
    }
    if (r2i_policy_needs_documents(job->policy)) {
        loss = read_documents(b, job, n);
        if (job->g_x == NULL) return loss;
    }
    for (int32_t first = 0; first < n; first += b->limits.cap_logits)
        loss +=
            run_chunk(b, job, b->head.rows + first, r2i_min_i32(b->limits.cap_logits, n - first));
    return loss;
}
