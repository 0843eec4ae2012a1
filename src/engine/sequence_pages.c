/* sequence_pages.c - which cache pages a sequence holds, and which of them others computed before. */
#include <string.h>

#include "base/checked.h"
#include "engine/engine_state.h"

/* Copying rows costs as much as moving the whole page: not for a handful of tokens, such as the start
 * of a message that every text begins with. */
enum { LEAST_COPIED_TOKENS = 8 };

static void put_page(r2_sequence *s, int32_t i, int32_t page) {
    s->pages[i] = page;
    s->page_memory[i] = r2i_pages_memory(s->engine->pages, page);
}

static int32_t page_before(const r2_sequence *s, int32_t i) {
    return i == 0 ? R2I_NO_PAGE : s->pages[i - 1];
}

static const int32_t *tokens_of(const r2_sequence *s, int32_t i) {
    return s->tokens + (size_t)i * R2I_PAGE_TOKENS;
}

/* ---- room ---- */

static bool make_writable(r2_sequence *s, int32_t i) {
    r2i_pages *pages = s->engine->pages;
    if (r2i_pages_is_writable(pages, s->pages[i])) return true;
    const int32_t fresh = r2i_pages_hold_new(pages);
    if (fresh == R2I_NO_PAGE) return false;
    memcpy(r2i_pages_memory(pages, fresh), s->page_memory[i], s->engine->cache.page_bytes);
    r2i_pages_release(pages, s->pages[i]);
    put_page(s, i, fresh);
    return true;
}

int32_t r2i_sequence_make_room(r2_sequence *s, int32_t n_tokens) {
    const int32_t first_written = s->n_computed / R2I_PAGE_TOKENS;
    const int32_t n_needed = r2i_div_up_i32(n_tokens, R2I_PAGE_TOKENS);
    if (first_written < s->n_pages && !make_writable(s, first_written)) return s->n_computed;
    while (s->n_pages < n_needed) {
        const int32_t page = r2i_pages_hold_new(s->engine->pages);
        if (page == R2I_NO_PAGE) break;
        put_page(s, s->n_pages++, page);
    }
    return r2i_min_i32(n_tokens, s->n_pages * R2I_PAGE_TOKENS);
}

/* What stands in the page begun last can be of use to whoever goes on from there. */
static void publish_rest(r2_sequence *s) {
    const int32_t i = s->n_computed / R2I_PAGE_TOKENS, n = s->n_computed % R2I_PAGE_TOKENS;
    if (!s->engine->has_prefix_cache || s->is_foreign || n == 0 || i >= s->n_pages) return;
    if (!r2i_pages_is_writable(s->engine->pages, s->pages[i])) return;
    (void)r2i_pages_make_known(s->engine->pages, s->pages[i], page_before(s, i),
                               r2i_sequence_domain(s), tokens_of(s, i), n);
}

void r2i_sequence_release_pages(r2_sequence *s, int32_t n_left) {
    if (s->n_computed / R2I_PAGE_TOKENS >= n_left) publish_rest(s);
    /* Last page first, so that the beginning of a prefix is the last to be evicted. */
    while (s->n_pages > n_left)
        r2i_pages_release(s->engine->pages, s->pages[--s->n_pages]);
}

void r2i_sequence_give_pages(r2_sequence *s) {
    r2i_sequence_release_pages(s, 0);
    s->n_computed = 0;
    s->is_foreign = false;
}

void r2i_sequence_trim_pages(r2_sequence *s) {
    r2i_sequence_release_pages(s, r2i_div_up_i32(s->n_computed, R2I_PAGE_TOKENS));
}

/* ---- what is known already ---- */

static bool may_take(const r2_sequence *s) {
    return s->engine->has_prefix_cache && !s->options.wants_prompt_logprobs &&
           s->options.hidden == NULL;
}

static void note_taken(r2_sequence *s, int32_t n_computed) {
    if (s->n_preempted == 0) {
        s->n_cached += n_computed - s->n_computed;
        s->engine->stats.n_cached_tokens += n_computed - s->n_computed;
    }
    s->n_computed = n_computed;
}

