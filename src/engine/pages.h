/* pages.h - the paged cache: memory in pages of R2I_PAGE_TOKENS tokens, shared by counting.
 *
 * A page is held by any number of sequences.  It can also be known by what it holds: its tokens and
 * the page before it (an exact chain, no trust in hashes), so that a later sequence with the same
 * prefix takes it instead of computing it.  Known pages form a tree per domain: full ones inside, at
 * the leaves also pages of which only the first tokens were computed.  A full page is shared; of a
 * page that agrees with a sequence only in its first tokens these rows are copied.
 *
 *     free -> held (being filled) -> known -> kept (known, not held) -> free
 *
 * A page that nobody holds any more stays known until its memory is needed; the one unused longest
 * goes first, which is a leaf, since who holds a page holds all before it.
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

/* Makes a page known: its first n_tokens rows are those of `tokens`, behind page `before` (known
 * itself, or R2I_NO_PAGE at the start of a sequence of this domain).  R2I_PAGE_TOKENS: it is full.  Less:
 * its holder is about to release it.  Returns the page to go on with: where an equal full one was known
 * before, that one, held in place of this one. */
int32_t r2i_pages_make_known(r2i_pages *pages, int32_t page, int32_t before, r2i_page_domain domain,
                             const int32_t *tokens, int32_t n_tokens);
/* Is it held by anyone? */
bool r2i_pages_is_held(const r2i_pages *pages, int32_t page);
/* The known full page with these tokens behind `before`, held once more; R2I_NO_PAGE. */
int32_t r2i_pages_find(r2i_pages *pages, int32_t before, r2i_page_domain domain,
                       const int32_t *tokens);
/* The same without holding it. */
int32_t r2i_pages_peek(const r2i_pages *pages, int32_t before, r2i_page_domain domain,
                       const int32_t *tokens);

/* How far the tree goes along with some tokens behind a page. */
typedef struct {
    int32_t page;     /* the one that agrees longest; R2I_NO_PAGE: none does */
    int32_t n_tokens; /* in how many tokens */
    bool is_all;      /* in all that it is known for */
    bool has_pages;   /* there are known pages behind `before` */
    bool is_evicted;  /* one that agreed longer had to go lately */
} r2i_page_branch;

/* Looks at most at n_tokens <= R2I_PAGE_TOKENS; holds nothing. */
r2i_page_branch r2i_pages_follow(const r2i_pages *pages, int32_t before, r2i_page_domain domain,
                                 const int32_t *tokens, int32_t n_tokens);
/* Holds a known page that nobody holds and that is known for less than all of its tokens, to be written:
 * it is not known any more.  False: it is none of that. */
bool r2i_pages_take_over(r2i_pages *pages, int32_t page);

int32_t r2i_pages_total(const r2i_pages *pages);
int32_t r2i_pages_held(const r2i_pages *pages);
int32_t r2i_pages_kept(const r2i_pages *pages);
/* Known pages whose memory was needed for others, since the beginning. */
int64_t r2i_pages_evicted(const r2i_pages *pages);
#endif
