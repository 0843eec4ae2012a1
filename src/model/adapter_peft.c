/* adapter_peft.c - adapters as the PEFT library writes them: adapter_config.json, and tensors
 * base_model.model.NAME.lora_A.weight [rank, d_in] and lora_B.weight [d_out, rank]. */
#include <math.h>
#include <string.h>

#include "base/failure.h"
#include "files/json_read.h"
#include "model/adapter.h"

static const char label[] = "adapter_config.json";

/* Fields that must be absent, null, false or empty, and what they would mean. */
static const struct {
    const char *key, *what;
} refused[] = {
    { "use_dora", "DoRA" },
    { "use_qalora", "QALoRA" },
    { "lora_bias", "trained biases" },
    { "fan_in_fan_out", "transposed weights" },
    { "modules_to_save", "whole modules beside the low-rank pairs" },
    { "layer_replication", "repeated layers" },
    { "trainable_token_indices", "trained embedding rows" },
    { "target_parameters", "parameters that are no matrices of a linear layer" },
    { "alora_invocation_tokens", "an adapter that tokens switch on (aLoRA)" },
};

static bool is_nothing(const json_t *value) {
    if (value == NULL || json_is_null(value) || json_is_false(value)) return true;
    if (json_is_array(value)) return json_array_size(value) == 0;
    return json_is_object(value) && json_object_size(value) == 0;
}

static r2_status check_text(const json_t *config, const char *key, const char *expected,
                            r2_error *err) {
    const char *found = expected;
    R2I_TRY(r2i_json_try_text(config, label, key, &found, err));
    if (strcmp(found, expected) == 0) return R2_OK;
    return r2i_fail(err, R2_E_UNSUPPORTED, "%s: %s: expected \"%s\", found \"%.60s\"", label, key,
                    expected, found);
}

/* These start by changing the base weights too, which the adapter does not hold. */
static r2_status check_start(const json_t *config, r2_error *err) {
    static const char *const changing[] = { "pissa", "olora", "corda", "loftq", "lora_ga" };
    const char *start = json_string_value(json_object_get(config, "init_lora_weights"));
    for (size_t i = 0; start != NULL && i < sizeof changing / sizeof *changing; i++) {
        if (strncmp(start, changing[i], strlen(changing[i])) != 0) continue;
        return r2i_fail(err, R2_E_UNSUPPORTED,
                        "%s: init_lora_weights: \"%.40s\" changed the base weights as well: "
                        "convert the adapter to a plain one",
                        label, start);
    }
    return R2_OK;
}

static r2_status check_config(const json_t *config, r2_error *err) {
    R2I_TRY(check_text(config, "peft_type", "LORA", err));
    R2I_TRY(check_text(config, "bias", "none", err));
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (is_nothing(json_object_get(config, refused[i].key))) continue;
        return r2i_fail(err, R2_E_UNSUPPORTED, "%s: %s: %s: not supported", label, refused[i].key,
                        refused[i].what);
    }
    return check_start(config, err);
}

/* Module names; other patterns of the library's own language are refused, not misread. */
static r2_status check_patterns(const json_t *patterns, const char *key, r2_error *err) {
    const char *name;
    json_t *value;
    json_t *tree = (json_t *)(uintptr_t)patterns; /* the macro of jansson does not know const */
    if (patterns == NULL) return R2_OK;
    json_object_foreach(tree, name, value) {
        const char *text = name[0] == '^' ? name + 1 : name;
        const size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "0123456789_.-");
        if (text[n] != '\0' || n == 0) {
            return r2i_fail(err, R2_E_UNSUPPORTED,
                            "%s: %s: expected names of modules, found \"%.80s\"", label, key, name);
        }
        const double x = json_number_value(value);
        if (!json_is_number(value) || !isfinite(x) || fabs(x) > 1e6)
            return r2i_fail(err, R2_E_FORMAT, "%s: %s: %.80s: expected a number", label, key, name);
    }
    return R2_OK;
}

