/* backward.h - loss and gradients of a batch of documents.
 *
 *     forward pass (src/model), keeping rows  ->  loss of the head  ->  layers backward  ->  embedding
 *
 * Gradients are added to r2i_parameters.gradients, so that several batches can make one step. */
#ifndef R2I_BACKWARD_H
#define R2I_BACKWARD_H
#include "model/forward.h"
#include "r2lm/train.h"
#include "train/parameters/parameters.h"

typedef struct {
    int32_t cap_rows;      /* tokens of one batch */
    int32_t cap_document;  /* tokens of its longest document; 0: cap_rows */
    int32_t cap_documents; /* of one batch; 0: one per 32 tokens */
    int32_t cap_logits;    /* rows whose logits exist at once; 0: 256 to 2048, by their size */
    bool is_f32;         /* F32 throughout, as the parameters were made; otherwise BF16 products */
    bool is_recomputing; /* keep only each layer's input and compute the rest again */
    bool is_soft;        /* batches may have soft targets */
    bool has_continuations;              /* documents may continue others */
    const r2i_expert_exchange *exchange; /* NULL: all experts are here */
} r2i_backward_limits;

/* Documents one after the other; each attends to itself alone, and to the one that it continues. */
typedef struct {
    const int32_t *tokens; /* [n_rows], below n_vocab */
    int32_t n_rows;
    const int32_t *lengths; /* [n_documents], >= 1, sum n_rows */
    const int32_t *parents; /* r2_training_batch's; NULL: none; not with mtp_weight */
    int32_t n_documents;
    const int32_t *targets;      /* [n_rows] token that a row is to predict */
    const float *weights;        /* [n_rows] of the row's loss in the sum; 0: not counted */
    float balance_weight;        /* of a document's balance loss, times its tokens; 0: without */
    float mtp_weight;            /* times the loss of the prediction module; 0: it is left out */
    const r2_soft_targets *soft; /* of the rows; NULL: none */
    const r2_policy_targets *policy; /* of the rows; NULL: none */
    const r2_expert_routes *routes;  /* of the rows; NULL: routers choose */
    bool is_base; /* adapters are left out: what the model is without what is trained */
} r2i_train_batch;

typedef struct {
    double loss;      /* sum of weights * -log p(target) */
    double soft_loss; /* of the soft targets: sum of weights * T^2 D; `loss` is as without them */
    double mtp_loss;  /* the module's, without mtp_weight */
    double balance_loss; /* over layers and documents, weights included; r2i_backward_run alone */
} r2i_train_loss;

typedef struct r2i_backward r2i_backward;

/* The parts are borrowed; `weights` are those of the parameters.  R2_E_NOMEM. */
R2_CHECKED r2_status r2i_backward_create(r2i_backward **out, const r2i_parameters *parameters,
                                         const r2i_kernels *kernels, r2i_pool *pool,
                                         const r2i_backward_limits *limits, r2i_arena *arena,
                                         r2_error *err);
/* Of its memory, what the forward pass keeps for the way back. */
size_t r2i_backward_kept_bytes(const r2i_backward *b);
/* Loss of a batch; its gradients are added. */
r2i_train_loss r2i_backward_run(r2i_backward *b, const r2i_train_batch *batch);
/* Aux-loss-free balancing (arXiv:2408.15664): moves the routers' score bias by `rate` up where an expert
 * got less than its share of the rows since the last call, down where it got more.  Returns the largest
 * share that was found, as a multiple of an equal one; 0: no experts or no rows. */
double r2i_backward_balance(r2i_backward *b, double rate);
/* Rows of the experts since the last balancing, [*n]; NULL and 0: no experts. */
int64_t *r2i_backward_counts(r2i_backward *b, int32_t *n);
/* From now on r2i_backward_run tells of layers whose gradients are final, the last one first; n_layers:
 * all behind them, head and prediction module; -1, at the end: the embedding. */
void r2i_backward_on_layer(r2i_backward *b, void (*on_layer)(void *user, int32_t layer),
                           void *user);
/* Loss alone. */
r2i_train_loss r2i_backward_evaluate(r2i_backward *b, const r2i_train_batch *batch);
#endif
