/* plan_types.h - what the tensors of a plan belong to, and how they are stored: as a file has them, or as
 * assumed. */
#ifndef R2I_PLAN_TYPES_H
#define R2I_PLAN_TYPES_H
#include <jansson.h>

#include "base/types.h"
#include "convert/recipes.h"
#include "convert/tensor_list.h"
#include "files/safetensors.h"
#include "r2lm/convert.h"

/* An r2i_type, or R2I_STORED_OTHER: what a safetensors file holds and r2lm does not compute with. */
enum { R2I_STORED_OTHER = R2I_TYPE_LIMIT, R2I_N_STORED_AS };

typedef struct {
    const r2i_recipe *recipe; /* as `r2lm quantize` would write it; NULL: the two below */
    int32_t base, ends;       /* most matrices; embedding, head, routers and what joins modules */
} r2i_plan_types;

/* By a recipe's or a stored type's name, in any letters; FP8 is F8_E4M3.  R2_E_ARGUMENT. */
R2_CHECKED r2_status r2i_plan_types_find(r2i_plan_types *out, const char *name, r2_error *err);
/* As a config.json says that its weights are published; BF16 where it says nothing. */
void r2i_plan_types_published(r2i_plan_types *out, const json_t *config);
/* What a tensor is stored as.  Rows that a type's blocks do not divide take another. */
int32_t r2i_plan_types_choose(const r2i_plan_types *types, const r2i_listed_tensor *tensor,
                              const r2i_config *config);
/* The part that a tensor belongs to, by its name in GGUF or Hugging Face files. */
r2_part r2i_part_of_name(const char *name, int32_t n_layers);
/* A stored type by its name.  R2_E_ARGUMENT. */
R2_CHECKED r2_status r2i_stored_as_find(int32_t *out, const char *name, r2_error *err);
int32_t r2i_stored_as_of_dtype(r2i_dtype dtype);
const char *r2i_stored_as_name(int32_t as);
/* With the F32 factors of F8_E4M3, one for each block of 128 x 128. */
int64_t r2i_stored_as_bytes(int32_t as, int64_t n_rows, int64_t n_cols);
/* The same matrix arranged for the kernels (R2_ARITHMETIC_FAST). */
int64_t r2i_stored_as_panel_bytes(int32_t as, int64_t n_rows, int64_t n_cols);
#endif
