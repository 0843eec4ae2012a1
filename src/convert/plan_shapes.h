/* plan_shapes.h - every tensor that a configuration asks for, without any file. */
#ifndef R2I_PLAN_SHAPES_H
#define R2I_PLAN_SHAPES_H
#include "model/config.h"
#include "r2lm/convert.h"

typedef struct {
    r2_part part;
    const char *name; /* GGUF's, between "blk.N." and ".weight", or the whole stem */
    int32_t layer;    /* n_layers and above: prediction modules; -1: outside the layers */
    int32_t n_stacked, n_rows, n_cols; /* a vector has n_rows 1 and is F32 in GGUF */
} r2i_planned_tensor;

/* Calls visit for each, biases included, in no order that matters. */
void r2i_planned_tensors_visit(const r2i_config *config,
                               void (*visit)(void *user, const r2i_planned_tensor *tensor),
                               void *user);
/* The part that a tensor of a file belongs to, by its name in GGUF or Hugging Face files. */
r2_part r2i_part_of_name(const char *name, int32_t n_layers);
#endif
