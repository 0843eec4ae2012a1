/* convert.h - model files into other model files: change the container, check what lies there.
 *
 * Only r2_compare and r2_importance_collect run models.  What is written appears whole or not at all:
 * a file or folder gets its name when its last byte is safe, and a failure leaves no trace.  Weights
 * stream through a bounded buffer; memory does not grow with the model.  All functions may be called
 * from any thread; each call starts its own threads and ends them. */
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
    struct {
        const char *path; /* a PEFT folder or a GGUF file, as r2_adapter_open reads; NULL: none */
        float scale;      /* times the adapter's own; 0: 1 */
    } adapter; /* merged: W + scale s B A in place of W, in the type that W would be written in */
    r2_convert_progress progress; /* may be NULL */
    r2_host host;                 /* memory; `log` receives notes; `user` is given to `progress` too */
} r2_convert_options;

/* Writes the model `in` as `out`: a Hugging Face folder becomes a GGUF file, a GGUF file (or the
 * first shard of several) a folder with safetensors, config.json and tokenizer files.  `options` may
 * be NULL.  Families: llama, qwen2, qwen3, qwen3_moe, deepseek_v2, deepseek_v3.
 * R2_E_NOT_FOUND: no such input, a shard or tensor missing; R2_E_FORMAT, R2_E_MISMATCH: bad input,
 * an adapter of another model, a sum that its type cannot hold;
 * R2_E_UNSUPPORTED: a family, element type, tokenizer or setting that the other side cannot hold,
 * or an adapter of what engines adapt neither;
 * R2_E_ARGUMENT: `out` exists; R2_E_FULL: no room on the disk; R2_E_CANCELED, R2_E_NOMEM, R2_E_IO. */
R2_API R2_CHECKED r2_status r2_convert(const char *in, const char *out,
                                       const r2_convert_options *options, r2_error *err);

/* ---- verify: is a model file what it should be? ---- */

typedef struct {
    int32_t n_threads; /* 0: one per processor this process may use */
    /* One line for every fault, up to 20; may be NULL. */
    void (*fault)(void *user, const char *line);
    r2_convert_progress progress; /* may be NULL; counts bytes of weights */
    r2_host host;                 /* memory; `user` is given to all of these */
} r2_verify_options;

typedef struct {
    char architecture[32];
    int64_t n_tensors, n_values; /* looked at */
    int64_t n_bytes;             /* of weights */
    int64_t n_bad_tensors;       /* holding a value, or the scale of a block, that is no finite number */
    int32_t n_files;             /* of weights */
} r2_verify_report;

/* Opens `path` (as r2_model_open does: header, bounds, names and shapes against the configuration,
 * tokenizer), then reads every tensor and looks for NaN and infinity.  `options` may be NULL.
 * *report holds what was looked at so far, also on failure.  R2_E_FORMAT: values that are no
 * numbers; otherwise what r2_model_open says of the first fault. */
R2_API R2_CHECKED r2_status r2_verify(const char *path, const r2_verify_options *options,
                                      r2_verify_report *report, r2_error *err);

/* ---- quantize: a model's matrices in smaller types --------------------------------------------- */

/* How much the columns of each matrix count, seen while a model read a text. */
typedef struct r2_importance r2_importance;

typedef struct {
    /* A recipe: Q4_K_M (also NULL), Q4_K_S, Q5_K_M, Q5_K_S, Q6_K, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1,
     * IQ4_NL, IQ4_XS, MXFP4, MXFP4_MOE, F16, BF16 or F32. */
    const char *type;
    /* "ROLE=TYPE" each, the last one counts: embedding output q k v o q_a q_b kv_a kv_b k_b v_b gate
     * up down expert_gate expert_up expert_down shared_gate shared_up shared_down join, or a group:
     * ends attention ffn experts shared mtp. */
    const char *const *roles;
    int32_t n_roles;
    const r2_importance *importance; /* NULL: all columns count alike */
    int32_t n_threads;               /* 0: one per processor this process may use */
    bool is_forced;                  /* replace what has the name of the output */
    r2_convert_progress progress;    /* may be NULL */
    r2_host host;                    /* memory; `user` is given to `progress` too */
} r2_quantize_options;

typedef struct {
    int32_t n_tensors;
    int32_t n_requantized; /* were quantized before: what that lost stays lost */
    int32_t n_fallbacks;   /* rows that the recipe's type does not divide took another */
    int32_t n_weighted;    /* with importance */
    int64_t n_parameters, source_bytes, written_bytes; /* of tensors */
    double bits_per_weight, seconds;
} r2_quantize_result;

/* Writes the model `in`, a GGUF file or a Hugging Face folder, to the GGUF file `out`; a folder is
 * converted to a file beside `out` first, which needs its room for that long.  Vectors, routers and
 * what has no role stay as they are; so do metadata but for what says how tensors are stored.  The
 * same source, options and importance give the same bytes on every machine.  `options` and `result` may be NULL.
 * R2_E_ARGUMENT: an unknown type or role, a role's type whose blocks do not divide its rows, `out`
 * exists; R2_E_FORMAT: a weight is no finite number, or too large for F16; R2_E_FULL, R2_E_IO,
 * R2_E_CANCELED. */
R2_API R2_CHECKED r2_status r2_quantize(const char *in, const char *out,
                                        const r2_quantize_options *options,
                                        r2_quantize_result *result, r2_error *err);

typedef struct {
    int32_t n_window;  /* tokens of a window; 0: 512, and what is left over at the end is not used */
    int32_t n_threads; /* 0: one per processor this process may use */
    r2_convert_progress progress; /* tokens; may be NULL */
    void *user;
} r2_compare_options;

