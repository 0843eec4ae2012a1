#include "train/lora/adapter_write.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/failure.h"
#include "files/atomic_folder.h"
#include "files/atomic_write.h"
#include "files/gguf_write.h"
#include "files/safetensors_write.h"
#include "model/config_read.h"

enum { PATH_BYTES = 4400, MAX_CONFIG_BYTES = 1 << 20 };

static r2_status fail_memory(r2_error *err) {
    return r2i_fail(err, R2_E_NOMEM, "no memory to write an adapter");
}

/* ---- adapter_config.json ---- */

/* "q_proj"; where other matrices have that name too (experts), with the module that it belongs to. */
static const char *short_name(const r2i_parameters *p, char name[R2I_TENSOR_NAME_BYTES],
                              const r2i_adapted_matrix *adapted) {
    r2i_role_name(name, R2I_NAMES_HF, adapted->role, adapted->layer);
    name[strlen(name) - strlen(".weight")] = '\0';
    char *last = strrchr(name, '.');
    if (last == NULL) return name;
    if (p->config->n_experts == 0) return last + 1;
    *last = '\0';
    const char *module = strrchr(name, '.');
    *last = '.';
    return module != NULL ? module + 1 : name;
}

/* The names that were asked for, or each kind of matrix that is adapted. */
static bool add_targets(json_t *list, const r2i_parameters *p) {
    const char *rest = p->lora->rules.targets;
    const bool is_all = strcmp(rest, "all-linear") == 0;
    char name[R2I_TENSOR_NAME_BYTES];
    bool is_good = list != NULL;
    size_t n;
    for (int32_t i = 0; is_all && is_good && i < p->lora->n; i++) {
        const char *target = short_name(p, name, &p->lora->adapted[i]);
        bool is_new = true;
        for (size_t k = 0; k < json_array_size(list); k++)
            is_new = is_new && strcmp(json_string_value(json_array_get(list, k)), target) != 0;
        if (is_new) is_good = json_array_append_new(list, json_string(target)) == 0;
    }
    while (!is_all && is_good && (rest = r2i_lora_next_target(rest, &n)) != NULL) {
        is_good = json_array_append_new(list, json_stringn(rest, n)) == 0;
        rest += n;
    }
    return is_good;
}

static json_t *make_config(const r2i_adapter_output *o) {
    const r2i_lora_rules *rules = &o->parameters->lora->rules;
    json_t *targets = json_array();
    if (!add_targets(targets, o->parameters)) {
        json_decref(targets);
        return NULL;
    }
    return json_pack(
        "{s:s, s:s, s:s, s:i, s:f, s:f, s:s, s:b, s:b, s:b, s:n, s:b, s:b, s:{}, s:{}, s:o}",
        "peft_type", "LORA", "task_type", "CAUSAL_LM", "base_model_name_or_path", o->base, "r",
        rules->rank, "lora_alpha", (double)rules->alpha, "lora_dropout", 0.0, "bias", "none",
        "fan_in_fan_out", 0, "inference_mode", 1, "init_lora_weights", 1, "modules_to_save",
        "use_dora", 0, "use_rslora", (int)rules->has_root_scale, "rank_pattern", "alpha_pattern",
        "target_modules", targets);
}

static r2_status write_text(const r2i_adapter_output *o, const char *path, const r2i_buffer *text,
                            r2_error *err) {
    r2i_atomic_file *file = NULL;
    R2I_TRY(r2i_atomic_begin(&file, path, false, o->heap, err));
    r2_status status = r2i_atomic_write(file, text->bytes, text->n_bytes, err);
    if (status == R2_OK) status = r2i_atomic_write(file, "\n", 1, err);
    if (status == R2_OK) return r2i_atomic_commit(file, err);
    r2i_atomic_abandon(file);
    return status;
}

static r2_status write_config(const r2i_adapter_output *o, const char *folder, r2_error *err) {
    char path[PATH_BYTES];
    r2i_buffer text;
    json_t *config = make_config(o);
    r2i_buffer_init(&text, o->heap, MAX_CONFIG_BYTES);
    const bool is_made = config != NULL && json_dump_callback(config, r2i_buffer_append_chunk,
                                                              &text, JSON_INDENT(2)) == 0;
    (void)snprintf(path, sizeof path, "%.4300s/adapter_config.json", folder);
    const r2_status status = is_made ? write_text(o, path, &text, err) : fail_memory(err);
    r2i_buffer_destroy(&text);
    json_decref(config);
    return status;
}

/* ---- adapter_model.safetensors ---- */

static r2_status fill_tensors(const r2i_parameters *p, r2i_safetensors_writer *w, const char *path,
                              r2_error *err) {
    R2I_TRY(r2i_safetensors_writer_add_metadata(w, "format", "pt", err));
    for (int32_t i = 0; i < p->n; i++) {
        const int64_t shape[] = { p->list[i].n_rows, p->list[i].n_cols };
        R2I_TRY(r2i_safetensors_writer_add_tensor(w, p->list[i].name, R2I_DTYPE_F32, 2, shape,
                                                  p->values + p->list[i].first, err));
    }
    R2I_TRY(r2i_safetensors_writer_begin(w, path, err));
    return r2i_safetensors_writer_finish(w, err);
}

