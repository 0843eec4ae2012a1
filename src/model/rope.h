/* rope.h - rotary position tables (Su et al. 2021) with linear, llama3 and YaRN scaling. */
#ifndef R2I_ROPE_H
#define R2I_ROPE_H
#include "model/config.h"

/* Inverse frequencies [d/2] of a configuration, and the factor on cos and sin. */
void r2i_rope_frequencies(const r2i_rope_config *rope, double *inv_freq, double *attention_factor);
/* cos and sin [d/2] of one position, attention factor included. */
void r2i_rope_row(float *cosine, float *sine, const double *inv_freq, double attention_factor,
                  int32_t d, int32_t position);
#endif
