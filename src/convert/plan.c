/* plan.c - what a model needs and how fast it can be, from its configuration and the types of its
 * weights.  Nothing is computed and no weight is read: all figures follow from shapes, and speeds
 * from how fast the machine reads and multiplies. */
#define _POSIX_C_SOURCE 200809L /* S_ISDIR, strncasecmp */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/checked.h"
#include "base/cpu.h"
#include "base/failure.h"
#include "convert/plan_types.h"
#include "files/model_folder.h"
#include "model/config_read.h"
#include "model/forward.h"

enum {
    ARENA_BLOCK_BYTES = 1 << 20,
    PATH_BYTES = 4096,
    DEFAULT_CONTEXT = 32768, /* as the engine's */
    BATCH_TOKENS = 256,
    MAX_SEQUENCES = 4096,
    PROGRAM_BYTES = 64 << 20 /* tokenizer, tables, stacks */
};

const char *r2_part_name(r2_part part) {
    static const char *const names[R2_N_PARTS] = { "embedding", "attention",      "dense_ffn",
                                                   "experts",   "shared_experts", "router",
                                                   "head",      "other",          "mtp" };
    return part >= 0 && part < R2_N_PARTS ? names[part] : "";
}

/* ---- what is planned for: a configuration, perhaps with weights ---- */

typedef struct {
    r2i_heap heap;
    r2i_arena arena;
    r2i_gguf *gguf; /* at most one of the two is open */
    r2i_safetensors *safetensors;
    r2i_model_folder folder;
    json_t *json;
    r2i_config config;
} plan_source;

static void close_source(plan_source *s) {
    r2i_gguf_close(s->gguf);
    r2i_safetensors_close(s->safetensors);
    r2i_model_folder_close(&s->folder);
    json_decref(s->json);
    r2i_arena_destroy(&s->arena);
}

static bool has_file(const char *folder, const char *name) {
    char path[PATH_BYTES];
    struct stat info;
    const int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    return n > 0 && (size_t)n < sizeof path && stat(path, &info) == 0;
}

static r2_status open_folder(plan_source *s, const char *path, r2_error *err) {
    R2I_TRY(r2i_model_folder_open(&s->folder, path, R2I_FOLDER_CONFIG, &s->arena, err));
    s->json = json_incref(s->folder.config);
    R2I_TRY(r2i_config_from_json(&s->config, s->json, "config.json", &s->arena, err));
    if (!has_file(path, "model.safetensors") && !has_file(path, "model.safetensors.index.json"))
        return R2_OK;
    return r2i_safetensors_open(&s->safetensors, path, &s->arena, err);
}

static r2_status open_config(plan_source *s, const char *path, r2_error *err) {
    const char *slash = strrchr(path, '/'), *label = slash != NULL ? slash + 1 : path;
    r2i_mapping m;
    R2I_TRY(r2i_mapping_open(&m, path, err));
    const r2_status status =
        r2i_json_read(&s->json, label, m.bytes, m.n_bytes, &r2i_json_config_limits, err);
    r2i_mapping_close(&m);
    R2I_TRY(status);
    return r2i_config_from_json(&s->config, s->json, label, &s->arena, err);
}

static r2_status open_source(plan_source *s, const char *path, r2_error *err) {
    struct stat info;
    const size_t n = strlen(path);
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) return open_folder(s, path, err);
    if (n > 5 && strcasecmp(path + n - 5, ".json") == 0) return open_config(s, path, err);
    R2I_TRY(r2i_gguf_open(&s->gguf, path, &s->arena, err));
    return r2i_config_from_gguf(&s->config, s->gguf, &s->arena, err);
}

/* ---- parameters and bytes ---- */

typedef struct {
    const r2i_config *config;
    r2_plan_result *out;
    r2i_plan_types assumed;
    int64_t type_bytes[R2I_N_STORED_AS];       /* of matrices */
    int64_t n_expert_parameters, expert_bytes; /* of all experts together */
    int64_t panel_bytes, kept_bytes; /* arranged for the kernels; used as they lie in the file */
} counting;

/* One tensor of a file or of the configuration's list. */
typedef struct {
    r2_part part;
    int32_t stored_as;
    bool is_vector;
    int64_t n_elements, n_bytes, n_panel_bytes;
} counted_tensor;

