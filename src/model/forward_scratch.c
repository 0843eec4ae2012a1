/* forward_scratch.c - r2i_forward_create: memory for the largest batch, taken once.
 *
 * A pass allocates nothing; what is not needed by this model (latent rows, experts, a prediction
 * module) is not taken. */
#include "base/checked.h"
#include "base/failure.h"
#include "model/forward_state.h"
#include "model/rope.h"

enum { MAX_PARTIAL_FLOATS = 4 << 20 };

/* Widths of what a query is compared with and of what is summed. */
static bool has_latents(const r2i_config *c) {
    return c->kv_rank > 0;
}

static size_t cached_key_width(const r2i_config *c) {
    return (size_t)(has_latents(c) ? c->kv_rank + c->rope.d : c->d_head);
}

static size_t cached_value_width(const r2i_config *c) {
    return (size_t)(has_latents(c) ? c->kv_rank : c->d_value);
}

static void take_prepared(r2i_taker *t, r2i_prepared *p, unsigned mask, size_t n_rows,
                          int32_t n_cols) {
    for (int kind = 0; kind < 3; kind++) {
        if ((mask >> kind & 1u) == 0) continue;
        p->stride[kind] = r2i_act_row_bytes((r2i_act_kind)kind, n_cols);
        p->rows[kind] = r2i_take(t, n_rows, p->stride[kind]);
    }
}

/* What the matrices of a model need at most. */
typedef struct {
    unsigned mask;      /* of activation forms */
    unsigned lora_mask; /* of adapters */
    size_t panel_bytes;
    int32_t widest; /* columns */
} needs;

static void collect_needs(void *user, r2i_matrix *m) {
    needs *n = user;
    n->mask |= r2i_matrix_act_mask(m);
    n->panel_bytes = r2i_max_size(n->panel_bytes, m->panel_bytes);
    n->widest = r2i_max_i32(n->widest, m->n_cols);
}

/* Matrices made of others are not visited.  Which they are can differ from layer to layer. */
static void add_made_needs(needs *n, const r2i_forward_parts *parts) {
    const int32_t n_layers = parts->config->n_layers + (parts->weights->has_mtp ? 1 : 0);
    for (int32_t i = 0; i < n_layers; i++) {
        const r2i_layer *layer = &parts->weights->layers[i];
        if (parts->config->layers[i].attention != R2I_ATTENTION_MLA) continue;
        n->mask |= r2i_matrix_act_mask(layer->absorb_k);
        if (layer->expand_k->n_rows > 0) n->mask |= r2i_matrix_act_mask(layer->expand_k);
    }
}

static void take_mtp(r2i_taker *t, r2i_forward *f, const needs *need) {
    const size_t rows = (size_t)f->limits.cap_rows, d = (size_t)f->parts.config->d_model;
    if (!f->parts.weights->has_mtp) return;
    f->mtp.hidden = r2i_take_floats(t, rows, d);
    f->mtp.own = r2i_take_floats(t, rows, d);
    f->mtp.joined = r2i_take_floats(t, rows, 2 * d);
    take_prepared(t, &f->mtp.join_act, need->mask, rows, (int32_t)(2 * d));
}

/* Forms of the experts' inputs alone: there are n_active of them per row, and the router's F32 would
 * cost more memory than all else. */
static unsigned expert_mask(const r2i_forward *f, bool is_down) {
    const int32_t n_layers = f->parts.config->n_layers + (f->parts.weights->has_mtp ? 1 : 0);
    unsigned mask = 0;
    for (int32_t i = 0; i < n_layers; i++) {
        const r2i_layer *layer = &f->parts.weights->layers[i];
        if (f->parts.config->layers[i].ffn != R2I_FFN_MOE) continue;
        mask |= is_down ? r2i_matrix_act_mask(layer->expert_down)
                        : r2i_matrix_act_mask(layer->expert_gate) |
                              r2i_matrix_act_mask(layer->expert_up);
    }
    return mask;
}

static void take_moe(r2i_taker *t, r2i_forward *f) {
    const r2i_config *c = f->parts.config;
    if (c->n_experts == 0) return;
    const size_t rows = (size_t)f->limits.cap_rows, experts = (size_t)c->n_experts,
                 active = (size_t)c->n_active;
    f->moe.scores = r2i_take_floats(t, rows, experts);
    f->moe.chosen = r2i_take(t, rows * active, sizeof(int32_t));
    f->moe.weights = r2i_take_floats(t, rows, active);
    f->moe.entry_of = r2i_take(t, rows * active, sizeof(int32_t));
    f->moe.first_entry = r2i_take(t, experts + 1, sizeof(int32_t));
    f->moe.first_tile = r2i_take(t, experts + 1, sizeof(int32_t));
    f->moe.is_kept = r2i_take(t, 3 * experts, sizeof(bool));
    take_prepared(t, &f->moe.x, expert_mask(f, false), rows * active, c->d_model);
    f->moe.y = r2i_take_floats(t, rows * active, (size_t)c->d_model);
    size_t entries = rows * active;
    if (f->parts.exchange != NULL) {
        entries = (size_t)f->parts.exchange->cap_entries;
        take_prepared(t, &f->moe.here.x, expert_mask(f, false), entries, c->d_model);
        f->moe.here.y = r2i_take_floats(t, entries, (size_t)c->d_model);
    }
    take_prepared(t, &f->moe.inner, expert_mask(f, true), entries, c->d_expert);
}

