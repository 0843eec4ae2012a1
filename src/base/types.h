/* types.h - element types of stored tensors.  Numbers are those of GGUF files, from 64 on our own. */
#ifndef R2I_TYPES_H
#define R2I_TYPES_H
#include <stddef.h>
#include <stdint.h>

/* X(enum, id, name, elements per block, bytes per block).  Block layouts: docs/formats.md. */
#define R2I_TYPE_LIST(X)                       \
    X(R2I_TYPE_F32, 0, "F32", 1, 4)            \
    X(R2I_TYPE_F16, 1, "F16", 1, 2)            \
    X(R2I_TYPE_Q4_0, 2, "Q4_0", 32, 18)        \
    X(R2I_TYPE_Q4_1, 3, "Q4_1", 32, 20)        \
    X(R2I_TYPE_Q5_0, 6, "Q5_0", 32, 22)        \
    X(R2I_TYPE_Q5_1, 7, "Q5_1", 32, 24)        \
    X(R2I_TYPE_Q8_0, 8, "Q8_0", 32, 34)        \
    X(R2I_TYPE_Q2_K, 10, "Q2_K", 256, 84)      \
    X(R2I_TYPE_Q3_K, 11, "Q3_K", 256, 110)     \
    X(R2I_TYPE_Q4_K, 12, "Q4_K", 256, 144)     \
    X(R2I_TYPE_Q5_K, 13, "Q5_K", 256, 176)     \
    X(R2I_TYPE_Q6_K, 14, "Q6_K", 256, 210)     \
    X(R2I_TYPE_IQ4_NL, 20, "IQ4_NL", 32, 18)   \
    X(R2I_TYPE_IQ4_XS, 23, "IQ4_XS", 256, 136) \
    X(R2I_TYPE_BF16, 30, "BF16", 1, 2)         \
    X(R2I_TYPE_MXFP4, 39, "MXFP4", 32, 17)     \
    X(R2I_TYPE_F8_E4M3, 64, "F8_E4M3", 1, 1)

typedef enum {
#define R2I_TYPE_ENUM(name, id, text, n, bytes) name = id,
    R2I_TYPE_LIST(R2I_TYPE_ENUM)
#undef R2I_TYPE_ENUM
        R2I_TYPE_GGUF_LIMIT = 64, /* above every id of a GGUF file */
    R2I_TYPE_LIMIT = 65           /* above every id: size of tables indexed by type */
} r2i_type;

typedef struct {
    const char *name;       /* NULL: no such type */
    int32_t block_elements; /* elements per block along a row */
    int32_t block_bytes;
} r2i_type_info;

/* NULL when `id` (any number from a GGUF file) is not a supported type of such files. */
const r2i_type_info *r2i_type_find(uint64_t id);
/* For ids already checked. */
const r2i_type_info *r2i_type_get(r2i_type type);
/* Bytes of one row of n elements; n must be a multiple of block_elements. */
size_t r2i_type_row_bytes(r2i_type type, size_t n_elements);
#endif
