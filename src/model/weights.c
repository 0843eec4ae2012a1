#include "model/weights.h"

#include <string.h>

#include "base/failure.h"
#include "model/weights_read.h"

typedef r2i_weight_reader reader;

/* ---- reading ---- */

static r2_status read_attention(const reader *r, int32_t i, r2i_layer *layer) {
    R2I_TRY(r2i_weights_read_linear(r, R2I_ROLE_Q, i, &layer->q));
    R2I_TRY(r2i_weights_read_linear(r, R2I_ROLE_K, i, &layer->k));
    R2I_TRY(r2i_weights_read_linear(r, R2I_ROLE_V, i, &layer->v));
    R2I_TRY(r2i_weights_read_linear(r, R2I_ROLE_O, i, &layer->o));
    if (!r->config->has_head_norms) return R2_OK;
    R2I_TRY(r2i_weights_read_vector(r, R2I_ROLE_Q_NORM, i, &layer->q_norm));
    return r2i_weights_read_vector(r, R2I_ROLE_K_NORM, i, &layer->k_norm);
}

static r2_status read_dense(const reader *r, int32_t i, r2i_layer *layer) {
    R2I_TRY(r2i_weights_read_linear(r, R2I_ROLE_GATE, i, &layer->gate));
    R2I_TRY(r2i_weights_read_linear(r, R2I_ROLE_UP, i, &layer->up));
    return r2i_weights_read_linear(r, R2I_ROLE_DOWN, i, &layer->down);
}

static r2_status read_shared_experts(const reader *r, int32_t i, r2i_layer *layer) {
    R2I_TRY(r2i_weights_read_linear(r, R2I_ROLE_SHARED_GATE, i, &layer->shared_gate));
    R2I_TRY(r2i_weights_read_linear(r, R2I_ROLE_SHARED_UP, i, &layer->shared_up));
    return r2i_weights_read_linear(r, R2I_ROLE_SHARED_DOWN, i, &layer->shared_down);
}

static r2_status read_moe(const reader *r, int32_t i, r2i_layer *layer) {
    const r2i_config *c = r->config;
    R2I_TRY(r2i_weights_read_linear(r, R2I_ROLE_ROUTER, i, &layer->router));
    layer->router.layout = R2I_TYPE_F32; /* a rounded score could choose another expert */
    layer->router.panel_bytes = r2i_panel_bytes(R2I_TYPE_F32, c->d_model);
    if (c->has_score_bias)
        R2I_TRY(r2i_weights_read_vector(r, R2I_ROLE_SCORE_BIAS, i, &layer->score_bias));
    if (c->n_shared_experts > 0) R2I_TRY(read_shared_experts(r, i, layer));
    R2I_TRY(r2i_weights_read_experts(r, R2I_ROLE_EXPERT_GATE, i, &layer->expert_gate));
    R2I_TRY(r2i_weights_read_experts(r, R2I_ROLE_EXPERT_UP, i, &layer->expert_up));
    return r2i_weights_read_experts(r, R2I_ROLE_EXPERT_DOWN, i, &layer->expert_down);
}

static r2_status read_layer(const reader *r, int32_t i, r2i_layer *layer) {
    const r2i_layer_config *kinds = &r->config->layers[i];
    R2I_TRY(r2i_weights_read_vector(r, R2I_ROLE_ATTENTION_NORM, i, &layer->attention_norm));
    R2I_TRY(kinds->attention == R2I_ATTENTION_MLA ? r2i_weights_read_latent(r, i, layer)
                                                  : read_attention(r, i, layer));
    R2I_TRY(r2i_weights_read_vector(r, R2I_ROLE_FFN_NORM, i, &layer->ffn_norm));
    return kinds->ffn == R2I_FFN_MOE ? read_moe(r, i, layer) : read_dense(r, i, layer);
}

static r2_status read_ends(const reader *r, r2i_weights *w) {
    const r2i_role head = r->config->is_tied ? R2I_ROLE_EMBEDDING : R2I_ROLE_OUTPUT;
    R2I_TRY(r2i_weights_read_matrix(r, R2I_ROLE_EMBEDDING, -1, &w->embedding));
    R2I_TRY(r2i_weights_read_matrix(r, head, -1, &w->head));
    return r2i_weights_read_vector(r, R2I_ROLE_OUTPUT_NORM, -1, &w->output_norm);
}

/* Files without the module's first tensor have none of it; others must have it whole, but for its own
 * embedding and head. */
static r2_status read_mtp(const reader *r, r2i_weights *w) {
    const int32_t i = r->config->n_layers;
    r2i_mtp_weights *mtp = &w->mtp;
    if (r->config->n_mtp == 0 || !r2i_weights_have(r, R2I_ROLE_MTP_JOIN, i)) return R2_OK;
    w->has_mtp = true;
    R2I_TRY(r2i_weights_read_vector(r, R2I_ROLE_MTP_EMBEDDING_NORM, i, &mtp->embedding_norm));
    R2I_TRY(r2i_weights_read_vector(r, R2I_ROLE_MTP_HIDDEN_NORM, i, &mtp->hidden_norm));
    R2I_TRY(r2i_weights_read_vector(r, R2I_ROLE_MTP_OUTPUT_NORM, i, &mtp->output_norm));
    R2I_TRY(r2i_weights_read_linear(r, R2I_ROLE_MTP_JOIN, i, &mtp->join));
    mtp->embedding = &w->embedding;
    mtp->head = &w->head;
    if (r2i_weights_have(r, R2I_ROLE_MTP_EMBEDDING, i)) {
        R2I_TRY(r2i_weights_read_matrix(r, R2I_ROLE_MTP_EMBEDDING, i, &mtp->own_embedding));
        mtp->embedding = &mtp->own_embedding;
    }
    if (r2i_weights_have(r, R2I_ROLE_MTP_OUTPUT, i)) {
        R2I_TRY(r2i_weights_read_matrix(r, R2I_ROLE_MTP_OUTPUT, i, &mtp->own_head));
        mtp->head = &mtp->own_head;
    }
    return read_layer(r, i, &w->layers[i]);
}

