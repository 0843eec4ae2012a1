/* adapter.h - LoRA adapters from their files to pairs of panels (lora.h).
 *
 * Two containers: a PEFT folder (adapter_config.json, adapter_model.safetensors) and a GGUF file of
 * type "adapter" as llama.cpp's converter writes it.  Either is read into halves {matrix name, A or
 * B, tensor}, which are sorted, paired, and bound to a model's matrices.
 * What changes more than y += s B (A x) - DoRA, trained biases, embeddings, whole modules - is
 * refused by name. */
#ifndef R2I_ADAPTER_H
#define R2I_ADAPTER_H
#include <jansson.h>

#include "files/gguf.h"
#include "files/safetensors.h"
#include "model/lora.h"
#include "model/model.h"
#include "model/tensor_roles.h"

/* What an adapter must fit.  config NULL: the file alone is looked at; weights NULL: nothing is bound. */
typedef struct {
    const r2i_config *config;
    const r2i_weights *weights;
    const r2i_kernels *kernels;
} r2i_adapter_base;

/* One stored half of a pair. */
typedef struct {
    const char *matrix; /* "model.layers.0.self_attn.q_proj" or "blk.0.attn_q" */
    bool is_b;
    r2i_stored_tensor tensor; /* A: ne { n_cols, rank }, B: ne { rank, n_rows } */
} r2i_lora_half;

/* An adapter as its file describes it. */
typedef struct {
    const char *label; /* of the file, for messages */
    r2i_name_kind names;
    r2i_lora_half *halves;
    size_t n_halves;
    const char *base_name;       /* of the model it was made for, or "" */
    float alpha;                 /* scale = alpha / rank; 0: 1 */
    bool has_root_scale;         /* scale = alpha / sqrt(rank) */
    const json_t *alpha_pattern; /* module name -> alpha of its own, or NULL */
    const json_t *targets;       /* names that must occur, or NULL */
} r2i_adapter_source;

/* An adapter's files while they are open: the source borrows from them. */
typedef struct {
    json_t *config; /* a PEFT folder's, with */
    r2i_safetensors *tensors;
    r2i_gguf *gguf; /* or a GGUF file */
    r2i_adapter_source source;
} r2i_adapter_file;

/* What the file holds, bound to a model if there is one. */
typedef struct {
    r2i_lora_pair *pairs; /* [n_matrices]; NULL without a model */
    const char *targets;  /* "k_proj, q_proj" */
    const char *base_name;
    int32_t n_pairs, rank; /* the largest */
    float alpha;
    int64_t n_parameters;
    size_t panel_bytes;
    uint64_t fingerprint; /* of names, tensors and scales */
} r2i_adapter_content;

struct r2_adapter {
    r2i_heap own_heap, *heap; /* the model's, or without one its own */
    r2i_arena arena;
    const r2_model *model; /* NULL: to look at only */
    uint32_t id;           /* from 1, in the order they were opened for this model */
    char name[R2I_MODEL_NAME_BYTES];
    r2i_adapter_content content;
};

/* Opens `path` and reads what it says; memory comes from `arena`, which must not go before the file is
 * closed.  Close it also after a failure. */
R2_CHECKED r2_status r2i_adapter_file_open(r2i_adapter_file *out, const char *path,
                                           const r2i_adapter_base *base, r2i_arena *arena,
                                           r2_error *err);
void r2i_adapter_file_close(r2i_adapter_file *file);

/* The source's texts and trees are borrowed from `config`, `file`, `gguf`. */
R2_CHECKED r2_status r2i_adapter_read_peft(r2i_adapter_source *out, const json_t *config,
                                           const r2i_safetensors *file, r2i_arena *arena,
                                           r2_error *err);
/* `base` may be without a configuration; otherwise the architecture must be the model's. */
R2_CHECKED r2_status r2i_adapter_read_gguf(r2i_adapter_source *out, const r2i_gguf *gguf,
                                           const r2i_adapter_base *base, r2i_arena *arena,
                                           r2_error *err);
/* Sorts the source's halves and checks that they pair: halves[2i] is A, halves[2i + 1] B of one
 * matrix, their ranks are one and at most R2I_MAX_RANK. */
R2_CHECKED r2_status r2i_adapter_pair_up(r2i_adapter_source *source, r2_error *err);
/* Does a pair (A, then B) fit a matrix of this size?  n_rows 0: there is none that adapters change. */
R2_CHECKED r2_status r2i_adapter_check_fit(const r2i_adapter_source *source,
                                           const r2i_lora_half *pair, int64_t n_rows,
                                           int64_t n_cols, r2_error *err);
/* s of a pair, as the file says. */
float r2i_adapter_scale(const r2i_adapter_source *source, const r2i_lora_half *pair);
/* Row `row` of a half as F32; R2_E_FORMAT: a value in it is no number. */
R2_CHECKED r2_status r2i_adapter_read_row(const r2i_adapter_source *source,
                                          const r2i_lora_half *half, int32_t row,
                                          const r2i_kernels *kernels, float *out, r2_error *err);
/* Pairs the source's halves up, checks that they fit, and packs them into `arena`. */
R2_CHECKED r2_status r2i_adapter_bind(r2i_adapter_content *out, r2i_adapter_source *source,
                                      const r2i_adapter_base *base, r2i_arena *arena,
                                      r2_error *err);

/* A matrix that adapters can change, by its name in a model file (without ".weight"); NULL: none. */
const r2i_matrix *r2i_adapter_find_matrix(const r2i_weights *weights, const r2i_config *config,
                                          r2i_name_kind kind, const char *name);
/* Heads whose rows a GGUF file of this architecture keeps as pairs (matrix.h); 0: none. */
int32_t r2i_adapter_swapped_heads(const r2i_config *config, r2i_name_kind kind, const char *name);
/* GGUF: is this file an adapter? */
bool r2i_adapter_is_gguf(const r2i_gguf *gguf);
#endif
