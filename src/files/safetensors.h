/* safetensors.h - reads safetensors files, single or in shards.
 *
 *     u64 n | n bytes of JSON { name: { dtype, shape, data_offsets: [begin, end] } } | data
 *
 * Checked when opened: offsets cover the data without hole or overlap, every size follows from
 * shape and dtype, names are unique over all shards, the index lists exactly the tensors there are.
 * Tensors of a dtype that r2lm does not compute with (F8_E5M2, I64, ...) are listed, but only
 * refused when they are asked for. */
#ifndef R2I_SAFETENSORS_H
#define R2I_SAFETENSORS_H
#include <stdbool.h>
#include "base/arena.h"
#include "files/stored_tensor.h"

/* X(enum, name in files, bits per element, r2i_type or -1). */
#define R2I_DTYPE_LIST(X)                        \
    X(R2I_DTYPE_BOOL, "BOOL", 8, -1)             \
    X(R2I_DTYPE_U8, "U8", 8, -1)                 \
    X(R2I_DTYPE_I8, "I8", 8, -1)                 \
    X(R2I_DTYPE_F8_E4M3, "F8_E4M3", 8, R2I_TYPE_F8_E4M3) \
    X(R2I_DTYPE_F8_E5M2, "F8_E5M2", 8, -1)       \
    X(R2I_DTYPE_F8_E8M0, "F8_E8M0", 8, -1)       \
    X(R2I_DTYPE_I16, "I16", 16, -1)              \
    X(R2I_DTYPE_U16, "U16", 16, -1)              \
    X(R2I_DTYPE_F16, "F16", 16, R2I_TYPE_F16)    \
    X(R2I_DTYPE_BF16, "BF16", 16, R2I_TYPE_BF16) \
    X(R2I_DTYPE_I32, "I32", 32, -1)              \
    X(R2I_DTYPE_U32, "U32", 32, -1)              \
    X(R2I_DTYPE_F32, "F32", 32, R2I_TYPE_F32)    \
    X(R2I_DTYPE_I64, "I64", 64, -1)              \
    X(R2I_DTYPE_U64, "U64", 64, -1)              \
    X(R2I_DTYPE_F64, "F64", 64, -1)

typedef enum {
#define R2I_DTYPE_ENUM(name, text, bits, type) name,
    R2I_DTYPE_LIST(R2I_DTYPE_ENUM)
#undef R2I_DTYPE_ENUM
        R2I_N_DTYPES
} r2i_dtype;

enum { R2I_SAFETENSORS_DIMS = 8 };

typedef struct {
    const char *name; /* terminated */
    r2i_dtype dtype;
    int32_t n_dims;                      /* 0..8 */
    int64_t shape[R2I_SAFETENSORS_DIMS]; /* outermost first, as in the file; an element may be 0 */
    const uint8_t *bytes;                /* unaligned */
    size_t n_bytes;
    int32_t shard;
} r2i_safetensor;

typedef struct r2i_safetensors r2i_safetensors;

/* Opens model.safetensors or the shards of model.safetensors.index.json in a folder; model.* may be
 * given otherwise by naming the file itself: `path` is a folder, a .safetensors file or an
 * .index.json file.  Shards are opened beneath the folder only (beneath.h).  Memory comes from
 * `arena`, which must outlive *out. */
R2_CHECKED r2_status r2i_safetensors_open(r2i_safetensors **out, const char *path, r2i_arena *arena,
                                          r2_error *err);
/* One whole file in memory, borrowed until close. */
R2_CHECKED r2_status r2i_safetensors_open_memory(r2i_safetensors **out, const char *label,
                                                 const void *bytes, size_t n_bytes,
                                                 r2i_arena *arena, r2_error *err);
/* Unmaps; every view dies.  NULL is allowed. */
void r2i_safetensors_close(r2i_safetensors *file);

const char *r2i_safetensors_label(const r2i_safetensors *file);
int32_t r2i_safetensors_n_shards(const r2i_safetensors *file);
uint64_t r2i_safetensors_file_bytes(const r2i_safetensors *file);
bool r2i_safetensors_is_intact(const r2i_safetensors *file);
size_t r2i_safetensors_n_tensors(const r2i_safetensors *file);
const r2i_safetensor *r2i_safetensors_tensor_at(const r2i_safetensors *file, size_t i);
/* NULL when there is none; constant time. */
const r2i_safetensor *r2i_safetensors_find(const r2i_safetensors *file, const char *name);
/* The tensor as the model wants it.  R2_E_NOT_FOUND; R2_E_UNSUPPORTED for a dtype without r2i_type
 * or more than 4 dimensions; R2_E_FORMAT when a dimension is 0. */
R2_CHECKED r2_status r2i_safetensors_get(const r2i_safetensors *file, const char *name,
                                         r2i_stored_tensor *out, r2_error *err);
/* Text of __metadata__ under `key`, or NULL. */
const char *r2i_safetensors_metadata(const r2i_safetensors *file, const char *key);
const char *r2i_dtype_name(r2i_dtype dtype);
/* Gives the pages of a tensor back (mapping.h). */
void r2i_safetensors_forget(const r2i_safetensors *file, const r2i_stored_tensor *tensor);
#endif
