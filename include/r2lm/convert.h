/* convert.h - model files into other model files: change the container, check what lies there.
 *
 * Nothing here runs a model.  What is written appears whole or not at all: a file or folder gets its
 * name when its last byte is safe, and a failure leaves no trace.  Weights stream through a bounded
 * buffer; memory does not grow with the model.  All functions may be called from any thread; each
 * call starts its own threads and ends them. */
#ifndef R2LM_CONVERT_H
#define R2LM_CONVERT_H

#include "r2lm/engine.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Called on the calling thread from time to time: bytes done of all.  Returning false ends the work
 * with R2_E_CANCELED. */
typedef bool (*r2_convert_progress)(void *user, int64_t n_done, int64_t n_all);

/* ---- convert: Hugging Face folder <-> GGUF ---- */

typedef enum {
    R2_CONVERT_KEEP, /* as stored; FP8 with its scales and quantized GGUF blocks become BF16 */
    R2_CONVERT_F32,
    R2_CONVERT_F16,
    R2_CONVERT_BF16
} r2_convert_type;

typedef struct {
    r2_convert_type type; /* of matrices; norms, biases and routers are F32 in GGUF files */
    int32_t n_threads;    /* 0: one per processor this process may use */
    int64_t shard_bytes;  /* most bytes of a safetensors file; 0: 5 * 10^9 */
    bool is_forced;       /* replace what has the name of the output */
    bool drops_mtp;       /* leave multi-token prediction modules out */
    r2_convert_progress progress; /* may be NULL */
    r2_host host;                 /* memory; `log` receives notes; `user` is given to `progress` too */
} r2_convert_options;

#ifdef __cplusplus
}
#endif
#endif
