/* parameters.h - the trained numbers of a model: F32 masters and their gradients.
 *
 *     values     [ embedding | layer 0: norm, q, q bias, ... | layer 1 ... | output norm | head ]
 *     gradients  [ the same places ]
 *
 * Taking a model over copies every tensor to `values` and makes the model compute with the copies:
 * its matrices pack panels from these F32 rows whenever they are multiplied with, so an optimizer
 * writes to `values` and nothing else has to be told, but for r2i_parameters_refresh.  The model must
 * have been opened with is_unpacked. */
#ifndef R2I_PARAMETERS_H
#define R2I_PARAMETERS_H
#include "model/tensor_roles.h"
#include "model/weights.h"

typedef struct r2i_lora_parameters r2i_lora_parameters;

typedef struct {
    char name[R2I_TENSOR_NAME_BYTES]; /* as in a Hugging Face checkpoint */
    int32_t n_rows, n_cols;           /* a vector is one row */
    bool is_vector;                   /* norm or bias: no weight decay */
    bool is_fixed;                    /* no gradient: the routers' score bias */
    bool is_hidden; /* a matrix between hidden states: not embedding, head, router */
    int32_t layer;  /* -1: embedding; n_layers: behind the last one */
    int32_t expert; /* of a routed expert; -1: of none */
    size_t first;   /* its place in values and gradients; a multiple of 16 */
} r2i_parameter;

typedef struct {
    float *values, *gradients; /* [n_values], with zeros between parameters */
    size_t n_values;
    r2i_parameter *list; /* [n], in order of `first` */
    int32_t n;
    r2i_matrix *kv_b; /* [n_layers + n_mtp] of MLA: the heads' expand_k and expand_v in one */
    float *turned;    /* transposes of the heads' expand_k, that the model's absorb_k are made of */
    const r2i_config *config;
    r2i_weights *weights;
    int32_t first_layer; /* below it nothing is trained */
    r2i_lora_parameters
        *lora; /* low-rank pairs alone are trained (lora_parameters.h); otherwise NULL */
} r2i_parameters;

/* Takes the model's weights over; they point into `arena` from then on.  Without is_copying (a plan) the
 * masters stay zero and nothing is read.  A prediction module's own
 * copies of embedding and head are dropped for the model's.  R2_E_NOMEM. */
R2_CHECKED r2_status r2i_parameters_create(r2i_parameters *out, const r2i_config *config,
                                           r2i_weights *weights, const r2i_kernels *kernels,
                                           bool is_f32, bool is_copying, r2i_arena *arena,
                                           r2_error *err);
/* The same with the routed experts [first_expert, end_expert) of each layer alone: values of others have
 * their places, but are zeros that nothing touches. */
R2_CHECKED r2_status r2i_parameters_create_part(r2i_parameters *out, const r2i_config *config,
                                                r2i_weights *weights, const r2i_kernels *kernels,
                                                bool is_f32, bool is_copying, int32_t first_expert,
                                                int32_t end_expert, r2i_arena *arena,
                                                r2_error *err);
/* After `values` has changed: remakes what is kept of them in another form. */
void r2i_parameters_refresh(r2i_parameters *parameters);
/* Where the gradient of a value goes; NULL for numbers that are not trained. */
float *r2i_gradient_of(const r2i_parameters *parameters, const void *value);
/* Rows of kv_b of head h, [d_nope + d_value, kv_rank], from whichever form the file has. */
void r2i_latent_read_head(const r2i_config *config, const r2i_layer *layer,
                          const r2i_kernels *kernels, int32_t h, float *out);
/* Of names and sizes of all that is trained.  Checkpoints hold it. */
uint64_t r2i_parameters_hash_layout(const r2i_parameters *parameters);

static inline size_t r2i_parameter_size(const r2i_parameter *p) {
    return (size_t)p->n_rows * (size_t)p->n_cols;
}
#endif
