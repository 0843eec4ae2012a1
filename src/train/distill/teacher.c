#include "train/distill/teacher.h"

#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "model/model.h"
#include "train/backward/document_pages.h"
#include "train/distill/soft_targets.h"
#include "train/runs/trainer_model.h"

enum { DEFAULT_K = 32, CAP_LOGITS = 256, GRAIN_ROWS = 2, SHOWN_BYTES = 40 };

struct r2_teacher {
    r2_model *model;
    r2i_pool *pool; /* the trainer's */
    r2i_forward *forward;
    r2i_document_pages pages;
    r2i_run *runs; /* [cap_documents] */
    int32_t cap_rows, cap_document, cap_documents, cap_logits;
    bool has_continuations;
    int32_t n_known; /* tokens that the student knows as well */
    r2_soft_targets soft;
    int32_t *tokens;  /* [cap_rows, k] */
    float *log_probs; /* [cap_rows, k + 1] */
    int32_t *rows;    /* [cap_rows] that have a target */
    float *logits;    /* [cap_logits, n_vocab] */
};

/* ---- vocabulary ---- */

/* Compares two vocabularies token by token, up to the shorter one; n_known: how many they share.
 * R2_E_MISMATCH names the first difference. */
static r2_status check_vocabulary(const r2_model *student, const r2_model *teacher,
                                  int32_t *n_known, r2_error *err) {
    *n_known = r2i_min_i32(student->config.n_vocab, teacher->config.n_vocab);
    if (student->tokenizer == NULL || teacher->tokenizer == NULL) return R2_OK;
    const int32_t n =
        r2i_min_i32(r2i_tokenizer_size(student->tokenizer), r2i_tokenizer_size(teacher->tokenizer));
    for (int32_t i = 0; i < n; i++) {
        const r2i_text_view a = r2i_tokenizer_text(student->tokenizer, i),
                            b = r2i_tokenizer_text(teacher->tokenizer, i);
        if (a.n_bytes == b.n_bytes && memcmp(a.bytes, b.bytes, a.n_bytes) == 0) continue;
        return r2i_fail(err, R2_E_MISMATCH,
                        "%.80s: expected the student's vocabulary, found another one: token %d is "
                        "\"%.*s\", the student's \"%.*s\"",
                        teacher->name, i, (int)r2i_min_size(b.n_bytes, SHOWN_BYTES), b.bytes,
                        (int)r2i_min_size(a.n_bytes, SHOWN_BYTES), a.bytes);
    }
    return R2_OK;
}

/* ---- opening ---- */

static r2_status check_options(const r2_teacher *t, r2_error *err) {
    static const int32_t no_target = -1;
    return r2i_soft_targets_check(&t->soft, &no_target, 1, t->n_known, err);
}

static r2_status take_memory(r2_teacher *t, r2_error *err) {
    r2_model *m = t->model;
    r2i_taker taker = { &m->arena, false };
    const size_t rows = (size_t)t->cap_rows, k = (size_t)t->soft.k;
    const r2i_document_limits documents = { t->cap_rows, t->cap_documents, t->cap_document,
                                            t->has_continuations };
    r2i_document_pages_take(&t->pages, &taker, &m->config, m->config.n_layers + m->config.n_mtp,
                            r2i_model_cache_rows(m, R2_CACHE_BF16), &documents);
    t->runs = r2i_take(&taker, (size_t)t->cap_documents, sizeof *t->runs);
    t->tokens = r2i_take(&taker, rows * k, sizeof *t->tokens);
    t->log_probs = r2i_take_floats(&taker, rows, k + 1);
    t->rows = r2i_take(&taker, rows, sizeof *t->rows);
    t->logits = r2i_take_floats(&taker, (size_t)t->cap_logits, (size_t)m->config.n_vocab);
    if (!taker.has_failed) return R2_OK;
    return r2i_fail(err, R2_E_NOMEM, "%.80s: no memory to teach batches of %d tokens", m->name,
                    t->cap_rows);
}

static r2_status create_parts(r2_teacher *t, r2_trainer *trainer, r2_error *err) {
    r2_model *m = t->model;
    const r2i_trainer_limits caps = r2i_trainer_get_limits(trainer);
    t->cap_rows = caps.batch_tokens;
    t->cap_document = caps.document_tokens;
    t->cap_documents = caps.batch_documents;
    t->has_continuations = caps.takes_continuations;
    t->cap_logits = r2i_min_i32(CAP_LOGITS, t->cap_rows);
    t->pool = caps.pool;
    R2I_TRY(check_vocabulary(r2i_trainer_model(trainer), m, &t->n_known, err));
    R2I_TRY(check_options(t, err));
    R2I_TRY(take_memory(t, err));
    t->soft.tokens = t->tokens;
    t->soft.log_probs = t->log_probs;
    const r2i_forward_parts parts = { .config = &m->config,
                                      .weights = &m->weights,
                                      .kernels = &m->kernels,
                                      .pool = t->pool,
                                      .cache = &t->pages.cache,
                                      .packed = r2i_model_on_packed,
                                      .packed_user = m };
    const r2i_forward_limits limits = { t->cap_rows, t->cap_logits, t->cap_document, false };
    return r2i_forward_create(&t->forward, &parts, &limits, &m->arena, err);
}

