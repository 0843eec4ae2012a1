/* model_open.c - opening a model: kernels, files, weights, text; and what its information says. */
#define _GNU_SOURCE /* S_ISDIR with stat under -std=c11 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/checked.h"
#include "base/failure.h"
#include "base/hash.h"
#include "model/adapter.h"
#include "model/config_read.h"
#include "model/model.h"

enum { ARENA_BLOCK_BYTES = 1 << 20, PANEL_ALIGN = 64 };

r2i_row_kind r2i_model_cache_rows(const r2_model *model, r2_cache_rows asked) {
    if (asked == R2_CACHE_F16) return R2I_ROWS_F16;
    if (asked == R2_CACHE_Q8) return R2I_ROWS_Q8;
    return model->is_f32 ? R2I_ROWS_F32 : R2I_ROWS_BF16;
}

void r2i_model_log(const r2_model *model, const char *format, ...) {
    char line[512];
    va_list args;
    if (model->host.log == NULL) return;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    model->host.log(model->host.user, line);
}

void r2i_model_on_packed(void *user, const r2i_matrix *m, int32_t first_row, int32_t n_rows) {
    const r2_model *model = user;
    if (m->shard == R2I_SHARD_NONE) return;
    const r2i_stored_tensor range = { .bytes = m->stored + (size_t)first_row * m->row_bytes,
                                      .n_bytes = (size_t)n_rows * m->row_bytes,
                                      .shard = m->shard };
    if (model->gguf != NULL)
        r2i_gguf_forget(model->gguf, &range);
    else
        r2i_safetensors_forget(model->folder.weights, &range);
}

static void add_packed_bytes(void *user, r2i_matrix *m) {
    size_t *n_bytes = user;
    if (atomic_load(&m->pack_state) == R2I_PACK_DONE)
        *n_bytes += (size_t)m->n_panels * m->panel_bytes;
}

size_t r2i_model_packed_bytes(r2_model *model) {
    size_t n_bytes = 0;
    r2i_weights_visit(&model->weights, &model->config, add_packed_bytes, &n_bytes);
    return n_bytes;
}

r2_status r2i_model_check_intact(const r2_model *model, r2_error *err) {
    const bool is_gguf = model->gguf != NULL;
    if (is_gguf ? r2i_gguf_is_intact(model->gguf)
                : r2i_safetensors_is_intact(model->folder.weights))
        return R2_OK;
    return r2i_fail(err, R2_E_IO, "%s was truncated while it was in use",
                    is_gguf ? r2i_gguf_label(model->gguf)
                            : r2i_safetensors_label(model->folder.weights));
}

r2_status r2i_model_check_computes(const r2_model *model, r2_error *err) {
    if (!model->is_text_only) return R2_OK;
    return r2i_fail(err, R2_E_UNSUPPORTED, "the model was opened for its text only");
}

static r2_status choose_kernels(r2_model *model, const r2_model_options *options, r2_error *err) {
    r2i_level cap = R2I_LEVEL_AMX;
    if (options->cpu != NULL) {
        const int found = r2i_level_find(options->cpu);
        if (found < 0) {
            return r2i_fail(err, R2_E_ARGUMENT,
                            "cpu: expected ref, portable, avx2, avx512 or amx, found \"%.20s\"",
                            options->cpu);
        }
        cap = (r2i_level)found;
    }
    r2i_cpu_detect(&model->cpu);
    r2i_kernels_init(&model->kernels, &model->cpu, cap);
    model->is_f32 = options->arithmetic == R2_ARITHMETIC_F32 || cap == R2I_LEVEL_REF;
    return R2_OK;
}

static r2_status fail_adapter(const char *path, r2_error *err) {
    return r2i_fail(err, R2_E_UNSUPPORTED, "%.150s: expected a model, found an adapter for one",
                    path);
}

/* Files whose weights are not looked at; there need be none. */
static r2_status open_text_files(r2_model *model, const char *path, r2_error *err) {
    struct stat info;
    model->config.architecture = "";
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode))
        return r2i_gguf_open(&model->gguf, path, &model->arena, err);
    R2I_TRY(r2i_model_folder_open(&model->folder, path, R2I_FOLDER_TOKENIZER, &model->arena, err));
    model->has_folder = true;
    return R2_OK;
}

