/* backward_scratch.c - r2i_backward_create: memory for the largest batch, taken once. */
#include "base/checked.h"
#include "base/failure.h"
#include "model/rope.h"
#include "train/backward/backward_state.h"

static float *take_floats(r2i_taker *t, size_t n_rows, int32_t n_cols) {
    return r2i_take_floats(t, n_rows, (size_t)n_cols);
}

/* ---- what the forward pass keeps ---- */

static void take_attention_saved(r2i_taker *t, const r2i_config *c, size_t rows,
                                 r2i_layer_saved *s) {
    const int32_t d_q = c->n_heads * c->d_head, d_kv = c->n_kv_heads * c->d_head,
                  d_latent = c->kv_rank + c->rope.d;
    s->attended = take_floats(t, rows, c->n_heads * c->d_value);
    if (c->kv_rank > 0) {
        if (c->q_rank > 0) s->mla.q_low = take_floats(t, rows, c->q_rank);
        s->mla.q = take_floats(t, rows, d_q);
        s->mla.latent_raw = take_floats(t, rows, d_latent);
        s->mla.latent = take_floats(t, rows, d_latent);
        return;
    }
    if (c->has_head_norms) {
        s->gqa.q_raw = take_floats(t, rows, d_q);
        s->gqa.k_raw = take_floats(t, rows, d_kv);
    }
    s->gqa.q = take_floats(t, rows, d_q);
    s->gqa.k = take_floats(t, rows, d_kv);
    s->gqa.v = take_floats(t, rows, d_kv);
}

static void take_gated_saved(r2i_taker *t, size_t rows, int32_t width, r2i_gated_saved *s) {
    s->gate = take_floats(t, rows, width);
    s->up = take_floats(t, rows, width);
}

/* Of the MLP, where most of what is kept lies, half of it: products backward round it anyway. */
static void take_mlp_saved(r2i_taker *t, const r2i_backward *b, r2i_gated_saved *s) {
    const size_t rows = (size_t)b->limits.cap_rows;
    s->is_rounded = b->layout == R2I_TYPE_BF16;
    if (!s->is_rounded) {
        take_gated_saved(t, rows, b->config->d_ffn, s);
        return;
    }
    s->gate = r2i_take(t, rows, r2i_act_row_bytes(R2I_ACT_BF16, b->config->d_ffn));
    s->up = r2i_take(t, rows, r2i_act_row_bytes(R2I_ACT_BF16, b->config->d_ffn));
}

static void take_moe_saved(r2i_taker *t, const r2i_backward *b, r2i_moe_saved *s) {
    const r2i_config *c = b->config;
    const size_t rows = (size_t)b->limits.cap_rows, entries = rows * (size_t)c->n_active;
    s->scores = take_floats(t, rows, c->n_experts);
    s->chosen = r2i_take(t, entries, sizeof(int32_t));
    s->weights = take_floats(t, entries, 1);
    s->entry_of = r2i_take(t, entries, sizeof(int32_t));
    s->first_entry = r2i_take(t, (size_t)c->n_experts + 1, sizeof(int32_t));
    take_gated_saved(t, (size_t)r2i_experts_cap(b), c->d_expert, &s->experts);
    if (c->n_shared_experts > 0)
        take_gated_saved(t, rows, c->n_shared_experts * c->d_expert, &s->shared);
}

static bool has_ffn(const r2i_config *c, int32_t n_layers, r2i_ffn_kind kind) {
    for (int32_t i = 0; i < n_layers; i++) {
        if (c->layers[i].ffn == kind) return true;
    }
    return false;
}

