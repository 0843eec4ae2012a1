/* data_set.h - an opened folder of prepared data: its documents, as one list for each split. */
#ifndef R2I_DATA_SET_H
#define R2I_DATA_SET_H
#include "train/data/data_manifest.h"

typedef struct {
    r2i_data_manifest manifest; /* texts lie in the arena it was opened with */
    r2i_shard *shards;          /* [manifest.n_shards] */
    int32_t n_open;
    uint64_t n_documents[R2I_N_SPLITS];
} r2i_data_set;

/* Opens and checks everything (checksums, tokens in range).  model may be NULL; otherwise R2_E_MISMATCH
 * when the data were made with another tokenizer. */
R2_CHECKED r2_status r2i_data_set_open(r2i_data_set *out, const char *folder, const r2_model *model,
                                       r2i_arena *arena, r2_error *err);
void r2i_data_set_close(r2i_data_set *set);
/* Tokens of document i of a split, 0 <= i < n_documents[split]. */
const uint32_t *r2i_data_set_document(const r2i_data_set *set, r2i_split split, uint64_t i,
                                      size_t *n);
/* Documents of a split that are longer than n_tokens. */
int64_t r2i_data_set_longer(const r2i_data_set *set, r2i_split split, size_t n_tokens);
/* Is anything to be learnt behind one of the first n_tokens of some document of a split? */
bool r2i_data_set_teaches(const r2i_data_set *set, r2i_split split, size_t n_tokens);
#endif