static r2_status open_files(r2_model *model, const char *path, r2_error *err) {
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        /* What is not supported is said before what is missing. */
        const r2_status status =
            r2i_model_folder_open(&model->folder, path, R2I_FOLDER_CONFIG, &model->arena, err);
        if (status == R2_E_NOT_FOUND && r2_adapter_is_at(path)) return fail_adapter(path, err);
        if (status != R2_OK) return status;
        model->has_folder = true;
        R2I_TRY(r2i_config_from_json(&model->config, model->folder.config, "config.json",
                                     &model->arena, err));
        return r2i_safetensors_open(&model->folder.weights, path, &model->arena, err);
    }
    R2I_TRY(r2i_gguf_open(&model->gguf, path, &model->arena, err));
    if (r2i_adapter_is_gguf(model->gguf)) return fail_adapter(path, err);
    return r2i_config_from_gguf(&model->config, model->gguf, &model->arena, err);
}

/* ---- places for the panels ---- */

typedef struct {
    uint8_t *base;
    size_t used;
} panel_places;

static void place_panels(void *user, r2i_matrix *m) {
    panel_places *places = user;
    m->panels = places->base + places->used;
    places->used +=
        ((size_t)m->n_panels * m->panel_bytes + PANEL_ALIGN - 1) & ~(size_t)(PANEL_ALIGN - 1);
}

static r2_status reserve_panels(r2_model *model, r2_error *err) {
    model->panel_memory_bytes = model->weights.packed_bytes;
    model->panel_memory = r2i_memory_map(&model->heap, model->panel_memory_bytes);
    if (model->panel_memory == NULL) {
        return r2i_fail(err, R2_E_NOMEM, "no memory for %zu bytes of packed weights",
                        model->panel_memory_bytes);
    }
    panel_places places = { model->panel_memory, 0 };
    r2i_weights_visit(&model->weights, &model->config, place_panels, &places);
    return R2_OK;
}

/* ---- what info reports ---- */

static void add_type_bytes(void *user, r2i_matrix *m) {
    int64_t *bytes = user;
    bytes[m->type] += (int64_t)m->n_rows * (int64_t)m->row_bytes;
}

/* "Q5_0 44 %, Q8_0 37 %, ..." largest first. */
static void describe_types(r2_model *model) {
    int64_t bytes[R2I_TYPE_LIMIT] = { 0 }, total = 0;
    r2i_weights_visit(&model->weights, &model->config, add_type_bytes, bytes);
    for (int t = 0; t < R2I_TYPE_LIMIT; t++)
        total += bytes[t];
    size_t used = 0;
    for (;;) {
        int best = 0;
        for (int t = 1; t < R2I_TYPE_LIMIT; t++) {
            if (bytes[t] > bytes[best]) best = t;
        }
        if (bytes[best] == 0) return;
        const int n =
            snprintf(model->weight_types + used, sizeof model->weight_types - used, "%s%s %.0f %%",
                     used > 0 ? ", " : "", r2i_type_get((r2i_type)best)->name,
                     100.0 * (double)bytes[best] / (double)total);
        if (n < 0 || (size_t)n >= sizeof model->weight_types - used) return;
        used += (size_t)n;
        bytes[best] = 0;
    }
}

static void hash_matrix(void *user, r2i_matrix *m) {
    uint64_t *hash = user;
    const int32_t shape[4] = { m->n_rows, m->n_cols, (int32_t)m->type, (int32_t)m->layout };
    *hash = r2i_hash_bytes(*hash, shape, sizeof shape);
    *hash = r2i_hash_bytes(*hash, m->stored, r2i_min_size(64, (size_t)m->n_rows * m->row_bytes));
}

static void set_name(r2_model *model) {
    r2i_gguf_text name = { "", 0 };
    if (model->gguf != NULL && r2i_gguf_try_text(model->gguf, "general.name", &name, NULL) != R2_OK)
        name.n_bytes = 0;
    const char *text = model->has_folder ? model->folder.label : name.bytes;
    const size_t n = model->has_folder ? strlen(text) : name.n_bytes;
    (void)snprintf(model->name, sizeof model->name, "%.*s",
                   (int)r2i_min_size(n, sizeof model->name - 1), text);
    for (char *c = model->name; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    }
}

static r2_status open_for_text(r2_model *model, const char *path, r2_error *err) {
    R2I_TRY(open_text_files(model, path, err));
    R2I_TRY(r2i_model_open_text(model, err));
    if (model->tokenizer == NULL)
        return r2i_fail(err, R2_E_UNSUPPORTED, "%.150s: expected a tokenizer, found none", path);
    set_name(model);
    return R2_OK;
}