typedef struct {
    double perplexity, base_perplexity;
    double mean_kl;  /* of the base's next-token distribution to the model's, in nats */
    double same_top; /* share of positions with the same likeliest token */
    int64_t n_scored; /* positions: the second half of each window */
} r2_compare_result;

/* How far a model lies from its source on a text.  Both have the same vocabulary (R2_E_MISMATCH).
 * No engine may use either at the same time. */
R2_API R2_CHECKED r2_status r2_compare(r2_compare_result *out, r2_model *model, r2_model *base,
                                       const r2_token *tokens, int32_t n_tokens,
                                       const r2_compare_options *options, r2_error *err);

/* Reads a text with a model from a GGUF file and keeps the mean square of what each matrix's columns
 * are multiplied with.  No engine may use the model at the same time. */
R2_API R2_CHECKED r2_status r2_importance_collect(r2_importance **out, r2_model *model,
                                                  const r2_token *tokens, int32_t n_tokens,
                                                  const r2_compare_options *options, r2_error *err);
/* Files as llama.cpp's imatrix tool reads and writes them. */
R2_API R2_CHECKED r2_status r2_importance_load(r2_importance **out, const char *path, r2_error *err);
R2_API R2_CHECKED r2_status r2_importance_save(const r2_importance *importance, const char *path,
                                               r2_error *err);
/* NULL is allowed. */
R2_API void r2_importance_destroy(r2_importance *importance);

/* ---- plan: parameters, memory and speed of a model that need not be here ---------------------- */

typedef enum {
    R2_PART_EMBEDDING,
    R2_PART_ATTENTION,
    R2_PART_DENSE_FFN,
    R2_PART_EXPERTS,
    R2_PART_SHARED_EXPERTS,
    R2_PART_ROUTER,
    R2_PART_HEAD,
    R2_PART_OTHER, /* norms, rope frequencies */
    R2_PART_MTP,   /* the module that predicts one token more; not counted among the parameters */
    R2_N_PARTS
} r2_part;

/* "embedding", "attention", ...; "" outside the list. */
R2_API const char *r2_part_name(r2_part part);

typedef enum {
    R2_FIT_UNKNOWN,  /* memory_bytes was 0 */
    R2_FIT_PACKED,   /* everything, weights arranged for the processor */
    R2_FIT_UNPACKED, /* only with r2_model_options.is_unpacked: the file's pages are used in place */
    R2_FIT_NONE      /* weights would be read from the disk again and again */
} r2_fit;

typedef struct {
    /* How weights are stored: a recipe of r2_quantize ("Q4_K_M") or a stored type ("FP8").
     * NULL: as they are; of a configuration alone, as it says it is published. */
    const char *type;
    const char *cache_type; /* "bf16" (also NULL), "f16", "q8" or "f32" */
    int32_t n_context;      /* tokens of each sequence; 0: the model's, at most 32768 */
    int32_t n_sequences;    /* at once; 0: 1 */
    int32_t n_threads;      /* 0: one per processor this process may use */
    int64_t memory_bytes;   /* to fit into; 0: do not judge */
    double read_bytes_per_s; /* of memory, as measured; 0: do not estimate what it bounds */
    double products_per_s;   /* r2_measure_products; 0: likewise */
} r2_plan_options;

typedef struct {
    char architecture[32];
    char types[160];  /* "Q4_K 92 %, Q6_K 8 %": of the weights' bytes */
    char main_type[16]; /* the one with most bytes */
    bool is_assumed;  /* no weights were there, or another type was asked for */
    int32_t n_layers, n_dense_layers, d_model, n_experts, n_active_experts;
    int32_t n_context_made_for; /* tokens that the model was made for */
    struct {
        int64_t n_parameters, n_bytes;
    } parts[R2_N_PARTS];
    int64_t n_parameters;        /* without R2_PART_MTP */
    int64_t n_active_parameters; /* multiplied with for one token: without the embedding's rows */
    int64_t weight_bytes;        /* all parts as stored */
    int64_t bytes_per_token;     /* of these, read to produce one token alone */
    int64_t cache_bytes_per_token;
    int32_t n_context, n_sequences; /* as planned for */
    int64_t cache_bytes;            /* n_sequences of n_context tokens, in whole pages */
    int64_t scratch_bytes;          /* activations and logits, about */
    int64_t packed_bytes, unpacked_bytes; /* memory for everything in each configuration */
    r2_fit fit;
    int32_t longest_context;   /* of n_sequences each, that fits; 0: none, or not judged */
    /* Upper bounds in tokens per second; 0: unknown. */
    double decode_tok_s;       /* one sequence, little context */
    double full_decode_tok_s;  /* one sequence, n_context behind it */
    double batch_decode_tok_s; /* n_sequences together, little context */
    double prefill_tok_s;      /* of a long prompt, attention not counted */
} r2_plan_result;

/* Plans for `path`: a GGUF file, a Hugging Face folder with or without weights, or a config.json.
 * Weights are not read.  `options` may be NULL.  R2_E_ARGUMENT an unknown type; R2_E_RANGE;
 * otherwise as r2_model_open. */
R2_API R2_CHECKED r2_status r2_plan(r2_plan_result *out, const char *path,
                                    const r2_plan_options *options, r2_error *err);

/* Multiplications and additions per second of this machine's best kernel for a stored type (NULL:
 * "BF16") on 256 tokens, over about `seconds`, with n_threads (0: as above).  R2_E_ARGUMENT an
 * unknown type; R2_E_NOMEM. */
R2_API R2_CHECKED r2_status r2_measure_products(double *out, const char *type, int32_t n_threads,
                                                double seconds, r2_error *err);

#ifdef __cplusplus
}
#endif
#endif
