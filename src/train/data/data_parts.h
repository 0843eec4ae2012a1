/* data_parts.h - the documents of a set cut to the length of a run, numbered through.
 *
 * Parts, not documents, are what an order is drawn of: where documents are longer than batches, steps
 * that each read on in one document learn its words and forget the last one's.  (A 4M-parameter model
 * on Python's documentation, 4096 tokens a step: loss 6.5 after 100 steps in the order of documents,
 * 5.8 in that of parts.)  Chats are one part each, however long. */
#ifndef R2I_DATA_PARTS_H
#define R2I_DATA_PARTS_H
#include "train/data/data_set.h"

typedef struct {
    const r2i_data_set *set;
    r2i_split split;
    uint64_t run_tokens, n_documents;
    uint64_t n;     /* parts */
    uint64_t *ends; /* [n_documents] parts up to document i, its own included */
    r2i_heap *heap;
} r2i_data_parts;

/* R2_E_NOMEM: 8 bytes per document. */
R2_CHECKED r2_status r2i_data_parts_open(r2i_data_parts *out, const r2i_data_set *set,
                                         r2i_split split, int32_t run_tokens, r2i_heap *heap,
                                         r2_error *err);
void r2i_data_parts_close(r2i_data_parts *parts);
/* Tokens of part i, 0 <= i < n; *has_next: another token follows them in the document. */
const uint32_t *r2i_data_part(const r2i_data_parts *parts, uint64_t i, size_t *n, bool *has_next);
#endif
