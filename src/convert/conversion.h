/* conversion.h - one conversion at work: what is read, what will be written, in which order.
 *
 *     plan (everything is found and checked) -> write (weights stream through) -> put in place
 *
 * A plan touches no weight and writes nothing; all that can be wrong with a model but a broken disk
 * shows there. */
#ifndef R2I_CONVERSION_H
#define R2I_CONVERSION_H
#include "base/pool.h"
#include "convert/tensor_list.h"
#include "convert/weight_rows.h"
#include "files/model_folder.h"
#include "model/weights.h"
#include "r2lm/convert.h"
#include "text/tokenizer.h"

typedef struct {
    const char *name;
    int32_t n_dims;
    int64_t ne[R2I_TENSOR_DIMS]; /* innermost first */
    r2i_row_recipe recipe;
    size_t n_bytes;
} r2i_written_tensor;

typedef struct r2i_merged_matrix r2i_merged_matrix; /* adapter_merge.c */

typedef struct {
    const r2_convert_options *options;
    r2i_heap heap;
    r2i_arena arena; /* as long as the conversion */
    r2i_kernels kernels;
    const char *in, *out; /* paths */
    const char *label;    /* of the input, for messages */
    /* what is read: one of the two */
    r2i_gguf *gguf;
    r2i_model_folder folder;
    r2i_config config;
    bool has_mtp;                   /* modules of the input are written too */
    int64_t block_rows, block_cols; /* of FP8 scales */
    r2i_merged_matrix *merged;      /* [n_merged] that an adapter changes */
    size_t n_merged;
    /* what will be written */
    r2i_written_tensor *tensors; /* [n_tensors] */
    size_t n_tensors, cap_tensors;
    const char **used; /* [n_used] names of stored tensors that are read, as the file holds them */
    size_t n_used, cap_used;
    int64_t n_bytes_all, n_bytes_done; /* of weights */
    r2i_type main_type;                /* of most matrices' bytes */
    /* at work */
    r2i_pool *pool;
    uint8_t *batch; /* made chunks, to be written together */
    size_t batch_bytes;
    uint8_t *scratch; /* [n_threads, scratch_bytes] */
    size_t scratch_bytes;
} r2i_conversion;

/* conversion_plan.c: finds and checks every tensor, fills `tensors`.  R2_E_NOT_FOUND, R2_E_MISMATCH,
 * R2_E_UNSUPPORTED (a tensor that has no place on the other side, an element type), R2_E_NOMEM. */
R2_CHECKED r2_status r2i_conversion_plan(r2i_conversion *conversion, r2_error *err);

/* Receives the bytes of a tensor in order. */
typedef r2_status (*r2i_write_bytes)(void *user, const void *bytes, size_t n_bytes, r2_error *err);
/* tensor_stream.c: threads and memory for streaming the planned tensors. */
R2_CHECKED r2_status r2i_stream_begin(r2i_conversion *conversion, r2_error *err);
/* Makes one tensor and gives it to `write`, batch by batch.  R2_E_CANCELED; what `write` returns. */
R2_CHECKED r2_status r2i_stream_tensor(r2i_conversion *conversion, const r2i_written_tensor *tensor,
                                       r2i_write_bytes write, void *user, r2_error *err);
void r2i_stream_end(r2i_conversion *conversion);

/* gguf_from_folder.c, folder_from_gguf.c: write the planned output. */
R2_CHECKED r2_status r2i_write_gguf(r2i_conversion *conversion, r2_error *err);
R2_CHECKED r2_status r2i_write_folder(r2i_conversion *conversion, r2_error *err);

/* Divisors of inv_freq, [d/2], that a rope of kind LLAMA3 comes to. */
void r2i_llama3_divisors(float *out, const r2i_rope_config *rope);

/* A line for the caller's log, if there is one. */
void r2i_conversion_note(const r2i_conversion *conversion, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
#endif