/* ---- visiting and counting ---- */

static void visit_attention(r2i_layer *layer, const r2i_config *config, int32_t i,
                            void (*visit)(void *user, r2i_matrix *m), void *user) {
    visit(user, &layer->q);
    visit(user, &layer->o);
    if (config->layers[i].attention == R2I_ATTENTION_GQA) {
        visit(user, &layer->k);
        visit(user, &layer->v);
        return;
    }
    if (config->q_rank > 0) visit(user, &layer->q_a);
    visit(user, &layer->kv_a);
    for (int32_t h = 0; h < config->n_heads; h++) {
        /* Of the keys' part the one that is stored; the other is made from it. */
        visit(user, layer->absorb_k[h].stored != NULL ? &layer->absorb_k[h] : &layer->expand_k[h]);
        visit(user, &layer->expand_v[h]);
    }
}

static void visit_moe(r2i_layer *layer, const r2i_config *config,
                      void (*visit)(void *user, r2i_matrix *m), void *user) {
    visit(user, &layer->router);
    if (config->n_shared_experts > 0) {
        visit(user, &layer->shared_gate);
        visit(user, &layer->shared_up);
        visit(user, &layer->shared_down);
    }
    for (int32_t e = 0; e < config->n_experts; e++) {
        visit(user, &layer->expert_gate[e]);
        visit(user, &layer->expert_up[e]);
        visit(user, &layer->expert_down[e]);
    }
}

static void visit_layer(r2i_layer *layer, const r2i_config *config, int32_t i,
                        void (*visit)(void *user, r2i_matrix *m), void *user) {
    visit_attention(layer, config, i, visit, user);
    if (config->layers[i].ffn == R2I_FFN_MOE) {
        visit_moe(layer, config, visit, user);
        return;
    }
    visit(user, &layer->gate);
    visit(user, &layer->up);
    visit(user, &layer->down);
}

static void visit_main(r2i_weights *weights, const r2i_config *config,
                       void (*visit)(void *user, r2i_matrix *m), void *user) {
    for (int32_t i = 0; i < config->n_layers; i++)
        visit_layer(&weights->layers[i], config, i, visit, user);
    visit(user, &weights->head);
}

void r2i_weights_visit(r2i_weights *weights, const r2i_config *config,
                       void (*visit)(void *user, r2i_matrix *m), void *user) {
    visit_main(weights, config, visit, user);
    if (!weights->has_mtp) return;
    visit(user, &weights->mtp.join);
    visit_layer(&weights->layers[config->n_layers], config, config->n_layers, visit, user);
    if (weights->mtp.head != &weights->head) visit(user, weights->mtp.head);
}

typedef struct {
    int64_t n_all, stored_all;
} totals;

static void add_matrix(void *user, r2i_matrix *m) {
    totals *t = user;
    t->n_all += (int64_t)m->n_rows * m->n_cols;
    t->stored_all += (int64_t)m->n_rows * (int64_t)m->row_bytes;
}

static void add_packed_bytes(void *user, r2i_matrix *m) {
    r2i_weights *w = user;
    w->packed_bytes += (size_t)m->n_panels * m->panel_bytes + 63;
    m->index = w->n_matrices++;
}

/* Of the experts, one token uses n_active of n_experts. */
static void count(r2i_weights *w, const r2i_config *c) {
    totals t = { 0, 0 };
    r2i_weights_visit(w, c, add_packed_bytes, w);
    visit_main(w, c, add_matrix, &t);
    int64_t idle = 0, idle_bytes = 0;
    for (int32_t i = 0; i < c->n_layers; i++) {
        const r2i_layer *layer = &w->layers[i];
        if (c->layers[i].ffn != R2I_FFN_MOE) continue;
        const r2i_matrix *kinds[] = { layer->expert_gate, layer->expert_up, layer->expert_down };
        for (int k = 0; k < 3; k++) {
            const int64_t n = c->n_experts - c->n_active;
            idle += n * kinds[k]->n_rows * kinds[k]->n_cols;
            idle_bytes += n * kinds[k]->n_rows * (int64_t)kinds[k]->row_bytes;
        }
    }
    const int64_t untied = c->is_tied ? 0 : (int64_t)w->embedding.n_rows * w->embedding.n_cols;
    w->n_parameters = t.n_all + untied;
    w->n_active_parameters = t.n_all - idle;
    w->bytes_per_token = t.stored_all - idle_bytes;
}

r2_status r2i_weights_load(r2i_weights *out, const r2i_config *config,
                           const r2i_tensor_source *source, const r2i_weight_rules *rules,
                           r2i_arena *arena, r2_error *err) {
    const reader r = { config, source, rules, arena, err };
    memset(out, 0, sizeof *out);
    out->layers = R2I_ARENA_ARRAY(arena, r2i_layer, (size_t)(config->n_layers + config->n_mtp));
    if (out->layers == NULL)
        return r2i_fail(err, R2_E_NOMEM, "no memory for %d layers", config->n_layers);
    R2I_TRY(read_ends(&r, out));
    for (int32_t i = 0; i < config->n_layers; i++)
        R2I_TRY(read_layer(&r, i, &out->layers[i]));
    R2I_TRY(read_mtp(&r, out));
    count(out, config);
    out->lora_layout = r2i_weights_layout(rules, R2I_TYPE_F32);
    return R2_OK;
}
