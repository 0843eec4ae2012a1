#include "train/backward/document_pages.h"

#include "base/checked.h"
#include "base/failure.h"

void r2i_document_pages_take(r2i_document_pages *out, r2i_taker *t, const r2i_config *c,
                             int32_t n_layers, r2i_row_kind rows,
                             const r2i_document_limits *limits) {
    r2i_cache_layout *cache = &out->cache;
    const size_t heads = (size_t)c->n_kv_heads;
    cache->rows = rows;
    cache->streams = r2i_take(t, 2, sizeof *cache->streams);
    cache->first_stream = r2i_take(t, (size_t)n_layers, sizeof(int32_t)); /* the same for all */
    if (t->has_failed) return;
    const size_t key_bytes = c->kv_rank > 0 ? r2i_key_page_bytes(rows, c->kv_rank + c->rope.d)
                                            : heads * r2i_key_page_bytes(rows, c->d_head);
    const size_t value_bytes = c->kv_rank > 0 ? 0 : heads * r2i_value_page_bytes(rows, c->d_value);
    cache->n_streams = c->kv_rank > 0 ? 1 : 2;
    cache->streams[0] = (r2i_cache_stream){ 0, key_bytes, 1, 0 };
    cache->streams[1] = (r2i_cache_stream){ key_bytes, value_bytes, 1, 0 };
    cache->page_bytes = key_bytes + value_bytes;
    const int32_t n_own = limits->rows / R2I_PAGE_TOKENS + limits->documents;
    const int32_t n_continued = limits->has_continuations ? limits->documents : 0;
    out->n = n_own + n_continued;
    out->n_lists =
        (size_t)out->n + (size_t)n_continued * (size_t)(limits->document / R2I_PAGE_TOKENS + 1);
    out->memory = r2i_take(t, (size_t)out->n, cache->page_bytes);
    out->lists = r2i_take(t, out->n_lists, sizeof *out->lists);
}

typedef struct {
    const r2i_document_pages *pages;
    int32_t n_taken;
    size_t n_listed;
} page_cursor;

static void list_page(page_cursor *at) {
    const r2i_document_pages *p = at->pages;
    R2I_ASSERT(at->n_taken < p->n && at->n_listed < p->n_lists);
    p->lists[at->n_listed++] = p->memory + (size_t)at->n_taken++ * p->cache.page_bytes;
}

/* Pages of positions [run->first_position, end). */
static void list_own(page_cursor *at, const r2i_run *run) {
    const int32_t first = run->first_position / R2I_PAGE_TOKENS,
                  end = r2i_div_up_i32(run->first_position + run->n_rows, R2I_PAGE_TOKENS);
    for (int32_t i = first; i < end; i++)
        list_page(at);
}

/* The trunk's full pages. */
static void list_shared(page_cursor *at, const r2i_run *trunk, const r2i_run *run) {
    const int32_t n = run->first_position / R2I_PAGE_TOKENS;
    R2I_ASSERT(at->n_listed + (size_t)n <= at->pages->n_lists);
    for (int32_t i = 0; i < n; i++)
        at->pages->lists[at->n_listed++] = trunk->pages[i];
}

/* Where those that continue it have their own copy of its last page. */
static void list_copies(page_cursor *at, r2i_run *trunk, const r2i_run *runs, int32_t n_runs) {
    trunk->copies = at->pages->lists + at->n_listed;
    if (trunk->n_rows % R2I_PAGE_TOKENS == 0) return;
    for (int32_t i = 0; i < n_runs; i++) {
        if (runs[i].trunk != trunk) continue;
        R2I_ASSERT(at->n_listed < at->pages->n_lists);
        at->pages->lists[at->n_listed++] = runs[i].pages[trunk->n_rows / R2I_PAGE_TOKENS];
        trunk->n_copies++;
    }
}

int32_t r2i_document_pages_set(const r2i_document_pages *pages, const int32_t *lengths,
                               const int32_t *parents, int32_t n_documents, r2i_run *runs) {
    int32_t first = 0;
    page_cursor at = { pages, 0, 0 };
    for (int32_t i = 0; i < n_documents; i++) {
        const r2i_run *trunk = parents != NULL && parents[i] >= 0 ? &runs[parents[i]] : NULL;
        runs[i] = (r2i_run){ .first_row = first,
                             .n_rows = lengths[i],
                             .first_position = trunk != NULL ? trunk->n_rows : 0,
                             .pages = pages->lists + at.n_listed,
                             .trunk = trunk };
        if (trunk != NULL) list_shared(&at, trunk, &runs[i]);
        list_own(&at, &runs[i]);
        first += lengths[i];
    }
    for (int32_t i = 0; parents != NULL && i < n_documents; i++) {
        if (runs[i].trunk == NULL) list_copies(&at, &runs[i], runs, n_documents);
    }
    return first;
}