/* Sums stay far from overflow, whatever a configuration claims. */
static void add(int64_t *sum, int64_t n) {
    const int64_t most = (int64_t)1 << 58;
    *sum = n > most - *sum ? most : *sum + n;
}

static void count(counting *c, const counted_tensor *t) {
    r2_plan_result *out = c->out;
    const bool is_tied = c->config->is_tied, is_expert = t->part == R2_PART_EXPERTS;
    const r2_part part = t->part == R2_PART_EMBEDDING && is_tied ? R2_PART_HEAD : t->part;
    add(&out->parts[part].n_parameters, t->n_elements);
    add(&out->parts[part].n_bytes, t->n_bytes);
    add(&out->weight_bytes, t->n_bytes);
    if (!t->is_vector) add(&c->type_bytes[t->stored_as], t->n_bytes);
    if (part == R2_PART_MTP) return;
    add(&out->n_parameters, t->n_elements);
    if (part == R2_PART_EMBEDDING || (part == R2_PART_HEAD && is_tied))
        add(&c->kept_bytes, t->n_bytes);
    if (part == R2_PART_EMBEDDING) return; /* a token looks one row up */
    add(is_expert ? &c->n_expert_parameters : &out->n_active_parameters, t->n_elements);
    add(is_expert ? &c->expert_bytes : &out->bytes_per_token, t->n_bytes);
    add(&c->panel_bytes, t->n_panel_bytes);
}

/* Of the experts, one token uses n_active of n_experts. */
static void add_active_experts(counting *c) {
    if (c->config->n_experts == 0) return;
    const int64_t used = c->config->n_active, of = c->config->n_experts;
    add(&c->out->n_active_parameters, c->n_expert_parameters / of * used);
    add(&c->out->bytes_per_token, c->expert_bytes / of * used);
}

/* What the configuration asks for, as if it were all there. */
static void count_listed(counting *c, const r2i_listed_tensor *t) {
    const r2_part part = r2i_part_of_name(t->gguf, c->config->n_layers);
    const int64_t n = t->form == R2I_FORM_EXPERTS ? t->n_parts : 1;
    const int32_t as = r2i_plan_types_choose(&c->assumed, t, c->config);
    const counted_tensor counted = { .part = part,
                                     .stored_as = as,
                                     .is_vector = t->is_vector,
                                     .n_elements = n * t->n_rows * t->n_cols,
                                     .n_bytes = n * r2i_stored_as_bytes(as, t->n_rows, t->n_cols),
                                     .n_panel_bytes =
                                         n * r2i_stored_as_panel_bytes(as, t->n_rows, t->n_cols) };
    count(c, &counted);
}

static r2_status count_configuration(counting *c, r2i_arena *arena, r2_error *err) {
    r2i_tensor_list list;
    R2I_TRY(r2i_tensor_list_make(&list, c->config, true, arena, err));
    for (size_t i = 0; i < list.n; i++) {
        const r2i_listed_tensor *t = &list.tensors[i];
        if (!(t->is_optional && t->is_vector)) count_listed(c, t); /* biases that files may have */
    }
    return R2_OK;
}

static void count_stored(counting *c, const char *name, int32_t as, int64_t n_elements,
                         int64_t n_cols, size_t n_bytes) {
    const bool is_scale = strstr(name, "_scale_inv") != NULL; /* part of how FP8 is stored */
    const counted_tensor counted = {
        .part = r2i_part_of_name(name, c->config->n_layers),
        .stored_as = as,
        .is_vector = is_scale || n_elements == n_cols,
        .n_elements = is_scale ? 0 : n_elements,
        .n_bytes = (int64_t)n_bytes,
        .n_panel_bytes = is_scale ? 0 : r2i_stored_as_panel_bytes(as, n_elements / n_cols, n_cols)
    };
    count(c, &counted);
}

static void count_gguf(counting *c, const r2i_gguf *gguf) {
    for (size_t i = 0; i < r2i_gguf_n_tensors(gguf); i++) {
        const r2i_stored_tensor *t = r2i_gguf_tensor_at(gguf, i);
        count_stored(c, t->name, (int32_t)t->type, t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3],
                     t->ne[0], t->n_bytes);
    }
}

