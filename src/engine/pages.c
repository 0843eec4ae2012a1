#include "engine/pages.h"

#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "base/hash.h"

/* What is known of a page.  A serial number names the content: it changes when a page is reused, so
 * that a page behind it can never be taken for the continuation of something else. */
typedef struct {
    int32_t n_holders;
    bool is_dirty; /* memory was written since it was mapped or cleared */
    bool is_known;
    uint64_t serial, before; /* 0: none; before: serial of the page in front */
    r2i_page_domain domain;
    uint64_t hash;
    int32_t next_in_bucket;
    int32_t older, newer; /* list of kept pages */
    int32_t tokens[R2I_PAGE_TOKENS];
} page_entry;

struct r2i_pages {
    r2i_heap *heap;
    uint8_t *memory; /* [n_pages, page_bytes] */
    size_t page_bytes, memory_bytes;
    int32_t n_pages, n_held, n_kept, n_free;
    uint64_t last_serial;
    page_entry *entries;    /* [n_pages] */
    int32_t *free_list;     /* [n_free] */
    int32_t *buckets;       /* [n_buckets], heads of chains */
    uint32_t n_buckets;     /* a power of two */
    int32_t oldest, newest; /* kept pages */
};

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
    page_entry *entries = R2I_ARENA_ARRAY(arena, page_entry, (size_t)n_pages);
    int32_t *free_list = R2I_ARENA_ARRAY(arena, int32_t, (size_t)n_pages);
    int32_t *buckets = R2I_ARENA_ARRAY(arena, int32_t, n_buckets);
    uint8_t *memory = r2i_memory_map(arena->heap, memory_bytes);
    if (p == NULL || entries == NULL || free_list == NULL || buckets == NULL || memory == NULL) {
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
                      .n_buckets = n_buckets,
                      .oldest = R2I_NO_PAGE,
                      .newest = R2I_NO_PAGE };
    for (int32_t i = 0; i < n_pages; i++)
        free_list[i] = n_pages - 1 - i;
    for (uint32_t i = 0; i < n_buckets; i++)
        buckets[i] = R2I_NO_PAGE;
    *out = p;
    return R2_OK;
}

void r2i_pages_destroy(r2i_pages *pages) {
    if (pages != NULL) r2i_memory_unmap(pages->heap, pages->memory, pages->memory_bytes);
}

uint8_t *r2i_pages_memory(const r2i_pages *pages, int32_t page) {
    return pages->memory + (size_t)page * pages->page_bytes;
}

bool r2i_pages_is_known(const r2i_pages *pages, int32_t page) {
    return pages->entries[page].is_known;
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

bool r2i_pages_is_writable(const r2i_pages *pages, int32_t page) {
    return pages->entries[page].n_holders == 1 && !pages->entries[page].is_known;
}

/* ---- the list of kept pages, oldest first ---- */

static void append_kept(r2i_pages *p, int32_t page) {
    page_entry *entry = &p->entries[page];
    entry->older = p->newest;
    entry->newer = R2I_NO_PAGE;
    if (p->newest != R2I_NO_PAGE)
        p->entries[p->newest].newer = page;
    else
        p->oldest = page;
    p->newest = page;
    p->n_kept++;
}

static void remove_kept(r2i_pages *p, int32_t page) {
    const page_entry *entry = &p->entries[page];
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

/* ---- the table of known pages ---- */

static int32_t *bucket_of(r2i_pages *p, uint64_t hash) {
    return &p->buckets[hash & (p->n_buckets - 1)];
}

static uint64_t hash_of(uint64_t before, r2i_page_domain domain, const int32_t *tokens) {
    const uint64_t head[3] = { before, domain.client, domain.variant };
    return r2i_hash_bytes(r2i_hash_bytes(R2I_HASH_SEED, head, sizeof head), tokens,
                          R2I_PAGE_TOKENS * sizeof *tokens);
}

static void forget(r2i_pages *p, int32_t page) {
    page_entry *entry = &p->entries[page];
    int32_t *link = bucket_of(p, entry->hash);
    while (*link != page)
        link = &p->entries[*link].next_in_bucket;
    *link = entry->next_in_bucket;
    entry->is_known = false;
}

static int32_t look_up(r2i_pages *p, uint64_t hash, uint64_t before, r2i_page_domain domain,
                       const int32_t *tokens) {
    for (int32_t page = *bucket_of(p, hash); page != R2I_NO_PAGE;
         page = p->entries[page].next_in_bucket) {
        const page_entry *entry = &p->entries[page];
        if (entry->hash != hash || entry->before != before ||
            entry->domain.client != domain.client || entry->domain.variant != domain.variant)
            continue;
        if (memcmp(entry->tokens, tokens, sizeof entry->tokens) == 0) return page;
    }
    return R2I_NO_PAGE;
}

static uint64_t serial_of(const r2i_pages *p, int32_t page) {
    return page == R2I_NO_PAGE ? 0 : p->entries[page].serial;
}

void r2i_pages_make_known(r2i_pages *p, int32_t page, int32_t before, r2i_page_domain domain,
                          const int32_t *tokens) {
    page_entry *entry = &p->entries[page];
    if (entry->is_known || (before != R2I_NO_PAGE && !p->entries[before].is_known)) return;
    const uint64_t serial = serial_of(p, before), hash = hash_of(serial, domain, tokens);
    if (look_up(p, hash, serial, domain, tokens) != R2I_NO_PAGE) return;
    memcpy(entry->tokens, tokens, sizeof entry->tokens);
    entry->is_known = true;
    entry->before = serial;
    entry->domain = domain;
    entry->hash = hash;
    entry->next_in_bucket = *bucket_of(p, hash);
    *bucket_of(p, hash) = page;
}

int32_t r2i_pages_find(r2i_pages *p, int32_t before, r2i_page_domain domain,
                       const int32_t *tokens) {
    const uint64_t serial = serial_of(p, before);
    const int32_t page = look_up(p, hash_of(serial, domain, tokens), serial, domain, tokens);
    if (page != R2I_NO_PAGE) r2i_pages_hold(p, page);
    return page;
}

/* ---- holding ---- */

void r2i_pages_hold(r2i_pages *p, int32_t page) {
    page_entry *entry = &p->entries[page];
    if (entry->n_holders++ > 0) return;
    remove_kept(p, page);
    p->n_held++;
}

void r2i_pages_release(r2i_pages *p, int32_t page) {
    page_entry *entry = &p->entries[page];
    R2I_ASSERT(entry->n_holders > 0);
    if (--entry->n_holders > 0) return;
    p->n_held--;
    if (entry->is_known)
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
        remove_kept(p, page);
        forget(p, page);
    }
    page_entry *entry = &p->entries[page];
    /* Another sequence's rows must not be seen, not even as padding: they might be no numbers. */
    if (entry->is_dirty) memset(r2i_pages_memory(p, page), 0, p->page_bytes);
    entry->is_dirty = true;
    entry->serial = ++p->last_serial;
    entry->n_holders = 1;
    p->n_held++;
    return page;
}
