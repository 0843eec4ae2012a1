#include "server/grammar_cache.h"

#include <string.h>

#include "base/failure.h"
#include "base/hash.h"
#include "server/tool_request.h"

enum { MAX_TEXT_BYTES = 1 << 26 }; /* what is too long for a grammar is refused there */

struct r2i_kept_grammar {
    r2i_kept_grammar *next;
    r2i_grammar_cache *cache;
    r2_grammar *grammar;
    r2i_form_kind kind;
    uint64_t domain, hash;
    r2i_buffer text;
    int32_t n_users;
};

void r2i_grammar_cache_init(r2i_grammar_cache *c, r2i_heap *heap, const r2_model *model) {
    *c = (r2i_grammar_cache){ .heap = heap, .model = model };
    (void)pthread_mutex_init(&c->lock, NULL);
}

static void destroy(r2i_kept_grammar *k) {
    r2_grammar_destroy(k->grammar);
    r2i_buffer_destroy(&k->text);
    r2i_heap_give(k->cache->heap, k, sizeof *k);
}

void r2i_grammar_cache_destroy(r2i_grammar_cache *c) {
    for (r2i_kept_grammar *k = c->first, *next; k != NULL; k = next) {
        next = k->next;
        destroy(k);
    }
    (void)pthread_mutex_destroy(&c->lock);
}

r2_grammar *r2i_kept_grammar_get(const r2i_kept_grammar *k) {
    return k->grammar;
}

void r2i_grammar_cache_give(r2i_kept_grammar *k) {
    if (k == NULL) return;
    (void)pthread_mutex_lock(&k->cache->lock);
    k->n_users--;
    (void)pthread_mutex_unlock(&k->cache->lock);
}

/* ---- finding, forgetting; under the lock ---- */

static bool is_same(const r2i_kept_grammar *a, const r2i_kept_grammar *b) {
    return a->hash == b->hash && a->domain == b->domain && a->kind == b->kind &&
           a->text.n_bytes == b->text.n_bytes &&
           memcmp(a->text.bytes, b->text.bytes, a->text.n_bytes) == 0;
}

/* Moves it to the front. */
static r2i_kept_grammar *find(r2i_grammar_cache *c, const r2i_kept_grammar *wanted) {
    for (r2i_kept_grammar **at = &c->first; *at != NULL; at = &(*at)->next) {
        r2i_kept_grammar *k = *at;
        if (!is_same(k, wanted)) continue;
        *at = k->next;
        k->next = c->first;
        c->first = k;
        return k;
    }
    return NULL;
}

static size_t count_bytes(const r2i_grammar_cache *c) {
    size_t n = 0;
    for (const r2i_kept_grammar *k = c->first; k != NULL; k = k->next)
        n += (k->grammar != NULL ? r2_grammar_memory(k->grammar) : 0) + k->text.cap_bytes;
    return n;
}

/* The one without a user that was not asked for the longest. */
static r2i_kept_grammar **find_oldest(r2i_grammar_cache *c, int32_t *n_idle) {
    r2i_kept_grammar **oldest = NULL;
    *n_idle = 0;
    for (r2i_kept_grammar **at = &c->first; *at != NULL; at = &(*at)->next) {
        if ((*at)->n_users > 0) continue;
        oldest = at;
        (*n_idle)++;
    }
    return oldest;
}

/* Returns the bytes of what stays. */
static size_t forget_oldest(r2i_grammar_cache *c) {
    for (;;) {
        int32_t n_idle;
        const size_t n_bytes = count_bytes(c);
        r2i_kept_grammar **at = find_oldest(c, &n_idle);
        if (at == NULL || (n_idle <= R2I_CACHE_GRAMMARS && n_bytes <= R2I_CACHE_IDLE_BYTES))
            return n_bytes;
        r2i_kept_grammar *k = *at;
        *at = k->next;
        c->n_grammars--;
        destroy(k);
    }
}

/* ---- compiling ---- */

static r2_status compile(const r2i_grammar_cache *c, r2i_kept_grammar *k, r2_error *err) {
    const char *text = k->text.bytes != NULL ? k->text.bytes : "";
    switch (k->kind) {
    case R2I_FORM_SCHEMA:
        return r2_grammar_from_json_schema(&k->grammar, c->model, text, k->text.n_bytes, err);
    case R2I_FORM_TOOLS:
        return r2i_tool_grammar_make(&k->grammar, c->model, text, k->text.n_bytes, err);
    case R2I_FORM_REGEX:
        return r2_grammar_from_regex(&k->grammar, c->model, text, k->text.n_bytes, err);
    default:
        return r2_grammar_from_gbnf(&k->grammar, c->model, text, k->text.n_bytes, err);
    }
}

