/* pages.c - memory of the cache: which page is free, held, kept. */
#include "engine/pages_state.h"

#include <string.h>

#include "base/checked.h"
#include "base/failure.h"

r2_status r2i_pages_create(r2i_pages **out, int32_t n_pages, size_t page_bytes, r2i_arena *arena,
                           r2_error *err) {
    size_t memory_bytes;
    *out = NULL;
    if (n_pages < 1 || !r2i_mul_size((size_t)n_pages, page_bytes, &memory_bytes)) {
        return r2i_fail(err, R2_E_RANGE, "cache: expected at least one page, found %d", n_pages);
    }
    uint32_t n_buckets = 16;
    while (n_buckets < (uint32_t)n_pages)
        n_buckets *= 2;
    r2i_pages *p = R2I_ARENA_NEW(arena, r2i_pages);
    r2i_page_entry *entries = R2I_ARENA_ARRAY(arena, r2i_page_entry, (size_t)n_pages);
    int32_t *free_list = R2I_ARENA_ARRAY(arena, int32_t, (size_t)n_pages);
    int32_t *buckets = R2I_ARENA_ARRAY(arena, int32_t, n_buckets);
    int32_t *siblings = R2I_ARENA_ARRAY(arena, int32_t, n_buckets);
    uint8_t *memory = r2i_memory_map(arena->heap, memory_bytes);
    if (p == NULL || entries == NULL || free_list == NULL || buckets == NULL || siblings == NULL ||
        memory == NULL) {
        r2i_memory_unmap(arena->heap, memory, memory_bytes);
        return r2i_fail(err, R2_E_NOMEM, "no memory for a cache of %d pages of %zu bytes", n_pages,
                        page_bytes);
    }
    *p = (r2i_pages){ .heap = arena->heap,
                      .memory = memory,
                      .page_bytes = page_bytes,
                      .memory_bytes = memory_bytes,
                      .n_pages = n_pages,
                      .n_free = n_pages,
                      .entries = entries,
                      .free_list = free_list,
                      .buckets = buckets,
                      .siblings = siblings,
                      .n_buckets = n_buckets,
                      .oldest = R2I_NO_PAGE,
                      .newest = R2I_NO_PAGE };
    for (int32_t i = 0; i < n_pages; i++)
        free_list[i] = n_pages - 1 - i;
    for (uint32_t i = 0; i < n_buckets; i++)
        buckets[i] = siblings[i] = R2I_NO_PAGE;
    *out = p;
    return R2_OK;
}

void r2i_pages_destroy(r2i_pages *pages) {
    if (pages != NULL) r2i_memory_unmap(pages->heap, pages->memory, pages->memory_bytes);
}

uint8_t *r2i_pages_memory(const r2i_pages *pages, int32_t page) {
    return pages->memory + (size_t)page * pages->page_bytes;
}

int32_t r2i_pages_total(const r2i_pages *pages) {
    return pages->n_pages;
}
int32_t r2i_pages_held(const r2i_pages *pages) {
    return pages->n_held;
}
int32_t r2i_pages_kept(const r2i_pages *pages) {
    return pages->n_kept;
}
int64_t r2i_pages_evicted(const r2i_pages *pages) {
    return pages->n_evicted;
}
bool r2i_pages_is_held(const r2i_pages *pages, int32_t page) {
    return pages->entries[page].n_holders > 0;
}

bool r2i_pages_is_writable(const r2i_pages *pages, int32_t page) {
    return pages->entries[page].n_holders == 1 && pages->entries[page].n_known == 0;
}

/* ---- the list of kept pages, oldest first ---- */

static void append_kept(r2i_pages *p, int32_t page) {
    r2i_page_entry *entry = &p->entries[page];
    entry->older = p->newest;
    entry->newer = R2I_NO_PAGE;
    if (p->newest != R2I_NO_PAGE)
        p->entries[p->newest].newer = page;
    else
        p->oldest = page;
    p->newest = page;
    p->n_kept++;
}

void r2i_pages_unkeep(r2i_pages *p, int32_t page) {
    const r2i_page_entry *entry = &p->entries[page];
    if (entry->older != R2I_NO_PAGE)
        p->entries[entry->older].newer = entry->newer;
    else
        p->oldest = entry->newer;
    if (entry->newer != R2I_NO_PAGE)
        p->entries[entry->newer].older = entry->older;
    else
        p->newest = entry->older;
    p->n_kept--;
}

/* ---- holding ---- */

void r2i_pages_hold(r2i_pages *p, int32_t page) {
    r2i_page_entry *entry = &p->entries[page];
    if (entry->n_holders++ > 0) return;
    r2i_pages_unkeep(p, page);
    p->n_held++;
}

void r2i_pages_release(r2i_pages *p, int32_t page) {
    r2i_page_entry *entry = &p->entries[page];
    R2I_ASSERT(entry->n_holders > 0);
    if (--entry->n_holders > 0) return;
    p->n_held--;
    if (entry->n_known > 0)
        append_kept(p, page);
    else
        p->free_list[p->n_free++] = page;
}

int32_t r2i_pages_hold_new(r2i_pages *p) {
    int32_t page = p->oldest;
    if (p->n_free > 0)
        page = p->free_list[--p->n_free];
    else if (page == R2I_NO_PAGE)
        return R2I_NO_PAGE;
    else {
        r2i_pages_unkeep(p, page);
        r2i_pages_forget(p, page, true);
    }
    r2i_page_entry *entry = &p->entries[page];
    /* Another sequence's rows must not be seen, not even as padding: they might be no numbers. */
    if (entry->is_dirty) memset(r2i_pages_memory(p, page), 0, p->page_bytes);
    entry->is_dirty = true;
    entry->serial = ++p->last_serial;
    entry->n_holders = 1;
    p->n_held++;
    return page;
}