r2_status r2_teacher_open(r2_teacher **out, const char *path, r2_trainer *trainer,
                          const r2_teacher_options *options, r2_error *err) {
    static const r2_teacher_options defaults = { .share = 1 };
    const r2_teacher_options *o = options != NULL ? options : &defaults;
    const r2_model_options model_options = { .host = r2i_trainer_model(trainer)->host,
                                             .cpu = o->cpu,
                                             .arithmetic = o->arithmetic };
    r2_model *model;
    *out = NULL;
    R2I_TRY(r2_model_open(&model, path, &model_options, err));
    r2_teacher *t = R2I_ARENA_NEW(&model->arena, r2_teacher);
    r2_status status = R2_E_NOMEM;
    if (t == NULL) {
        status = r2i_fail(err, R2_E_NOMEM, "no memory for a teacher");
    } else {
        t->model = model;
        t->soft = (r2_soft_targets){ .k = o->n_tokens > 0 ? o->n_tokens : DEFAULT_K,
                                     .temperature = o->temperature > 0 ? o->temperature : 1,
                                     .beta = o->beta,
                                     .share = o->share };
        if (o->n_tokens < 0) t->soft.k = o->n_tokens; /* refused below */
        status = create_parts(t, trainer, err);
    }
    if (status != R2_OK)
        r2_model_close(model); /* and with it the teacher */
    else
        *out = t;
    return status;
}

uint64_t r2i_teacher_fingerprint(const r2_teacher *teacher) {
    return teacher->model->fingerprint;
}

int64_t r2i_teacher_bytes(const r2_teacher *teacher) {
    return (int64_t)teacher->model->heap.used_bytes;
}

void r2_teacher_close(r2_teacher *teacher) {
    if (teacher != NULL) r2_model_close(teacher->model);
}

/* ---- scoring ---- */

typedef struct {
    r2_teacher *t;
    const int32_t *rows; /* of the chunk */
    const int32_t *targets;
    float *logprobs;
} score_region;

static void score_rows(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const score_region *region = argument;
    r2_teacher *t = region->t;
    const int32_t n_vocab = t->model->config.n_vocab, k = t->soft.k;
    (void)worker;
    for (int32_t i = begin; i < end; i++) {
        const size_t row = (size_t)region->rows[i];
        r2i_soft_targets_make(&t->model->kernels, t->logits + (size_t)i * (size_t)n_vocab, n_vocab,
                              t->n_known, k, t->soft.temperature, t->tokens + row * (size_t)k,
                              t->log_probs + row * (size_t)(k + 1));
    }
}

static r2_status check_batch(const r2_teacher *t, const r2_training_batch *b, r2_error *err) {
    int64_t n = 0;
    bool is_good = b->n_tokens >= 1 && b->n_tokens <= t->cap_rows && b->n_documents >= 1 &&
                   b->n_documents <= t->cap_documents;
    for (int32_t i = 0; is_good && i < b->n_documents; i++) {
        is_good = b->lengths[i] >= 1 && b->lengths[i] <= t->cap_document;
        n += b->lengths[i];
    }
    for (int32_t i = 0; is_good && i < b->n_tokens; i++)
        is_good = b->tokens[i] >= 0 && b->tokens[i] < t->n_known;
    if (is_good && n == b->n_tokens) return R2_OK;
    return r2i_fail(err, R2_E_ARGUMENT,
                    "%.80s: expected a batch of the trainer it was opened for, tokens below %d",
                    t->model->name, t->n_known);
}

static void read_rows(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const score_region *region = argument;
    const r2_teacher *t = region->t;
    const int32_t n_vocab = t->model->config.n_vocab;
    (void)worker;
    for (int32_t i = begin; i < end; i++) {
        const float *logits = t->logits + (size_t)i * (size_t)n_vocab;
        const int32_t row = region->rows[i];
        region->logprobs[row] =
            logits[region->targets[row]] - t->model->kernels.log_sum_exp(logits, n_vocab);
    }
}

/* Logits of the rows with a target, in chunks that `work` is done with. */
static r2_status read_batch(r2_teacher *t, const r2_training_batch *batch, r2i_pool_work work,
                            float *logprobs, r2_error *err) {
    int32_t n = 0;
    R2I_TRY(check_batch(t, batch, err));
    R2I_TRY(r2i_model_check_intact(t->model, err));
    (void)r2i_document_pages_set(&t->pages, batch->lengths, batch->parents, batch->n_documents,
                                 t->runs);
    const r2i_batch forward_batch = { batch->tokens, batch->n_tokens, t->runs, batch->n_documents };
    r2i_forward_set_pack_budget(t->forward, SIZE_MAX);
    r2i_forward_run(t->forward, &forward_batch);
    for (int32_t row = 0; row < batch->n_tokens; row++) {
        if (batch->targets[row] >= 0) t->rows[n++] = row;
    }
    for (int32_t first = 0; first < n; first += t->cap_logits) {
        const int32_t n_chunk = r2i_min_i32(t->cap_logits, n - first);
        score_region region = { t, t->rows + first, batch->targets, logprobs };
        r2i_forward_logits(t->forward, region.rows, n_chunk, t->logits);
        r2i_pool_run(t->pool, n_chunk, GRAIN_ROWS, work, &region);
    }
    return R2_OK;
}

r2_status r2_teacher_score(r2_teacher *t, const r2_training_batch *batch,
                           const r2_soft_targets **out, r2_error *err) {
    *out = NULL;
    R2I_TRY(read_batch(t, batch, score_rows, NULL, err));
    *out = &t->soft;
    return R2_OK;
}

r2_status r2i_teacher_read(r2_teacher *t, const r2_training_batch *batch, float *logprobs,
                           r2_error *err) {
    return read_batch(t, batch, read_rows, logprobs, err);
}
