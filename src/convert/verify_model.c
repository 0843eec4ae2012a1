/* verify_model.c - r2_verify: opens a model as the engine does, then looks at every value.
 *
 * Of a quantized block only the scales can be no number; of floats it is the exponent's bits that
 * are all set. */
#define _GNU_SOURCE /* S_ISDIR */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/checked.h"
#include "base/cpu.h"
#include "base/failure.h"
#include "base/pool.h"
#include "files/gguf.h"
#include "files/model_folder.h"
#include "r2lm/convert.h"

enum { ARENA_BLOCK_BYTES = 1 << 20, CHUNK_BYTES = 1 << 20, MAX_FAULTS = 20 };

/* Where the numbers of an element or block lie that can be no number. */
typedef struct {
    size_t block_bytes, block_elements;
    uint64_t exponent; /* all bits set: no finite number */
    size_t width;      /* bytes of a number; 0: nothing to look at */
    int32_t n;
    size_t at[2]; /* in the block */
} number_places;

#define F16_BITS 0x7c00u

static const number_places quantized_places[R2I_TYPE_LIMIT] = {
    [R2I_TYPE_Q4_0] = { .exponent = F16_BITS, .width = 2, .n = 1 },
    [R2I_TYPE_Q4_1] = { .exponent = F16_BITS, .width = 2, .n = 2, .at = { 0, 2 } },
    [R2I_TYPE_Q5_0] = { .exponent = F16_BITS, .width = 2, .n = 1 },
    [R2I_TYPE_Q5_1] = { .exponent = F16_BITS, .width = 2, .n = 2, .at = { 0, 2 } },
    [R2I_TYPE_Q8_0] = { .exponent = F16_BITS, .width = 2, .n = 1 },
    [R2I_TYPE_Q2_K] = { .exponent = F16_BITS, .width = 2, .n = 2, .at = { 80, 82 } },
    [R2I_TYPE_Q3_K] = { .exponent = F16_BITS, .width = 2, .n = 1, .at = { 108 } },
    [R2I_TYPE_Q4_K] = { .exponent = F16_BITS, .width = 2, .n = 2, .at = { 0, 2 } },
    [R2I_TYPE_Q5_K] = { .exponent = F16_BITS, .width = 2, .n = 2, .at = { 0, 2 } },
    [R2I_TYPE_Q6_K] = { .exponent = F16_BITS, .width = 2, .n = 1, .at = { 208 } },
    [R2I_TYPE_IQ4_NL] = { .exponent = F16_BITS, .width = 2, .n = 1 },
    [R2I_TYPE_IQ4_XS] = { .exponent = F16_BITS, .width = 2, .n = 1 },
    [R2I_TYPE_MXFP4] = { .exponent = 0xff, .width = 1, .n = 1 }, /* e8m0: 2^(e-127), 255 is NaN */
    [R2I_TYPE_F32] = { .exponent = 0x7f800000u, .width = 4, .n = 1 },
    [R2I_TYPE_F16] = { .exponent = F16_BITS, .width = 2, .n = 1 },
    [R2I_TYPE_BF16] = { .exponent = 0x7f80u, .width = 2, .n = 1 },
};

/* Integers have no places; e4m3 has one pattern only, and no infinity. */
static number_places places_of_dtype(r2i_dtype dtype) {
    switch (dtype) {
    case R2I_DTYPE_F64:
        return (number_places){ 8, 1, 0x7ff0000000000000u, 8, 1, { 0 } };
    case R2I_DTYPE_F32:
        return (number_places){ 4, 1, 0x7f800000u, 4, 1, { 0 } };
    case R2I_DTYPE_F16:
        return (number_places){ 2, 1, F16_BITS, 2, 1, { 0 } };
    case R2I_DTYPE_BF16:
        return (number_places){ 2, 1, 0x7f80u, 2, 1, { 0 } };
    case R2I_DTYPE_F8_E4M3:
        return (number_places){ 1, 1, 0x7f, 1, 1, { 0 } };
    case R2I_DTYPE_F8_E5M2:
        return (number_places){ 1, 1, 0x7c, 1, 1, { 0 } };
    case R2I_DTYPE_F8_E8M0:
        return (number_places){ 1, 1, 0xff, 1, 1, { 0 } };
    default:
        return (number_places){ 1, 1, 0, 0, 0, { 0 } };
    }
}

static number_places places_of_type(r2i_type type) {
    number_places p = quantized_places[type];
    p.block_bytes = (size_t)r2i_type_get(type)->block_bytes;
    p.block_elements = (size_t)r2i_type_get(type)->block_elements;
    return p;
}

/* ---- looking ---- */

