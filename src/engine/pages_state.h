/* pages_state.h - the paged cache from the inside; shared by pages.c (memory, who holds what) and
 * page_tree.c (what is known). */
#ifndef R2I_PAGES_STATE_H
#define R2I_PAGES_STATE_H
#include "engine/pages.h"

enum { R2I_N_GHOSTS = 256 };

/* What is known of a page.  A serial number names the content: it changes when a page is reused, so
 * that a page behind it can never be taken for the continuation of something else. */
typedef struct {
    int32_t n_holders;
    bool is_dirty;           /* memory was written since it was mapped or cleared */
    int32_t n_known;         /* tokens it is known for; 0: it is not known */
    uint64_t serial, before; /* 0: none; before: serial of the page in front */
    r2i_page_domain domain;
    uint64_t hash; /* of a full page: place, domain and tokens */
    int32_t next_in_bucket, next_sibling;
    int32_t older, newer; /* list of kept pages */
    int32_t tokens[R2I_PAGE_TOKENS];
} r2i_page_entry;

/* A page that had to go: enough to tell that it was there. */
typedef struct {
    uint64_t before, hash; /* hash of its n_tokens tokens; n_tokens 0: none */
    r2i_page_domain domain;
    int32_t n_tokens;
} r2i_page_ghost;

struct r2i_pages {
    r2i_heap *heap;
    uint8_t *memory; /* [n_pages, page_bytes] */
    size_t page_bytes, memory_bytes;
    int32_t n_pages, n_held, n_kept, n_free;
    int64_t n_evicted;
    uint64_t last_serial;
    r2i_page_entry *entries;     /* [n_pages] */
    int32_t *free_list;          /* [n_free] */
    int32_t *buckets, *siblings; /* [n_buckets], heads of chains: full pages by all they are; known
                                       pages by the page before */
    uint32_t n_buckets;          /* a power of two */
    int32_t oldest, newest;      /* kept pages */
    r2i_page_ghost ghosts[R2I_N_GHOSTS]; /* a ring */
    int32_t next_ghost;
};

/* pages.c: a kept page is kept no longer. */
void r2i_pages_unkeep(r2i_pages *pages, int32_t page);
/* page_tree.c: the page is not known any more; as one that had to go, it is remembered. */
void r2i_pages_forget(r2i_pages *pages, int32_t page, bool is_evicted);
#endif
