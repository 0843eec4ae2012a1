#define _POSIX_C_SOURCE 200809L /* strcasecmp */
#include "convert/recipes.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/failure.h"

/* ---- roles ---- */

/* What callers name them by; those without a name keep their type. */
static const struct {
    const char *name, *group;
} role_names[R2I_N_ROLES] = {
    [R2I_ROLE_EMBEDDING] = { "embedding", "ends" },
    [R2I_ROLE_OUTPUT] = { "output", "ends" },
    [R2I_ROLE_Q] = { "q", "attention" },
    [R2I_ROLE_K] = { "k", "attention" },
    [R2I_ROLE_V] = { "v", "attention" },
    [R2I_ROLE_O] = { "o", "attention" },
    [R2I_ROLE_Q_A] = { "q_a", "attention" },
    [R2I_ROLE_Q_B] = { "q_b", "attention" },
    [R2I_ROLE_KV_A] = { "kv_a", "attention" },
    [R2I_ROLE_KV_B] = { "kv_b", "attention" },
    [R2I_ROLE_K_B] = { "k_b", "attention" },
    [R2I_ROLE_V_B] = { "v_b", "attention" },
    [R2I_ROLE_GATE] = { "gate", "ffn" },
    [R2I_ROLE_UP] = { "up", "ffn" },
    [R2I_ROLE_DOWN] = { "down", "ffn" },
    [R2I_ROLE_EXPERT_GATE] = { "expert_gate", "experts" },
    [R2I_ROLE_EXPERT_UP] = { "expert_up", "experts" },
    [R2I_ROLE_EXPERT_DOWN] = { "expert_down", "experts" },
    [R2I_ROLE_SHARED_GATE] = { "shared_gate", "shared" },
    [R2I_ROLE_SHARED_UP] = { "shared_up", "shared" },
    [R2I_ROLE_SHARED_DOWN] = { "shared_down", "shared" },
    [R2I_ROLE_MTP_JOIN] = { "join", "mtp" },
};

r2i_role r2i_recipe_role(r2i_role role) {
    if (role == R2I_ROLE_MTP_EMBEDDING) return R2I_ROLE_EMBEDDING;
    if (role == R2I_ROLE_MTP_OUTPUT) return R2I_ROLE_OUTPUT;
    return role_names[role].name != NULL ? role : R2I_ROLE_NONE;
}

r2i_role r2i_recipe_role_of(const char *tensor_name, int32_t *layer) {
    static const char end[] = ".weight";
    const size_t n = strlen(tensor_name), n_end = sizeof end - 1;
    const char *rest;
    *layer = r2i_role_layer(R2I_NAMES_GGUF, tensor_name, &rest);
    if (n <= n_end || strcmp(tensor_name + n - n_end, end) != 0) return R2I_ROLE_NONE;
    return r2i_recipe_role(r2i_role_of(R2I_NAMES_GGUF, tensor_name, n - n_end, layer));
}

/* ---- recipes ---- */

#define ALL_OF(type, file_type)                                                    \
    {                                                                              \
#type, NULL, file_type, R2I_TYPE_##type, R2I_TYPE_##type, R2I_TYPE_##type, \
            R2I_TYPE_##type, R2I_FINER_NOWHERE, false                              \
    }
#define MIXED(name, alias, file_type, base, finer, layers)                                         \
    {                                                                                              \
        name, alias, file_type, R2I_TYPE_##base, R2I_TYPE_##base, R2I_TYPE_Q6_K, R2I_TYPE_##finer, \
            R2I_FINER_##layers, false                                                              \
    }

/* The mixtures are those of llama.cpp's tool, so that files of one name are alike: the output matrix in
 * Q6_K, values and down projections finer in some layers. */
static const r2i_recipe recipes[] = {
    MIXED("Q4_K_M", "Q4_K", 15, Q4_K, Q6_K, SPREAD),
    MIXED("Q4_K_S", NULL, 14, Q4_K, Q5_K, FRONT),
    MIXED("Q5_K_M", "Q5_K", 17, Q5_K, Q6_K, SPREAD),
    MIXED("Q5_K_S", NULL, 16, Q5_K, Q5_K, NOWHERE),
    ALL_OF(Q6_K, 18),
    ALL_OF(Q8_0, 7),
    MIXED("Q4_0", NULL, 2, Q4_0, Q4_0, NOWHERE),
    MIXED("Q4_1", NULL, 3, Q4_1, Q4_1, NOWHERE),
    MIXED("Q5_0", NULL, 8, Q5_0, Q5_0, NOWHERE),
    MIXED("Q5_1", NULL, 9, Q5_1, Q5_1, NOWHERE),
    MIXED("IQ4_NL", NULL, 25, IQ4_NL, Q5_K, FRONT),
    MIXED("IQ4_XS", NULL, 30, IQ4_XS, Q5_K, FRONT),
    { "MXFP4", NULL, 38, R2I_TYPE_MXFP4, R2I_TYPE_Q8_0, R2I_TYPE_Q8_0, R2I_TYPE_MXFP4,
      R2I_FINER_NOWHERE, false },
    { "MXFP4_MOE", NULL, 38, R2I_TYPE_MXFP4, R2I_TYPE_Q8_0, R2I_TYPE_Q8_0, R2I_TYPE_MXFP4,
      R2I_FINER_NOWHERE, true },
    ALL_OF(F16, 1),
    ALL_OF(BF16, 32),
    ALL_OF(F32, 0),
};

