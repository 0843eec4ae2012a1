/* gguf_write.h - writes a GGUF file (version 3), whole or not at all (atomic_write.h).
 *
 * Order of calls: create, add values and tensors in any order, begin, write the data of those
 * tensors that were added without bytes (in the order they were added), finish.  The first failure
 * sticks: every later call returns it, and destroy removes what was written. */
#ifndef R2I_GGUF_WRITE_H
#define R2I_GGUF_WRITE_H
#include "files/gguf.h"

typedef struct r2i_gguf_writer r2i_gguf_writer;

R2_CHECKED r2_status r2i_gguf_writer_create(r2i_gguf_writer **out, r2i_heap *heap, r2_error *err);
/* Ends the writer in any state; an unfinished file leaves no trace.  NULL is allowed. */
void r2i_gguf_writer_destroy(r2i_gguf_writer *writer);

/* Metadata; everything given is copied.  R2_E_ARGUMENT: the key is not of a-z 0-9 _ . - or the text
 * is not UTF-8; R2_E_RANGE: the integer does not fit into `type`. */
R2_CHECKED r2_status r2i_gguf_writer_add_integer(r2i_gguf_writer *writer, const char *key,
                                                 r2i_gguf_type type, int64_t x, r2_error *err);
R2_CHECKED r2_status r2i_gguf_writer_add_f32(r2i_gguf_writer *writer, const char *key, float x,
                                             r2_error *err);
R2_CHECKED r2_status r2i_gguf_writer_add_bool(r2i_gguf_writer *writer, const char *key, bool x,
                                              r2_error *err);
R2_CHECKED r2_status r2i_gguf_writer_add_text(r2i_gguf_writer *writer, const char *key,
                                              const char *text, size_t n_bytes, r2_error *err);
/* n elements of a fixed-size type as they lie in memory. */
R2_CHECKED r2_status r2i_gguf_writer_add_array(r2i_gguf_writer *writer, const char *key,
                                               r2i_gguf_type element, const void *elements,
                                               size_t n, r2_error *err);
R2_CHECKED r2_status r2i_gguf_writer_add_texts(r2i_gguf_writer *writer, const char *key,
                                               const r2i_gguf_text *texts, size_t n, r2_error *err);
/* A value of a file that was read, under its own key. */
R2_CHECKED r2_status r2i_gguf_writer_add_value(r2i_gguf_writer *writer, const r2i_gguf_value *value,
                                               r2_error *err);

/* A tensor; ne innermost first.  `bytes` is borrowed until finish; NULL: written by _write.
 * R2_E_ARGUMENT: a name outside 1..64 bytes, a dimension < 1, a row that is no whole block. */
R2_CHECKED r2_status r2i_gguf_writer_add_tensor(r2i_gguf_writer *writer, const char *name,
                                                r2i_type type, int32_t n_dims, const int64_t *ne,
                                                const void *bytes, r2_error *err);

/* Writes the header.  R2_E_FORMAT: a key or tensor was added twice. */
R2_CHECKED r2_status r2i_gguf_writer_begin(r2i_gguf_writer *writer, const char *path,
                                           r2_error *err);
/* Continues the data of the next tensor added without bytes; pieces of any size, never across the
 * end of a tensor (R2_E_ARGUMENT). */
R2_CHECKED r2_status r2i_gguf_writer_write(r2i_gguf_writer *writer, const void *bytes,
                                           size_t n_bytes, r2_error *err);
/* Puts the file in place.  R2_E_STATE: data are missing. */
R2_CHECKED r2_status r2i_gguf_writer_finish(r2i_gguf_writer *writer, r2_error *err);
#endif