static r2_status read_config(r2i_adapter_source *out, const json_t *config, r2_error *err) {
    const json_t *ranks = NULL;
    int32_t rank = 0;
    if (!json_is_object(config)) return r2i_fail(err, R2_E_FORMAT, "%s: expected an object", label);
    R2I_TRY(check_config(config, err));
    out->alpha = 8; /* the library's default */
    out->base_name = "";
    R2I_TRY(r2i_json_try_text(config, label, "base_model_name_or_path", &out->base_name, err));
    R2I_TRY(r2i_json_get_i32(config, label, "r", 1, R2I_MAX_RANK, &rank, err));
    R2I_TRY(r2i_json_try_f32(config, label, "lora_alpha", -1e6f, 1e6f, &out->alpha, err));
    R2I_TRY(r2i_json_try_bool(config, label, "use_rslora", &out->has_root_scale, err));
    R2I_TRY(
        r2i_json_try_tree(config, label, "alpha_pattern", JSON_OBJECT, &out->alpha_pattern, err));
    R2I_TRY(check_patterns(out->alpha_pattern, "alpha_pattern", err));
    /* Ranks are those of the tensors; what is said of them must be sound all the same. */
    R2I_TRY(r2i_json_try_tree(config, label, "rank_pattern", JSON_OBJECT, &ranks, err));
    R2I_TRY(check_patterns(ranks, "rank_pattern", err));
    const json_t *targets = json_object_get(config, "target_modules");
    if (json_is_array(targets)) out->targets = targets; /* otherwise a pattern: not checked */
    return R2_OK;
}

/* "base_model.model." NAME ".lora_A.weight" */
static r2_status read_half(r2i_lora_half *out, const r2i_safetensors *file, const char *name,
                           r2i_arena *arena, r2_error *err) {
    static const char prefix[] = "base_model.model.";
    static const char suffixes[2][16] = { ".lora_A.weight", ".lora_B.weight" };
    const char *where = r2i_safetensors_label(file);
    const size_t n = strlen(name), n_prefix = sizeof prefix - 1, n_suffix = strlen(suffixes[0]);
    const bool has_prefix = strncmp(name, prefix, n_prefix) == 0;
    for (int b = 0; has_prefix && b < 2; b++) {
        if (n <= n_prefix + n_suffix || strcmp(name + n - n_suffix, suffixes[b]) != 0) continue;
        const char *matrix = r2i_arena_copy_text(arena, name + n_prefix, n - n_prefix - n_suffix);
        if (matrix == NULL) return r2i_fail(err, R2_E_NOMEM, "%s: no memory for names", where);
        *out = (r2i_lora_half){ .matrix = matrix, .is_b = b == 1 };
        R2I_TRY(r2i_safetensors_get(file, name, &out->tensor, err));
        if (out->tensor.type != R2I_TYPE_F8_E4M3) return R2_OK;
        return r2i_fail(err, R2_E_UNSUPPORTED,
                        "%s: %.120s: expected F32, F16 or BF16, found F8_E4M3", where, name);
    }
    const char *what = strstr(name, "lora_embedding") != NULL ? "adapters of the embedding"
                       : strstr(name, "lora_magnitude") != NULL
                           ? "DoRA"
                           : "other tensors than lora_A, lora_B";
    return r2i_fail(err, R2_E_UNSUPPORTED, "%s: %.120s: %s: not supported", where, name, what);
}

r2_status r2i_adapter_read_peft(r2i_adapter_source *out, const json_t *config,
                                const r2i_safetensors *file, r2i_arena *arena, r2_error *err) {
    const size_t n = r2i_safetensors_n_tensors(file);
    *out = (r2i_adapter_source){ .label = r2i_safetensors_label(file), .names = R2I_NAMES_HF };
    R2I_TRY(read_config(out, config, err));
    out->halves = R2I_ARENA_ARRAY(arena, r2i_lora_half, n + 1);
    if (out->halves == NULL)
        return r2i_fail(err, R2_E_NOMEM, "%s: no memory for %zu tensors", out->label, n);
    for (size_t i = 0; i < n; i++)
        R2I_TRY(read_half(&out->halves[out->n_halves++], file,
                          r2i_safetensors_tensor_at(file, i)->name, arena, err));
    return R2_OK;
}
