/* pages.h - the paged cache: memory in pages of R2I_PAGE_TOKENS tokens, shared by counting.
 *
 * A page is held by any number of sequences.  A full page is also known by what it holds: its
 * tokens and the page before it (an exact chain, no trust in hashes), so that a later sequence with
 * the same prefix takes it instead of computing it.  A page that nobody holds any more stays known
 * until its memory is needed; the one unused longest goes first.
 *
 *     free -> held (being filled) -> full and known -> kept (known, not held) -> free
 *
 * Only a page held once and not known may be written. */
#ifndef R2I_PAGES_H
#define R2I_PAGES_H
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "kernels/kernels.h"

typedef struct r2i_pages r2i_pages;

/* Whose pages, and computed by what: pages are shared within a domain only. */
typedef struct {
    uint64_t client;
    uint64_t variant; /* adapter and its scale; 0: the model alone */
} r2i_page_domain;

enum { R2I_NO_PAGE = -1 };

/* n_pages of page_bytes; memory is mapped here but only touched when a page is used.  R2_E_NOMEM. */
R2_CHECKED r2_status r2i_pages_create(r2i_pages **out, int32_t n_pages, size_t page_bytes,
                                      r2i_arena *arena, r2_error *err);
/* Gives the page memory back (the rest is the arena's).  NULL is allowed. */
void r2i_pages_destroy(r2i_pages *pages);

/* A page of zeros held once, evicting the longest kept if need be; R2I_NO_PAGE when all are held. */
int32_t r2i_pages_hold_new(r2i_pages *pages);
void r2i_pages_hold(r2i_pages *pages, int32_t page);
void r2i_pages_release(r2i_pages *pages, int32_t page);
/* May the only holder write to it? */
bool r2i_pages_is_writable(const r2i_pages *pages, int32_t page);
uint8_t *r2i_pages_memory(const r2i_pages *pages, int32_t page);

/* Makes a full page known as `tokens` [R2I_PAGE_TOKENS] behind page `before` (known itself, or
 * R2I_NO_PAGE at the start of a sequence of this domain).  If an equal page is known already, this
 * one stays unknown. */
void r2i_pages_make_known(r2i_pages *pages, int32_t page, int32_t before, r2i_page_domain domain,
                          const int32_t *tokens);
bool r2i_pages_is_known(const r2i_pages *pages, int32_t page);
/* The known page with these tokens behind `before`, held once more; R2I_NO_PAGE. */
int32_t r2i_pages_find(r2i_pages *pages, int32_t before, r2i_page_domain domain,
                       const int32_t *tokens);

int32_t r2i_pages_total(const r2i_pages *pages);
int32_t r2i_pages_held(const r2i_pages *pages);
int32_t r2i_pages_kept(const r2i_pages *pages);
#endif