/* Each layer its own memory, or (recomputing) its input alone and one memory for the rest of all. */
static void take_saved(r2i_taker *t, r2i_backward *b, int32_t n_layers) {
    const r2i_config *c = b->config;
    const size_t rows = (size_t)b->limits.cap_rows, n = (size_t)n_layers;
    r2i_layer_saved shared = { 0 };
    b->saved = r2i_take(t, n, sizeof *b->saved);
    if (b->limits.is_recomputing) {
        b->whole = r2i_take(t, n, sizeof *b->whole);
        shared.x_ffn = take_floats(t, rows, c->d_model);
        take_attention_saved(t, c, rows, &shared);
        if (has_ffn(c, n_layers, R2I_FFN_DENSE)) take_mlp_saved(t, b, &shared.mlp);
        if (has_ffn(c, n_layers, R2I_FFN_MOE)) take_moe_saved(t, b, &shared.moe);
    }
    for (int32_t i = 0; !t->has_failed && i < n_layers; i++) {
        r2i_layer_saved *s = &b->saved[i];
        s->x = take_floats(t, rows, c->d_model);
        if (b->whole != NULL) {
            b->whole[i] = shared;
            continue;
        }
        s->x_ffn = take_floats(t, rows, c->d_model);
        take_attention_saved(t, c, rows, s);
        if (c->layers[i].ffn == R2I_FFN_MOE)
            take_moe_saved(t, b, &s->moe);
        else
            take_mlp_saved(t, b, &s->mlp);
    }
}

/* ---- scratch ---- */

static void take_mla(r2i_taker *t, r2i_backward *b) {
    const r2i_config *c = b->config;
    const size_t rows = (size_t)b->limits.cap_rows;
    const int32_t d_kv = c->n_heads * (c->d_head - c->rope.d + c->d_value);
    if (c->q_rank > 0) {
        b->mla.q_low = take_floats(t, rows, c->q_rank);
        b->mla.g_q_low = take_floats(t, rows, c->q_rank);
    }
    b->mla.g_latent = take_floats(t, rows, c->kv_rank + c->rope.d);
    b->mla.plain = take_floats(t, rows, c->kv_rank);
    b->mla.g_plain = take_floats(t, rows, c->kv_rank);
    b->mla.kv = take_floats(t, rows, d_kv);
    b->mla.g_kv = take_floats(t, rows, d_kv);
    b->k = take_floats(t, rows, c->n_heads * c->d_head);
    b->v = take_floats(t, rows, c->n_heads * c->d_value);
}

static void take_moe(r2i_taker *t, r2i_backward *b) {
    const r2i_config *c = b->config;
    const size_t rows = (size_t)b->limits.cap_rows;
    r2i_experts_take(t, b);
    b->moe.g_scores = take_floats(t, rows, c->n_experts);
    b->moe.counts =
        r2i_take(t, (size_t)(c->n_layers + 1) * (size_t)c->n_experts, sizeof *b->moe.counts);
    b->moe.fractions = take_floats(t, (size_t)b->limits.cap_documents, c->n_experts);
    b->moe.losses = r2i_take(t, (size_t)b->limits.cap_documents, sizeof *b->moe.losses);
}

static void take_head(r2i_taker *t, r2i_backward *b) {
    const r2i_config *c = b->config;
    const size_t n = (size_t)b->limits.cap_logits;
    b->head.rows = r2i_take(t, (size_t)b->limits.cap_rows, sizeof(int32_t));
    b->head.logits = take_floats(t, n, c->n_vocab);
    b->head.x = take_floats(t, n, c->d_model);
    b->head.normed = take_floats(t, n, c->d_model);
    b->head.g_x = take_floats(t, n, c->d_model);
    b->head.losses = r2i_take(t, n, sizeof(double));
    if (!b->limits.is_soft) return;
    b->head.soft = take_floats(t, (size_t)r2i_pool_threads(b->pool), c->n_vocab);
    b->head.soft_losses = r2i_take(t, n, sizeof(double));
}

