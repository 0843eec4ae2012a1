/* initial_weights.c - r2_model_init: a model folder with random weights, from its configuration.
 *
 * Every number is a function of (seed, tensor's name, place), so that a model keeps its beginning
 * when layers are added behind. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/failure.h"
#include "base/hash.h"
#include "base/random.h"
#include "convert/tensor_list.h"
#include "files/model_folder.h"
#include "model/model_vocabulary.h"
#include "model/config_read.h"
#include "r2lm/train.h"
#include "train/parameters/own_architecture.h"
#include "train/parameters/weights_folder.h"

static const double deviation = 0.02, two_pi = 6.283185307179586;

/* One tensor of the file; experts one by one. */
typedef struct {
    char name[R2I_TENSOR_NAME_BYTES];
    const r2i_listed_tensor *listed;
    bool is_bias;
} initial_tensor;

typedef struct {
    r2i_config config;
    r2i_tensor_list list;
    initial_tensor *tensors; /* [n] */
    int32_t n;
    uint64_t seed;
    json_t *own; /* configuration made here; NULL: the folder's */
} initial_model;

static bool writes_to_rows(r2i_role role) {
    return role == R2I_ROLE_O || role == R2I_ROLE_DOWN || role == R2I_ROLE_EXPERT_DOWN ||
           role == R2I_ROLE_SHARED_DOWN;
}

static void describe(void *user, int32_t i, r2i_made_tensor *out) {
    const initial_model *m = user;
    const initial_tensor *t = &m->tensors[i];
    *out = (r2i_made_tensor){ .name = t->name,
                              .is_vector = t->listed->is_vector,
                              .n_rows = t->listed->n_rows,
                              .n_cols = t->listed->n_cols };
}

/* Two normal numbers of a place (Box and Muller 1958). */
static void make_pair(uint64_t seed, uint64_t stream, uint64_t place, float *first, float *second,
                      double scale) {
    const double u = 1 - r2i_random_unit(seed, stream, 2 * place),
                 angle = two_pi * r2i_random_unit(seed, stream, 2 * place + 1);
    const double radius = scale * sqrt(-2 * log(u));
    *first = (float)(radius * cos(angle));
    *second = (float)(radius * sin(angle));
}

static void make_row(void *user, int32_t i, int64_t r, float *row) {
    const initial_model *m = user;
    const initial_tensor *t = &m->tensors[i];
    const int64_t n = t->listed->n_cols;
    if (t->listed->is_vector) {
        const bool is_zero = t->is_bias || t->listed->role == R2I_ROLE_SCORE_BIAS;
        for (int64_t c = 0; c < n; c++)
            row[c] = is_zero ? 0 : 1;
        return;
    }
    const uint64_t stream = r2i_hash_bytes(R2I_HASH_SEED, t->name, strlen(t->name));
    const double scale =
        writes_to_rows(t->listed->role) ? deviation / sqrt(2.0 * m->config.n_layers) : deviation;
    for (int64_t c = 0; c < n; c += 2) {
        float pair[2];
        make_pair(m->seed, stream, (uint64_t)(r * (n + 1) + c), &pair[0], &pair[1], scale);
        row[c] = pair[0];
        if (c + 1 < n) row[c + 1] = pair[1];
    }
}

/* ---- the list ---- */

static bool is_wanted(const initial_model *m, const r2i_listed_tensor *t, bool is_bias) {
    if (is_bias) return r2i_role_get_bias(&m->config, t->role) == R2I_BIAS_NEEDED;
    return !t->is_optional; /* copies of the model's embedding and head */
}

static int32_t list_tensors(initial_model *m) {
    int32_t n = 0;
    for (size_t i = 0; i < m->list.n; i++) {
        const r2i_listed_tensor *t = &m->list.tensors[i];
        const bool is_bias = t->is_vector && !r2i_role_is_vector(t->role);
        const int32_t n_parts = t->form == R2I_FORM_EXPERTS ? t->n_parts : 1;
        for (int32_t e = 0; is_wanted(m, t, is_bias) && e < n_parts; e++, n++) {
            if (m->tensors == NULL) continue;
            initial_tensor *out = &m->tensors[n];
            *out = (initial_tensor){ .listed = t, .is_bias = is_bias };
            if (t->form == R2I_FORM_EXPERTS)
                r2i_role_expert_name(out->name, t->role, t->layer, e);
            else
                (void)snprintf(out->name, sizeof out->name, "%s", t->hf);
        }
    }
    return n;
}