static void count_safetensors(counting *c, const r2i_safetensors *file) {
    for (size_t i = 0; i < r2i_safetensors_n_tensors(file); i++) {
        const r2i_safetensor *t = r2i_safetensors_tensor_at(file, i);
        const int64_t n_cols = t->n_dims > 0 ? t->shape[t->n_dims - 1] : 1;
        int64_t n_elements = 1;
        for (int32_t d = 0; d < t->n_dims; d++)
            n_elements *= t->shape[d];
        if (n_elements > 0)
            count_stored(c, t->name, r2i_stored_as_of_dtype(t->dtype), n_elements, n_cols,
                         t->n_bytes);
    }
}

/* "Q4_K 92 %, Q6_K 8 %", most bytes first. */
static void describe_types(counting *c) {
    int64_t all = 0;
    size_t used = 0;
    for (int32_t as = 0; as < R2I_N_STORED_AS; as++)
        all += c->type_bytes[as];
    for (;;) {
        int32_t best = 0;
        for (int32_t as = 1; as < R2I_N_STORED_AS; as++) {
            if (c->type_bytes[as] > c->type_bytes[best]) best = as;
        }
        if (c->type_bytes[best] == 0 || (double)c->type_bytes[best] < 0.005 * (double)all) return;
        const char *name = r2i_stored_as_name(best);
        const size_t room = sizeof c->out->types - used;
        const int n = snprintf(c->out->types + used, room, "%s%s %.0f %%", used > 0 ? ", " : "",
                               name, 100.0 * (double)c->type_bytes[best] / (double)all);
        if (used == 0) (void)snprintf(c->out->main_type, sizeof c->out->main_type, "%s", name);
        if (n < 0 || (size_t)n >= room) return;
        used += (size_t)n;
        c->type_bytes[best] = 0;
    }
}

static r2_status count_all(counting *c, plan_source *s, const r2_plan_options *o, r2_error *err) {
    const bool has_weights = s->gguf != NULL || s->safetensors != NULL;
    c->out->is_assumed = o->type != NULL || !has_weights;
    if (o->type != NULL) R2I_TRY(r2i_plan_types_find(&c->assumed, o->type, err));
    if (o->type == NULL && !has_weights) r2i_plan_types_published(&c->assumed, s->json);
    if (c->out->is_assumed)
        R2I_TRY(count_configuration(c, &s->arena, err));
    else if (s->gguf != NULL)
        count_gguf(c, s->gguf);
    else
        count_safetensors(c, s->safetensors);
    add_active_experts(c);
    describe_types(c);
    return R2_OK;
}

/* ---- cache and scratch ---- */

static r2_status find_rows(const char *name, r2i_row_kind *out, r2_error *err) {
    static const r2i_row_kind kinds[] = { R2I_ROWS_BF16, R2I_ROWS_F16, R2I_ROWS_Q8, R2I_ROWS_F32 };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (name != NULL && strcasecmp(name, r2i_row_kind_name(kinds[i])) != 0) continue;
        *out = kinds[i];
        return R2_OK;
    }
    return r2i_fail(err, R2_E_ARGUMENT,
                    "cache type: expected bf16, f16, q8 or f32, found \"%.40s\"", name);
}

/* Pages as the engine lays them out, without the prediction module's. */
static r2_status plan_cache(r2_plan_result *out, const r2i_config *config, const char *type,
                            r2_error *err) {
    r2i_row_kind rows = R2I_ROWS_BF16;
    R2I_TRY(find_rows(type, &rows, err));
    const int64_t page_bytes = (int64_t)r2i_cache_page_bytes(config, rows);
    const int64_t n_pages =
        (int64_t)r2i_div_up_i32(out->n_context, R2I_PAGE_TOKENS) * out->n_sequences;
    out->cache_bytes_per_token = page_bytes / R2I_PAGE_TOKENS;
    if (!__builtin_mul_overflow(n_pages, page_bytes, &out->cache_bytes) &&
        out->cache_bytes < (int64_t)1 << 58)
        return R2_OK;
    return r2i_fail(err, R2_E_RANGE, "cache: no machine holds %lld pages of %lld bytes",
                    (long long)n_pages, (long long)page_bytes);
}

/* Forms of a prepared row: the weights' own, F32 for routers, BF16 for the parts of kv_b. */
static int64_t prepared_bytes(const r2i_config *c, r2i_act_kind main, int32_t n) {
    int64_t n_bytes = (int64_t)r2i_act_row_bytes(main, n);
    if (c->n_experts > 0) n_bytes += (int64_t)r2i_act_row_bytes(R2I_ACT_F32, n);
    if (c->kv_rank > 0 && main != R2I_ACT_BF16)
        n_bytes += (int64_t)r2i_act_row_bytes(R2I_ACT_BF16, n);
    return n_bytes;
}