/* The first mask is the dearest: a walk over the whole vocabulary, better done here than between tokens. */
static r2_status make_first_mask(const r2i_grammar_cache *c, const r2i_kept_grammar *k,
                                 r2_error *err) {
    r2_grammar_matcher *matcher = NULL;
    r2_model_info info;
    if (k->grammar == NULL) return R2_OK; /* of tools: there is nothing to enforce */
    r2_model_get_info(c->model, &info);
    const size_t n_bytes = ((size_t)info.n_vocab / 32 + 1) * sizeof(uint32_t);
    uint32_t *allowed = r2i_heap_take(c->heap, n_bytes);
    r2_status status = allowed != NULL ? r2_grammar_matcher_create(&matcher, k->grammar, err)
                                       : r2i_fail(err, R2_E_NOMEM, "no memory for a mask");
    if (status == R2_OK) {
        memset(allowed, 0xff, n_bytes);
        status = r2_grammar_matcher_mask(matcher, allowed, info.n_vocab, err);
    }
    r2_grammar_matcher_destroy(matcher);
    r2i_heap_give(c->heap, allowed, n_bytes);
    return status;
}

static r2_status refuse(const r2i_answer_form *form, r2_status status, const r2_error *err,
                        r2i_refusal *r) {
    static const char prefix[] = "schema: ";
    const bool is_schema = form->kind == R2I_FORM_SCHEMA || form->kind == R2I_FORM_TOOLS;
    const char *why = err->text;
    if (strncmp(why, prefix, sizeof prefix - 1) == 0) why += sizeof prefix - 1;
    if (status == R2_E_NOMEM)
        return r2i_refuse(r, 503, NULL, NULL, "no memory for the answer's grammar");
    const char *code = status == R2_E_LIMIT ? "grammar_too_large"
                       : status == R2_E_UNSUPPORTED
                           ? (is_schema ? "unsupported_schema" : "unsupported_grammar")
                           : (is_schema ? "invalid_schema" : "invalid_grammar");
    return r2i_refuse(r, 400, form->field, code, "%s: %s", form->field, why);
}

/* Not yet in the cache; *out with text and hash. */
static r2_status prepare(r2i_grammar_cache *c, uint64_t domain, const r2i_answer_form *form,
                         r2i_kept_grammar **out) {
    r2i_kept_grammar *k = r2i_heap_take(c->heap, sizeof *k);
    *out = k;
    if (k == NULL) return R2_E_NOMEM;
    *k = (r2i_kept_grammar){ .cache = c, .kind = form->kind, .domain = domain, .n_users = 1 };
    r2i_buffer_init(&k->text, c->heap, MAX_TEXT_BYTES);
    const r2_status status = r2i_answer_form_write(form, &k->text);
    if (status == R2_OK) k->hash = r2i_hash_bytes(R2I_HASH_SEED, k->text.bytes, k->text.n_bytes);
    return status;
}

static r2_status add(r2i_grammar_cache *c, r2i_kept_grammar *k, r2_error *err) {
    (void)pthread_mutex_lock(&c->lock);
    const bool has_room = forget_oldest(c) < R2I_CACHE_MOST_BYTES;
    (void)pthread_mutex_unlock(&c->lock);
    if (!has_room) return r2i_fail(err, R2_E_NOMEM, "too many grammars are in use");
    R2I_TRY(compile(c, k, err));
    R2I_TRY(make_first_mask(c, k, err));
    (void)pthread_mutex_lock(&c->lock);
    k->next = c->first;
    c->first = k;
    c->n_grammars++;
    c->n_compiled++;
    (void)pthread_mutex_unlock(&c->lock);
    return R2_OK;
}

r2_status r2i_grammar_cache_take(r2i_grammar_cache *c, uint64_t domain, const r2i_answer_form *form,
                                 r2i_kept_grammar **out, r2i_refusal *r) {
    r2_error err = { R2_OK, "too long" };
    r2i_kept_grammar *k;
    *out = NULL;
    r2_status status = prepare(c, domain, form, &k);
    if (status == R2_OK) {
        (void)pthread_mutex_lock(&c->lock);
        *out = find(c, k);
        if (*out != NULL) {
            (*out)->n_users++;
            c->n_hits++;
        }
        (void)pthread_mutex_unlock(&c->lock);
        if (*out == NULL) status = add(c, k, &err);
        if (*out == NULL && status == R2_OK) {
            *out = k;
            return R2_OK;
        }
    }
    if (k != NULL) destroy(k);
    return *out != NULL ? R2_OK : refuse(form, status, &err, r);
}