static r2_status open_all(r2_model *model, const char *path, const r2_model_options *options,
                          r2_error *err) {
    R2I_TRY(choose_kernels(model, options, err));
    model->is_text_only = options->is_text_only;
    if (model->is_text_only) return open_for_text(model, path, err);
    R2I_TRY(open_files(model, path, err));
    const r2i_tensor_source source = { model->gguf,
                                       model->has_folder ? model->folder.weights : NULL };
    model->is_expanding = options->latent_form == R2_LATENT_FAST;
    const r2i_weight_rules rules = { &model->kernels, model->is_f32, model->is_expanding };
    R2I_TRY(r2i_weights_load(&model->weights, &model->config, &source, &rules, &model->arena, err));
    if (!model->weights.has_mtp) model->config.n_mtp = 0; /* checkpoints often leave it out */
    if (!options->is_unpacked) R2I_TRY(reserve_panels(model, err));
    R2I_TRY(r2i_model_open_text(model, err));
    set_name(model);
    describe_types(model);
    model->fingerprint = R2I_HASH_SEED;
    r2i_weights_visit(&model->weights, &model->config, hash_matrix, &model->fingerprint);
    return R2_OK;
}

r2_status r2_model_open(r2_model **out, const char *path, const r2_model_options *options,
                        r2_error *err) {
    static const r2_model_options defaults = { 0 };
    if (err != NULL) *err = (r2_error){ R2_OK, "" };
    *out = NULL;
    if (options == NULL) options = &defaults;
    r2i_heap heap;
    r2i_heap_init_host(&heap, &options->host);
    r2_model *model = r2i_heap_take(&heap, sizeof *model);
    if (model == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for a model");
    memset(model, 0, sizeof *model);
    model->heap = heap;
    model->host = options->host;
    r2i_arena_init(&model->arena, &model->heap, ARENA_BLOCK_BYTES, 0);
    pthread_mutex_init(&model->encoder_lock, NULL);
    const r2_status status = open_all(model, path, options, err);
    if (status != R2_OK) {
        r2_model_close(model);
        return status;
    }
    *out = model;
    return R2_OK;
}

void r2_model_close(r2_model *model) {
    if (model == NULL) return;
    r2i_model_close_text(model);
    r2i_memory_unmap(&model->heap, model->panel_memory, model->panel_memory_bytes);
    r2i_gguf_close(model->gguf);
    if (model->has_folder) r2i_model_folder_close(&model->folder);
    r2i_arena_destroy(&model->arena);
    pthread_mutex_destroy(&model->encoder_lock);
    r2i_heap heap = model->heap;
    r2i_heap_give(&heap, model, sizeof *model);
}

void r2_model_get_info(const r2_model *model, r2_model_info *out) {
    const r2i_config *c = &model->config;
    const uint64_t file_bytes = model->gguf != NULL ? r2i_gguf_file_bytes(model->gguf)
                                : model->folder.weights != NULL
                                    ? r2i_safetensors_file_bytes(model->folder.weights)
                                    : 0;
    *out = (r2_model_info){
        .architecture = c->architecture,
        .name = model->name,
        .weight_types = model->weight_types,
        .cpu_level = r2i_level_name(model->kernels.level),
        .n_layers = c->n_layers,
        .d_model = c->d_model,
        .n_heads = c->n_heads,
        .n_kv_heads = c->n_kv_heads,
        .d_head = c->d_head,
        .d_ffn = c->n_experts > 0 ? c->d_expert : c->d_ffn,
        .n_experts = c->n_experts,
        .n_active_experts = c->n_active,
        .n_vocab = c->n_vocab,
        .n_context = c->n_context,
        .n_parameters = model->weights.n_parameters,
        .n_active_parameters = model->weights.n_active_parameters,
        .file_bytes = (int64_t)file_bytes,
        .bytes_per_token = model->weights.bytes_per_token,
        .cache_bytes_per_token =
            model->is_text_only
                ? 0
                : (int64_t)(r2i_cache_page_bytes(c, r2i_model_cache_rows(model, R2_CACHE_BF16)) /
                            R2I_PAGE_TOKENS),
        .has_chat_template = model->chat_template != NULL,
        .can_think = model->think_open >= 0,
    };
}
