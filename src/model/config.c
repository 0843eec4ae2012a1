#include "model/config.h"

#include <math.h>

#include "base/failure.h"
#include "kernels/kernels.h"

enum {
    MAX_LAYERS = 1024,
    MAX_HEADS = 1024,
    MAX_CONTEXT = 1 << 24,
    MAX_WIDTH = 1 << 20,
    MAX_VOCAB = 1 << 22
};

typedef struct {
    const char *name;
    int64_t found, low, high;
} whole_range;

static r2_status check_whole(const whole_range *ranges, int n, const char *where, r2_error *err) {
    for (int i = 0; i < n; i++) {
        const whole_range *r = &ranges[i];
        if (r->found >= r->low && r->found <= r->high) continue;
        return r2i_fail(err, R2_E_FORMAT, "%s: %s: expected %lld to %lld, found %lld", where,
                        r->name, (long long)r->low, (long long)r->high, (long long)r->found);
    }
    return R2_OK;
}

static bool is_positive(double x) {
    return isfinite(x) && x > 0;
}

static r2_status check_rope(const r2i_config *c, const char *where, r2_error *err) {
    const r2i_rope_config *rope = &c->rope;
    if (rope->d < 2 || rope->d % 2 != 0 || rope->d > c->d_head) {
        return r2i_fail(err, R2_E_FORMAT,
                        "%s: rotated dimensions: expected an even number up to %d, found %d", where,
                        c->d_head, rope->d);
    }
    if (!is_positive(rope->theta))
        return r2i_fail(err, R2_E_FORMAT, "%s: rope theta must be above 0", where);
    if (rope->kind == R2I_ROPE_PLAIN) return R2_OK;
    if (!is_positive(rope->factor))
        return r2i_fail(err, R2_E_FORMAT, "%s: rope factor must be above 0", where);
    if (rope->kind == R2I_ROPE_LINEAR) return R2_OK;
    if (!is_positive(rope->original_context)) {
        return r2i_fail(err, R2_E_FORMAT, "%s: rope scaling without its original context length",
                        where);
    }
    if (rope->kind == R2I_ROPE_LLAMA3 &&
        !(rope->high_freq_factor > rope->low_freq_factor && rope->low_freq_factor > 0)) {
        return r2i_fail(err, R2_E_FORMAT, "%s: rope: high_freq_factor must exceed low_freq_factor",
                        where);
    }
    return R2_OK;
}

static r2_status check_grouped_queries(const r2i_config *c, const char *where, r2_error *err) {
    if (c->n_heads % c->n_kv_heads != 0) {
        return r2i_fail(err, R2_E_FORMAT,
                        "%s: %d attention heads are no multiple of %d key/value heads", where,
                        c->n_heads, c->n_kv_heads);
    }
    if (c->n_heads / c->n_kv_heads > R2I_ATTEND_ROWS) {
        return r2i_fail(err, R2_E_UNSUPPORTED, "%s: more than %d query heads per key/value head",
                        where, R2I_ATTEND_ROWS);
    }
    if (c->d_head % 2 != 0)
        return r2i_fail(err, R2_E_FORMAT, "%s: odd head size %d", where, c->d_head);
    return R2_OK;
}

static r2_status check_attention(const r2i_config *c, const char *where, r2_error *err) {
    const bool is_latent = c->kv_rank > 0;
    const whole_range ranges[] = {
        { "attention heads", c->n_heads, 1, MAX_HEADS },
        { "key/value heads", c->n_kv_heads, 1, c->n_heads },
        { "head size", c->d_head, 2, R2I_MAX_HEAD },
        { "value head size", c->d_value, 1, R2I_MAX_HEAD },
        { "key/value rank", c->kv_rank, 0, R2I_MAX_HEAD },
        { "latent row", is_latent ? (int64_t)c->kv_rank + c->rope.d : 0, 0, R2I_MAX_HEAD },
        { "query rank", c->q_rank, 0, is_latent ? MAX_WIDTH : 0 },
    };
    R2I_TRY(check_whole(ranges, (int)(sizeof ranges / sizeof *ranges), where, err));
    if (!is_positive((double)c->attention_scale))
        return r2i_fail(err, R2_E_FORMAT, "%s: attention scale must be above 0", where);
    if (!is_latent) return check_grouped_queries(c, where, err);
    if (c->rope.d >= c->d_head) {
        return r2i_fail(err, R2_E_FORMAT,
                        "%s: head size: expected more than its %d rotated dimensions, found %d",
                        where, c->rope.d, c->d_head);
    }
    if (!is_positive((double)c->latent_norm_eps))
        return r2i_fail(err, R2_E_FORMAT, "%s: latent norm epsilon must be above 0", where);
    return R2_OK;
}