static void take_expanded(r2i_taker *t, r2i_forward *f, const needs *need) {
    const r2i_config *c = f->parts.config;
    const r2i_row_kind rows = r2i_attended_rows(f->parts.cache->rows);
    const size_t heads = (size_t)c->n_heads, tokens = R2I_EXPAND_TOKENS,
                 cap = (size_t)f->limits.cap_rows;
    f->mla.latents = r2i_take_floats(t, tokens, cached_key_width(c));
    take_prepared(t, &f->mla.latent_act, need->mask, tokens, c->kv_rank);
    f->mla.k = r2i_take_floats(t, tokens, heads * (size_t)(c->d_head - c->rope.d));
    f->mla.v = r2i_take_floats(t, tokens, heads * (size_t)c->d_value);
    f->mla.pages =
        r2i_take(t, R2I_EXPAND_PAGES * heads,
                 r2i_key_page_bytes(rows, c->d_head) + r2i_value_page_bytes(rows, c->d_value));
    f->mla.max = r2i_take_floats(t, cap, heads);
    f->mla.sum = r2i_take_floats(t, cap, heads);
}

static void take_mla(r2i_taker *t, r2i_forward *f, const needs *need) {
    const r2i_config *c = f->parts.config;
    if (!has_latents(c)) return;
    const size_t rows = (size_t)f->limits.cap_rows, heads = (size_t)c->n_heads;
    if (c->q_rank > 0) {
        f->mla.q_low = r2i_take_floats(t, rows, (size_t)c->q_rank);
        take_prepared(t, &f->mla.q_low_act, need->mask | need->lora_mask, rows, c->q_rank);
    }
    f->mla.q = r2i_take_floats(t, rows * heads, cached_key_width(c));
    f->mla.z = r2i_take_floats(t, rows * heads, cached_value_width(c));
    take_prepared(t, &f->mla.head_act, need->mask, rows * heads,
                  r2i_max_i32(c->kv_rank, c->d_head - c->rope.d));
    if (f->limits.is_expanding) take_expanded(t, f, need);
}

/* Pages that attention reads where the cache holds something else. */
static void take_pages(r2i_taker *t, const r2i_forward *f, r2i_worker_scratch *w) {
    const r2i_config *c = f->parts.config;
    const r2i_row_kind stored = f->parts.cache->rows, rows = r2i_attended_rows(stored);
    const bool is_expanded = stored != rows;
    /* Latent rows are turned as a whole where they are expanded to the heads' keys and values. */
    const size_t d_value = has_latents(c) ? cached_key_width(c) : cached_value_width(c);
    if (is_expanded)
        w->keys = r2i_take(t, 1, r2i_key_page_bytes(rows, (int32_t)cached_key_width(c)));
    if (!is_expanded && !has_latents(c)) return;
    w->values = r2i_take(t, 1, r2i_value_page_bytes(rows, (int32_t)d_value));
    w->page_out = r2i_take_floats(t, R2I_ATTEND_ROWS, cached_value_width(c));
}

static void take_workers(r2i_taker *t, r2i_forward *f, const needs *need, uint8_t **panel_scratch) {
    const r2i_config *c = f->parts.config;
    /* Expanded heads may be wider than the latent row that they are made of. */
    const bool is_expanding = f->limits.is_expanding && has_latents(c);
    const size_t d_head = is_expanding ? (size_t)c->d_head : 0,
                 d_value = is_expanding ? (size_t)c->d_value : 0,
                 d_q = r2i_max_size(cached_key_width(c), d_head),
                 d_out = r2i_max_size(cached_value_width(c), d_value);
    const size_t tile_cols = R2I_TILE_PANELS * R2I_PANEL_ROWS;
    /* An expert can be chosen by every row once, so its tile never has more rows than the batch; with
     * an exchange than all that may come. */
    const size_t rows = f->parts.exchange != NULL ? (size_t)f->parts.exchange->cap_entries
                                                  : (size_t)f->limits.cap_rows;
    for (int32_t i = 0; i < f->n_workers && !t->has_failed; i++) {
        r2i_worker_scratch *w = &f->workers[i];
        w->panels = r2i_take(t, R2I_TILE_PANELS, need->panel_bytes);
        w->panels2 = r2i_take(t, R2I_TILE_PANELS, need->panel_bytes);
        w->row = r2i_take_floats(t, 1, (size_t)need->widest);
        w->gate = r2i_take_floats(t, rows, tile_cols);
        w->up = r2i_take_floats(t, rows, tile_cols);
        w->q = r2i_take_floats(t, R2I_ATTEND_ROWS, d_q);
        w->chunk_out = r2i_take_floats(t, R2I_ATTEND_ROWS, d_out);
        w->total_out = r2i_take_floats(t, R2I_ATTEND_ROWS, cached_value_width(c));
        take_pages(t, f, w);
        panel_scratch[i] = w->panels;
    }
}

