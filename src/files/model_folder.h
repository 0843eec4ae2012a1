/* model_folder.h - a Hugging Face model folder: which files are there, as JSON or bytes.
 *
 * Works in place on a download cache (snapshots/<revision>/ with links into blobs/).  Nothing is
 * interpreted here and nothing in the folder is ever executed. */
#ifndef R2I_MODEL_FOLDER_H
#define R2I_MODEL_FOLDER_H
#include <jansson.h>
#include "files/mapping.h"
#include "files/safetensors.h"

typedef struct {
    const char *label;         /* the folder's own name, for messages */
    json_t *config;            /* config.json; NULL only where it is not needed */
    json_t *generation_config; /* these three are NULL when absent */
    json_t *tokenizer_config;
    json_t *special_tokens_map;
    r2i_mapping tokenizer;     /* tokenizer.json, not parsed: bytes NULL when absent */
    r2i_mapping chat_template; /* chat_template.jinja: bytes NULL when absent */
    r2i_safetensors *weights;  /* NULL when the folder was opened without */
} r2i_model_folder;

/* What must be there. */
typedef enum {
    R2I_FOLDER_TOKENIZER, /* tokenizer.json */
    R2I_FOLDER_CONFIG,    /* config.json */
    R2I_FOLDER_WEIGHTS    /* config.json, and model.safetensors or its index, which is opened */
} r2i_folder_need;

/* Opens the folder.  `arena` must outlive it.  On failure everything is closed again. */
R2_CHECKED r2_status r2i_model_folder_open(r2i_model_folder *out, const char *path,
                                           r2i_folder_need need, r2i_arena *arena, r2_error *err);
void r2i_model_folder_close(r2i_model_folder *folder);
#endif
