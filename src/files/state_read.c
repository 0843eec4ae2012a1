/* state_read.c - opens checkpoints: every byte checked, then arrays by name and range. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/failure.h"
#include "base/hash.h"
#include "files/beneath.h"
#include "files/safetensors.h"
#include "files/state_folder.h"

enum { PATH_BYTES = 4096, BLOCK_BYTES = 1 << 16 };

typedef struct {
    r2i_mapping file;
    r2i_safetensors *tensors;
} open_shard;

/* A range of an array in one of the shards. */
typedef struct {
    const char *name;
    size_t n_name; /* without '#' and what follows */
    size_t first, n;
    const uint8_t *bytes;
} piece;

struct r2i_state {
    r2i_heap *heap;
    r2i_arena arena;
    int folder_fd;
    char label[PATH_BYTES];
    r2i_state_manifest manifest;
    open_shard *shards; /* [manifest.n_shards] */
    piece *pieces;      /* [n_pieces] by name, then by first */
    size_t n_pieces;
};

void r2i_state_close(r2i_state *s) {
    if (s == NULL) return;
    for (int32_t i = 0; s->shards != NULL && i < s->manifest.n_shards; i++) {
        r2i_safetensors_close(s->shards[i].tensors);
        r2i_mapping_close(&s->shards[i].file);
    }
    if (s->folder_fd >= 0) (void)close(s->folder_fd);
    r2i_state_manifest_free(&s->manifest, s->heap);
    r2i_arena_destroy(&s->arena);
    r2i_heap_give(s->heap, s, sizeof *s);
}

const r2i_state_manifest *r2i_state_get_manifest(const r2i_state *state) {
    return &state->manifest;
}

/* ---- pieces ---- */

static int compare_names(const char *a, size_t n_a, const char *b, size_t n_b) {
    const int order = memcmp(a, b, n_a < n_b ? n_a : n_b);
    return order != 0 ? order : (n_a > n_b) - (n_a < n_b);
}

static int compare_pieces(const void *a, const void *b) {
    const piece *x = a, *y = b;
    const int order = compare_names(x->name, x->n_name, y->name, y->n_name);
    return order != 0 ? order : (x->first > y->first) - (x->first < y->first);
}

static r2_status read_piece(piece *out, const r2i_safetensor *t, const char *label, r2_error *err) {
    const char *mark = strchr(t->name, '#');
    char *end = NULL;
    *out = (piece){ .name = t->name,
                    .n_name = mark != NULL ? (size_t)(mark - t->name) : strlen(t->name),
                    .bytes = t->bytes };
    if (t->dtype != R2I_DTYPE_F32 || t->n_dims != 1)
        return r2i_fail(err, R2_E_FORMAT, "%.150s: %.60s: expected one dimension of F32", label,
                        t->name);
    out->n = (size_t)t->shape[0];
    if (mark == NULL) return R2_OK;
    const unsigned long long first = strtoull(mark + 1, &end, 10);
    if (mark[1] < '0' || mark[1] > '9' || *end != '\0' || first > SIZE_MAX / 8)
        return r2i_fail(err, R2_E_FORMAT, "%.150s: %.60s: expected a number behind '#'", label,
                        t->name);
    out->first = (size_t)first;
    return R2_OK;
}

static r2_status list_pieces(r2i_state *s, r2_error *err) {
    size_t n = 0;
    for (int32_t i = 0; i < s->manifest.n_shards; i++)
        n += r2i_safetensors_n_tensors(s->shards[i].tensors);
    s->pieces = R2I_ARENA_ARRAY(&s->arena, piece, n + 1);
    if (s->pieces == NULL) return r2i_fail(err, R2_E_NOMEM, "%.150s: no memory", s->label);
    for (int32_t i = 0; i < s->manifest.n_shards; i++) {
        const r2i_safetensors *file = s->shards[i].tensors;
        for (size_t k = 0; k < r2i_safetensors_n_tensors(file); k++)
            R2I_TRY(read_piece(&s->pieces[s->n_pieces++], r2i_safetensors_tensor_at(file, k),
                               s->label, err));
    }
    qsort(s->pieces, s->n_pieces, sizeof *s->pieces, compare_pieces);
    return R2_OK;
}

/* ---- opening ---- */

static r2_status open_manifest(r2i_state *s, int64_t step, r2_error *err) {
    r2i_mapping file;
    char label[PATH_BYTES + 32];
    (void)snprintf(label, sizeof label, "%s/" R2I_STATE_MANIFEST_NAME, s->label);
    R2I_TRY(r2i_beneath_map(&file, s->folder_fd, R2I_STATE_MANIFEST_NAME, err));
    r2_status status =
        r2i_state_manifest_read(&s->manifest, label, file.bytes, file.n_bytes, s->heap, err);
    r2i_mapping_close(&file);
    if (status == R2_OK && s->manifest.step != step)
        status = r2i_fail(err, R2_E_FORMAT, "%.150s: step: expected %lld, found %lld", label,
                          (long long)step, (long long)s->manifest.step);
    return status;
}

