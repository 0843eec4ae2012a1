/* adapter_gguf.c - adapters as llama.cpp's convert_lora_to_gguf.py writes them: general.type
 * "adapter", adapter.type "lora", adapter.lora.alpha, and per matrix two tensors,
 * NAME.weight.lora_a and NAME.weight.lora_b. */
#include <string.h>

#include "base/failure.h"
#include "model/adapter.h"

bool r2i_adapter_is_gguf(const r2i_gguf *gguf) {
    r2i_gguf_text type = { "", 0 };
    return r2i_gguf_try_text(gguf, "general.type", &type, NULL) == R2_OK &&
           r2i_gguf_text_is(type, "adapter");
}

static r2_status check_kind(const r2i_gguf *gguf, const r2i_adapter_base *base, r2_error *err) {
    const char *label = r2i_gguf_label(gguf), *architecture = r2i_gguf_architecture(gguf);
    r2i_gguf_text type = { "", 0 };
    if (!r2i_adapter_is_gguf(gguf))
        return r2i_fail(err, R2_E_FORMAT, "%s: general.type: expected \"adapter\"", label);
    R2I_TRY(r2i_gguf_get_text(gguf, "adapter.type", &type, err));
    if (!r2i_gguf_text_is(type, "lora")) {
        return r2i_fail(err, R2_E_UNSUPPORTED,
                        "%s: adapter.type: expected \"lora\", found \"%.*s\"", label,
                        type.n_bytes < 40 ? (int)type.n_bytes : 40, type.bytes);
    }
    if (r2i_gguf_find(gguf, "adapter.alora.invocation_tokens") != NULL) {
        return r2i_fail(err, R2_E_UNSUPPORTED,
                        "%s: an adapter that tokens switch on (aLoRA) is not supported", label);
    }
    if (base->config == NULL || strcmp(architecture, base->config->architecture) == 0) return R2_OK;
    /* A folder's model has the name of its own configuration; a twin in GGUF is called so. */
    const bool is_deepseek = base->config->family == R2I_FAMILY_DEEPSEEK_V2 ||
                             base->config->family == R2I_FAMILY_DEEPSEEK_V3;
    if (is_deepseek && strcmp(architecture, "deepseek2") == 0) return R2_OK;
    if (base->config->family == R2I_FAMILY_QWEN3_MOE && strcmp(architecture, "qwen3moe") == 0)
        return R2_OK;
    return r2i_fail(err, R2_E_MISMATCH, "%s: made for architecture %.40s, the model is %.40s",
                    label, architecture, base->config->architecture);
}

static r2_status read_half(r2i_lora_half *out, const r2i_stored_tensor *t, const char *label,
                           r2i_arena *arena, r2_error *err) {
    static const char suffixes[2][16] = { ".weight.lora_a", ".weight.lora_b" };
    const size_t n = strlen(t->name), n_suffix = strlen(suffixes[0]);
    for (int b = 0; b < 2; b++) {
        if (n <= n_suffix || strcmp(t->name + n - n_suffix, suffixes[b]) != 0) continue;
        const char *matrix = r2i_arena_copy_text(arena, t->name, n - n_suffix);
        if (matrix == NULL) return r2i_fail(err, R2_E_NOMEM, "%s: no memory for names", label);
        *out = (r2i_lora_half){ .matrix = matrix, .is_b = b == 1, .tensor = *t };
        return R2_OK;
    }
    return r2i_fail(err, R2_E_UNSUPPORTED,
                    "%s: %.100s: expected NAME.weight.lora_a or NAME.weight.lora_b", label,
                    t->name);
}

/* Text of a key as a terminated copy; "" when there is none. */
static const char *copy_value(const r2i_gguf *gguf, const char *key, r2i_arena *arena) {
    r2i_gguf_text text = { "", 0 };
    if (r2i_gguf_try_text(gguf, key, &text, NULL) != R2_OK) return "";
    const char *copy = r2i_arena_copy_text(arena, text.bytes, text.n_bytes);
    return copy != NULL ? copy : "";
}

r2_status r2i_adapter_read_gguf(r2i_adapter_source *out, const r2i_gguf *gguf,
                                const r2i_adapter_base *base, r2i_arena *arena, r2_error *err) {
    const size_t n = r2i_gguf_n_tensors(gguf);
    *out = (r2i_adapter_source){ .label = r2i_gguf_label(gguf), .names = R2I_NAMES_GGUF };
    R2I_TRY(check_kind(gguf, base, err));
    R2I_TRY(r2i_gguf_get_f32(gguf, "adapter.lora.alpha", -1e6f, 1e6f, &out->alpha, err));
    out->base_name = copy_value(gguf, "general.base_model.0.name", arena);
    out->halves = R2I_ARENA_ARRAY(arena, r2i_lora_half, n + 1);
    if (out->halves == NULL)
        return r2i_fail(err, R2_E_NOMEM, "%s: no memory for %zu tensors", out->label, n);
    for (size_t i = 0; i < n; i++)
        R2I_TRY(read_half(&out->halves[out->n_halves++], r2i_gguf_tensor_at(gguf, i), out->label,
                          arena, err));
    return R2_OK;
}
