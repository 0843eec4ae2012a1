#define _POSIX_C_SOURCE 200809L /* strcasecmp */
#include "convert/plan_types.h"

#include <string.h>
#include <strings.h>

#include "base/failure.h"

enum { FP8_BLOCK = 128 };

const char *r2i_stored_as_name(int32_t as) {
    return as < R2I_STORED_OTHER ? r2i_type_get((r2i_type)as)->name : "other";
}

r2_status r2i_stored_as_find(int32_t *out, const char *name, r2_error *err) {
    *out = R2I_TYPE_F8_E4M3;
    if (strcasecmp(name, "FP8") == 0) return R2_OK;
    for (*out = 0; *out < R2I_STORED_OTHER; (*out)++) {
        const char *known = r2i_type_get((r2i_type)*out)->name;
        if (known != NULL && strcasecmp(known, name) == 0) return R2_OK;
    }
    return r2i_fail(err, R2_E_ARGUMENT,
                    "type: expected a stored type such as Q8_0, found \"%.40s\"", name);
}

r2_status r2i_plan_types_find(r2i_plan_types *out, const char *name, r2_error *err) {
    *out = (r2i_plan_types){ 0 };
    const r2_status status = r2i_recipe_find(&out->recipe, name, err);
    if (status == R2_OK || r2i_stored_as_find(&out->base, name, NULL) != R2_OK) return status;
    out->ends = out->base == R2I_TYPE_F8_E4M3 ? (int32_t)R2I_TYPE_BF16 : out->base;
    return R2_OK;
}

void r2i_plan_types_published(r2i_plan_types *out, const json_t *config) {
    static const struct {
        const char *name;
        r2i_type type;
    } dtypes[] = { { "float32", R2I_TYPE_F32 },
                   { "float16", R2I_TYPE_F16 },
                   { "bfloat16", R2I_TYPE_BF16 } };
    const char *method = json_string_value(
        json_object_get(json_object_get(config, "quantization_config"), "quant_method"));
    const char *dtype = json_string_value(json_object_get(config, "torch_dtype"));
    if (dtype == NULL) dtype = json_string_value(json_object_get(config, "dtype"));
    int32_t plain = R2I_TYPE_BF16;
    for (size_t i = 0; dtype != NULL && i < sizeof dtypes / sizeof *dtypes; i++) {
        if (strcmp(dtype, dtypes[i].name) == 0) plain = (int32_t)dtypes[i].type;
    }
    const bool is_fp8 = method != NULL && strcmp(method, "fp8") == 0;
    const int32_t base = is_fp8 ? (int32_t)R2I_TYPE_F8_E4M3 : plain;
    *out = (r2i_plan_types){ .base = base, .ends = plain };
}

static bool is_end(r2i_role role) {
    const r2i_role taken_as = r2i_recipe_role(role);
    return taken_as == R2I_ROLE_EMBEDDING || taken_as == R2I_ROLE_OUTPUT ||
           taken_as == R2I_ROLE_MTP_JOIN || role == R2I_ROLE_ROUTER;
}

int32_t r2i_plan_types_choose(const r2i_plan_types *types, const r2i_listed_tensor *t,
                              const r2i_config *config) {
    r2i_role role = r2i_recipe_role(t->role);
    if (t->is_vector) return R2I_TYPE_F32;
    if (types->recipe == NULL) {
        const r2i_type plain = (r2i_type)(is_end(t->role) ? types->ends : types->base);
        return (int32_t)r2i_type_for_width(plain, t->n_cols);
    }
    if (t->is_plain || role == R2I_ROLE_NONE) return R2I_TYPE_F32;
    if (role == R2I_ROLE_EMBEDDING && config->is_tied) role = R2I_ROLE_OUTPUT;
    const r2i_type type = r2i_recipe_type(types->recipe, role, t->layer, config->n_layers);
    return (int32_t)r2i_type_for_width(type, t->n_cols);
}

int32_t r2i_stored_as_of_dtype(r2i_dtype dtype) {
    switch (dtype) {
    case R2I_DTYPE_F8_E4M3:
        return R2I_TYPE_F8_E4M3;
    case R2I_DTYPE_F16:
        return R2I_TYPE_F16;
    case R2I_DTYPE_BF16:
        return R2I_TYPE_BF16;
    case R2I_DTYPE_F32:
        return R2I_TYPE_F32;
    default:
        return R2I_STORED_OTHER;
    }
}

int64_t r2i_stored_as_bytes(int32_t as, int64_t n_rows, int64_t n_cols) {
    if (as != R2I_TYPE_F8_E4M3)
        return n_rows * (int64_t)r2i_type_row_bytes((r2i_type)as, (size_t)n_cols);
    const int64_t row_blocks = (n_rows + FP8_BLOCK - 1) / FP8_BLOCK,
                  col_blocks = (n_cols + FP8_BLOCK - 1) / FP8_BLOCK;
    return n_rows * n_cols + 4 * row_blocks * col_blocks;
}

int64_t r2i_stored_as_panel_bytes(int32_t as, int64_t n_rows, int64_t n_cols) {
    const bool is_bf16 = as == R2I_TYPE_F32 || as == R2I_TYPE_F8_E4M3 || as == R2I_STORED_OTHER;
    return r2i_stored_as_bytes(is_bf16 ? (int32_t)R2I_TYPE_BF16 : as, n_rows, n_cols);
}

/* ---- parts ---- */

/* The first word found decides, so what is special stands first. */
static const struct {
    const char *word;
    r2_part part;
} words[] = {
    { "norm", R2_PART_OTHER },
    { "_shexp", R2_PART_SHARED_EXPERTS },
    { ".shared_experts.", R2_PART_SHARED_EXPERTS },
    { "_exps", R2_PART_EXPERTS },
    { ".experts.", R2_PART_EXPERTS },
    { "ffn_gate_inp", R2_PART_ROUTER },
    { "exp_probs_b", R2_PART_ROUTER },
    { ".mlp.gate.", R2_PART_ROUTER },
    { ".attn_", R2_PART_ATTENTION },
    { ".self_attn.", R2_PART_ATTENTION },
    { ".ffn_", R2_PART_DENSE_FFN },
    { ".mlp.", R2_PART_DENSE_FFN },
    { "token_embd.", R2_PART_EMBEDDING },
    { "embed_tokens.", R2_PART_EMBEDDING },
    { "lm_head.", R2_PART_HEAD },
};

r2_part r2i_part_of_name(const char *name, int32_t n_layers) {
    const char *rest;
    if (r2i_role_layer(R2I_NAMES_HF, name, &rest) >= n_layers ||
        r2i_role_layer(R2I_NAMES_GGUF, name, &rest) >= n_layers)
        return R2_PART_MTP;
    if (strncmp(name, "output.", 7) == 0) return R2_PART_HEAD;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strstr(name, words[i].word) != NULL) return words[i].part;
    }
    return R2_PART_OTHER;
}
