/* lora_parameters.h - low-rank pairs as the trained numbers of a model whose own numbers stay as they are
 * (LoRA, arXiv:2106.09685):  y = W x + s B A x  with W as the file has it.
 *
 * The list of parameters holds A [rank, n_cols] and B [n_rows, rank] of every adapted matrix, named as
 * the PEFT library names them; the model computes with panels of them, exactly as an engine with the
 * saved adapter does. */
#ifndef R2I_LORA_PARAMETERS_H
#define R2I_LORA_PARAMETERS_H
#include "model/lora.h"
#include "train/parameters/parameters.h"

typedef struct {
    int32_t rank;
    float alpha;         /* scale = alpha / rank */
    bool has_root_scale; /* scale = alpha / sqrt(rank) */
    uint64_t seed;       /* of A; B begins as zeros */
    /* Names parted by commas, each a module's whole name or its end ("q_proj", "layers.3.mlp.up_proj"),
     * or "all-linear": every matrix of the layers that adapters can change. */
    const char *targets;
} r2i_lora_rules;

/* One adapted matrix. */
typedef struct {
    const r2i_matrix *matrix;
    r2i_role role;
    int32_t layer;      /* -1: the head */
    int32_t parameter;  /* A in the list; B is the next one */
    uint8_t *panels[2]; /* of A and B */
} r2i_adapted_matrix;

struct r2i_lora_parameters {
    r2i_lora_rules rules; /* `targets` is a copy */
    float scale;
    uint64_t fingerprint;        /* of the base's matrices */
    r2i_lora_pair *pairs;        /* [n_matrices] panels for the forward pass (r2i_run.lora) */
    r2i_adapted_matrix *adapted; /* [n] in order of the layers */
    int32_t n;
    int32_t *place_of; /* [n_matrices] in `adapted`; -1: frozen alone */
    const r2i_kernels *kernels;
    r2i_type layout; /* of the panels */
};

/* Chooses the matrices and takes memory for their pairs.  A prediction module is left out of the model.
 * R2_E_ARGUMENT: rank or alpha out of range, a name that is no matrix adapters can change; R2_E_NOMEM. */
R2_CHECKED r2_status r2i_lora_parameters_create(r2i_parameters *out, const r2i_config *config,
                                                r2i_weights *weights, const r2i_kernels *kernels,
                                                const r2i_lora_rules *rules, r2i_arena *arena,
                                                r2_error *err);
/* Packs the pairs' panels anew from `values`. */
void r2i_lora_parameters_refresh(const r2i_parameters *parameters);
/* The next name of a list parted by commas, n bytes of it; NULL at its end. */
const char *r2i_lora_next_target(const char *list, size_t *n);
/* NULL: the matrix has no pair. */
const r2i_adapted_matrix *r2i_lora_find(const r2i_parameters *parameters, const r2i_matrix *m);
#endif
