/* quantize_model.c - r2_quantize: a model's matrices in other types.
 *
 *     source rows -> F32 (a row per worker) -> finite? -> blocks -> file
 *
 * A piece is a number of rows of one tensor.  While the workers make one piece, the thread that runs
 * the pool writes the one before, as the region's first chunk; so writing costs no time of its own
 * and memory holds two pieces, however large the model is. */
#define _GNU_SOURCE /* lstat */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/failure.h"
#include "base/half.h"
#include "base/pool.h"
#include "convert/importance.h"
#include "convert/recipes.h"
#include "files/gguf_write.h"
#include "kernels/kernels.h"
#include "r2lm/convert.h"

enum { ARENA_BLOCK_BYTES = 1 << 20, PIECE_BYTES = 8 << 20, CHUNK_ELEMENTS = 1 << 15 };

/* One tensor of the output. */
typedef struct {
    const r2i_stored_tensor *source;
    r2i_type type;
    const float *importance; /* [n_slices, ne[0]] or NULL */
    int64_t n_slices;
} plan_entry;

typedef struct {
    const r2_quantize_options *options;
    const char *in, *out;
    r2i_heap heap;
    r2i_arena arena;
    r2i_gguf *gguf;
    r2i_kernels kernels;
    r2i_pool *pool;
    r2i_gguf_writer *writer;
    const r2i_recipe *recipe;
    r2i_role_types roles;
    plan_entry *plan; /* [n_tensors], in file order */
    int64_t n_bytes_all, n_bytes_done;
    float **rows; /* per worker: one row */
    size_t row_floats;
    uint8_t *pieces[2];
    size_t piece_bytes;
    r2_quantize_result result;
} quantizing;

/* ---- what becomes of each tensor ---- */

static bool is_matrix(const r2i_stored_tensor *t) {
    return t->n_dims >= 2 && t->ne[0] > 1 && t->ne[1] > 1;
}

static bool is_quantized(r2i_type type) {
    return r2i_type_get(type)->block_elements > 1;
}

static r2_status fail_width(const quantizing *q, const r2i_stored_tensor *t, r2i_type type,
                            r2_error *err) {
    return r2i_fail(err, R2_E_ARGUMENT,
                    "%s: %s: expected rows of a multiple of %d for %s, found %" PRId64,
                    r2i_gguf_label(q->gguf), t->name, r2i_type_get(type)->block_elements,
                    r2i_type_get(type)->name, t->ne[0]);
}

static r2_status choose_type(quantizing *q, const r2i_stored_tensor *t, int32_t n_layers,
                             r2i_type *out, r2_error *err) {
    int32_t layer;
    r2i_role role = r2i_recipe_role_of(t->name, &layer);
    *out = t->type;
    if (role == R2I_ROLE_NONE || !is_matrix(t)) return R2_OK;
    if (q->roles.is_set[role]) {
        *out = q->roles.type[role];
        if (t->ne[0] % r2i_type_get(*out)->block_elements != 0) return fail_width(q, t, *out, err);
        return R2_OK;
    }
    /* An embedding that is the output matrix too is as fine as that. */
    if (role == R2I_ROLE_EMBEDDING && r2i_gguf_find_tensor(q->gguf, "output.weight") == NULL)
        role = R2I_ROLE_OUTPUT;
    const r2i_type wanted = r2i_recipe_type(q->recipe, role, layer, n_layers);
    *out = r2i_type_for_width(wanted, t->ne[0]);
    if (*out != wanted) q->result.n_fallbacks++;
    return R2_OK;
}

static r2_status plan_tensor(quantizing *q, size_t i, int32_t n_layers, r2_error *err) {
    const r2i_stored_tensor *t = r2i_gguf_tensor_at(q->gguf, i);
    plan_entry *e = &q->plan[i];
    *e = (plan_entry){ .source = t, .n_slices = t->ne[2] * t->ne[3] };
    R2I_TRY(choose_type(q, t, n_layers, &e->type, err));
    const int64_t n = t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
    const size_t n_bytes = (size_t)(n / t->ne[0]) * r2i_type_row_bytes(e->type, (size_t)t->ne[0]);
    q->result.n_parameters += n;
    q->result.source_bytes += (int64_t)t->n_bytes;
    q->result.written_bytes += (int64_t)n_bytes;
    q->n_bytes_all += (int64_t)t->n_bytes;
    q->row_floats = r2i_max_size(q->row_floats, (size_t)t->ne[0]);
    q->piece_bytes = r2i_max_size(q->piece_bytes, r2i_type_row_bytes(e->type, (size_t)t->ne[0]));
    if (e->type != t->type && is_quantized(t->type)) q->result.n_requantized++;
    if (is_quantized(e->type) && q->options->importance != NULL)
        e->importance = r2i_importance_find(q->options->importance, t->name, t->ne[0], e->n_slices);
    if (e->importance != NULL) q->result.n_weighted++;
    return r2i_gguf_writer_add_tensor(q->writer, t->name, e->type, r2i_max_i32(t->n_dims, 1), t->ne,
                                      e->type == t->type ? t->bytes : NULL, err);
}

