#include "model/tensor_roles.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"

typedef enum {
    ONE,
    VOCAB,
    MODEL,
    TWO_MODEL,
    HEAD,
    ALL_KEYS, /* of all heads */
    KV_HEADS,
    VALUE,
    ALL_VALUES,
    PLAIN_KEY, /* the part that is not rotated */
    ALL_EXPANDED,
    Q_RANK,
    KV_RANK,
    LATENT_ROW,
    FFN,
    EXPERTS,
    EXPERT,
    SHARED_EXPERT
} size_kind;

typedef struct {
    const char *names[2]; /* by r2i_name_kind */
    size_kind n_rows, n_cols;
} description;

static const description roles[R2I_ROLE_NONE] = {
#define DESCRIPTION(role, hf, gguf, rows, cols) [R2I_ROLE_##role] = { { hf, gguf }, rows, cols },
    R2I_ROLE_LIST(DESCRIPTION)
#undef DESCRIPTION
};

static const char *const prefixes[] = {
    [R2I_NAMES_HF] = "model.layers.", [R2I_NAMES_GGUF] = "blk."
};

static bool is_outside(r2i_role role) {
    return role == R2I_ROLE_EMBEDDING || role == R2I_ROLE_OUTPUT || role == R2I_ROLE_OUTPUT_NORM;
}

/* ---- names ---- */

static void write_name(char out[R2I_TENSOR_NAME_BYTES], r2i_name_kind kind, r2i_role role,
                       int32_t layer, const char *end) {
    const char *name = roles[role].names[kind];
    if (is_outside(role))
        (void)snprintf(out, R2I_TENSOR_NAME_BYTES, "%s%s", name, end);
    else
        (void)snprintf(out, R2I_TENSOR_NAME_BYTES, "%s%d.%s%s", prefixes[kind], layer, name, end);
}

void r2i_role_name(char out[R2I_TENSOR_NAME_BYTES], r2i_name_kind kind, r2i_role role,
                   int32_t layer) {
    write_name(out, kind, role, layer, role == R2I_ROLE_SCORE_BIAS ? "" : ".weight");
}

void r2i_role_bias_name(char out[R2I_TENSOR_NAME_BYTES], r2i_name_kind kind, r2i_role role,
                        int32_t layer) {
    write_name(out, kind, role, layer, ".bias");
}

void r2i_role_expert_name(char out[R2I_TENSOR_NAME_BYTES], r2i_role role, int32_t layer,
                          int32_t e) {
    const char *name = roles[role].names[R2I_NAMES_HF], *star = strchr(name, '*');
    R2I_ASSERT(star != NULL);
    (void)snprintf(out, R2I_TENSOR_NAME_BYTES, "%s%d.%.*s%d%s.weight", prefixes[R2I_NAMES_HF],
                   layer, (int)(star - name), name, e, star + 1);
}

int32_t r2i_role_layer(r2i_name_kind kind, const char *name, const char **rest) {
    const size_t n = strlen(prefixes[kind]);
    int64_t layer = 0;
    if (strncmp(name, prefixes[kind], n) != 0) return -1;
    const char *digit = name + n;
    if (*digit < '0' || *digit > '9') return -1;
    for (; *digit >= '0' && *digit <= '9'; digit++) {
        layer = layer * 10 + (*digit - '0');
        if (layer > INT_MAX) return -1;
    }
    if (*digit != '.') return -1;
    *rest = digit + 1;
    return (int32_t)layer;
}

r2i_role r2i_role_of(r2i_name_kind kind, const char *name, size_t n, int32_t *layer) {
    const char *rest = name;
    *layer = r2i_role_layer(kind, name, &rest);
    const size_t n_used = (size_t)(rest - name);
    for (int i = 0; n > n_used && i < R2I_ROLE_NONE; i++) {
        const char *known = roles[i].names[kind];
        if (is_outside((r2i_role)i) != (*layer < 0)) continue;
        if (strlen(known) == n - n_used && memcmp(known, rest, n - n_used) == 0) return (r2i_role)i;
    }
    return R2I_ROLE_NONE;
}

/* ---- sizes ---- */

static int32_t get_size(const r2i_config *c, size_kind kind) {
    const int32_t d_plain = c->d_head - c->rope.d;
    const int32_t sizes[] = { [ONE] = 1,
                              [VOCAB] = c->n_vocab,
                              [MODEL] = c->d_model,
                              [TWO_MODEL] = 2 * c->d_model,
                              [HEAD] = c->d_head,
                              [ALL_KEYS] = c->n_heads * c->d_head,
                              [KV_HEADS] = c->n_kv_heads * c->d_head,
                              [VALUE] = c->d_value,
                              [ALL_VALUES] = c->n_heads * c->d_value,
                              [PLAIN_KEY] = d_plain,
                              [ALL_EXPANDED] = c->n_heads * (d_plain + c->d_value),
                              [Q_RANK] = c->q_rank,
                              [KV_RANK] = c->kv_rank,
                              [LATENT_ROW] = c->kv_rank + c->rope.d,
                              [FFN] = c->d_ffn,
                              [EXPERTS] = c->n_experts,
                              [EXPERT] = c->d_expert,
                              [SHARED_EXPERT] = c->n_shared_experts * c->d_expert };
    return sizes[kind];
}

bool r2i_role_is_vector(r2i_role role) {
    return roles[role].n_rows == ONE;
}

r2i_role_size r2i_role_get_size(const r2i_config *config, r2i_role role) {
    return (r2i_role_size){ get_size(config, roles[role].n_rows),
                            get_size(config, roles[role].n_cols) };
}

r2i_bias_need r2i_role_get_bias(const r2i_config *config, r2i_role role) {
    switch (role) {
    case R2I_ROLE_Q: /* latent attention has a bias where it makes its ranks */
    case R2I_ROLE_K:
    case R2I_ROLE_V:
        if (config->kv_rank > 0) return R2I_BIAS_NONE;
        return config->needs_qkv_bias ? R2I_BIAS_NEEDED : R2I_BIAS_OPTIONAL;
    case R2I_ROLE_Q_A:
    case R2I_ROLE_KV_A:
        return config->needs_qkv_bias ? R2I_BIAS_NEEDED : R2I_BIAS_OPTIONAL;
    case R2I_ROLE_O:
        return config->needs_o_bias ? R2I_BIAS_NEEDED : R2I_BIAS_OPTIONAL;
    case R2I_ROLE_GATE:
    case R2I_ROLE_UP:
    case R2I_ROLE_DOWN:
        return config->needs_ffn_bias ? R2I_BIAS_NEEDED : R2I_BIAS_OPTIONAL;
    default:
        return R2I_BIAS_NONE;
    }
}

int32_t r2i_role_paired_heads(const r2i_config *config, r2i_role role) {
    if (config->family != R2I_FAMILY_LLAMA) return 0;
    if (role == R2I_ROLE_Q) return config->n_heads;
    return role == R2I_ROLE_K ? config->n_kv_heads : 0;
}
