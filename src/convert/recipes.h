/* recipes.h - which stored type each tensor of a model takes, by its role. */
#ifndef R2I_RECIPES_H
#define R2I_RECIPES_H
#include "base/types.h"
#include "model/tensor_roles.h"
#include "r2lm/status.h"

/* What a role is to recipes: itself, the end that a prediction module has a copy of, or R2I_ROLE_NONE for
 * what stays as it is. */
r2i_role r2i_recipe_role(r2i_role role);
/* The same of a GGUF tensor's name; *layer is its block's number, or -1. */
r2i_role r2i_recipe_role_of(const char *tensor_name, int32_t *layer);

/* Layers in which values and down projections take the finer type. */
typedef enum {
    R2I_FINER_NOWHERE,
    R2I_FINER_FRONT, /* the first eighth */
    R2I_FINER_SPREAD /* the first and the last eighth, and every third between */
} r2i_finer_layers;

typedef struct {
    const char *name, *alias; /* "Q4_K_M", "Q4_K" */
    int32_t file_type;        /* general.file_type of GGUF files */
    r2i_type base, embedding, output, finer;
    r2i_finer_layers finer_layers;
    bool is_for_experts; /* base for experts only; other matrices take `embedding` */
} r2i_recipe;

/* By name or alias in any letters.  R2_E_ARGUMENT lists the names. */
R2_CHECKED r2_status r2i_recipe_find(const r2i_recipe **out, const char *name, r2_error *err);

/* What the caller wants for single roles. */
typedef struct {
    bool is_set[R2I_N_ROLES];
    r2i_type type[R2I_N_ROLES];
} r2i_role_types;
/* Adds "ROLE=TYPE" or "GROUP=TYPE", several parted by commas.  R2_E_ARGUMENT. */
R2_CHECKED r2_status r2i_role_types_add(r2i_role_types *types, const char *text, r2_error *err);

/* The recipe's type for a role in a layer (any number below 0: outside the layers); the role has one. */
r2i_type r2i_recipe_type(const r2i_recipe *recipe, r2i_role role, int32_t layer, int32_t n_layers);
/* `type`, or the next one of about its fineness whose blocks divide rows of n_cols. */
r2i_type r2i_type_for_width(r2i_type type, int64_t n_cols);
#endif