static r2_status check_experts(const r2i_config *c, const char *where, r2_error *err) {
    const whole_range ranges[] = {
        { "experts", c->n_experts, 1, R2I_MAX_EXPERTS },
        { "experts used", c->n_active, 1, c->n_experts },
        { "expert size", c->d_expert, 1, MAX_WIDTH },
        { "shared experts", c->n_shared_experts, 0, R2I_MAX_EXPERTS },
        { "size of the shared experts", (int64_t)c->n_shared_experts * c->d_expert, 0, MAX_WIDTH },
        { "groups of experts", c->n_groups, 1, c->n_experts },
        { "groups used", c->n_active_groups, 1, c->n_groups },
    };
    R2I_TRY(check_whole(ranges, (int)(sizeof ranges / sizeof *ranges), where, err));
    const int32_t n_members = c->n_experts / c->n_groups;
    if (c->n_experts % c->n_groups != 0) {
        return r2i_fail(err, R2_E_FORMAT, "%s: %d experts do not divide into %d groups", where,
                        c->n_experts, c->n_groups);
    }
    if (c->n_groups > 1 && c->group == R2I_GROUP_TWO_BEST && n_members < 2) {
        return r2i_fail(err, R2_E_FORMAT,
                        "%s: groups of experts: expected two experts in each, found %d", where,
                        n_members);
    }
    if (c->n_active > c->n_active_groups * n_members) {
        return r2i_fail(err, R2_E_FORMAT,
                        "%s: experts used: expected at most %d, all of %d groups, found %d", where,
                        c->n_active_groups * n_members, c->n_active_groups, c->n_active);
    }
    if (!is_positive((double)c->routed_scale))
        return r2i_fail(err, R2_E_FORMAT, "%s: scale of the routed experts must be above 0", where);
    return R2_OK;
}

static bool has_dense_layers(const r2i_config *c) {
    for (int32_t i = 0; i < c->n_layers; i++) {
        if (c->layers[i].ffn == R2I_FFN_DENSE) return true;
    }
    return false;
}

r2_status r2i_config_check(const r2i_config *c, const char *where, r2_error *err) {
    const whole_range ranges[] = {
        { "layers", c->n_layers, 1, MAX_LAYERS },
        { "hidden size", c->d_model, 1, MAX_WIDTH },
        { "feed-forward size", c->d_ffn, has_dense_layers(c) ? 1 : 0, MAX_WIDTH },
        { "vocabulary", c->n_vocab, 1, MAX_VOCAB },
        { "context length", c->n_context, 1, MAX_CONTEXT },
        { "prediction modules", c->n_mtp, 0, 1 },
    };
    R2I_TRY(check_whole(ranges, (int)(sizeof ranges / sizeof *ranges), where, err));
    if (!is_positive((double)c->norm_eps))
        return r2i_fail(err, R2_E_FORMAT, "%s: norm epsilon must be above 0", where);
    R2I_TRY(check_attention(c, where, err));
    if (c->n_experts > 0) R2I_TRY(check_experts(c, where, err));
    return check_rope(c, where, err);
}

void r2i_config_set_plain(r2i_config *c) {
    c->d_value = c->d_head;
    c->attention_scale = 1.0f / sqrtf((float)c->d_head);
    c->n_groups = c->n_active_groups = 1;
    c->routed_scale = 1;
}

void r2i_config_sharpen(r2i_config *c, double per_log) {
    const double factor = c->rope.factor, m = factor <= 1 ? 1 : 1 + per_log * log(factor);
    c->attention_scale = (float)((double)c->attention_scale * m * m);
}

r2_status r2i_config_fill_layers(r2i_config *config, r2i_arena *arena, r2_error *err) {
    if (config->n_layers < 1 || config->n_layers > MAX_LAYERS) {
        return r2i_fail(err, R2_E_FORMAT, "layers: expected 1 to %d, found %d", MAX_LAYERS,
                        config->n_layers);
    }
    config->layers = R2I_ARENA_ARRAY(arena, r2i_layer_config, (size_t)config->n_layers + 1);
    if (config->layers == NULL)
        return r2i_fail(err, R2_E_NOMEM, "no memory for %d layers", config->n_layers);
    config->layers[config->n_layers] =
        (r2i_layer_config){ .attention = R2I_ATTENTION_MLA, .ffn = R2I_FFN_MOE };
    return R2_OK;
}