/* One loop per width, so that the compiler makes vectors of it. */
static size_t count_u32(const uint8_t *bytes, size_t n, uint32_t exponent) {
    size_t n_bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t x;
        memcpy(&x, bytes + 4 * i, sizeof x);
        n_bad += (x & exponent) == exponent;
    }
    return n_bad;
}

static size_t count_u16(const uint8_t *bytes, size_t n, uint32_t exponent) {
    size_t n_bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint16_t x;
        memcpy(&x, bytes + 2 * i, sizeof x);
        n_bad += (x & exponent) == exponent;
    }
    return n_bad;
}

static size_t count_blocks(const number_places *p, const uint8_t *bytes, size_t n_blocks) {
    size_t n_bad = 0;
    for (size_t b = 0; b < n_blocks; b++, bytes += p->block_bytes) {
        bool is_bad = false;
        for (int32_t i = 0; i < p->n; i++) {
            uint64_t x = 0;
            memcpy(&x, bytes + p->at[i], p->width); /* little-endian, as the files are */
            is_bad |= (x & p->exponent) == p->exponent;
        }
        n_bad += is_bad;
    }
    return n_bad;
}

static size_t count_bad(const number_places *p, const uint8_t *bytes, size_t n_blocks) {
    if (p->block_bytes == 4 && p->width == 4)
        return count_u32(bytes, n_blocks, (uint32_t)p->exponent);
    if (p->block_bytes == 2 && p->width == 2)
        return count_u16(bytes, n_blocks, (uint32_t)p->exponent);
    return count_blocks(p, bytes, n_blocks);
}

typedef struct {
    const r2_verify_options *options;
    r2_verify_report *report;
    r2i_heap heap;
    r2i_arena arena;
    r2i_pool *pool;
    r2i_gguf *gguf;
    r2i_model_folder folder;
    bool has_folder;
    const char *label;
    int64_t n_bytes_all;
    r2_status status; /* of the first fault */
    int32_t n_faults;
} verification;

typedef struct {
    const number_places *places;
    const uint8_t *bytes;
    size_t n_blocks, chunk_blocks;
    _Atomic size_t n_bad;
} tensor_look;

static void look_at_chunks(void *context, int32_t begin, int32_t end, int32_t worker) {
    tensor_look *look = context;
    (void)worker;
    const size_t first = (size_t)begin * look->chunk_blocks,
                 last = r2i_min_size((size_t)end * look->chunk_blocks, look->n_blocks);
    look->n_bad +=
        count_bad(look->places, look->bytes + first * look->places->block_bytes, last - first);
}

static void note_fault(verification *v, r2_status status, const char *text, r2_error *err) {
    if (v->status == R2_OK) {
        v->status = status;
        (void)r2i_fail(err, status, "%s", text);
    }
    if (v->options->fault != NULL && v->n_faults < MAX_FAULTS)
        v->options->fault(v->options->host.user, text);
    v->n_faults++;
}

/* Looks in pieces, so that progress shows and the work can be stopped. */
static r2_status look_at(verification *v, const char *name, const number_places *places,
                         const uint8_t *bytes, size_t n_bytes, r2_error *err) {
    enum { PIECE_CHUNKS = 256 };
    const size_t chunk_blocks = r2i_max_size(CHUNK_BYTES / places->block_bytes, 1),
                 n_all = n_bytes / places->block_bytes;
    tensor_look look = { .places = places, .chunk_blocks = chunk_blocks };
    for (size_t done = 0; done < n_all && places->width > 0;) {
        look.n_blocks = r2i_min_size(n_all - done, PIECE_CHUNKS * chunk_blocks);
        look.bytes = bytes + done * places->block_bytes;
        const size_t n_chunks = (look.n_blocks + chunk_blocks - 1) / chunk_blocks;
        r2i_pool_run(v->pool, (int32_t)n_chunks, 1, look_at_chunks, &look);
        done += look.n_blocks;
        const int64_t n_done = v->report->n_bytes + (int64_t)(done * places->block_bytes);
        if (v->options->progress != NULL &&
            !v->options->progress(v->options->host.user, n_done, v->n_bytes_all))
            return r2i_fail(err, R2_E_CANCELED, "verification was canceled");
    }
    v->report->n_tensors++;
    v->report->n_values += (int64_t)(n_all * places->block_elements);
    v->report->n_bytes += (int64_t)n_bytes;
    if (look.n_bad == 0) return R2_OK;
    char text[R2_ERROR_TEXT_BYTES];
    (void)snprintf(text, sizeof text,
                   "%.60s: %.90s: expected finite numbers, found %zu that are none%s", v->label,
                   name, (size_t)look.n_bad,
                   places->block_elements > 1 ? " (scales of blocks)" : "");
    v->report->n_bad_tensors++;
    note_fault(v, R2_E_FORMAT, text, err);
    return R2_OK;
}