static r2_status list_all(initial_model *m, r2i_arena *arena, r2_error *err) {
    R2I_TRY(r2i_tensor_list_make(&m->list, &m->config, true, arena, err));
    m->n = list_tensors(m);
    m->tensors = R2I_ARENA_ARRAY(arena, initial_tensor, (size_t)m->n);
    if (m->tensors == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for %d tensors", m->n);
    (void)list_tensors(m);
    return R2_OK;
}

/* A tokenizer larger than the embedding would be refused by whoever opens the model: said before. */
static r2_status check_tokenizer(const initial_model *m, const r2i_model_folder *files,
                                 r2i_heap *heap, r2_error *err) {
    r2i_tokenizer *tokenizer;
    R2I_TRY(r2i_tokenizer_from_folder(&tokenizer, files, heap, err));
    if (tokenizer == NULL) return R2_OK;
    const int32_t n = r2i_tokenizer_size(tokenizer);
    r2i_tokenizer_destroy(tokenizer);
    if (n <= m->config.n_vocab) return R2_OK;
    return r2i_fail(err, R2_E_MISMATCH,
                    "config.json: vocab_size: expected at least the %d tokens of tokenizer.json, "
                    "found %d",
                    n, m->config.n_vocab);
}

static r2_status read_folder(initial_model *m, const char *folder, r2i_arena *arena,
                             r2_error *err) {
    r2i_model_folder files = { 0 };
    R2I_TRY(r2i_model_folder_open(&files, folder, R2I_FOLDER_CONFIG, arena, err));
    r2_status status = r2i_config_from_json(&m->config, files.config, "config.json", arena, err);
    if (status == R2_OK) status = check_tokenizer(m, &files, arena->heap, err);
    r2i_model_folder_close(&files);
    return status;
}

/* What a tokenizer says of the model that shall use it. */
static r2_status fit_tokenizer(r2i_own_shape *shape, const char *folder, r2i_arena *arena,
                               r2_error *err) {
    r2i_model_folder files = { 0 };
    r2i_tokenizer *tokenizer = NULL;
    R2I_TRY(r2i_model_folder_open(&files, folder, R2I_FOLDER_TOKENIZER, arena, err));
    const r2_status status = r2i_tokenizer_from_folder(&tokenizer, &files, arena->heap, err);
    if (status == R2_OK) {
        shape->n_vocab = r2i_tokenizer_size(tokenizer);
        shape->eos_id = r2i_tokenizer_eos(tokenizer);
    }
    r2i_tokenizer_destroy(tokenizer);
    r2i_model_folder_close(&files);
    return status;
}

static r2_status make_own(initial_model *m, const char *folder, int32_t depth, r2i_arena *arena,
                          r2_error *err) {
    r2i_own_shape shape = { .depth = depth, .eos_id = -1 };
    if (folder != NULL) R2I_TRY(fit_tokenizer(&shape, folder, arena, err));
    R2I_TRY(r2i_own_config_make(&m->own, &shape, err));
    return r2i_config_from_json(&m->config, m->own, "config.json", arena, err);
}

static r2_status make_model(initial_model *m, const char *folder, int32_t depth, r2i_arena *arena,
                            r2_error *err) {
    if (depth == 0 && folder == NULL)
        return r2i_fail(err, R2_E_ARGUMENT, "a new model: expected a folder or a depth");
    R2I_TRY(depth == 0 ? read_folder(m, folder, arena, err)
                       : make_own(m, folder, depth, arena, err));
    return list_all(m, arena, err);
}

r2_status r2_model_init(const char *folder, const char *out, const r2_model_init_options *options,
                        r2_error *err) {
    static const r2_model_init_options defaults = { 0 };
    const r2_model_init_options *o = options != NULL ? options : &defaults;
    initial_model m = { .seed = o->seed };
    r2i_heap heap;
    r2i_arena arena;
    if (err != NULL) *err = (r2_error){ R2_OK, "" };
    r2i_heap_init_host(&heap, &o->host);
    r2i_arena_init(&arena, &heap, 1 << 18, 0);
    r2_status status = make_model(&m, folder, o->depth, &arena, err);
    if (status == R2_OK) {
        const r2i_weights_folder files = { .source = folder,
                                           .config = m.own,
                                           .out = out,
                                           .is_forced = o->is_forced,
                                           .is_initial = true,
                                           .heap = &heap,
                                           .n = m.n,
                                           .describe = describe,
                                           .make_row = make_row,
                                           .user = &m };
        status = r2i_weights_folder_write(&files, err);
    }
    json_decref(m.own);
    r2i_arena_destroy(&arena);
    return status;
}
