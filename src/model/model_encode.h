/* model_encode.h - a model's tokenizer, shared by threads. */
#ifndef R2I_MODEL_ENCODE_H
#define R2I_MODEL_ENCODE_H
#include "model/model.h"

/* Receives ids that are only valid during the call. */
typedef r2_status (*r2i_take_ids)(void *user, const int32_t *ids, size_t n_ids, r2_error *err);

/* Encodes with the model's encoder, one thread at a time.  R2_E_UNSUPPORTED: no tokenizer. */
R2_CHECKED r2_status r2i_model_encode(const r2_model *model, const r2i_encode_text *text,
                                      r2i_take_ids take, void *user, r2_error *err);
#endif
