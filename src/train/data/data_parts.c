#include "train/data/data_parts.h"

#include "base/checked.h"
#include "base/failure.h"

/* A last token that nothing follows teaches nothing: it is not worth a part. */
static uint64_t parts_of(const r2i_data_parts *p, uint64_t document) {
    size_t n;
    if (p->set->manifest.has_chats) return 1;
    (void)r2i_data_set_document(p->set, p->split, document, &n);
    return ((uint64_t)n - 1 + p->run_tokens - 1) / p->run_tokens;
}

r2_status r2i_data_parts_open(r2i_data_parts *out, const r2i_data_set *set, r2i_split split,
                              int32_t run_tokens, r2i_heap *heap, r2_error *err) {
    *out = (r2i_data_parts){ .set = set,
                             .split = split,
                             .run_tokens = (uint64_t)run_tokens,
                             .n_documents = set->n_documents[split],
                             .heap = heap };
    out->ends = r2i_heap_take(heap, out->n_documents * sizeof *out->ends);
    if (out->ends == NULL)
        return r2i_fail(err, R2_E_NOMEM, "no memory for a list of %llu documents",
                        (unsigned long long)out->n_documents);
    for (uint64_t i = 0; i < out->n_documents; i++)
        out->ends[i] = out->n += parts_of(out, i);
    return R2_OK;
}

void r2i_data_parts_close(r2i_data_parts *p) {
    if (p->ends != NULL) r2i_heap_give(p->heap, p->ends, p->n_documents * sizeof *p->ends);
    p->ends = NULL;
}

/* The first document whose end is above part i. */
static uint64_t find_document(const r2i_data_parts *p, uint64_t i) {
    uint64_t low = 0, high = p->n_documents - 1;
    while (low < high) {
        const uint64_t middle = low + (high - low) / 2;
        if (p->ends[middle] > i)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

const uint32_t *r2i_data_part(const r2i_data_parts *p, uint64_t i, size_t *n, bool *has_next) {
    const uint64_t document = find_document(p, i),
                   before = document > 0 ? p->ends[document - 1] : 0;
    const uint32_t *tokens = r2i_data_set_document(p->set, p->split, document, n);
    *has_next = false;
    if (p->set->manifest.has_chats) return tokens;
    const size_t first = (size_t)((i - before) * p->run_tokens), n_left = *n - first;
    *n = r2i_min_size(n_left, (size_t)p->run_tokens);
    *has_next = *n < n_left;
    return tokens + first;
}
