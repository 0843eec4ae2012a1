/* document_pages.h - cache pages for whole documents that are computed once, all layers in the same.
 *
 * Each layer overwrites what the last one wrote: the memory of one layer serves a model.  Documents may
 * continue another one of the batch (answers their question): they read its pages, the last one, where
 * it is not full, as a copy of their own. */
#ifndef R2I_DOCUMENT_PAGES_H
#define R2I_DOCUMENT_PAGES_H
#include "model/forward.h"

typedef struct {
    int32_t rows, documents; /* most of a batch */
    int32_t document;        /* most tokens of one, with those of the one that it continues */
    bool has_continuations;  /* documents may continue others */
} r2i_document_limits;

typedef struct {
    r2i_cache_layout cache;
    uint8_t *memory;
    uint8_t **lists; /* [n_lists] of the runs, one after the other */
    int32_t n;
    size_t n_lists;
} r2i_document_pages;

void r2i_document_pages_take(r2i_document_pages *out, r2i_taker *taker, const r2i_config *config,
                             int32_t n_layers, r2i_row_kind rows,
                             const r2i_document_limits *limits);
/* Runs of documents one after the other; returns their tokens.  parents [n_documents]: the document that
 * one continues, a smaller number, whose own parent is -1, as is that of documents of their own; NULL:
 * all are. */
int32_t r2i_document_pages_set(const r2i_document_pages *pages, const int32_t *lengths,
                               const int32_t *parents, int32_t n_documents, r2i_run *runs);
#endif