/* The largest arrays that the forward pass takes for a row of a batch. */
static int64_t row_bytes_of(const r2i_config *c, r2i_act_kind main) {
    const bool is_latent = c->kv_rank > 0;
    const int32_t d_key = is_latent ? c->kv_rank + c->rope.d : c->d_head,
                  d_value = is_latent ? c->kv_rank : c->d_value, d_out = c->n_heads * c->d_value;
    int64_t n_floats = (int64_t)c->d_model + c->n_heads * (int64_t)c->d_head + d_out + c->rope.d +
                       c->n_kv_heads * ((int64_t)d_key + d_value);
    int64_t n_prepared =
        prepared_bytes(c, main, c->d_model) + prepared_bytes(c, main, d_out) +
        prepared_bytes(c, main, r2i_max_i32(c->d_ffn, c->n_shared_experts * c->d_expert));
    if (is_latent) {
        const int32_t widest = r2i_max_i32(c->kv_rank, c->d_head - c->rope.d);
        n_floats += c->q_rank + c->n_heads * ((int64_t)d_key + d_value);
        n_prepared +=
            prepared_bytes(c, main, c->q_rank) + c->n_heads * prepared_bytes(c, main, widest);
    }
    if (c->n_experts > 0) {
        n_floats += c->n_experts + c->n_active * (int64_t)c->d_model;
        n_prepared += c->n_active * (int64_t)(r2i_act_row_bytes(main, c->d_model) +
                                              r2i_act_row_bytes(main, c->d_expert));
    }
    if (c->n_mtp > 0) {
        n_floats += 4 * (int64_t)c->d_model;
        n_prepared += prepared_bytes(c, main, 2 * c->d_model);
    }
    return 4 * n_floats + n_prepared;
}

/* With logits and samplers. */
static int64_t scratch_bytes_of(const r2i_config *c, int32_t n_sequences, int32_t n_threads,
                                bool is_float) {
    const r2i_act_kind main = is_float ? R2I_ACT_BF16 : R2I_ACT_INT8;
    const int64_t n_logits = r2i_max_i32(r2i_min_i32(n_sequences, BATCH_TOKENS), 32);
    const int64_t logits =
        n_logits * (4 * ((int64_t)c->n_vocab + c->d_model) + prepared_bytes(c, main, c->d_model));
    const int64_t sampler = 20 * (int64_t)c->n_vocab; /* adjusted, candidates, weights */
    return BATCH_TOKENS * row_bytes_of(c, main) + logits + n_threads * sampler;
}

/* ---- memory ---- */

/* The part of kv_b that is turned round when a model is opened, in BF16. */
static int64_t turned_bytes_of(const r2i_config *c) {
    return 2 * (int64_t)c->n_layers * c->n_heads * c->kv_rank * (c->d_head - c->rope.d);
}

static void judge_memory(r2_plan_result *out, const counting *c, int64_t memory_bytes) {
    const int64_t rest = out->scratch_bytes + turned_bytes_of(c->config) + PROGRAM_BYTES;
    const int64_t packed = c->panel_bytes + c->kept_bytes + rest,
                  unpacked = out->weight_bytes - out->parts[R2_PART_MTP].n_bytes + rest;
    out->packed_bytes = packed + out->cache_bytes;
    out->unpacked_bytes = unpacked + out->cache_bytes;
    if (memory_bytes == 0) return;
    out->fit = out->packed_bytes <= memory_bytes     ? R2_FIT_PACKED
               : out->unpacked_bytes <= memory_bytes ? R2_FIT_UNPACKED
                                                     : R2_FIT_NONE;
    const int64_t least = packed < unpacked ? packed : unpacked;
    const int64_t page = out->cache_bytes_per_token * R2I_PAGE_TOKENS * out->n_sequences;
    if (least >= memory_bytes) return;
    const int64_t n = (memory_bytes - least) / page * R2I_PAGE_TOKENS;
    out->longest_context = n < out->n_context_made_for ? (int32_t)n : out->n_context_made_for;
}

/* ---- speed ---- */

/* Weight bytes that n tokens of one step read: the experts that at least one of them chooses, if
 * each chooses as the others do. */