static r2_status look_at_gguf(verification *v, r2_error *err) {
    const size_t n = r2i_gguf_n_tensors(v->gguf);
    for (size_t i = 0; i < n; i++)
        v->n_bytes_all += (int64_t)r2i_gguf_tensor_at(v->gguf, i)->n_bytes;
    for (size_t i = 0; i < n; i++) {
        const r2i_stored_tensor *t = r2i_gguf_tensor_at(v->gguf, i);
        const number_places places = places_of_type(t->type);
        if (!r2i_gguf_is_intact(v->gguf))
            return r2i_fail(err, R2_E_IO, "%s: the file became shorter", v->label);
        R2I_TRY(look_at(v, t->name, &places, t->bytes, t->n_bytes, err));
        r2i_gguf_forget(v->gguf, t);
    }
    return R2_OK;
}

static r2_status look_at_folder(verification *v, r2_error *err) {
    const r2i_safetensors *weights = v->folder.weights;
    const size_t n = r2i_safetensors_n_tensors(weights);
    for (size_t i = 0; i < n; i++)
        v->n_bytes_all += (int64_t)r2i_safetensors_tensor_at(weights, i)->n_bytes;
    for (size_t i = 0; i < n; i++) {
        const r2i_safetensor *t = r2i_safetensors_tensor_at(weights, i);
        const number_places places = places_of_dtype(t->dtype);
        const r2i_stored_tensor seen = { .bytes = t->bytes,
                                         .n_bytes = t->n_bytes,
                                         .shard = t->shard };
        if (!r2i_safetensors_is_intact(weights))
            return r2i_fail(err, R2_E_IO, "%s: a file became shorter", v->label);
        R2I_TRY(look_at(v, t->name, &places, t->bytes, t->n_bytes, err));
        r2i_safetensors_forget(weights, &seen);
    }
    return R2_OK;
}

/* ---- opening ---- */

static r2_status open_files(verification *v, const char *path, r2_error *err) {
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        R2I_TRY(r2i_model_folder_open(&v->folder, path, R2I_FOLDER_WEIGHTS, &v->arena, err));
        v->has_folder = true;
        v->label = v->folder.label;
        v->report->n_files = r2i_safetensors_n_shards(v->folder.weights);
        return R2_OK;
    }
    R2I_TRY(r2i_gguf_open(&v->gguf, path, &v->arena, err));
    v->label = r2i_gguf_label(v->gguf);
    v->report->n_files = r2i_gguf_n_shards(v->gguf);
    return R2_OK;
}

/* Names and shapes against the configuration, tokenizer: whatever the engine would find. */
static void check_opening(verification *v, const char *path, r2_error *err) {
    r2_model *model = NULL;
    r2_error why = { R2_OK, "" };
    r2_model_info info;
    const r2_model_options options = { .host = v->options->host, .is_unpacked = true };
    const r2_status status = r2_model_open(&model, path, &options, &why);
    if (status != R2_OK) {
        note_fault(v, status, why.text, err);
        return;
    }
    r2_model_get_info(model, &info);
    (void)snprintf(v->report->architecture, sizeof v->report->architecture, "%s",
                   info.architecture);
    r2_model_close(model);
}

static r2_status run(verification *v, const char *path, r2_error *err) {
    const int32_t n_threads = v->options->n_threads > 0 ? v->options->n_threads : r2i_cpu_count();
    const r2_status status = open_files(v, path, err);
    if (status != R2_OK) {
        if (err != NULL && v->options->fault != NULL)
            v->options->fault(v->options->host.user, err->text);
        return status;
    }
    check_opening(v, path, err);
    R2I_TRY(r2i_pool_create(&v->pool, n_threads, &v->heap, err));
    R2I_TRY(v->has_folder ? look_at_folder(v, err) : look_at_gguf(v, err));
    return v->status;
}

r2_status r2_verify(const char *path, const r2_verify_options *options, r2_verify_report *report,
                    r2_error *err) {
    static const r2_verify_options defaults = { 0 };
    if (err != NULL) *err = (r2_error){ R2_OK, "" };
    *report = (r2_verify_report){ .n_tensors = 0 };
    verification v = { .options = options != NULL ? options : &defaults, .report = report };
    const r2_host *host = &v.options->host;
    r2i_heap_init_host(&v.heap, host);
    r2i_arena_init(&v.arena, &v.heap, ARENA_BLOCK_BYTES, 0);
    const r2_status status = run(&v, path, err);
    r2i_pool_destroy(v.pool);
    r2i_gguf_close(v.gguf);
    if (v.has_folder) r2i_model_folder_close(&v.folder);
    r2i_arena_destroy(&v.arena);
    if (status == R2_OK && err != NULL) *err = (r2_error){ R2_OK, "" }; /* of optional files */
    return status;
}
