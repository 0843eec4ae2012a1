/* safetensors_write.h - writes one safetensors file, whole or not at all (atomic_write.h).
 *
 * Order of calls: create, add metadata and tensors, begin, write the data of the tensors added
 * without bytes (in the order they were added), finish.  Data follow each other without gaps; add
 * wide elements before narrow ones if readers are to find every tensor aligned. */
#ifndef R2I_SAFETENSORS_WRITE_H
#define R2I_SAFETENSORS_WRITE_H
#include "base/hash.h"
#include "files/safetensors.h"

typedef struct r2i_safetensors_writer r2i_safetensors_writer;

R2_CHECKED r2_status r2i_safetensors_writer_create(r2i_safetensors_writer **out, r2i_heap *heap,
                                                   r2_error *err);
/* Ends the writer in any state; an unfinished file leaves no trace.  NULL is allowed. */
void r2i_safetensors_writer_destroy(r2i_safetensors_writer *writer);
/* A text of __metadata__, UTF-8. */
R2_CHECKED r2_status r2i_safetensors_writer_add_metadata(r2i_safetensors_writer *writer,
                                                         const char *key, const char *text,
                                                         r2_error *err);
/* A tensor; shape outermost first.  `bytes` is borrowed until finish; NULL: written by _write.
 * R2_E_ARGUMENT: an empty name, one used before, or an impossible shape. */
R2_CHECKED r2_status r2i_safetensors_writer_add_tensor(r2i_safetensors_writer *writer,
                                                       const char *name, r2i_dtype dtype,
                                                       int32_t n_dims, const int64_t *shape,
                                                       const void *bytes, r2_error *err);
/* Every byte of the file is added to *sum as well, from begin to finish; borrowed until then. */
void r2i_safetensors_writer_sum(r2i_safetensors_writer *writer, r2i_checksum *sum);
/* Writes the header. */
R2_CHECKED r2_status r2i_safetensors_writer_begin(r2i_safetensors_writer *writer, const char *path,
                                                  r2_error *err);
/* Continues the data of the next tensor added without bytes, never across its end. */
R2_CHECKED r2_status r2i_safetensors_writer_write(r2i_safetensors_writer *writer, const void *bytes,
                                                  size_t n_bytes, r2_error *err);
/* Puts the file in place.  R2_E_STATE: data are missing. */
R2_CHECKED r2_status r2i_safetensors_writer_finish(r2i_safetensors_writer *writer, r2_error *err);
#endif
