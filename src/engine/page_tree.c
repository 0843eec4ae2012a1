/* page_tree.c - what is known of pages, and how far it goes along with a text. */
#include <string.h>

#include "base/checked.h"
#include "base/hash.h"
#include "engine/pages_state.h"

static uint64_t serial_of(const r2i_pages *p, int32_t page) {
    return page == R2I_NO_PAGE ? 0 : p->entries[page].serial;
}

static bool is_same_domain(r2i_page_domain a, r2i_page_domain b) {
    return a.client == b.client && a.variant == b.variant;
}

static uint64_t hash_tokens(uint64_t hash, const int32_t *tokens, int32_t n) {
    return r2i_hash_bytes(hash, tokens, (size_t)n * sizeof *tokens);
}

static uint64_t hash_place(uint64_t before, r2i_page_domain domain) {
    const uint64_t head[3] = { before, domain.client, domain.variant };
    return r2i_hash_bytes(R2I_HASH_SEED, head, sizeof head);
}

static int32_t *bucket_of(const r2i_pages *p, uint64_t hash) {
    return &p->buckets[hash & (p->n_buckets - 1)];
}

static int32_t *siblings_of(const r2i_pages *p, uint64_t before, r2i_page_domain domain) {
    return &p->siblings[hash_place(before, domain) & (p->n_buckets - 1)];
}

static bool is_behind(const r2i_page_entry *entry, uint64_t before, r2i_page_domain domain) {
    return entry->before == before && is_same_domain(entry->domain, domain);
}

static int32_t count_common(const r2i_page_entry *entry, const int32_t *tokens, int32_t n) {
    const int32_t most = r2i_min_i32(entry->n_known, n);
    int32_t i = 0;
    while (i < most && entry->tokens[i] == tokens[i])
        i++;
    return i;
}

/* ---- to know and to forget ---- */

static void leave_ghost(r2i_pages *p, const r2i_page_entry *entry) {
    p->ghosts[p->next_ghost] =
        (r2i_page_ghost){ .before = entry->before,
                          .hash = hash_tokens(R2I_HASH_SEED, entry->tokens, entry->n_known),
                          .domain = entry->domain,
                          .n_tokens = entry->n_known };
    p->next_ghost = (p->next_ghost + 1) % R2I_N_GHOSTS;
    p->n_evicted++;
}

void r2i_pages_forget(r2i_pages *p, int32_t page, bool is_evicted) {
    r2i_page_entry *entry = &p->entries[page];
    int32_t *link = siblings_of(p, entry->before, entry->domain);
    if (is_evicted) leave_ghost(p, entry);
    while (*link != page)
        link = &p->entries[*link].next_sibling;
    *link = entry->next_sibling;
    if (entry->n_known == R2I_PAGE_TOKENS) {
        link = bucket_of(p, entry->hash);
        while (*link != page)
            link = &p->entries[*link].next_in_bucket;
        *link = entry->next_in_bucket;
    }
    entry->n_known = 0;
}

/* Pages that hold nothing but the beginning of these tokens are of no use beside them.  True: there is
 * one that holds all of them already. */
static bool clear_siblings(r2i_pages *p, uint64_t before, r2i_page_domain domain,
                           const int32_t *tokens, int32_t n) {
    bool is_there = false;
    int32_t page = *siblings_of(p, before, domain), next;
    for (; page != R2I_NO_PAGE; page = next) {
        r2i_page_entry *entry = &p->entries[page];
        next = entry->next_sibling;
        if (!is_behind(entry, before, domain)) continue;
        const int32_t n_common = count_common(entry, tokens, n);
        if (n_common == n) is_there = true;
        if (n_common < entry->n_known || n_common == n || entry->n_holders > 0) continue;
        r2i_pages_unkeep(p, page);
        r2i_pages_forget(p, page, false);
        p->free_list[p->n_free++] = page;
    }
    return is_there;
}

static int32_t look_up(const r2i_pages *p, uint64_t hash, uint64_t before, r2i_page_domain domain,
                       const int32_t *tokens) {
    for (int32_t page = *bucket_of(p, hash); page != R2I_NO_PAGE;
         page = p->entries[page].next_in_bucket) {
        const r2i_page_entry *entry = &p->entries[page];
        if (entry->hash != hash || !is_behind(entry, before, domain)) continue;
        if (memcmp(entry->tokens, tokens, sizeof entry->tokens) == 0) return page;
    }
    return R2I_NO_PAGE;
}

