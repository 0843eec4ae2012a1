#include "convert/text_pass.h"

#include <string.h>

#include "base/checked.h"
#include "base/failure.h"

enum { ARENA_BLOCK_BYTES = 1 << 20, MAX_WINDOW = 1 << 14 };

struct r2i_text_pass {
    r2_model *model;
    r2i_arena arena;
    r2i_pool *pool;
    r2i_cache_layout cache;
    r2i_forward *forward;
    uint8_t *page_memory;
    size_t page_memory_bytes;
    uint8_t **pages; /* [window pages] */
    float *logits;   /* [R2I_PASS_LOGITS, n_vocab] */
    int32_t n_window;
};

static r2_status take_pages(r2i_text_pass *p, r2_error *err) {
    const int32_t n = r2i_div_up_i32(p->n_window, R2I_PAGE_TOKENS);
    p->page_memory_bytes = (size_t)n * p->cache.page_bytes;
    p->page_memory = r2i_memory_map(&p->model->heap, p->page_memory_bytes);
    p->pages = R2I_ARENA_ARRAY(&p->arena, uint8_t *, (size_t)n);
    p->logits =
        R2I_ARENA_ARRAY(&p->arena, float, R2I_PASS_LOGITS *(size_t)p->model->config.n_vocab);
    if (p->page_memory == NULL || p->pages == NULL || p->logits == NULL)
        return r2i_fail(err, R2_E_NOMEM, "no memory for windows of %d tokens", p->n_window);
    for (int32_t i = 0; i < n; i++)
        p->pages[i] = p->page_memory + (size_t)i * p->cache.page_bytes;
    return R2_OK;
}

static r2_status create_parts(r2i_text_pass *p, int32_t n_threads, r2_error *err) {
    r2_model *model = p->model;
    R2I_TRY(r2i_model_check_computes(model, err));
    if (n_threads == 0) n_threads = r2i_min_i32(r2i_cpu_count(), 256);
    R2I_TRY(r2i_pool_create(&p->pool, n_threads, &model->heap, err));
    R2I_TRY(r2i_cache_layout_create(&p->cache, &model->config,
                                    r2i_model_cache_rows(model, R2_CACHE_BF16), &p->arena, err));
    R2I_TRY(take_pages(p, err));
    const r2i_forward_parts parts = { .config = &model->config,
                                      .weights = &model->weights,
                                      .kernels = &model->kernels,
                                      .pool = p->pool,
                                      .cache = &p->cache,
                                      .packed = r2i_model_on_packed,
                                      .packed_user = model };
    const r2i_forward_limits limits = { .cap_rows = p->n_window,
                                        .cap_logits = R2I_PASS_LOGITS,
                                        .cap_positions = p->n_window };
    R2I_TRY(r2i_forward_create(&p->forward, &parts, &limits, &p->arena, err));
    r2i_forward_set_pack_budget(p->forward, SIZE_MAX);
    return R2_OK;
}

r2_status r2i_text_pass_create(r2i_text_pass **out, r2_model *model, int32_t n_window,
                               int32_t n_threads, r2_error *err) {
    *out = NULL;
    if (n_window < 2 || n_window > MAX_WINDOW)
        return r2i_fail(err, R2_E_RANGE, "window: expected 2 to %d tokens, found %d", MAX_WINDOW,
                        n_window);
    r2i_text_pass *p = r2i_heap_take(&model->heap, sizeof *p);
    if (p == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory to read a text with");
    memset(p, 0, sizeof *p);
    p->model = model;
    p->n_window = n_window;
    r2i_arena_init(&p->arena, &model->heap, ARENA_BLOCK_BYTES, 0);
    const r2_status status = create_parts(p, n_threads, err);
    if (status != R2_OK) {
        r2i_text_pass_destroy(p);
        return status;
    }
    *out = p;
    return R2_OK;
}

void r2i_text_pass_destroy(r2i_text_pass *p) {
    if (p == NULL) return;
    r2i_pool_destroy(p->pool);
    r2i_memory_unmap(&p->model->heap, p->page_memory, p->page_memory_bytes);
    r2i_arena_destroy(&p->arena);
    r2i_heap_give(&p->model->heap, p, sizeof *p);
}

void r2i_text_pass_observe(r2i_text_pass *p, r2i_observe observe, void *user) {
    r2i_forward_set_observer(p->forward, observe, user);
}

r2_status r2i_text_pass_run(r2i_text_pass *p, const r2_token *tokens, int32_t n, r2_error *err) {
    R2I_ASSERT(n >= 1 && n <= p->n_window);
    for (int32_t i = 0; i < n; i++) {
        if (tokens[i] < 0 || tokens[i] >= p->model->config.n_vocab)
            return r2i_fail(err, R2_E_RANGE, "token %d: expected 0 to %d", tokens[i],
                            p->model->config.n_vocab - 1);
    }
    R2I_TRY(r2i_model_check_intact(p->model, err));
    const r2i_run run = { .first_row = 0, .n_rows = n, .first_position = 0, .pages = p->pages };
    const r2i_batch batch = { .tokens = tokens, .n_rows = n, .runs = &run, .n_runs = 1 };
    r2i_forward_run(p->forward, &batch);
    return R2_OK;
}

float *r2i_text_pass_logits(r2i_text_pass *p, int32_t first, int32_t n) {
    int32_t rows[R2I_PASS_LOGITS];
    R2I_ASSERT(n >= 1 && n <= R2I_PASS_LOGITS);
    for (int32_t i = 0; i < n; i++)
        rows[i] = first + i;
    r2i_forward_logits(p->forward, rows, n, p->logits);
    return p->logits;
}
