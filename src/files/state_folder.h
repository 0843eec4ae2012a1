/* state_folder.h - checkpoints: named arrays of floats and an object of numbers, one folder per step.
 *
 *     FOLDER/step-00000100/state-0-of-2.safetensors   "m/model.norm.weight" [64], or a range of an
 *                          state-1-of-2.safetensors   array: "m/lm_head.weight#4096" [1000]
 *                          manifest.json              written last (state_manifest.h)
 *
 * A step exists only if its manifest and all of its shards have the length and checksum that the
 * manifest says: whatever moment the power fails at, it is there as a whole or not at all.  Each of
 * several ranks writes a shard with the ranges that it holds; any other division reads them back.
 *
 *     begin (one rank) -> write_shard (each) -> commit (one, when all are done) -> open: verified
 *
 * A failed write or fsync fails its file for good: nothing is retried on it (atomic_write.h). */
#ifndef R2I_STATE_FOLDER_H
#define R2I_STATE_FOLDER_H
#include <stdbool.h>
#include "files/state_manifest.h"

/* A range of an array. */
typedef struct {
    const char *name; /* of the array, without '#' */
    const float *values;
    size_t first, n; /* [first, first + n) of the array; n may be 0: nothing is written then */
    size_t n_all;    /* of the whole array */
} r2i_state_range;

/* Makes the folders of a step if need be and clears away what an unfinished one left there.
 * R2_E_IO, R2_E_FULL. */
R2_CHECKED r2_status r2i_state_begin(const char *folder, int64_t step, r2_error *err);
/* Writes one of the shards of a step that was begun, and makes it durable. */
R2_CHECKED r2_status r2i_state_write_shard(r2i_state_shard *out, const char *folder, int64_t step,
                                           int32_t index, int32_t n_shards,
                                           const r2i_state_range *ranges, size_t n_ranges,
                                           r2i_heap *heap, r2_error *err);
/* Writes the manifest: from now on the step exists.  All shards must have been written. */
R2_CHECKED r2_status r2i_state_commit(const char *folder, const r2i_state_manifest *manifest,
                                      r2i_heap *heap, r2_error *err);
/* Removes a step; one that is not there is removed already.  R2_E_IO: some of it is left, but nothing
 * that would open. */
r2_status r2i_state_remove(const char *folder, int64_t step, r2_error *err);

/* Steps that have a folder, newest first; *out [*n] is given back with the heap (*n * 8 bytes).
 * No such folder: none. */
R2_CHECKED r2_status r2i_state_list(int64_t **out, size_t *n, const char *folder, r2i_heap *heap,
                                    r2_error *err);

typedef struct r2i_state r2i_state;

/* Opens a step and reads all of it once.  R2_E_NOT_FOUND, R2_E_CHECKSUM, R2_E_FORMAT: it does not
 * exist; R2_E_IO, R2_E_NOMEM. */
R2_CHECKED r2_status r2i_state_open(r2i_state **out, const char *folder, int64_t step,
                                    r2i_heap *heap, r2_error *err);
/* The newest one that exists; `skipped` (may be NULL) says what is wrong with the first folder that was
 * passed over for it, R2_OK: none was.  R2_E_NOT_FOUND: none exists, and why not of the newest folder; any
 * other failure is not the folder's, and ends the search. */
R2_CHECKED r2_status r2i_state_open_newest(r2i_state **out, const char *folder, r2_error *skipped,
                                           r2i_heap *heap, r2_error *err);
/* NULL is allowed. */
void r2i_state_close(r2i_state *state);
const r2i_state_manifest *r2i_state_get_manifest(const r2i_state *state);
/* Values [first, first + n) of an array of n_all.  R2_E_MISMATCH: no such array, another size, or
 * values of the range are missing. */
R2_CHECKED r2_status r2i_state_read(const r2i_state *state, const char *name, size_t first,
                                    size_t n, size_t n_all, float *out, r2_error *err);

enum { R2I_STATE_STEP_BYTES = 32 };
/* "step-00000100". */
void r2i_state_step_name(char out[R2I_STATE_STEP_BYTES], int64_t step);
#endif
