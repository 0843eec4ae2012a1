/* folder_from_gguf.c - safetensors, config.json and tokenizer files from a GGUF file. */
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/failure.h"
#include "convert/folder_config.h"
#include "convert/vocabulary.h"
#include "files/atomic_folder.h"
#include "files/atomic_write.h"
#include "files/safetensors_write.h"

enum { PATH_BYTES = 4400, NAME_BYTES = 64, MAX_JSON_BYTES = 1 << 30 };

/* One file of weights: tensors [first, end). */
typedef struct {
    size_t first, end;
    char name[NAME_BYTES];
} shard;

typedef struct {
    r2i_conversion *conversion;
    const char *folder; /* temporary */
    shard *shards;      /* [n_shards] */
    size_t n_shards;
    r2_error *err;
} output;

static r2i_dtype dtype_of(r2i_type type) {
    return type == R2I_TYPE_F32   ? R2I_DTYPE_F32
           : type == R2I_TYPE_F16 ? R2I_DTYPE_F16
                                  : R2I_DTYPE_BF16;
}

/* ---- files of weights ---- */

/* Whole tensors go to a file until the next would make it too large. */
static r2_status cut_shards(output *o) {
    const r2i_conversion *c = o->conversion;
    const size_t most =
        c->options->shard_bytes > 0 ? (size_t)c->options->shard_bytes : (size_t)5000000000;
    o->shards = R2I_ARENA_ARRAY(&o->conversion->arena, shard, c->n_tensors);
    if (o->shards == NULL) return r2i_fail(o->err, R2_E_NOMEM, "no memory for shards");
    size_t n_bytes = 0;
    for (size_t i = 0; i < c->n_tensors; i++) {
        if (i == 0 || n_bytes + c->tensors[i].n_bytes > most) {
            o->shards[o->n_shards++].first = i;
            n_bytes = 0;
        }
        n_bytes += c->tensors[i].n_bytes;
        o->shards[o->n_shards - 1].end = i + 1;
    }
    for (size_t s = 0; s < o->n_shards; s++) {
        shard *x = &o->shards[s];
        if (o->n_shards == 1)
            (void)snprintf(x->name, sizeof x->name, "model.safetensors");
        else
            (void)snprintf(x->name, sizeof x->name, "model-%05zu-of-%05zu.safetensors", s + 1,
                           o->n_shards);
    }
    return R2_OK;
}

static r2_status write_piece(void *user, const void *bytes, size_t n_bytes, r2_error *err) {
    return r2i_safetensors_writer_write(user, bytes, n_bytes, err);
}

static r2_status add_tensor(const output *o, r2i_safetensors_writer *w,
                            const r2i_written_tensor *t) {
    int64_t shape[R2I_TENSOR_DIMS];
    for (int32_t d = 0; d < t->n_dims; d++)
        shape[d] = t->ne[t->n_dims - 1 - d];
    return r2i_safetensors_writer_add_tensor(w, t->name, dtype_of(t->recipe.type), t->n_dims, shape,
                                             NULL, o->err);
}

static r2_status fill_shard(const output *o, const shard *s, r2i_safetensors_writer *w) {
    r2i_conversion *c = o->conversion;
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s", o->folder, s->name);
    R2I_TRY(r2i_safetensors_writer_add_metadata(w, "format", "pt", o->err));
    for (size_t i = s->first; i < s->end; i++)
        R2I_TRY(add_tensor(o, w, &c->tensors[i]));
    R2I_TRY(r2i_safetensors_writer_begin(w, path, o->err));
    for (size_t i = s->first; i < s->end; i++)
        R2I_TRY(r2i_stream_tensor(c, &c->tensors[i], write_piece, w, o->err));
    return r2i_safetensors_writer_finish(w, o->err);
}

static r2_status write_shard(const output *o, const shard *s) {
    r2i_safetensors_writer *w = NULL;
    R2I_TRY(r2i_safetensors_writer_create(&w, &o->conversion->heap, o->err));
    const r2_status status = fill_shard(o, s, w);
    r2i_safetensors_writer_destroy(w);
    return status;
}

static json_t *make_index(const output *o) {
    const r2i_conversion *c = o->conversion;
    json_t *map = json_object();
    for (size_t s = 0; s < o->n_shards; s++) {
        for (size_t i = o->shards[s].first; i < o->shards[s].end; i++) {
            if (json_object_set_new(map, c->tensors[i].name, json_string(o->shards[s].name)) != 0) {
                json_decref(map);
                return NULL;
            }
        }
    }
    return json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)c->n_bytes_all,
                     "weight_map", map);
}

/* ---- JSON ---- */

r2_status r2i_write_text(r2i_conversion *conversion, const char *folder, const char *name,
                         const char *text, size_t n_bytes, r2_error *err) {
    char path[PATH_BYTES];
    r2i_atomic_file *file = NULL;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    R2I_TRY(r2i_atomic_begin(&file, path, false, &conversion->heap, err));
    const r2_status status = r2i_atomic_write(file, text, n_bytes, err);
    if (status == R2_OK) return r2i_atomic_commit(file, err);
    r2i_atomic_abandon(file);
    return status;
}

r2_status r2i_write_json(r2i_conversion *conversion, const char *folder, const char *name,
                         json_t *tree, r2_error *err) {
    r2i_buffer text;
    r2_status status = R2_E_NOMEM;
    r2i_buffer_init(&text, &conversion->heap, MAX_JSON_BYTES);
    /* Nine digits give every F32 back. */
    const size_t flags = JSON_INDENT(2) | JSON_REAL_PRECISION(9);
    if (tree != NULL && json_dump_callback(tree, r2i_buffer_append_chunk, &text, flags) == 0 &&
        r2i_buffer_append_chunk("\n", 1, &text) == 0)
        status = r2i_write_text(conversion, folder, name, text.bytes, text.n_bytes, err);
    else
        (void)r2i_fail(err, status, "%s: no memory (or text that is no UTF-8)", name);
    r2i_buffer_destroy(&text);
    json_decref(tree);
    return status;
}

/* ---- the folder ---- */

static r2_status write_files(output *o) {
    r2i_conversion *c = o->conversion;
    json_t *config = NULL, *generation = NULL;
    R2I_TRY(r2i_folder_config_make(&config, &generation, c, o->err));
    const r2_status status = r2i_write_json(c, o->folder, "config.json", config, o->err);
    if (status != R2_OK) {
        json_decref(generation);
        return status;
    }
    R2I_TRY(r2i_write_json(c, o->folder, "generation_config.json", generation, o->err));
    R2I_TRY(r2i_vocabulary_to_folder(c, o->folder, o->err));
    R2I_TRY(cut_shards(o));
    for (size_t s = 0; s < o->n_shards; s++)
        R2I_TRY(write_shard(o, &o->shards[s]));
    if (o->n_shards == 1) return R2_OK;
    return r2i_write_json(c, o->folder, "model.safetensors.index.json", make_index(o), o->err);
}

r2_status r2i_write_folder(r2i_conversion *conversion, r2_error *err) {
    r2i_conversion *c = conversion;
    r2i_atomic_folder *folder = NULL;
    R2I_TRY(r2i_atomic_folder_begin(&folder, c->out, c->options->is_forced, "config.json", &c->heap,
                                    err));
    output o = { .conversion = c, .folder = r2i_atomic_folder_path(folder), .err = err };
    const r2_status status = write_files(&o);
    if (status == R2_OK) return r2i_atomic_folder_commit(folder, err);
    r2i_atomic_folder_abandon(folder);
    return status;
}