static void add(r2i_pages *p, int32_t page, uint64_t before, r2i_page_domain domain,
                const int32_t *tokens, int32_t n) {
    r2i_page_entry *entry = &p->entries[page];
    int32_t *head = siblings_of(p, before, domain);
    memcpy(entry->tokens, tokens, (size_t)n * sizeof *tokens);
    entry->n_known = n;
    entry->before = before;
    entry->domain = domain;
    entry->next_sibling = *head;
    *head = page;
    if (n < R2I_PAGE_TOKENS) return;
    entry->hash = hash_tokens(hash_place(before, domain), tokens, n);
    entry->next_in_bucket = *bucket_of(p, entry->hash);
    *bucket_of(p, entry->hash) = page;
}

int32_t r2i_pages_make_known(r2i_pages *p, int32_t page, int32_t before, r2i_page_domain domain,
                             const int32_t *tokens, int32_t n) {
    const uint64_t serial = serial_of(p, before);
    if (p->entries[page].n_known > 0 || (before != R2I_NO_PAGE && p->entries[before].n_known == 0))
        return page;
    const int32_t equal =
        n == R2I_PAGE_TOKENS ? r2i_pages_find(p, before, domain, tokens) : R2I_NO_PAGE;
    if (equal != R2I_NO_PAGE) {
        r2i_pages_release(p, page);
        return equal;
    }
    if (!clear_siblings(p, serial, domain, tokens, n)) add(p, page, serial, domain, tokens, n);
    return page;
}

/* ---- to find ---- */

int32_t r2i_pages_peek(const r2i_pages *p, int32_t before, r2i_page_domain domain,
                       const int32_t *tokens) {
    const uint64_t serial = serial_of(p, before);
    return look_up(p, hash_tokens(hash_place(serial, domain), tokens, R2I_PAGE_TOKENS), serial,
                   domain, tokens);
}

int32_t r2i_pages_find(r2i_pages *p, int32_t before, r2i_page_domain domain,
                       const int32_t *tokens) {
    const int32_t page = r2i_pages_peek(p, before, domain, tokens);
    if (page != R2I_NO_PAGE) r2i_pages_hold(p, page);
    return page;
}

/* Was there a page, longer than what is left of them, that these tokens begin with? */
static bool was_evicted(const r2i_pages *p, uint64_t before, r2i_page_domain domain,
                        const int32_t *tokens, int32_t n_tokens, int32_t n_found) {
    for (int32_t i = 0; i < R2I_N_GHOSTS; i++) {
        const r2i_page_ghost *ghost = &p->ghosts[i];
        if (ghost->n_tokens <= n_found || ghost->n_tokens > n_tokens || ghost->before != before ||
            !is_same_domain(ghost->domain, domain))
            continue;
        if (hash_tokens(R2I_HASH_SEED, tokens, ghost->n_tokens) == ghost->hash) return true;
    }
    return false;
}

r2i_page_branch r2i_pages_follow(const r2i_pages *p, int32_t before, r2i_page_domain domain,
                                 const int32_t *tokens, int32_t n_tokens) {
    const uint64_t serial = serial_of(p, before);
    r2i_page_branch out = { .page = R2I_NO_PAGE };
    for (int32_t page = *siblings_of(p, serial, domain); page != R2I_NO_PAGE;
         page = p->entries[page].next_sibling) {
        const r2i_page_entry *entry = &p->entries[page];
        if (!is_behind(entry, serial, domain)) continue;
        out.has_pages = true;
        const int32_t n = count_common(entry, tokens, n_tokens);
        if (n < out.n_tokens || n == 0) continue;
        const bool is_all = n == entry->n_known;
        if (n == out.n_tokens && !is_all) continue; /* rather one that can be taken over */
        out.page = page;
        out.n_tokens = n;
        out.is_all = is_all;
    }
    out.is_evicted = was_evicted(p, serial, domain, tokens, n_tokens, out.n_tokens);
    return out;
}

bool r2i_pages_take_over(r2i_pages *p, int32_t page) {
    const r2i_page_entry *entry = &p->entries[page];
    if (entry->n_holders > 0 || entry->n_known == 0 || entry->n_known == R2I_PAGE_TOKENS)
        return false;
    r2i_pages_hold(p, page);
    r2i_pages_forget(p, page, false);
    return true;
}
