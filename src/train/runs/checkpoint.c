#include "train/runs/checkpoint.h"

#include <math.h>
#include <stdio.h>

#include "base/failure.h"
#include "files/json_read.h"
#include "model/model.h"
#include "train/runs/run_identity.h"
#include "train/ranks/run_ranks.h"
#include "train/runs/trainer_model.h"

enum { BLOCK_BYTES = 1 << 16 };
/* Counts of a file: a run that goes on from them adds to them. */
static const int64_t most = (int64_t)1 << 53;

/* ---- totals ---- */

static json_t *place_to_json(const r2i_data_place *place) {
    json_t *at = json_array();
    int32_t n = R2I_MAX_SOURCES;
    while (n > 0 && place->at[n - 1] == 0)
        n--;
    for (int32_t i = 0; i < n; i++) {
        if (json_array_append_new(at, json_integer(place->at[i])) != 0) {
            json_decref(at);
            return NULL;
        }
    }
    return json_pack("{s:I, s:i, s:I, s:o}", "drawn", (json_int_t)place->n_drawn, "source",
                     place->source, "offset", (json_int_t)place->offset, "at", at);
}

static json_t *state_to_json(const r2i_checkpoint *c, const r2i_run_totals *t) {
    json_t *o = json_pack("{s:I, s:I, s:I, s:I, s:f, s:I, s:o}", "step", (json_int_t)t->step,
                          "optimizer_steps", (json_int_t)c->adamw->n_steps, "tokens",
                          (json_int_t)t->n_tokens, "targets", (json_int_t)t->n_targets, "seconds",
                          t->seconds, "best_step", (json_int_t)t->best_step, "data",
                          place_to_json(&t->place));
    if (o == NULL) return NULL;
    if ((t->best_step > 0 && json_object_set_new(o, "best_loss", json_real(t->best_loss)) != 0) ||
        json_object_set_new(o, "run", json_deep_copy(c->identity)) != 0 ||
        (c->kept != NULL && json_object_set_new(o, "kept", json_deep_copy(c->kept)) != 0)) {
        json_decref(o);
        return NULL;
    }
    return o;
}

static r2_status read_place(r2i_data_place *out, const json_t *o, const char *label,
                            r2_error *err) {
    const json_t *at;
    *out = (r2i_data_place){ .source = -1 };
    R2I_TRY(r2i_json_get_i64(o, label, "drawn", 0, most, &out->n_drawn, err));
    R2I_TRY(r2i_json_get_i32(o, label, "source", -1, R2I_MAX_SOURCES - 1, &out->source, err));
    R2I_TRY(r2i_json_get_i64(o, label, "offset", 0, most, &out->offset, err));
    R2I_TRY(r2i_json_get_tree(o, label, "at", JSON_ARRAY, &at, err));
    if (json_array_size(at) > R2I_MAX_SOURCES)
        return r2i_fail(err, R2_E_FORMAT, "%s: at: expected at most %d numbers, found %zu", label,
                        R2I_MAX_SOURCES, json_array_size(at));
    for (size_t i = 0; i < json_array_size(at); i++) {
        const json_t *value = json_array_get(at, i);
        out->at[i] = json_integer_value(value);
        if (!json_is_integer(value) || out->at[i] < 0 || out->at[i] > most)
            return r2i_fail(err, R2_E_FORMAT, "%s: at: expected counts of documents", label);
    }
    return R2_OK;
}

static r2_status read_state(r2i_run_totals *out, int64_t *n_optimizer_steps, const json_t *o,
                            r2_error *err) {
    static const char label[] = "checkpoint: state";
    const json_t *data;
    *out = (r2i_run_totals){ 0 };
    R2I_TRY(r2i_json_get_i64(o, label, "step", 1, INT32_MAX, &out->step, err));
    R2I_TRY(r2i_json_get_i64(o, label, "optimizer_steps", 0, most, n_optimizer_steps, err));
    R2I_TRY(r2i_json_get_i64(o, label, "tokens", 0, most, &out->n_tokens, err));
    R2I_TRY(r2i_json_get_i64(o, label, "targets", 0, most, &out->n_targets, err));
    R2I_TRY(r2i_json_get_i64(o, label, "best_step", 0, INT64_MAX, &out->best_step, err));
    R2I_TRY(r2i_json_get_tree(o, label, "data", JSON_OBJECT, &data, err));
    out->seconds = json_number_value(json_object_get(o, "seconds"));
    out->best_loss = json_number_value(json_object_get(o, "best_loss"));
    return read_place(&out->place, data, label, err);
}

