/* gguf_header.h - the header of one GGUF file; used by gguf.c only. */
#ifndef R2I_GGUF_HEADER_H
#define R2I_GGUF_HEADER_H
#include "files/gguf.h"
#include "files/name_table.h"

typedef struct {
    const char *label; /* names the file in messages */
    const uint8_t *bytes;
    size_t n_bytes;
    uint32_t version;
    size_t n_values, n_tensors;
    r2i_gguf_value *values;     /* [n_values] */
    r2i_name_table value_names; /* key -> index into values */
    r2i_stored_tensor *tensors; /* [n_tensors] */
} r2i_gguf_header;

/* Reads and checks the header of the file in header->{label, bytes, n_bytes}; fills the rest from
 * `arena`.  `shard` is noted in the tensors.  Duplicate tensor names are left to the caller, who
 * sees all shards. */
R2_CHECKED r2_status r2i_gguf_header_read(r2i_gguf_header *header, int32_t shard, r2i_arena *arena,
                                          r2_error *err);
/* NULL when absent. */
const r2i_gguf_value *r2i_gguf_header_find(const r2i_gguf_header *header, const char *key);
/* Bytes of a value of a fixed-size type; 0 for texts and arrays. */
size_t r2i_gguf_type_bytes(r2i_gguf_type type);
#endif