static void take_lora(r2i_taker *t, r2i_forward *f) {
    const r2i_type layout = f->parts.weights->lora_layout;
    f->lora.layout = layout;
    f->linear.lora = &f->lora;
    f->spans = r2i_take(t, (size_t)f->limits.cap_rows, sizeof *f->spans);
    f->logit_spans = r2i_take(t, (size_t)f->limits.cap_logits, sizeof *f->logit_spans);
    for (int32_t i = 0; i < R2I_MAX_LINEAR; i++)
        f->lora.low[i] = r2i_take(t, 1, r2i_lora_low_bytes(layout, f->limits.cap_rows));
}

static size_t partial_floats(const r2i_forward *f) {
    const r2i_config *c = f->parts.config;
    const size_t chunks = (size_t)f->limits.cap_positions / (R2I_CHUNK_PAGES * R2I_PAGE_TOKENS) + 1;
    const size_t rows = (size_t)(4 * f->n_workers) * (size_t)(c->n_heads / c->n_kv_heads);
    return r2i_min_size(chunks * rows * (cached_value_width(c) + 2), MAX_PARTIAL_FLOATS);
}

static void take_rows(r2i_taker *t, r2i_forward *f, const needs *need) {
    const r2i_config *c = f->parts.config;
    const size_t rows = (size_t)f->limits.cap_rows, half = (size_t)c->rope.d / 2;
    const size_t d_q = (size_t)c->n_heads * (size_t)c->d_head,
                 d_out = (size_t)c->n_heads * (size_t)c->d_value;
    const unsigned mask = need->mask | need->lora_mask;
    f->inv_freq = r2i_take(t, half, sizeof(double));
    f->positions = r2i_take(t, rows, sizeof(int32_t));
    f->cosine = r2i_take_floats(t, rows, half);
    f->sine = r2i_take_floats(t, rows, half);
    f->x = r2i_take_floats(t, rows, (size_t)c->d_model);
    f->q = r2i_take_floats(t, rows, d_q);
    f->k = r2i_take_floats(t, rows, (size_t)c->n_kv_heads * cached_key_width(c));
    f->v = r2i_take_floats(t, rows, (size_t)c->n_kv_heads * cached_value_width(c));
    f->attended = r2i_take_floats(t, rows, d_out);
    f->tiles = r2i_take(t, rows, sizeof *f->tiles);
    take_prepared(t, &f->input, mask, rows, c->d_model);
    take_prepared(t, &f->attended_act, mask, rows, (int32_t)d_out);
    take_prepared(t, &f->inner, mask, rows,
                  r2i_max_i32(c->d_ffn, c->n_shared_experts * c->d_expert));
    f->n_partial_floats = partial_floats(f);
    f->partials = r2i_take(t, f->n_partial_floats, sizeof(float));
    f->hidden = r2i_take_floats(t, 1, (size_t)c->d_model);
    f->logit_rows = r2i_take_floats(t, (size_t)f->limits.cap_logits, (size_t)c->d_model);
    take_prepared(t, &f->logit_act, mask, (size_t)f->limits.cap_logits, c->d_model);
}

r2_status r2i_forward_create(r2i_forward **out, const r2i_forward_parts *parts,
                             const r2i_forward_limits *limits, r2i_arena *arena, r2_error *err) {
    r2i_taker t = { arena, false };
    const int32_t n_workers = r2i_pool_threads(parts->pool);
    needs need = { .lora_mask = 1u << r2i_act_kind_of(parts->weights->lora_layout) };
    *out = NULL;
    r2i_weights_visit(parts->weights, parts->config, collect_needs, &need);
    add_made_needs(&need, parts);
    r2i_forward *f = r2i_take(&t, 1, sizeof *f);
    r2i_worker_scratch *workers = r2i_take(&t, (size_t)n_workers, sizeof *workers);
    uint8_t **panel_scratch = r2i_take(&t, (size_t)n_workers, sizeof *panel_scratch);
    if (!t.has_failed) {
        f->parts = *parts;
        f->limits = *limits;
        f->n_workers = n_workers;
        f->workers = workers;
        f->linear = (r2i_linear_context){ .kernels = parts->kernels,
                                          .pool = parts->pool,
                                          .scratch = panel_scratch,
                                          .packed = parts->packed,
                                          .packed_user = parts->packed_user };
        take_workers(&t, f, &need, panel_scratch);
        take_rows(&t, f, &need);
        take_mla(&t, f, &need);
        take_moe(&t, f);
        take_mtp(&t, f, &need);
        take_lora(&t, f);
    }
    if (t.has_failed)
        return r2i_fail(err, R2_E_NOMEM, "no memory for the activations of %d rows",
                        limits->cap_rows);
    r2i_rope_frequencies(&parts->config->rope, f->inv_freq, &f->rope_factor);
    *out = f;
    return R2_OK;
}