static double step_bytes(const r2_plan_result *out, const counting *c, double n_tokens) {
    const double experts = (double)c->expert_bytes;
    if (c->config->n_experts == 0) return (double)out->bytes_per_token;
    const double share = (double)c->config->n_active / (double)c->config->n_experts;
    return (double)out->bytes_per_token - experts * share +
           experts * (1 - pow(1 - share, n_tokens));
}

static double step_rate(double n_tokens, double n_bytes, const r2_plan_result *out,
                        const r2_plan_options *o) {
    if (o->read_bytes_per_s <= 0) return 0;
    double seconds = n_bytes / o->read_bytes_per_s;
    if (o->products_per_s > 0)
        seconds =
            fmax(seconds, 2 * n_tokens * (double)out->n_active_parameters / o->products_per_s);
    return n_tokens / seconds;
}

static void judge_speed(r2_plan_result *out, const counting *c, const r2_plan_options *o) {
    const double n = out->n_sequences, cache = (double)out->cache_bytes_per_token;
    out->decode_tok_s = step_rate(1, step_bytes(out, c, 1), out, o);
    out->full_decode_tok_s = step_rate(1, step_bytes(out, c, 1) + cache * out->n_context, out, o);
    out->batch_decode_tok_s = step_rate(n, step_bytes(out, c, n), out, o);
    if (o->products_per_s > 0)
        out->prefill_tok_s = step_rate(BATCH_TOKENS, step_bytes(out, c, BATCH_TOKENS), out, o);
}

/* ---- all of it ---- */

static void describe(r2_plan_result *out, const r2i_config *c) {
    (void)snprintf(out->architecture, sizeof out->architecture, "%s", c->architecture);
    out->n_layers = c->n_layers;
    for (int32_t i = 0; i < c->n_layers; i++)
        out->n_dense_layers += c->layers[i].ffn == R2I_FFN_DENSE;
    out->d_model = c->d_model;
    out->n_experts = c->n_experts;
    out->n_active_experts = c->n_active;
    out->n_context_made_for = c->n_context;
}

static r2_status choose(const char *name, int32_t asked, int32_t standard, int32_t most,
                        int32_t *out, r2_error *err) {
    *out = asked == 0 ? standard : asked;
    if (*out >= 1 && *out <= most) return R2_OK;
    return r2i_fail(err, R2_E_RANGE, "%s: expected 1 to %d, found %d", name, most, asked);
}

static r2_status make_plan(r2_plan_result *out, plan_source *s, const r2_plan_options *o,
                           r2_error *err) {
    const r2i_config *c = &s->config;
    counting counted = { .config = c, .out = out };
    int32_t n_threads;
    describe(out, c);
    R2I_TRY(choose("context", o->n_context, r2i_min_i32(c->n_context, DEFAULT_CONTEXT), 1 << 24,
                   &out->n_context, err));
    R2I_TRY(choose("sequences", o->n_sequences, 1, MAX_SEQUENCES, &out->n_sequences, err));
    R2I_TRY(
        choose("threads", o->n_threads, r2i_min_i32(r2i_cpu_count(), 256), 256, &n_threads, err));
    R2I_TRY(count_all(&counted, s, o, err));
    R2I_TRY(plan_cache(out, c, o->cache_type, err));
    const char *main_type = out->main_type;
    const bool is_float = strcmp(main_type, "F32") == 0 || strcmp(main_type, "BF16") == 0 ||
                          strcmp(main_type, "F16") == 0 || strcmp(main_type, "F8_E4M3") == 0;
    out->scratch_bytes = scratch_bytes_of(c, out->n_sequences, n_threads, is_float);
    judge_memory(out, &counted, o->memory_bytes);
    judge_speed(out, &counted, o);
    return R2_OK;
}

r2_status r2_plan(r2_plan_result *out, const char *path, const r2_plan_options *options,
                  r2_error *err) {
    static const r2_plan_options defaults = { 0 };
    plan_source s = { 0 };
    *out = (r2_plan_result){ 0 };
    r2i_heap_init(&s.heap);
    r2i_arena_init(&s.arena, &s.heap, ARENA_BLOCK_BYTES, 0);
    r2_status status = open_source(&s, path, err);
    if (status == R2_OK) status = make_plan(out, &s, options != NULL ? options : &defaults, err);
    close_source(&s);
    if (status != R2_OK) *out = (r2_plan_result){ 0 };
    return status;
}