static r2_status write_tensors(const r2i_adapter_output *o, const char *folder, r2_error *err) {
    char path[PATH_BYTES];
    r2i_safetensors_writer *w = NULL;
    (void)snprintf(path, sizeof path, "%.4300s/adapter_model.safetensors", folder);
    r2_status status = r2i_safetensors_writer_create(&w, o->heap, err);
    if (status == R2_OK) status = fill_tensors(o->parameters, w, path, err);
    r2i_safetensors_writer_destroy(w);
    return status;
}

r2_status r2i_adapter_write_folder(const r2i_adapter_output *o, r2_error *err) {
    r2i_atomic_folder *folder = NULL;
    R2I_TRY(r2i_atomic_folder_begin(&folder, o->out, o->is_forced, "adapter_config.json", o->heap,
                                    err));
    const char *to = r2i_atomic_folder_path(folder);
    r2_status status = write_config(o, to, err);
    if (status == R2_OK) status = write_tensors(o, to, err);
    if (status == R2_OK) return r2i_atomic_folder_commit(folder, err);
    r2i_atomic_folder_abandon(folder);
    return status;
}

/* ---- GGUF ---- */

static r2_status put_text(r2i_gguf_writer *w, const char *key, const char *text, r2_error *err) {
    return r2i_gguf_writer_add_text(w, key, text, strlen(text), err);
}

/* GGUF knows alpha / rank alone. */
static float plain_alpha(const r2i_lora_parameters *lora) {
    return lora->rules.has_root_scale ? lora->scale * (float)lora->rules.rank : lora->rules.alpha;
}

static r2_status put_values(const r2i_adapter_output *o, r2i_gguf_writer *w, r2_error *err) {
    R2I_TRY(put_text(w, "general.architecture",
                     r2i_config_gguf_architecture(o->parameters->config->family), err));
    R2I_TRY(put_text(w, "general.type", "adapter", err));
    R2I_TRY(put_text(w, "general.base_model.0.name", o->base, err));
    R2I_TRY(put_text(w, "adapter.type", "lora", err));
    return r2i_gguf_writer_add_f32(w, "adapter.lora.alpha", plain_alpha(o->parameters->lora), err);
}

static r2_status add_tensor(const r2i_parameters *p, r2i_gguf_writer *w, int32_t i, r2_error *err) {
    const r2i_adapted_matrix *adapted = &p->lora->adapted[i / 2];
    const r2i_parameter *half = &p->list[i];
    const int64_t ne[] = { half->n_cols, half->n_rows };
    char matrix[R2I_TENSOR_NAME_BYTES], name[R2I_TENSOR_NAME_BYTES + 8];
    r2i_role_name(matrix, R2I_NAMES_GGUF, adapted->role, adapted->layer);
    (void)snprintf(name, sizeof name, "%s.lora_%s", matrix, i % 2 == 0 ? "a" : "b");
    return r2i_gguf_writer_add_tensor(w, name, R2I_TYPE_F32, 2, ne, NULL, err);
}

/* B's rows in the order of the matrix's rows in such a file (matrix.h). */
static r2_status write_tensor(const r2i_parameters *p, r2i_gguf_writer *w, int32_t i,
                              r2i_heap *heap, r2_error *err) {
    const r2i_parameter *half = &p->list[i];
    const size_t n_cols = (size_t)half->n_cols, n_bytes = r2i_parameter_size(half) * sizeof(float);
    const r2i_matrix order = {
        .n_rows = half->n_rows,
        .n_swapped_heads =
            i % 2 == 0 ? 0 : r2i_role_paired_heads(p->config, p->lora->adapted[i / 2].role)
    };
    float *rows = r2i_heap_take(heap, n_bytes);
    if (rows == NULL) return fail_memory(err);
    for (int32_t r = 0; r < half->n_rows; r++)
        memcpy(rows + (size_t)r2i_matrix_stored_row(&order, r) * n_cols,
               p->values + half->first + (size_t)r * n_cols, n_cols * sizeof *rows);
    const r2_status status = r2i_gguf_writer_write(w, rows, n_bytes, err);
    r2i_heap_give(heap, rows, n_bytes);
    return status;
}

static r2_status fill_gguf(const r2i_adapter_output *o, r2i_gguf_writer *w, r2_error *err) {
    const r2i_parameters *p = o->parameters;
    R2I_TRY(put_values(o, w, err));
    for (int32_t i = 0; i < p->n; i++)
        R2I_TRY(add_tensor(p, w, i, err));
    R2I_TRY(r2i_gguf_writer_begin(w, o->out, err));
    for (int32_t i = 0; i < p->n; i++)
        R2I_TRY(write_tensor(p, w, i, o->heap, err));
    return r2i_gguf_writer_finish(w, err);
}

r2_status r2i_adapter_write_gguf(const r2i_adapter_output *o, r2_error *err) {
    r2i_gguf_writer *w = NULL;
    if (!o->is_forced && access(o->out, F_OK) == 0)
        return r2i_fail(err, R2_E_ARGUMENT, "%.150s: exists already", o->out);
    r2_status status = r2i_gguf_writer_create(&w, o->heap, err);
    if (status == R2_OK) status = fill_gguf(o, w, err);
    r2i_gguf_writer_destroy(w);
    return status;
}
