/* weights_read.h - tensors of a file, by role, as the matrices and vectors that the model computes with.
 *
 * Each function finds the tensor, checks its shape against the configuration, and fails with its name:
 * R2_E_NOT_FOUND, R2_E_MISMATCH, R2_E_UNSUPPORTED, R2_E_NOMEM. */
#ifndef R2I_WEIGHTS_READ_H
#define R2I_WEIGHTS_READ_H
#include "model/tensor_roles.h"
#include "model/weights.h"

typedef struct {
    const r2i_config *config;
    const r2i_tensor_source *source;
    const r2i_weight_rules *rules;
    r2i_arena *arena; /* what is not in the file's mapping lives here */
    r2_error *err;
} r2i_weight_reader;

bool r2i_weights_have(const r2i_weight_reader *reader, r2i_role role, int32_t layer);
/* A small tensor as F32 in the arena. */
R2_CHECKED r2_status r2i_weights_read_vector(const r2i_weight_reader *reader, r2i_role role,
                                             int32_t layer, float **out);
R2_CHECKED r2_status r2i_weights_read_matrix(const r2i_weight_reader *reader, r2i_role role,
                                             int32_t layer, r2i_matrix *out);
/* With its bias, if there is one or must be one, and rows and bias in Hugging Face's order. */
R2_CHECKED r2_status r2i_weights_read_linear(const r2i_weight_reader *reader, r2i_role role,
                                             int32_t layer, r2i_matrix *out);
/* The n matrices of the role's size that one tensor of a GGUF file holds. */
R2_CHECKED r2_status r2i_weights_read_stacked(const r2i_weight_reader *reader, r2i_role role,
                                              int32_t layer, int32_t n, r2i_matrix *matrices);
/* All experts, however the file has them; *out is [n_experts] in the arena. */
R2_CHECKED r2_status r2i_weights_read_experts(const r2i_weight_reader *reader, r2i_role role,
                                              int32_t layer, r2i_matrix **out);
/* Latent attention of a layer (weights_latent.c). */
R2_CHECKED r2_status r2i_weights_read_latent(const r2i_weight_reader *reader, int32_t layer,
                                             r2i_layer *out);

/* How panels of stored rows of this type are laid out. */
r2i_type r2i_weights_layout(const r2i_weight_rules *rules, r2i_type stored);
/* A matrix of rows stored one behind the other, not scaled. */
void r2i_weights_set_matrix(r2i_matrix *m, const r2i_stored_tensor *rows, r2i_type layout,
                            r2i_role_size size);
#endif
