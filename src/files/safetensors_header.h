/* safetensors_header.h - the header of one safetensors file; used by safetensors.c only. */
#ifndef R2I_SAFETENSORS_HEADER_H
#define R2I_SAFETENSORS_HEADER_H
#include <jansson.h>
#include "files/safetensors.h"

enum { R2I_SAFETENSORS_MAX_HEADER = 100000000 };

typedef struct {
    const char *label;
    const uint8_t *bytes;
    size_t n_bytes;
    size_t n_tensors;
    r2i_safetensor *tensors; /* [n_tensors], in order of the header */
    json_t *metadata;        /* owned; NULL when absent */
} r2i_safetensors_header;

/* Reads and checks the file in header->{label, bytes, n_bytes}.  On failure metadata is NULL. */
R2_CHECKED r2_status r2i_safetensors_header_read(r2i_safetensors_header *header, int32_t shard,
                                                 r2i_arena *arena, r2_error *err);
int32_t r2i_dtype_bits(r2i_dtype dtype);
/* r2i_type or -1. */
int32_t r2i_dtype_type(r2i_dtype dtype);
#endif