/* ---- writing ---- */

static bool is_first(const r2i_checkpoint *c) {
    return r2_ranks_index(c->ranks) == 0;
}

static r2_status write_shard(const r2i_checkpoint *c, int64_t step, r2i_arena *arena,
                             r2i_state_shard *out, r2_error *err) {
    r2i_state_range *ranges;
    size_t n;
    R2I_TRY(r2i_trainer_check_finite(c->adamw, err));
    R2I_TRY(r2i_trainer_ranges(c->adamw, arena, &ranges, &n, err));
    return r2i_state_write_shard(out, c->folder, step, r2_ranks_index(c->ranks),
                                 r2_ranks_count(c->ranks), ranges, n, c->heap, err);
}

/* What every rank wrote; 64 bits travel as halves, which a double holds exactly. */
static r2_status gather_shards(const r2i_checkpoint *c, const r2i_state_shard *own,
                               r2i_state_shard *all, r2_error *err) {
    for (int32_t i = 0; i < r2_ranks_count(c->ranks); i++) {
        const bool is_own = i == r2_ranks_index(c->ranks);
        double numbers[3] = { is_own ? (double)own->n_bytes : 0,
                              is_own ? (double)(own->checksum >> 32) : 0,
                              is_own ? (double)(own->checksum & 0xffffffffu) : 0 };
        R2I_TRY(r2i_run_sum(c->ranks, numbers, 3, err));
        all[i] = (r2i_state_shard){ (uint64_t)numbers[0],
                                    (uint64_t)numbers[1] << 32 | (uint64_t)numbers[2] };
    }
    return R2_OK;
}

static r2_status verify(const r2i_checkpoint *c, int64_t step, r2_error *err) {
    r2i_state *state;
    R2I_TRY(r2i_state_open(&state, c->folder, step, c->heap, err));
    r2i_state_close(state);
    return R2_OK;
}

