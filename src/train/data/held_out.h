/* held_out.h - texts that training must not see: evaluation sets, by their runs of words.
 *
 * A text is tainted when it has a run of 13 words in common with one of them (Brown et al., "Language
 * Models are Few-Shot Learners", 2020, appendix C).  Items of 8 to 12 words count as a whole; shorter
 * ones are too common to tell anything. */
#ifndef R2I_HELD_OUT_H
#define R2I_HELD_OUT_H
#include <stdbool.h>
#include "train/data/number_map.h"

typedef struct {
    r2i_number_map runs;
    uint32_t lengths; /* bit n: runs of n words are in it */
    int64_t n_items;
} r2i_held_out;

void r2i_held_out_init(r2i_held_out *set, r2i_heap *heap);
void r2i_held_out_destroy(r2i_held_out *set);
/* Adds one item's words. */
R2_CHECKED r2_status r2i_held_out_add(r2i_held_out *set, const uint64_t *words, size_t n,
                                      r2_error *err);
bool r2i_held_out_taints(const r2i_held_out *set, const uint64_t *words, size_t n);
#endif