/* The last token is always computed: its logits are wanted. */
void r2i_sequence_take_known(r2_sequence *s) {
    r2i_pages *pages = s->engine->pages;
    if (!may_take(s)) return;
    for (int32_t i = s->n_computed / R2I_PAGE_TOKENS; s->n_tokens > (i + 1) * R2I_PAGE_TOKENS;
         i++) {
        const int32_t page =
            r2i_pages_find(pages, page_before(s, i), r2i_sequence_domain(s), tokens_of(s, i));
        if (page == R2I_NO_PAGE) return;
        r2i_sequence_release_pages(s, i); /* what it has computed of this page itself */
        put_page(s, s->n_pages++, page);
        note_taken(s, (i + 1) * R2I_PAGE_TOKENS);
    }
}

/* Rows of a page that agrees for a while: taken over with the page if nobody else can want more of it,
 * else copied. */
static void take_rows(r2_sequence *s, const r2i_page_branch *branch) {
    r2i_pages *pages = s->engine->pages;
    if (s->engine->cache.boundary_bytes > 0) return;
    if (branch->is_all && r2i_pages_take_over(pages, branch->page)) {
        put_page(s, s->n_pages++, branch->page);
    } else {
        if (branch->n_tokens < LEAST_COPIED_TOKENS) return;
        r2i_pages_hold(pages, branch->page); /* or it might be the one to go */
        const int32_t fresh = r2i_pages_hold_new(pages);
        if (fresh != R2I_NO_PAGE) {
            memcpy(r2i_pages_memory(pages, fresh), r2i_pages_memory(pages, branch->page),
                   s->engine->cache.page_bytes);
            put_page(s, s->n_pages++, fresh);
        }
        r2i_pages_release(pages, branch->page);
        if (fresh == R2I_NO_PAGE) return;
    }
    note_taken(s, s->n_computed + branch->n_tokens);
}

static r2_cache_miss reason_of(const r2i_page_branch *branch, int32_t n_left, int32_t n_before) {
    if (branch->n_tokens >= n_left) return R2_MISS_NONE;
    if (branch->is_evicted) return R2_MISS_EVICTED;
    if (n_before + branch->n_tokens == 0) return R2_MISS_FIRST_SEEN;
    if (branch->n_tokens > 0 ? branch->is_all : !branch->has_pages) return R2_MISS_GROWN;
    return R2_MISS_DIVERGED;
}

void r2i_sequence_take_prefix(r2_sequence *s) {
    if (s->n_computed != 0 || s->n_pages != 0) return;
    const bool is_first = !s->has_looked;
    s->has_looked = true;
    if (!may_take(s)) {
        s->miss = R2_MISS_OFF;
        return;
    }
    r2i_sequence_take_known(s);
    const int32_t n_full = s->n_computed, n_left = s->n_tokens - 1 - n_full;
    const r2i_page_branch branch =
        r2i_pages_follow(s->engine->pages, page_before(s, s->n_pages), r2i_sequence_domain(s),
                         s->tokens + n_full, r2i_min_i32(n_left, R2I_PAGE_TOKENS));
    if (is_first) {
        s->miss = reason_of(&branch, n_left, n_full);
        s->n_matched = n_full + branch.n_tokens;
    }
    if (branch.page != R2I_NO_PAGE) take_rows(s, &branch);
}

void r2i_sequence_publish(r2_sequence *s, int32_t first_position) {
    r2i_pages *pages = s->engine->pages;
    if (!s->engine->has_prefix_cache || s->is_foreign) return;
    for (int32_t i = first_position / R2I_PAGE_TOKENS; i < s->n_computed / R2I_PAGE_TOKENS; i++) {
        const int32_t page =
            r2i_pages_make_known(pages, s->pages[i], page_before(s, i), r2i_sequence_domain(s),
                                 tokens_of(s, i), R2I_PAGE_TOKENS);
        put_page(s, i, page); /* another one if an equal page was known first */
    }
}

int32_t r2i_sequence_count_missing(const r2_sequence *s) {
    const r2i_pages *pages = s->engine->pages;
    int32_t before = R2I_NO_PAGE, n = 0;
    const int32_t n_needed = r2i_div_up_i32(s->n_tokens + 1, R2I_PAGE_TOKENS);
    for (int32_t i = 0; may_take(s) && s->n_tokens > (i + 1) * R2I_PAGE_TOKENS; i++) {
        before = r2i_pages_peek(pages, before, r2i_sequence_domain(s), tokens_of(s, i));
        if (before == R2I_NO_PAGE) break;
        n += r2i_pages_is_held(pages, before);
    }
    return n_needed - n;
}