/* Metadata as they are, but for what says how the tensors are stored. */
static r2_status copy_values(quantizing *q, r2_error *err) {
    for (size_t i = 0; i < r2i_gguf_n_values(q->gguf); i++) {
        const r2i_gguf_value *v = r2i_gguf_value_at(q->gguf, i);
        const bool is_replaced = strcmp(v->key, "general.file_type") == 0 ||
                                 strcmp(v->key, "general.quantization_version") == 0 ||
                                 strncmp(v->key, "split.", 6) == 0;
        if (!is_replaced) R2I_TRY(r2i_gguf_writer_add_value(q->writer, v, err));
    }
    R2I_TRY(r2i_gguf_writer_add_integer(q->writer, "general.quantization_version", R2I_GGUF_U32, 2,
                                        err));
    return r2i_gguf_writer_add_integer(q->writer, "general.file_type", R2I_GGUF_U32,
                                       q->recipe->file_type, err);
}

static r2_status make_plan(quantizing *q, r2_error *err) {
    const size_t n = r2i_gguf_n_tensors(q->gguf);
    int32_t n_layers = 0;
    R2I_TRY(r2i_gguf_try_i32(q->gguf, ".block_count", 0, 1 << 20, &n_layers, err));
    R2I_TRY(r2i_gguf_writer_create(&q->writer, &q->heap, err));
    R2I_TRY(copy_values(q, err));
    q->piece_bytes = PIECE_BYTES;
    q->plan = R2I_ARENA_ARRAY(&q->arena, plan_entry, n);
    if (q->plan == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for %zu tensors", n);
    q->result.n_tensors = (int32_t)n;
    for (size_t i = 0; i < n; i++)
        R2I_TRY(plan_tensor(q, i, n_layers, err));
    return R2_OK;
}

static r2_status take_memory(quantizing *q, r2_error *err) {
    const int32_t n = r2i_pool_threads(q->pool);
    q->rows = R2I_ARENA_ARRAY(&q->arena, float *, (size_t)n);
    for (int32_t i = 0; q->rows != NULL && i < n; i++)
        q->rows[i] = r2i_arena_push_array(&q->arena, q->row_floats, sizeof(float), 64);
    for (int i = 0; i < 2; i++)
        q->pieces[i] = r2i_arena_push(&q->arena, q->piece_bytes, 64);
    const bool is_complete =
        q->rows != NULL && q->rows[n - 1] != NULL && q->pieces[0] != NULL && q->pieces[1] != NULL;
    return is_complete ? R2_OK : r2i_fail(err, R2_E_NOMEM, "no memory to quantize with");
}

/* ---- rows ---- */

/* Bytes that wait to be written while the next ones are made. */
typedef struct {
    const uint8_t *bytes;
    size_t n_bytes;
} waiting;

typedef struct {
    quantizing *q;
    const plan_entry *entry;
    int64_t first_row, n_rows; /* of the tensor, all slices counted */
    int64_t chunk_rows;
    uint8_t *out;
    waiting waits; /* chunk 0, if there is any */
    r2_status write_status;
    r2_error *err;
    _Atomic int64_t bad_row; /* a row that cannot be stored; INT64_MAX: none */
} piece_region;

/* Are all magnitudes within what the type can hold?  A NaN's bits are above those of every number. */
static bool is_storable(const float *x, int64_t n, r2i_type type) {
    const uint32_t largest = r2i_bits_from_f32(type == R2I_TYPE_F16 ? 65504.0F : 0x1.fffffep127F);
    uint32_t above = 0; /* the sign bit is set once a magnitude exceeds the largest */
    for (int64_t i = 0; i < n; i++)
        above |= (r2i_bits_from_f32(x[i]) & 0x7fffffffU) + (0x7fffffffU - largest);
    return above >> 31 == 0;
}

static void quantize_rows(piece_region *region, int64_t begin, int64_t end, int32_t worker) {
    const quantizing *q = region->q;
    const plan_entry *e = region->entry;
    const r2i_stored_tensor *t = e->source;
    const int32_t n_cols = (int32_t)t->ne[0];
    const size_t from_bytes = r2i_type_row_bytes(t->type, (size_t)n_cols),
                 to_bytes = r2i_type_row_bytes(e->type, (size_t)n_cols);
    float *x = q->rows[worker];
    for (int64_t row = begin; row < end; row++) {
        q->kernels.dequantize[t->type](x, t->bytes + (size_t)row * from_bytes, n_cols);
        if (!is_storable(x, n_cols, e->type)) {
            int64_t seen = atomic_load(&region->bad_row);
            while (row < seen && !atomic_compare_exchange_weak(&region->bad_row, &seen, row)) {
            }
            return;
        }
        const float *importance =
            e->importance == NULL ? NULL : e->importance + row / t->ne[1] * t->ne[0];
        q->kernels.quantize[e->type](region->out + (size_t)(row - region->first_row) * to_bytes, x,
                                     importance, n_cols);
    }
}

static void run_chunks(void *argument, int32_t begin, int32_t end, int32_t worker) {
    piece_region *region = argument;
    const int32_t n_writes = region->waits.n_bytes > 0;
    for (int32_t chunk = begin; chunk < end; chunk++) {
        if (chunk < n_writes) {
            region->write_status = r2i_gguf_writer_write(region->q->writer, region->waits.bytes,
                                                         region->waits.n_bytes, region->err);
            continue;
        }
        const int64_t first = (chunk - n_writes) * region->chunk_rows;
        const int64_t last = first + region->chunk_rows < region->n_rows
                                 ? first + region->chunk_rows
                                 : region->n_rows;
        quantize_rows(region, region->first_row + first, region->first_row + last, worker);
    }
}

static r2_status fail_row(const quantizing *q, const plan_entry *e, int64_t row, r2_error *err) {
    const r2i_stored_tensor *t = e->source;
    return r2i_fail(
        err, R2_E_FORMAT, "%s: %s: row %" PRId64 ": expected finite numbers%s, found others",
        r2i_gguf_label(q->gguf), t->name, row, e->type == R2I_TYPE_F16 ? " that F16 can hold" : "");
}

static r2_status report(quantizing *q, r2_error *err) {
    const r2_quantize_options *o = q->options;
    if (o->progress == NULL || o->progress(o->host.user, q->n_bytes_done, q->n_bytes_all))
        return R2_OK;
    return r2i_fail(err, R2_E_CANCELED, "%s: stopped", q->out);
}

/* Makes one piece while the waiting one is written. */
static r2_status make_piece(quantizing *q, piece_region *region, r2_error *err) {
    const int64_t n_cols = region->entry->source->ne[0];
    const int64_t chunk_rows = CHUNK_ELEMENTS / n_cols;
    region->chunk_rows = chunk_rows > 1 ? chunk_rows : 1;
    const int64_t n_chunks = (region->n_rows + region->chunk_rows - 1) / region->chunk_rows;
    atomic_store(&region->bad_row, INT64_MAX);
    region->write_status = R2_OK;
    region->err = err;
    r2i_pool_run(q->pool, (int32_t)n_chunks + (region->waits.n_bytes > 0), 1, run_chunks, region);
    if (region->write_status != R2_OK) return region->write_status;
    const int64_t bad_row = atomic_load(&region->bad_row);
    if (bad_row != INT64_MAX) return fail_row(q, region->entry, bad_row, err);
    return R2_OK;
}

/* All tensors that change; those that do not were handed to the writer. */
static r2_status write_tensors(quantizing *q, r2_error *err) {
    piece_region region = { .q = q };
    int side = 0;
    for (int32_t i = 0; i < q->result.n_tensors; i++) {
        const plan_entry *e = &q->plan[i];
        const r2i_stored_tensor *t = e->source;
        const int64_t n_rows = t->ne[1] * t->ne[2] * t->ne[3];
        const size_t row_bytes = r2i_type_row_bytes(e->type, (size_t)t->ne[0]);
        const int64_t piece_rows = (int64_t)(q->piece_bytes / row_bytes);
        for (int64_t row = 0; row < n_rows && e->type != t->type; row += piece_rows) {
            region.entry = e;
            region.first_row = row;
            region.n_rows = n_rows - row < piece_rows ? n_rows - row : piece_rows;
            region.out = q->pieces[side];
            R2I_TRY(make_piece(q, &region, err));
            region.waits = (waiting){ region.out, (size_t)region.n_rows * row_bytes };
            side = 1 - side;
            const int64_t n_read = (int64_t)t->n_bytes / n_rows * region.n_rows;
            q->n_bytes_done += n_read;
            R2I_TRY(report(q, err));
        }
        if (e->type == t->type) q->n_bytes_done += (int64_t)t->n_bytes;
        r2i_gguf_forget(q->gguf, t);
    }
    if (region.waits.n_bytes == 0) return R2_OK;
    return r2i_gguf_writer_write(q->writer, region.waits.bytes, region.waits.n_bytes, err);
}

/* ---- the whole ---- */

static r2_status check_paths(const quantizing *q, r2_error *err) {
    struct stat from, to;
    if (lstat(q->out, &to) != 0) return R2_OK;
    if (!q->options->is_forced) return r2i_fail(err, R2_E_ARGUMENT, "%s: exists already", q->out);
    if (stat(q->in, &from) == 0 && from.st_dev == to.st_dev && from.st_ino == to.st_ino)
        return r2i_fail(err, R2_E_ARGUMENT, "%s: expected another file than the source", q->out);
    return R2_OK;
}

/* A Hugging Face folder becomes a GGUF file beside the output first, which has lost its name before it
 * is read: nothing is left of it, however this ends. */
static r2_status open_folder(quantizing *q, r2_error *err) {
    const r2_quantize_options *o = q->options;
    char path[4096];
    const r2_convert_options how = {
        .n_threads = o->n_threads, .is_forced = true, .progress = o->progress, .host = o->host
    };
    const int n = snprintf(path, sizeof path, "%s.source.part", q->out);
    if (n < 0 || (size_t)n >= sizeof path)
        return r2i_fail(err, R2_E_ARGUMENT, "%.100s...: expected a shorter path", q->out);
    R2I_TRY(r2_convert(q->in, path, &how, err));
    const r2_status status = r2i_gguf_open(&q->gguf, path, &q->arena, err);
    (void)unlink(path);
    return status;
}

static r2_status open_source(quantizing *q, r2_error *err) {
    struct stat info;
    if (stat(q->in, &info) == 0 && S_ISDIR(info.st_mode)) return open_folder(q, err);
    return r2i_gguf_open(&q->gguf, q->in, &q->arena, err);
}

static r2_status run(quantizing *q, r2_error *err) {
    const r2_quantize_options *o = q->options;
    const int64_t start = r2i_clock_ns();
    R2I_TRY(r2i_recipe_find(&q->recipe, o->type != NULL ? o->type : "Q4_K_M", err));
    for (int32_t i = 0; i < o->n_roles; i++)
        R2I_TRY(r2i_role_types_add(&q->roles, o->roles[i], err));
    R2I_TRY(check_paths(q, err));
    R2I_TRY(open_source(q, err));
    R2I_TRY(make_plan(q, err));
    const int32_t n_threads = o->n_threads > 0 ? o->n_threads : r2i_min_i32(r2i_cpu_count(), 256);
    R2I_TRY(r2i_pool_create(&q->pool, n_threads, &q->heap, err));
    R2I_TRY(take_memory(q, err));
    R2I_TRY(r2i_gguf_writer_begin(q->writer, q->out, err));
    R2I_TRY(write_tensors(q, err));
    if (!r2i_gguf_is_intact(q->gguf))
        return r2i_fail(err, R2_E_IO, "%s was truncated while it was read", q->in);
    R2I_TRY(r2i_gguf_writer_finish(q->writer, err));
    q->result.seconds = (double)(r2i_clock_ns() - start) * 1e-9;
    q->result.bits_per_weight =
        8.0 * (double)q->result.written_bytes / (double)q->result.n_parameters;
    return R2_OK;
}

r2_status r2_quantize(const char *in, const char *out, const r2_quantize_options *options,
                      r2_quantize_result *result, r2_error *err) {
    static const r2_quantize_options defaults = { 0 };
    r2i_cpu cpu;
    if (err != NULL) *err = (r2_error){ R2_OK, "" };
    if (result != NULL) *result = (r2_quantize_result){ 0 };
    quantizing q = { .options = options != NULL ? options : &defaults, .in = in, .out = out };
    r2i_heap_init_host(&q.heap, &q.options->host);
    r2i_arena_init(&q.arena, &q.heap, ARENA_BLOCK_BYTES, 0);
    r2i_cpu_detect(&cpu);
    r2i_kernels_init(&q.kernels, &cpu, R2I_LEVEL_AMX);
    const r2_status status = run(&q, err);
    r2i_gguf_writer_destroy(q.writer);
    r2i_pool_destroy(q.pool);
    r2i_gguf_close(q.gguf);
    r2i_arena_destroy(&q.arena);
    if (status == R2_OK && result != NULL) *result = q.result;
    return status;
}
