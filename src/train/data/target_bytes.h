/* target_bytes.h - how much text a batch's targets are: what makes losses of different vocabularies comparable.
 *
 *     bits per byte = sum of -log2 p over the targets / bytes of the targets */
#ifndef R2I_TARGET_BYTES_H
#define R2I_TARGET_BYTES_H
#include "r2lm/text.h"

/* Bytes of text that n targets stand for (-1 and control tokens: none); 0 without a tokenizer. */
int64_t r2i_target_bytes(const r2_model *model, const int32_t *targets, int32_t n);
#endif
