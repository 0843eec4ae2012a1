/* random.h - random numbers that are a function of their place.
 *
 * Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011): the number
 * drawn at (seed, stream, position) never depends on what was drawn before, so a sampled token is
 * the same alone, in a batch, after a rewind and with drafting. */
#ifndef R2I_RANDOM_H
#define R2I_RANDOM_H
#include <stdint.h>

/* The paper's bijection: counter and key to four words (known-answer tests in tests/unit). */
void r2i_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);
/* 64 random bits at a place. */
uint64_t r2i_random_u64(uint64_t seed, uint64_t stream, uint64_t position);
/* Uniform in [0, 1), 53 bits. */
double r2i_random_unit(uint64_t seed, uint64_t stream, uint64_t position);
#endif
