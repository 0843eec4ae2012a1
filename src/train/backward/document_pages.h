/* document_pages.h - cache pages for whole documents that are computed once, all layers in the same.
 *
 * Each layer overwrites what the last one wrote: the memory of one layer serves a model. */
#ifndef R2I_DOCUMENT_PAGES_H
#define R2I_DOCUMENT_PAGES_H
#include "model/forward.h"

typedef struct {
    r2i_cache_layout cache;
    uint8_t **list; /* [n] */
    int32_t n;
} r2i_document_pages;

/* For batches of up to cap_rows tokens in up to cap_documents documents. */
void r2i_document_pages_take(r2i_document_pages *out, r2i_taker *taker, const r2i_config *config,
                             int32_t n_layers, r2i_row_kind rows, int32_t cap_rows,
                             int32_t cap_documents);
/* Runs of documents one after the other; returns their tokens. */
int32_t r2i_document_pages_set(const r2i_document_pages *pages, const int32_t *lengths,
                               int32_t n_documents, r2i_run *runs);
#endif
