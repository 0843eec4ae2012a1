/* tensor_list.h - every tensor of a model, and how it comes from one world to the other.
 *
 *     Hugging Face                                     GGUF
 *     model.layers.N.self_attn.q_proj.weight           blk.N.attn_q.weight      llama: rows by pairs
 *     model.layers.N.mlp.experts.*.up_proj.weight      blk.N.ffn_up_exps.weight  stacked
 *     model.layers.N.self_attn.kv_b_proj.weight        blk.N.attn_k_b.weight (transposed per head)
 *                                                      and blk.N.attn_v_b.weight
 *
 * The list follows from the configuration alone, so that a missing tensor, one too many and one of
 * a wrong shape are all found before anything is written. */
#ifndef R2I_TENSOR_LIST_H
#define R2I_TENSOR_LIST_H
#include "base/arena.h"
#include "model/tensor_roles.h"

typedef enum {
    R2I_FORM_SAME,    /* the same rows in the same order */
    R2I_FORM_PAIRS,   /* GGUF has the two halves of each head's rows interleaved */
    R2I_FORM_EXPERTS, /* one tensor per expert, stacked in GGUF; '*' in `hf` is its number */
    R2I_FORM_KV_B     /* per head d_nope rows of keys, then d_value rows of values; two in GGUF */
} r2i_tensor_form;

typedef struct {
    r2i_role role; /* a bias has that of its matrix */
    int32_t layer; /* -1: outside of the layers */
    char hf[R2I_TENSOR_NAME_BYTES], gguf[R2I_TENSOR_NAME_BYTES];
    r2i_tensor_form form;
    int64_t n_rows, n_cols; /* as Hugging Face has it; a vector has one row */
    int32_t n_parts;        /* PAIRS, KV_B: heads; EXPERTS: experts; otherwise 1 */
    bool is_vector;         /* one dimension */
    bool is_plain;          /* F32 in every GGUF file: norms, biases, routers */
    bool is_optional;
} r2i_listed_tensor;

typedef struct {
    r2i_listed_tensor *tensors; /* [n] */
    size_t n;
} r2i_tensor_list;

/* The tensors of `config`, in the order of the layers; multi-token prediction modules are layers
 * behind the last.  has_mtp false leaves them out.  Memory comes from `arena`.  R2_E_NOMEM. */
R2_CHECKED r2_status r2i_tensor_list_make(r2i_tensor_list *out, const r2i_config *config,
                                          bool has_mtp, r2i_arena *arena, r2_error *err);
#endif