static r2_status commit(const r2i_checkpoint *c, const r2i_run_totals *t, r2i_state_shard *shards,
                        r2_error *err) {
    const r2i_state_manifest manifest = { .step = t->step,
                                          .n_shards = r2_ranks_count(c->ranks),
                                          .shards = shards,
                                          .state = state_to_json(c, t) };
    if (manifest.state == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for a checkpoint");
    const r2_status status = r2i_state_commit(c->folder, &manifest, c->heap, err);
    json_decref(manifest.state);
    return status == R2_OK ? verify(c, t->step, err) : status;
}

/* No rank goes on before all have ended what comes before: r2_ranks_agree. */
static r2_status write_files(const r2i_checkpoint *c, const r2i_run_totals *t, r2i_arena *arena,
                             r2_error *err) {
    r2i_state_shard own = { 0 }, *all = R2I_ARENA_ARRAY(arena, r2i_state_shard,
                                                        (size_t)r2_ranks_count(c->ranks));
    r2_status status = all == NULL   ? r2i_fail(err, R2_E_NOMEM, "no memory for a checkpoint")
                       : is_first(c) ? r2i_state_begin(c->folder, t->step, err)
                                     : R2_OK;
    R2I_TRY(r2_ranks_agree(c->ranks, status, err));
    status = write_shard(c, t->step, arena, &own, err);
    R2I_TRY(r2_ranks_agree(c->ranks, status, err));
    R2I_TRY(gather_shards(c, &own, all, err));
    status = is_first(c) ? commit(c, t, all, err) : R2_OK;
    return r2_ranks_agree(c->ranks, status, err);
}

/* Newer ones than this are of a time that the run went back from.  What cannot be removed harms nobody
 * and is tried again the next time. */
static void remove_others(const r2i_checkpoint *c, const r2i_run_totals *t) {
    int64_t *steps;
    size_t n;
    int32_t n_kept = 0;
    if (r2i_state_list(&steps, &n, c->folder, c->heap, NULL) != R2_OK) return;
    for (size_t i = 0; i < n; i++) {
        const bool is_last = steps[i] <= t->step && n_kept < c->keep_last;
        n_kept += is_last;
        if (!is_last && steps[i] != t->best_step) (void)r2i_state_remove(c->folder, steps[i], NULL);
    }
    if (steps != NULL) r2i_heap_give(c->heap, steps, n * sizeof *steps);
}

r2_status r2i_checkpoint_clear(const r2i_checkpoint *c, int64_t first, r2_error *err) {
    int64_t *steps;
    size_t n;
    r2_status status = R2_OK;
    R2I_TRY(r2i_state_list(&steps, &n, c->folder, c->heap, err));
    for (size_t i = 0; i < n && steps[i] >= first && status == R2_OK; i++)
        status = r2i_state_remove(c->folder, steps[i], err);
    if (steps != NULL) r2i_heap_give(c->heap, steps, n * sizeof *steps);
    return status;
}

r2_status r2i_checkpoint_write(const r2i_checkpoint *c, const r2i_run_totals *totals,
                               r2_error *err) {
    r2i_arena arena;
    r2i_arena_init(&arena, c->heap, BLOCK_BYTES, 0);
    r2_status status = write_files(c, totals, &arena, err);
    r2i_arena_destroy(&arena);
    if (!is_first(c)) return status;
    if (status == R2_OK)
        remove_others(c, totals);
    else /* an unfinished one takes room that the next may need */
        (void)r2i_state_remove(c->folder, totals->step, NULL);
    return status;
}

/* ---- and back ---- */

r2_status r2i_checkpoint_resume(const r2i_checkpoint *c, r2i_run_totals *totals, r2_error *skipped,
                                r2_error *err) {
    r2i_state *state;
    int64_t n_optimizer_steps = 0;
    R2I_TRY(r2i_state_open_newest(&state, c->folder, skipped, c->heap, err));
    const json_t *o = r2i_state_get_manifest(state)->state;
    r2_status status = r2i_run_identity_compare(json_object_get(o, "run"), c->identity, err);
    if (status == R2_OK) status = read_state(totals, &n_optimizer_steps, o, err);
    if (status == R2_OK) status = r2i_trainer_restore(c->adamw, state, err);
    if (status == R2_OK && c->kept != NULL)
        (void)json_object_update(c->kept, json_object_get(o, "kept"));
    r2i_state_close(state);
    if (status == R2_OK) c->adamw->n_steps = n_optimizer_steps;
    return status;
}

/* Names those that there are where another one is wanted. */
static r2_status check_step(const char *folder, int64_t step, r2i_heap *heap, r2_error *err) {
    enum { MOST_NAMED = 8 };
    char text[R2I_STATE_STEP_BYTES * MOST_NAMED] = "";
    int64_t *steps;
    size_t n, at = 0;
    bool is_there = false;
    R2I_TRY(r2i_state_list(&steps, &n, folder, heap, err));
    for (size_t i = 0; i < n; i++) {
        is_there |= steps[i] == step;
        if (i < MOST_NAMED)
            at += (size_t)snprintf(text + at, sizeof text - at, "%s%lld", i > 0 ? ", " : "",
                                   (long long)steps[i]);
    }
    if (steps != NULL) r2i_heap_give(heap, steps, n * sizeof *steps);
    if (is_there) return R2_OK;
    return r2i_fail(err, R2_E_NOT_FOUND, "%.100s: expected a checkpoint of step %lld, found %s",
                    folder, (long long)step, n > 0 ? text : "none");
}

r2_status r2_trainer_restore(r2_trainer *trainer, const char *checkpoints, int64_t step,
                             r2_error *err) {
    r2i_adamw *adamw = r2i_trainer_adamw(trainer);
    r2i_heap *heap = &r2i_trainer_model(trainer)->heap;
    int64_t n_steps = 0;
    r2i_state *state;
    if (err != NULL) *err = (r2_error){ R2_OK, "" };
    if (step > 0) R2I_TRY(check_step(checkpoints, step, heap, err));
    R2I_TRY(step > 0 ? r2i_state_open(&state, checkpoints, step, heap, err)
                     : r2i_state_open_newest(&state, checkpoints, NULL, heap, err));
    r2_status status = r2i_json_get_i64(r2i_state_get_manifest(state)->state, "checkpoint",
                                        "optimizer_steps", 0, most, &n_steps, err);
    if (status == R2_OK)
        status = r2i_run_identity_check_trainer(
            json_object_get(r2i_state_get_manifest(state)->state, "run"), adamw, err);
    if (status == R2_OK) status = r2i_trainer_restore(adamw, state, err);
    r2i_state_close(state);
    if (status == R2_OK) adamw->n_steps = n_steps;
    return status;
}
