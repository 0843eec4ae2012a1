/* data_reader.c - r2_data_reader: the batches of a run, for loops of one's own. */
#include <string.h>

#include "base/failure.h"
#include "train/data/data_stream.h"

enum { ARENA_BLOCK_BYTES = 1 << 18, DEFAULT_RUN_TOKENS = 512, DEFAULT_BATCH_TOKENS = 4096 };

struct r2_data_reader {
    r2i_heap heap;
    r2i_arena arena; /* manifests, lists */
    r2i_data_set *sets;
    int32_t n_open;
    r2i_data_stream *stream;
    int32_t *lengths; /* [batch_tokens] */
};

static r2_status open_sets(r2_data_reader *r, const r2_data_reader_options *o,
                           r2i_data_source *sources, r2_error *err) {
    r->sets = R2I_ARENA_ARRAY(&r->arena, r2i_data_set, (size_t)o->n_data);
    if (r->sets == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for sets of data");
    for (int32_t i = 0; i < o->n_data; i++) {
        R2I_TRY(r2i_data_set_open(&r->sets[i], o->data[i], o->model, &r->arena, err));
        r->n_open++;
        sources[i] =
            (r2i_data_source){ .set = &r->sets[i],
                               .split = o->is_validation ? R2I_SPLIT_VALIDATION : R2I_SPLIT_TRAIN,
                               .weight = o->shares != NULL ? o->shares[i] : 1 };
    }
    return R2_OK;
}

static r2_status open_reader(r2_data_reader *r, const r2_data_reader_options *o, r2_error *err) {
    r2i_data_source sources[R2I_MAX_SOURCES];
    const r2i_data_stream_options options = {
        .sources = sources,
        .n_sources = o->n_data,
        .run_tokens = o->run_tokens > 0 ? o->run_tokens : DEFAULT_RUN_TOKENS,
        .batch_tokens = o->batch_tokens > 0 ? o->batch_tokens : DEFAULT_BATCH_TOKENS,
        .seed = o->seed,
        .is_once = o->is_once || o->is_validation
    };
    if (o->n_data < 1 || o->n_data > R2I_MAX_SOURCES)
        return r2i_fail(err, R2_E_ARGUMENT, "data: expected 1 to %d folders, found %d",
                        R2I_MAX_SOURCES, o->n_data);
    R2I_TRY(open_sets(r, o, sources, err));
    R2I_TRY(r2i_data_stream_open(&r->stream, &options, NULL, &r->heap, err));
    r->lengths = R2I_ARENA_ARRAY(&r->arena, int32_t, (size_t)options.batch_tokens);
    if (r->lengths != NULL) return R2_OK;
    return r2i_fail(err, R2_E_NOMEM, "no memory for batches of %d tokens", options.batch_tokens);
}

r2_status r2_data_reader_open(r2_data_reader **out, const r2_data_reader_options *options,
                              r2_error *err) {
    r2i_heap heap;
    *out = NULL;
    if (err != NULL) *err = (r2_error){ R2_OK, "" };
    r2i_heap_init_host(&heap, &options->host);
    r2_data_reader *r = r2i_heap_take(&heap, sizeof *r);
    if (r == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for a reader of data");
    memset(r, 0, sizeof *r);
    r->heap = heap;
    r2i_arena_init(&r->arena, &r->heap, ARENA_BLOCK_BYTES, 0);
    const r2_status status = open_reader(r, options, err);
    if (status != R2_OK)
        r2_data_reader_close(r);
    else
        *out = r;
    return status;
}

void r2_data_reader_close(r2_data_reader *r) {
    if (r == NULL) return;
    r2i_data_stream_close(r->stream);
    for (int32_t i = 0; i < r->n_open; i++)
        r2i_data_set_close(&r->sets[i]);
    r2i_arena_destroy(&r->arena);
    r2i_heap heap = r->heap;
    r2i_heap_give(&heap, r, sizeof *r);
}

bool r2_data_reader_next(r2_data_reader *r, r2_training_batch *out) {
    const r2i_batch_data *data = r2i_data_stream_next(r->stream);
    for (int32_t i = 0; i < data->n_runs; i++)
        r->lengths[i] = data->run_begins[i + 1] - data->run_begins[i];
    *out = (r2_training_batch){ .tokens = data->tokens,
                                .targets = data->targets,
                                .n_tokens = data->n_tokens,
                                .lengths = r->lengths,
                                .n_documents = data->n_runs };
    return data->n_tokens > 0;
}
