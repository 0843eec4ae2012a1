/* hf_pipeline.h - what the components of a tokenizer.json come to in our terms. */
#ifndef R2I_HF_PIPELINE_H
#define R2I_HF_PIPELINE_H
#include <jansson.h>
#include "text/tokenizer_parts.h"

typedef struct {
    bool is_bytes; /* byte-level; otherwise spaces become marks */
    r2i_tokenizer_options options;
    r2i_space_prefix space_prefix;
    bool has_byte_fallback;
    const char *first_special; /* tokens that the post-processor puts around a text, or NULL; */
    const char *last_special;  /* borrowed from the file */
} r2i_hf_pipeline;

/* `file`: the top object without its model; `model`: the model without vocabulary and merges.
 * R2_E_UNSUPPORTED: a component or setting that we do not have, named. */
R2_CHECKED r2_status r2i_hf_pipeline_read(r2i_hf_pipeline *out, const json_t *file,
                                          const json_t *model, r2_error *err);
#endif