static void take_mtp(r2i_taker *t, r2i_backward *b) {
    const size_t rows = (size_t)b->limits.cap_rows;
    const int32_t d = b->config->d_model;
    b->mtp.tokens = r2i_take(t, rows, sizeof(int32_t));
    b->mtp.targets = r2i_take(t, rows, sizeof(int32_t));
    b->mtp.sources = r2i_take(t, rows, sizeof(int32_t));
    b->mtp.weights = take_floats(t, rows, 1);
    b->mtp.runs = r2i_take(t, (size_t)b->limits.cap_documents, sizeof *b->mtp.runs);
    b->mtp.g_main = take_floats(t, rows, d);
    b->mtp.embedded = take_floats(t, rows, d);
    b->mtp.hidden = take_floats(t, rows, d);
    b->mtp.joined = take_floats(t, rows, 2 * d);
    b->mtp.g_joined = take_floats(t, rows, 2 * d);
    b->x_out = take_floats(t, rows, d);
}

static void take_rows(r2i_taker *t, r2i_backward *b) {
    const r2i_config *c = b->config;
    const size_t rows = (size_t)b->limits.cap_rows, half = (size_t)c->rope.d / 2;
    const int32_t dense = r2i_max_i32(c->d_ffn, c->n_shared_experts * c->d_expert);
    const size_t inner = rows * (size_t)dense;
    const int32_t d_kv = c->kv_rank > 0 ? c->n_heads : c->n_kv_heads;
    b->runs = r2i_take(t, (size_t)b->limits.cap_documents, sizeof *b->runs);
    b->inv_freq = r2i_take(t, half, sizeof(double));
    b->cosine = take_floats(t, rows, (int32_t)half);
    b->sine = take_floats(t, rows, (int32_t)half);
    b->g_x = take_floats(t, rows, c->d_model);
    b->normed = take_floats(t, rows, c->d_model);
    b->g_normed = take_floats(t, rows, c->d_model);
    b->g_attended = take_floats(t, rows, c->n_heads * c->d_value);
    b->g_q = take_floats(t, rows, c->n_heads * c->d_head);
    b->g_k = take_floats(t, rows, d_kv * c->d_head);
    b->g_v = take_floats(t, rows, d_kv * c->d_value);
    b->g_gate = take_floats(t, inner, 1);
    if (r2i_gated_is_plain(b)) {
        b->inner = take_floats(t, inner, 1);
        b->g_up = take_floats(t, inner, 1);
    }
    b->row_scales = take_floats(t, rows, c->n_heads);
}

/* Room for the prepared rows of the widest product. */
static size_t products_bytes(const r2i_backward *b) {
    const r2i_config *c = b->config;
    /* Rows of products that share an input lie beside each other. */
    const int32_t d_q = c->n_heads * c->d_head, d_kv = c->n_kv_heads * c->d_head;
    const int32_t widths[] = { 2 * c->d_model,
                               2 * c->d_ffn,
                               d_q + 2 * d_kv,
                               c->kv_rank + c->rope.d + r2i_max_i32(c->q_rank, d_q),
                               c->n_heads * c->d_value,
                               c->n_heads * (c->d_head - c->rope.d + c->d_value),
                               c->n_experts,
                               2 * c->n_shared_experts * c->d_expert };
    int32_t widest = 0;
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        widest = r2i_max_i32(widest, widths[i]);
    const int32_t rows = b->limits.cap_rows, n_logits = b->limits.cap_logits,
                  d_out = c->n_heads * c->d_value,
                  d_in = r2i_max_i32(2 * c->d_model,
                                     r2i_max_i32(r2i_max_i32(d_out, c->kv_rank), c->q_rank));
    const size_t dense = r2i_products_rows_bytes(3, rows, widest) +
                         r2i_operand_bytes(rows, d_in, R2I_OPERAND_PANELS),
                 head = r2i_products_rows_bytes(1, n_logits, r2i_max_i32(c->n_vocab, c->d_model)) +
                        r2i_operand_bytes(n_logits, c->d_model, R2I_OPERAND_PANELS);
    const int32_t inner = r2i_max_i32(c->d_ffn, c->n_shared_experts * c->d_expert);
    return r2i_max_size(r2i_max_size(dense, head),
                        r2i_gated_operand_bytes(rows, c->d_model, inner));
}

/* Many, since the head is packed, and its gradient goes through the memory, once for each chunk; few enough
 * for their logits to stay small beside the rest. */