r2_status r2i_recipe_find(const r2i_recipe **out, const char *name, r2_error *err) {
    char names[160] = "";
    size_t n = 0;
    *out = NULL;
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        const r2i_recipe *r = &recipes[i];
        if (strcasecmp(r->name, name) == 0 ||
            (r->alias != NULL && strcasecmp(r->alias, name) == 0)) {
            *out = r;
            return R2_OK;
        }
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i > 0 ? " " : "", r->name);
    }
    return r2i_fail(err, R2_E_ARGUMENT, "type: expected one of %s, found \"%.30s\"", names, name);
}

static bool is_expert(r2i_role role) {
    return role == R2I_ROLE_EXPERT_GATE || role == R2I_ROLE_EXPERT_UP ||
           role == R2I_ROLE_EXPERT_DOWN;
}

static bool has_finer(r2i_role role) {
    return role == R2I_ROLE_V || role == R2I_ROLE_V_B || role == R2I_ROLE_KV_B ||
           role == R2I_ROLE_DOWN || role == R2I_ROLE_EXPERT_DOWN || role == R2I_ROLE_SHARED_DOWN;
}

static bool is_finer_layer(r2i_finer_layers which, int32_t layer, int32_t n_layers) {
    const int32_t front = n_layers / 8;
    if (which == R2I_FINER_NOWHERE || layer < 0) return false;
    if (which == R2I_FINER_FRONT) return layer < front;
    return layer < front || layer >= 7 * n_layers / 8 || (layer - front) % 3 == 2;
}

r2i_type r2i_recipe_type(const r2i_recipe *recipe, r2i_role role, int32_t layer, int32_t n_layers) {
    if (role == R2I_ROLE_OUTPUT) return recipe->output;
    if (role == R2I_ROLE_EMBEDDING) return recipe->embedding;
    if (recipe->is_for_experts && !is_expert(role)) return recipe->embedding;
    const bool is_finer = has_finer(role) && is_finer_layer(recipe->finer_layers, layer, n_layers);
    return is_finer ? recipe->finer : recipe->base;
}

r2i_type r2i_type_for_width(r2i_type type, int64_t n_cols) {
    while (n_cols % r2i_type_get(type)->block_elements != 0) {
        switch (type) {
        case R2I_TYPE_Q4_K:
            type = R2I_TYPE_Q5_0;
            break;
        case R2I_TYPE_Q5_K:
            type = R2I_TYPE_Q5_1;
            break;
        case R2I_TYPE_Q6_K:
            type = R2I_TYPE_Q8_0;
            break;
        case R2I_TYPE_IQ4_XS:
            type = R2I_TYPE_IQ4_NL;
            break;
        default:
            type = R2I_TYPE_F16;
            break;
        }
    }
    return type;
}

/* ---- roles that the caller decides about ---- */

static bool find_type(const char *name, size_t n, r2i_type *out) {
    for (int id = 0; id < R2I_TYPE_LIMIT; id++) {
        const r2i_type_info *info = r2i_type_find((uint64_t)id);
        if (info == NULL || id == R2I_TYPE_Q2_K || id == R2I_TYPE_Q3_K) continue; /* only read */
        if (strlen(info->name) != n || strncasecmp(info->name, name, n) != 0) continue;
        *out = (r2i_type)id;
        return true;
    }
    return false;
}

static bool set_roles(r2i_role_types *types, const char *name, size_t n, r2i_type type) {
    bool has_found = false;
    for (int r = 0; r < R2I_N_ROLES; r++) {
        if (role_names[r].name == NULL) continue;
        const bool is_role =
            strlen(role_names[r].name) == n && memcmp(role_names[r].name, name, n) == 0;
        const bool is_group =
            strlen(role_names[r].group) == n && memcmp(role_names[r].group, name, n) == 0;
        if (!is_role && !is_group) continue;
        types->is_set[r] = has_found = true;
        types->type[r] = type;
    }
    return has_found;
}

r2_status r2i_role_types_add(r2i_role_types *types, const char *text, r2_error *err) {
    for (const char *at = text; *at != '\0';) {
        const size_t n = strcspn(at, ","), n_name = strcspn(at, "=,");
        r2i_type type = R2I_TYPE_F32;
        if (n_name == n || !find_type(at + n_name + 1, n - n_name - 1, &type)) {
            return r2i_fail(
                err, R2_E_ARGUMENT,
                "role: expected ROLE=TYPE with a stored type such as Q6_K, found \"%.*s\"",
                (int)(n < 40 ? n : 40), at);
        }
        if (!set_roles(types, at, n_name, type)) {
            return r2i_fail(
                err, R2_E_ARGUMENT,
                "role: expected embedding, output, q, k, v, o, gate, up, down, expert_down, "
                "attention, ffn, experts, shared ..., found \"%.*s\"",
                (int)(n_name < 40 ? n_name : 40), at);
        }
        at += n + (at[n] == ',');
    }
    return R2_OK;
}