static r2_status check_shard(const r2i_state *s, int32_t i, const char *name, r2_error *err) {
    const r2i_state_shard *expected = &s->manifest.shards[i];
    const r2i_mapping *file = &s->shards[i].file;
    r2i_checksum sum;
    if (file->n_bytes != expected->n_bytes)
        return r2i_fail(err, R2_E_CHECKSUM, "%.150s/%s: expected %llu bytes, found %zu", s->label,
                        name, (unsigned long long)expected->n_bytes, file->n_bytes);
    r2i_mapping_sequential(file);
    r2i_checksum_begin(&sum);
    r2i_checksum_add(&sum, file->bytes, file->n_bytes);
    if (r2i_checksum_get(&sum) == expected->checksum) return R2_OK;
    return r2i_fail(err, R2_E_CHECKSUM, "%.150s/%s: checksum: expected %016llx, found %016llx",
                    s->label, name, (unsigned long long)expected->checksum,
                    (unsigned long long)r2i_checksum_get(&sum));
}

static r2_status open_shards(r2i_state *s, r2_error *err) {
    s->shards = R2I_ARENA_ARRAY(&s->arena, open_shard, (size_t)s->manifest.n_shards);
    if (s->shards == NULL) return r2i_fail(err, R2_E_NOMEM, "%.150s: no memory", s->label);
    for (int32_t i = 0; i < s->manifest.n_shards; i++) {
        char name[R2I_STATE_NAME_BYTES];
        r2i_state_shard_name(name, i, s->manifest.n_shards);
        const r2_status status = r2i_beneath_map(&s->shards[i].file, s->folder_fd, name, err);
        if (status != R2_OK) return r2i_fail_at(err, status, s->label);
        R2I_TRY(check_shard(s, i, name, err));
        R2I_TRY(r2i_safetensors_open_memory(&s->shards[i].tensors, name, s->shards[i].file.bytes,
                                            s->shards[i].file.n_bytes, &s->arena, err));
    }
    return list_pieces(s, err);
}

static r2_status open_all(r2i_state *s, const char *folder, int64_t step, r2_error *err) {
    char name[R2I_STATE_STEP_BYTES];
    r2i_state_step_name(name, step);
    (void)snprintf(s->label, sizeof s->label, "%.4000s/%s", folder, name);
    R2I_TRY(r2i_beneath_open_folder(&s->folder_fd, s->label, err));
    R2I_TRY(open_manifest(s, step, err));
    return open_shards(s, err);
}

r2_status r2i_state_open(r2i_state **out, const char *folder, int64_t step, r2i_heap *heap,
                         r2_error *err) {
    *out = NULL;
    r2i_state *s = r2i_heap_take(heap, sizeof *s);
    if (s == NULL) return r2i_fail(err, R2_E_NOMEM, "%.150s: no memory", folder);
    memset(s, 0, sizeof *s);
    s->heap = heap;
    s->folder_fd = -1;
    r2i_arena_init(&s->arena, heap, BLOCK_BYTES, 0);
    const r2_status status = open_all(s, folder, step, err);
    if (status == R2_OK)
        *out = s;
    else
        r2i_state_close(s);
    return status;
}

static bool is_of_the_folder(r2_status status) {
    return status == R2_E_NOT_FOUND || status == R2_E_CHECKSUM || status == R2_E_FORMAT;
}

r2_status r2i_state_open_newest(r2i_state **out, const char *folder, r2_error *skipped,
                                r2i_heap *heap, r2_error *err) {
    int64_t *steps;
    size_t n;
    r2_error first = { R2_OK, "" }, last = { R2_OK, "" };
    *out = NULL;
    R2I_TRY(r2i_state_list(&steps, &n, folder, heap, err));
    r2_status status = R2_E_NOT_FOUND;
    for (size_t i = 0; i < n && is_of_the_folder(status); i++)
        status = r2i_state_open(out, folder, steps[i], heap, first.code == R2_OK ? &first : &last);
    if (steps != NULL) r2i_heap_give(heap, steps, n * sizeof *steps);
    if (skipped != NULL) *skipped = first;
    if (status == R2_OK) return R2_OK;
    if (!is_of_the_folder(status))
        return r2i_fail(err, status, "%s", last.code != R2_OK ? last.text : first.text);
    if (n == 0)
        return r2i_fail(err, R2_E_NOT_FOUND,
                        "%.150s: no checkpoint (--checkpoint-every writes them)", folder);
    return r2i_fail(err, R2_E_NOT_FOUND, "no whole checkpoint among %zu: %s", n, first.text);
}

/* ---- arrays ---- */

/* The first piece of an array, or where it would stand. */
static size_t find_array(const r2i_state *s, const char *name, size_t n_name) {
    size_t low = 0, high = s->n_pieces;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        const piece *p = &s->pieces[middle];
        if (compare_names(p->name, p->n_name, name, n_name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

r2_status r2i_state_read(const r2i_state *s, const char *name, size_t first, size_t n, size_t n_all,
                         float *out, r2_error *err) {
    const size_t n_name = strlen(name);
    size_t at = 0, end = 0; /* of the array: covered without gap; of all pieces */
    for (size_t i = find_array(s, name, n_name); i < s->n_pieces; i++) {
        const piece *p = &s->pieces[i];
        if (compare_names(p->name, p->n_name, name, n_name) != 0) break;
        if (p->first > at) break;
        end = p->first + p->n;
        const size_t begin = p->first > first ? p->first : first,
                     stop = end < first + n ? end : first + n;
        if (begin < stop)
            memcpy(out + (begin - first), p->bytes + (begin - p->first) * sizeof *out,
                   (stop - begin) * sizeof *out);
        if (end > at) at = end;
    }
    if (at == n_all) return R2_OK;
    return r2i_fail(err, R2_E_MISMATCH, "%.150s: %.80s: expected %zu numbers, found %zu", s->label,
                    name, n_all, at);
}
