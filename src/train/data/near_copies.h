/* near_copies.h - texts that were seen before, word for word or nearly so.
 *
 * MinHash with banding (Broder, "On the resemblance and containment of documents", 1997; Leskovec,
 * Rajaraman, Ullman, "Mining of Massive Datasets", chapter 3): of the runs of five words of a text, the
 * smallest value under each of 64 hash functions.  Two texts agree in a share of these that estimates
 * the share of runs they have in common.  Those that agree in a whole band of four are compared; at 0.8
 * and more the later one is a copy.  Takes about 0.6 kB per text kept. */
#ifndef R2I_NEAR_COPIES_H
#define R2I_NEAR_COPIES_H
#include <stdbool.h>

#include "base/buffer.h"
#include "train/data/number_map.h"

enum { R2I_MIN_HASHES = 64 };

typedef enum { R2I_COPY_NONE, R2I_COPY_EXACT, R2I_COPY_NEAR } r2i_copy_kind;

typedef struct {
    r2i_number_map exact, bands;
    r2i_buffer signatures; /* uint32_t [n][R2I_MIN_HASHES] */
    uint32_t n;
} r2i_near_copies;

void r2i_near_copies_init(r2i_near_copies *copies, r2i_heap *heap);
void r2i_near_copies_destroy(r2i_near_copies *copies);
/* Looks a text's words (word_hashes.h) up and remembers it if it is none.  R2_E_NOMEM, R2_E_LIMIT. */
R2_CHECKED r2_status r2i_near_copies_add(r2i_near_copies *copies, const uint64_t *words, size_t n,
                                         r2i_copy_kind *out, r2_error *err);
#endif