static int32_t logit_rows(int32_t n_vocab) {
    enum { LOGITS = 16 << 20, MIN_ROWS = 256, MAX_ROWS = 2048, UNIT = 64 };
    return r2i_max_i32(MIN_ROWS, r2i_min_i32(MAX_ROWS, LOGITS / n_vocab)) / UNIT * UNIT;
}

static void set_limits(r2i_backward *b, const r2i_backward_limits *limits) {
    b->limits = *limits;
    if (b->limits.cap_document == 0) b->limits.cap_document = limits->cap_rows;
    if (b->limits.cap_documents == 0) b->limits.cap_documents = limits->cap_rows / 32 + 1;
    if (b->limits.cap_logits == 0) b->limits.cap_logits = logit_rows(b->config->n_vocab);
    b->limits.cap_logits = r2i_min_i32(b->limits.cap_logits, limits->cap_rows);
    b->layout =
        limits->is_f32 || b->kernels->matmul[R2I_TYPE_BF16] == NULL ? R2I_TYPE_F32 : R2I_TYPE_BF16;
}

static r2_status create_parts(r2i_backward *b, r2i_arena *arena, r2_error *err) {
    const r2i_config *c = b->config;
    const int32_t d_value = c->d_value;
    R2I_TRY(r2i_products_create(&b->products, b->kernels, b->pool, products_bytes(b), arena, err));
    if (b->parameters->lora != NULL) R2I_TRY(r2i_lora_backward_create(b, arena, err));
    R2I_TRY(r2i_attention_workspace_create(&b->attention, b->kernels, b->pool, b->layout,
                                           b->limits.cap_document, c->d_head, d_value, arena, err));
    const r2i_forward_parts parts = { .config = c,
                                      .weights = b->weights,
                                      .kernels = b->kernels,
                                      .pool = b->pool,
                                      .cache = &b->pages.cache,
                                      .exchange = b->limits.exchange };
    const r2i_forward_limits limits = { b->limits.cap_rows, b->limits.cap_logits,
                                        b->limits.cap_document, false };
    return r2i_forward_create(&b->forward, &parts, &limits, arena, err);
}

r2_status r2i_backward_create(r2i_backward **out, const r2i_parameters *parameters,
                              const r2i_kernels *kernels, r2i_pool *pool,
                              const r2i_backward_limits *limits, r2i_arena *arena, r2_error *err) {
    r2i_taker t = { arena, false };
    r2i_backward *b = r2i_take(&t, 1, sizeof *b);
    *out = NULL;
    if (!t.has_failed) {
        b->parameters = parameters;
        b->config = parameters->config;
        b->weights = parameters->weights;
        b->kernels = kernels;
        b->pool = pool;
        set_limits(b, limits);
        const int32_t n_layers = b->config->n_layers + (b->weights->has_mtp ? 1 : 0);
        const r2i_document_limits documents = { b->limits.cap_rows, b->limits.cap_documents,
                                                b->limits.cap_document,
                                                b->limits.has_continuations };
        r2i_document_pages_take(&b->pages, &t, b->config, n_layers,
                                limits->is_f32 ? R2I_ROWS_F32 : R2I_ROWS_BF16, &documents);
        b->kept_bytes = arena->used_bytes;
        take_saved(&t, b, n_layers);
        b->kept_bytes = arena->used_bytes - b->kept_bytes;
        take_rows(&t, b);
        if (b->config->kv_rank > 0) take_mla(&t, b);
        if (b->config->n_experts > 0) take_moe(&t, b);
        take_head(&t, b);
        if (b->weights->has_mtp) take_mtp(&t, b);
    }
    if (t.has_failed)
        return r2i_fail(err, R2_E_NOMEM, "no memory to train on batches of %d tokens",
                        limits->cap_rows);
    R2I_TRY(create_parts(b, arena, err));
    r2i_rope_frequencies(&b->config->rope, b->inv_freq, &b->rope_factor);
    *out = b;
    return R2_OK;
}

size_t r2i_backward_kept_bytes(const r2i_backward *b) {
    return b->kept_bytes;
}
