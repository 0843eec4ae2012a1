#include "train/backward/document_pages.h"

#include "base/checked.h"
#include "base/failure.h"

void r2i_document_pages_take(r2i_document_pages *out, r2i_taker *t, const r2i_config *c,
                             int32_t n_layers, r2i_row_kind rows, int32_t cap_rows,
                             int32_t cap_documents) {
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
    out->n = cap_rows / R2I_PAGE_TOKENS + cap_documents;
    uint8_t *memory = r2i_take(t, (size_t)out->n, cache->page_bytes);
    out->list = r2i_take(t, (size_t)out->n, sizeof *out->list);
    for (int32_t i = 0; !t->has_failed && i < out->n; i++)
        out->list[i] = memory + (size_t)i * cache->page_bytes;
}

int32_t r2i_document_pages_set(const r2i_document_pages *pages, const int32_t *lengths,
                               int32_t n_documents, r2i_run *runs) {
    int32_t first = 0, page = 0;
    for (int32_t i = 0; i < n_documents; i++) {
        runs[i] =
            (r2i_run){ .first_row = first, .n_rows = lengths[i], .pages = pages->list + page };
        first += lengths[i];
        page += r2i_div_up_i32(lengths[i], R2I_PAGE_TOKENS);
    }
    R2I_ASSERT(page <= pages->n);
    return first;
}
