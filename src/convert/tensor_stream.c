/* tensor_stream.c - makes tensors chunk by chunk on all threads and hands them on in order. */
#include <stdatomic.h>

#include "base/checked.h"
#include "base/cpu.h"
#include "base/failure.h"
#include "convert/conversion.h"

enum { BATCH_BYTES = 1 << 25 };

static size_t chunk_bytes(const r2i_row_recipe *recipe) {
    return (size_t)r2i_recipe_chunk_rows(recipe) *
           r2i_type_row_bytes(recipe->type, (size_t)recipe->n_cols);
}

r2_status r2i_stream_begin(r2i_conversion *conversion, r2_error *err) {
    r2i_conversion *c = conversion;
    const int32_t n_threads = c->options->n_threads > 0 ? c->options->n_threads : r2i_cpu_count();
    c->batch_bytes = BATCH_BYTES;
    for (size_t i = 0; i < c->n_tensors; i++) {
        const r2i_row_recipe *recipe = &c->tensors[i].recipe;
        c->batch_bytes = r2i_max_size(c->batch_bytes, chunk_bytes(recipe));
        c->scratch_bytes = r2i_max_size(c->scratch_bytes, r2i_recipe_scratch_bytes(recipe));
    }
    R2I_TRY(r2i_pool_create(&c->pool, n_threads, &c->heap, err));
    c->scratch_bytes = (c->scratch_bytes + 63) & ~(size_t)63;
    c->batch = r2i_heap_take(&c->heap, c->batch_bytes);
    c->scratch = r2i_heap_take(&c->heap, c->scratch_bytes * (size_t)n_threads);
    if (c->batch != NULL && c->scratch != NULL) return R2_OK;
    return r2i_fail(err, R2_E_NOMEM, "no memory for %zu bytes of weights at work", c->batch_bytes);
}

void r2i_stream_end(r2i_conversion *conversion) {
    r2i_conversion *c = conversion;
    if (c->scratch != NULL) {
        r2i_heap_give(&c->heap, c->scratch, c->scratch_bytes * (size_t)r2i_pool_threads(c->pool));
    }
    if (c->batch != NULL) r2i_heap_give(&c->heap, c->batch, c->batch_bytes);
    r2i_pool_destroy(c->pool);
    c->pool = NULL;
    c->batch = c->scratch = NULL;
}

typedef struct {
    const r2i_conversion *conversion;
    const r2i_row_recipe *recipe;
    int64_t first_chunk;
    size_t chunk_bytes;
    atomic_bool is_spoiled; /* by what was added: a value is no finite number */
} batch_work;

static void make_chunks(void *context, int32_t begin, int32_t end, int32_t worker) {
    batch_work *w = context;
    const r2i_conversion *c = w->conversion;
    uint8_t *scratch = c->scratch + (size_t)worker * c->scratch_bytes;
    for (int32_t i = begin; i < end; i++) {
        if (!r2i_recipe_make(w->recipe, &c->kernels, w->first_chunk + i,
                             c->batch + (size_t)i * w->chunk_bytes, (float *)(void *)scratch))
            atomic_store(&w->is_spoiled, true);
    }
}

/* The pages of what was read are needed no longer. */
static void forget_sources(const r2i_conversion *c, const r2i_row_recipe *recipe) {
    for (int32_t i = 0; i < recipe->n_sources; i++) {
        const r2i_stored_rows *s = &recipe->sources[i];
        const r2i_stored_tensor t = { .bytes = s->bytes,
                                      .n_bytes = (size_t)s->n_rows * s->row_bytes,
                                      .shard = s->shard };
        if (c->gguf != NULL)
            r2i_gguf_forget(c->gguf, &t);
        else
            r2i_safetensors_forget(c->folder.weights, &t);
    }
}

static r2_status check_input(const r2i_conversion *c, r2_error *err) {
    const bool is_intact = c->gguf != NULL ? r2i_gguf_is_intact(c->gguf)
                                           : r2i_safetensors_is_intact(c->folder.weights);
    if (is_intact) return R2_OK;
    return r2i_fail(err, R2_E_IO, "%s: the file became shorter while it was read", c->label);
}

r2_status r2i_stream_tensor(r2i_conversion *conversion, const r2i_written_tensor *tensor,
                            r2i_write_bytes write, void *user, r2_error *err) {
    r2i_conversion *c = conversion;
    const r2i_row_recipe *recipe = &tensor->recipe;
    const int64_t chunk_rows = r2i_recipe_chunk_rows(recipe),
                  n_chunks = (recipe->n_rows + chunk_rows - 1) / chunk_rows;
    batch_work work = { c, recipe, 0, chunk_bytes(recipe), false };
    const int64_t cap_chunks = (int64_t)(c->batch_bytes / work.chunk_bytes);
    size_t n_left = tensor->n_bytes;
    while (work.first_chunk < n_chunks) {
        const int64_t n_open = n_chunks - work.first_chunk,
                      n = n_open < cap_chunks ? n_open : cap_chunks;
        R2I_TRY(check_input(c, err));
        r2i_pool_run(c->pool, (int32_t)n, 1, make_chunks, &work);
        if (atomic_load(&work.is_spoiled)) {
            return r2i_fail(err, R2_E_FORMAT,
                            "%s: %s: with the adapter, a weight is no finite number of its type",
                            c->label, tensor->name);
        }
        const size_t n_bytes = r2i_min_size((size_t)n * work.chunk_bytes, n_left);
        R2I_TRY(write(user, c->batch, n_bytes, err));
        n_left -= n_bytes;
        work.first_chunk += n;
        c->n_bytes_done += (int64_t)n_bytes;
        if (c->options->progress != NULL &&
            !c->options->progress(c->options->host.user, c->n_bytes_done, c->n_bytes_all)) {
            return r2i_fail(err, R2_E_CANCELED, "conversion was canceled");
        }
    }
    forget_sources(c, recipe);
    return R2_OK;
}
