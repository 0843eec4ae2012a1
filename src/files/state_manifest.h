/* state_manifest.h - manifest.json of a checkpoint: which files it is made of, and numbers to go with
 * them.
 *
 *     {"checksum": "0f...", "format": "r2lm checkpoint", "version": 1, "step": 100,
 *      "shards": [{"file": "state-0-of-1.safetensors", "bytes": 123456, "checksum": "0f..."}],
 *      "state": {...}}
 *
 * Checksums are those of base/hash.h, 16 hexadecimal digits each; the first one is that of the manifest
 * itself, its own digits taken as zeros. */
#ifndef R2I_STATE_MANIFEST_H
#define R2I_STATE_MANIFEST_H
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include "base/memory.h"

#define R2I_STATE_MANIFEST_NAME "manifest.json"

enum { R2I_STATE_MAX_SHARDS = 4096, R2I_STATE_NAME_BYTES = 48 };

typedef struct {
    uint64_t n_bytes, checksum;
} r2i_state_shard;

typedef struct {
    int64_t step;
    int32_t n_shards;
    r2i_state_shard *shards; /* [n_shards] */
    json_t *state;           /* an object */
} r2i_state_manifest;

/* Name of a shard's file. */
void r2i_state_shard_name(char out[R2I_STATE_NAME_BYTES], int32_t index, int32_t n_shards);
/* Writes the file in place of what has its name (atomic_write.h). */
R2_CHECKED r2_status r2i_state_manifest_write(const r2i_state_manifest *manifest, const char *path,
                                              r2i_heap *heap, r2_error *err);
/* R2_E_CHECKSUM, R2_E_FORMAT, R2_E_NOMEM.  What was read is freed by _free. */
R2_CHECKED r2_status r2i_state_manifest_read(r2i_state_manifest *out, const char *label,
                                             const void *bytes, size_t n_bytes, r2i_heap *heap,
                                             r2_error *err);
/* Safe on a zeroed manifest; `state` is given up. */
void r2i_state_manifest_free(r2i_state_manifest *manifest, r2i_heap *heap);
#endif
