/* engine.h - open a model, run many sequences through it at once.
 *
 * A model holds the weights and the tokenizer and is read-only: any number of engines may share it.
 * An engine holds threads, scratch memory and a paged cache of what attention remembers.  Sequences
 * live in an engine; every r2_engine_step advances all of them by some tokens, whether they are
 * still reading their prompt or already writing.
 *
 *     r2_model_open -> r2_engine_create -> r2_sequence_create -> r2_sequence_append (prompt)
 *     -> r2_engine_step until the sequence is finished, r2_sequence_read after each
 *
 * Threads: an engine and its sequences belong to one thread at a time; only r2_sequence_cancel
 * and r2_sequence_stop_thinking may be called from any thread.  Different engines are independent.
 * Exactness: with the same model, options and CPU level, a sequence yields the same tokens for any
 * number of threads, alone or beside others, with its prefix cached or not.
 * Memory: objects returned by _create, _open, _fork, _load are owned by the caller and given back by
 * the matching _destroy or _close; a model must outlive its engines, an engine its sequences. */
#ifndef R2LM_ENGINE_H
#define R2LM_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "r2lm/host.h"
#include "r2lm/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef int32_t r2_token; /* index into the vocabulary, >= 0 */
typedef struct r2_model r2_model;
typedef struct r2_engine r2_engine;
typedef struct r2_sequence r2_sequence;

/* ---- model ---------------------------------------------------------------------------------- */

typedef enum {
    R2_ARITHMETIC_FAST, /* quantized weights: int8 products; F32 and BF16 weights: BF16 products */
    R2_ARITHMETIC_F32 /* weights dequantized to F32, F32 products and cache: slow, for comparison */
} r2_arithmetic;

/* Latent attention (DeepSeek) can be computed in two ways that differ by rounding alone. */
typedef enum {
    R2_LATENT_EXACT, /* one way for all rows: the same bits whatever is computed with whatever */
    R2_LATENT_FAST   /* prompts of more than 1,024 tokens expand keys and values, which costs about
                        half there.  Not less accurate, but bits then depend on how a prompt was cut
                        into steps */
} r2_latent_form;

typedef struct {
    r2_host host;
    const char *cpu; /* highest kernel level to use: "ref", "portable", "avx2", "avx512",
                                 "amx"; NULL: the best the machine has.  "ref" implies F32. */
    r2_arithmetic arithmetic;
    r2_latent_form latent_form;
    bool is_unpacked;  /* keep weights only as they are in the file: less memory, slower */
    bool is_text_only; /* tokenizer and chat template alone, for text.h: the file need hold no
                          weights, a folder no more than tokenizer.json; engines and adapters refuse
                          such a model (R2_E_UNSUPPORTED) */
} r2_model_options;

/* Opens a GGUF file (first shard of several) or a Hugging Face model folder.  `options` may be NULL.
 * The file is mapped, not read; it must not change while the model is open.
 * R2_E_NOT_FOUND no such file; R2_E_FORMAT, R2_E_MISMATCH bad file; R2_E_UNSUPPORTED an architecture,
 * element type or tokenizer this version does not know; R2_E_NOMEM; R2_E_ARGUMENT unknown `cpu`. */
R2_API R2_CHECKED r2_status r2_model_open(r2_model **out, const char *path,
                                          const r2_model_options *options, r2_error *err);
/* NULL is allowed. */
R2_API void r2_model_close(r2_model *model);

typedef struct {
    const char *architecture; /* "qwen2"; lives as long as the model */
    const char *name;         /* from the file, or "" */
    const char *weight_types; /* "Q5_0 44 %, Q8_0 37 %, ..." by bytes */
    const char *cpu_level;    /* kernel level in use */
    int32_t n_layers, d_model, n_heads, n_kv_heads, d_head, d_ffn;
    int32_t n_experts, n_active_experts; /* 0: dense */
    int32_t n_vocab;
    int32_t n_context; /* tokens the model was made for */
    int64_t n_parameters;
    int64_t n_active_parameters; /* multiplied with for one token: not the embedding's rows */
    int64_t file_bytes;
    int64_t bytes_per_token; /* weight bytes read to produce one token */
    int64_t
        cache_bytes_per_token; /* of its layers with R2_CACHE_BF16; r2_engine_stats has an engine's own */
    bool has_chat_template;
    bool can_think; /* <think> and </think> are tokens of the vocabulary */
} r2_model_info;

R2_API void r2_model_get_info(const r2_model *model, r2_model_info *out);

/* ---- adapters ------------------------------------------------------------------------------- */

/* Low-rank additions to a model's matrices (LoRA): y += scale * B (A x).  Several may be open at once;
 * each sequence chooses its own (r2_sequence_options), also within one batch. */
typedef struct r2_adapter r2_adapter;

/* Opens a PEFT folder (adapter_config.json, adapter_model.safetensors) or a GGUF file of type
 * "adapter" for `model`, which must outlive it; the adapter must outlive the sequences that use it.
 * Its files are read at once and not needed afterwards.  With model NULL the files are checked by
 * themselves, to be looked at only.
 * R2_E_NOT_FOUND, R2_E_IO; R2_E_FORMAT a damaged or incomplete adapter; R2_E_MISMATCH one for another
 * model; R2_E_UNSUPPORTED what is more than low-rank pairs on attention, feed-forward or output
 * matrices (DoRA, biases, embeddings, experts); R2_E_NOMEM. */
R2_API R2_CHECKED r2_status r2_adapter_open(r2_adapter **out, r2_model *model, const char *path,
                                            r2_error *err);
/* NULL is allowed.  No sequence may use it any more. */
R2_API void r2_adapter_close(r2_adapter *adapter);
/* Is there an adapter at `path` (a folder with adapter_config.json, a GGUF file that says so)? */
R2_API bool r2_adapter_is_at(const char *path);

typedef struct {
    const char *name;      /* of the folder or file; texts live as long as the adapter */
    const char *base_name; /* of the model it was made for, as its file says, or "" */
    const char *targets;   /* kinds of matrices: "q_proj, v_proj" */
    int32_t rank;          /* the largest */
    float alpha;           /* scale of a matrix = alpha / its rank, or / the root of it (rsLoRA) */
    int32_t n_matrices;
    int64_t n_parameters;
    int64_t memory_bytes; /* packed for the model; 0 without one */
} r2_adapter_info;

R2_API void r2_adapter_get_info(const r2_adapter *adapter, r2_adapter_info *out);

/* ---- engine --------------------------------------------------------------------------------- */

/* What the rows of the cache are kept as.  Saved sequences are of one kind. */
typedef enum {
    R2_CACHE_BF16, /* F32 in a model opened with R2_ARITHMETIC_F32 */
    R2_CACHE_F16,  /* as large, 8 times as exact within +-65504; attention in F32, slower */
    R2_CACHE_Q8    /* 34/64 of the bytes: int8 with a scale per token and 32 channels */
} r2_cache_rows;

typedef struct {
    int32_t n_threads;   /* 0: one per processor this process may use */
    int32_t n_context;   /* most tokens of one sequence; 0: the model's, at most 32768 */
    int64_t cache_bytes; /* memory for the paged cache; 0: four full sequences, within a quarter of
                               the machine's memory, but never less than one */
    int32_t n_batch_tokens;   /* most tokens computed in one step; 0: 256 */
    int32_t n_sequences;      /* most sequences at once; 0: 64 */
    bool has_no_prefix_cache; /* never reuse another sequence's prefix */
    r2_cache_rows cache_rows;
    /* While some sequences write, prompts of others are read in portions, so that a step takes about
     * step_ms (0: 100) and a long prompt does not hold up the writers; where none writes, four times as
     * long, so that a prompt that comes meanwhile has not long to wait. */
    int32_t step_ms;
    int32_t n_reading_tokens; /* instead: most prompt tokens of such a step; 0: by step_ms */
} r2_engine_options;

/* `options` may be NULL.  R2_E_NOMEM, R2_E_RANGE. */
R2_API R2_CHECKED r2_status r2_engine_create(r2_engine **out, r2_model *model,
                                             const r2_engine_options *options, r2_error *err);
/* All its sequences must be destroyed before.  NULL is allowed. */
R2_API void r2_engine_destroy(r2_engine *engine);

/* Advances the sequences by one batch: one token of each that writes (more where guesses came true,
 * see n_draft), then prompt tokens: short prompts before long ones, but each client gets its share (see
 * r2_sequence_options.client).  *n_active is the number of sequences that still have work (0: nothing
 * was done).  When cache pages run out the youngest sequence gives its own to the older ones; it waits,
 * reads its tokens again when there is room, and goes on as if nothing had happened.  What concerns one
 * sequence (canceled, larger than the whole cache) ends that sequence and shows in its status; an error
 * returned here concerns the engine.  Allocates nothing. */
R2_API R2_CHECKED r2_status r2_engine_step(r2_engine *engine, int32_t *n_active, r2_error *err);

typedef struct {
    int64_t n_steps;
    int64_t n_prompt_tokens; /* computed */
    int64_t n_cached_tokens; /* taken from the prefix cache instead */
    int64_t n_generated_tokens;
    int64_t n_drafted_tokens;  /* guesses computed along with the last token */
    int64_t n_accepted_tokens; /* of these, right */
    int64_t step_ns;           /* time spent in r2_engine_step */
    int32_t n_pages, n_pages_used,
        n_pages_kept;        /* cache pages: all; held by sequences; reusable prefixes */
    int64_t n_pages_evicted; /* reusable prefixes whose memory was needed */
    int64_t n_preempted;     /* times that a sequence had to give its pages to an older one */
    int32_t page_tokens;
    int64_t page_bytes;
    int64_t cache_bytes_per_token; /* page_bytes / page_tokens */
    const char *cache_rows;        /* "BF16", "F16", "Q8" or "F32" */
    int32_t n_threads;
    int64_t scratch_bytes; /* memory taken for activations and logits */
    int64_t packed_bytes;  /* weights packed so far */
} r2_engine_stats;

R2_API void r2_engine_get_stats(const r2_engine *engine, r2_engine_stats *out);

/* ---- sequences ------------------------------------------------------------------------------ */

typedef struct {
    r2_token token;
    float bias; /* added to the logit; -INFINITY forbids the token */
} r2_logit_bias;

/* All zero means greedy decoding without penalties. */
typedef struct {
    float temperature; /* 0: greedy */
    int32_t top_k;     /* keep the k likeliest; 0: all */
    float top_p;       /* keep the smallest set with this probability; 0 or >= 1: all */
    float min_p;       /* drop tokens below this share of the likeliest; 0: none */
    float
        repetition_penalty; /* divides (positive) or multiplies (negative) logits of tokens seen; 0 or 1: off */
    float presence_penalty;      /* subtracted once from tokens generated before */
    float frequency_penalty;     /* subtracted per earlier occurrence among generated tokens */
    int32_t n_penalty_tokens;    /* repetition looks back this far; 0: 64 */
    uint64_t seed;               /* same seed, same tokens */
    const r2_logit_bias *biases; /* copied */
    int32_t n_biases;
    int32_t n_top_logprobs; /* record the log-probabilities of this many likeliest tokens, 0..20 */
} r2_sampling;

typedef struct {
    r2_token token;
    float logprob;
} r2_top_logprob;

/* Receives, in order, what the model thought of the appended tokens when it read them: the token at
 * `position` (1 and on) had this log-probability behind those before it, and `likeliest`, best first, were the
 * n_top_logprobs likeliest in its place. */
typedef void (*r2_prompt_callback)(void *user, int32_t position, float logprob,
                                   const r2_top_logprob *likeliest, int32_t n_likeliest);

typedef enum {
    R2_THINK_AUTO, /* as the model does */
    R2_THINK_OFF   /* never: a block opened by the prompt is closed at once, none is opened */
} r2_think_mode;

/* Called before each token is drawn.  `allowed` has one bit per token (bit i%32 of word i/32), all
 * set; the callback clears what must not come.  Returns false if it forbids nothing.  If no bit is
 * left the sequence ends with R2_FINISH_ERROR. */
typedef bool (*r2_mask_callback)(void *user, const r2_sequence *sequence, uint32_t *allowed,
                                 int32_t n_vocab);
/* Receives the final hidden row (after the last norm) of every token of the sequence, in order. */
typedef void (*r2_hidden_callback)(void *user, int32_t position, const float *row, int32_t d_model);

typedef struct {
    r2_sampling sampling;
    int32_t max_new_tokens; /* stop after this many; 0: up to the context's end */
    r2_think_mode think;
    int32_t
        think_budget; /* most tokens of thoughts, markers apart, exact; 0: no limit, < 0: none at all */
    int32_t think_minimum; /* </think> and ends of the text are not drawn before so many; a smaller
                              budget is stronger */
    bool is_manual;        /* never draw tokens: the caller uses r2_sequence_logits or _sample */
    bool ignores_end;      /* go on after end-of-text tokens (benchmarks) */
    bool wants_prompt_logprobs; /* all rows are computed then, none taken from the prefix cache */
    r2_prompt_callback prompt;  /* with wants_prompt_logprobs; may be NULL */
    void *prompt_user;
    /* Most tokens guessed ahead and computed in one step, 0 to 32; 0: none.  Guesses come from what
     * followed the same words earlier in the sequence, or from the model's prediction module.  Fewer
     * are tried, down to none, where past guesses were wrong or rows cost more than they promise.  The
     * tokens are the same as without; a step may add several.  Sequences with is_manual or
     * n_top_logprobs draft nothing. */
    int32_t n_draft;
    r2_mask_callback mask;     /* may be NULL */
    r2_hidden_callback hidden; /* may be NULL */
    void *user;                /* for both callbacks */
    uint64_t cache_domain;     /* prefixes are shared only within a domain (one per client, say) */
    uint64_t client;           /* prompts of different clients are read in turn */
    const r2_adapter *adapter; /* borrowed as long as these options hold; NULL: the model alone */
    float adapter_scale;       /* times the adapter's own scale; 0: 1 */
} r2_sequence_options;

/* `options` may be NULL (greedy).  R2_E_FULL: n_sequences reached. */
R2_API R2_CHECKED r2_status r2_sequence_create(r2_sequence **out, r2_engine *engine,
                                               const r2_sequence_options *options, r2_error *err);
/* Gives its pages back; full ones stay as reusable prefixes until their memory is needed. */
R2_API void r2_sequence_destroy(r2_sequence *sequence);

/* Adds tokens to be read before the next one is drawn: the prompt, later the next turn.  A finished
 * sequence becomes active again.  R2_E_RANGE a token outside the vocabulary, R2_E_FULL beyond the
 * context: nothing is added then. */
R2_API R2_CHECKED r2_status r2_sequence_append(r2_sequence *sequence, const r2_token *tokens,
                                               int32_t n_tokens, r2_error *err);
/* Replaces sampling, limits and callbacks from the next token on; max_new_tokens and the thinking
 * budget count from here.  cache_domain stays.  With another adapter or scale than before, what is
 * computed is given up and the tokens are read again by the next steps. */
R2_API R2_CHECKED r2_status r2_sequence_set_options(r2_sequence *sequence,
                                                    const r2_sequence_options *options,
                                                    r2_error *err);
/* From any thread: the sequence finishes with R2_FINISH_CANCELED at the next step.  A step under way of
 * which all sequences are canceled ends between two layers. */
R2_API void r2_sequence_cancel(r2_sequence *sequence);

/* From any thread: the block that is open is closed with the next token, as by a used up budget, and no
 * other is opened, until options are set or tokens appended. */
R2_API void r2_sequence_stop_thinking(r2_sequence *sequence);

typedef enum {
    R2_STATE_IDLE,
    R2_STATE_READING,
    R2_STATE_WRITING,
    R2_STATE_FINISHED
} r2_sequence_state;
typedef enum {
    R2_FINISH_NONE,
    R2_FINISH_END,    /* the model ended its text */
    R2_FINISH_LENGTH, /* max_new_tokens or the context's end */
    R2_FINISH_CANCELED,
    R2_FINISH_MEMORY, /* larger than the cache, or than what others leave who do not go on */
    R2_FINISH_ERROR   /* the mask left no token, or the model computed what is no number */
} r2_finish;

/* Why the tokens behind the cached ones were not taken from the prefix cache. */
typedef enum {
    R2_MISS_NONE,       /* all but the last were, which is always computed */
    R2_MISS_OFF,        /* there is no prefix cache, or every row is wanted */
    R2_MISS_FIRST_SEEN, /* nothing in this domain begins so */
    R2_MISS_GROWN,      /* what is known ends here: the rest is new */
    R2_MISS_DIVERGED,   /* what is known goes on with other tokens */
    R2_MISS_EVICTED     /* it was known, but its memory was needed */
} r2_cache_miss;

typedef struct {
    r2_sequence_state state;
    r2_finish finish;
    int32_t n_tokens;    /* all, appended and drawn */
    int32_t n_computed;  /* of these, already in the cache */
    int32_t n_cached;    /* of these, taken from the prefix cache */
    int32_t n_generated; /* drawn since the last r2_sequence_set_options or the start */
    int32_t n_thinking;  /* of these, inside <think> */
    bool is_thinking;
    bool is_think_cut;  /* the budget, or r2_sequence_stop_thinking, closed the block */
    int32_t n_drafted;  /* tokens guessed ahead, counted like n_generated */
    int32_t n_accepted; /* of these, right */
    r2_cache_miss miss; /* of the prompt, once it has been begun */
    int32_t
        n_matched; /* where: so many tokens agreed with what is known; >= the ones first cached */
    int32_t n_preempted; /* times that its pages were taken for an older sequence */
} r2_sequence_status;

R2_API void r2_sequence_get_status(const r2_sequence *sequence, r2_sequence_status *out);

typedef struct {
    r2_token token;
    bool is_thinking; /* inside <think> ... </think>, the markers included */
    float logprob;    /* natural log of its probability before temperature and penalties */
} r2_generated;

/* Copies up to cap tokens drawn since the last call; returns how many. */
R2_API int32_t r2_sequence_read(r2_sequence *sequence, r2_generated *out, int32_t cap);
/* All tokens; the pointer is valid until the sequence changes. */
R2_API const r2_token *r2_sequence_tokens(const r2_sequence *sequence, int32_t *n_tokens);

/* Likeliest tokens, best first, at the place of the last token drawn; at most n_top_logprobs of the
 * options.  Returns how many. */
R2_API int32_t r2_sequence_top_logprobs(const r2_sequence *sequence, r2_top_logprob *out,
                                        int32_t cap);
/* log p(token i | tokens before it) for i = 1 .. n-1 at out[i-1], for tokens computed so far; needs
 * wants_prompt_logprobs.  Returns how many were written. */
R2_API int32_t r2_sequence_prompt_logprobs(const r2_sequence *sequence, float *out, int32_t cap);
/* Logits [n_vocab] after the last token of a manual sequence; NULL unless all its tokens are
 * computed.  Valid until the next step. */
R2_API const float *r2_sequence_logits(const r2_sequence *sequence);
/* Draws a token from these logits by the sequence's options, with an optional mask for this call,
 * without appending it.  R2_E_STATE: no logits; R2_E_NOT_FOUND: nothing is allowed. */
R2_API R2_CHECKED r2_status r2_sequence_sample(r2_sequence *sequence, r2_mask_callback mask,
                                               void *user, r2_token *out, r2_error *err);

/* A second sequence with the same tokens, sharing the cache pages; both go on independently.  With
 * another adapter than the first one's nothing is shared and the tokens are read again. */
R2_API R2_CHECKED r2_status r2_sequence_fork(r2_sequence **out, r2_sequence *sequence,
                                             const r2_sequence_options *options, r2_error *err);
/* Forgets all but the first n_tokens tokens.  R2_E_RANGE if there are fewer. */
R2_API R2_CHECKED r2_status r2_sequence_rewind(r2_sequence *sequence, int32_t n_tokens,
                                               r2_error *err);
/* Writes tokens and cache to a file: checksummed, complete or not there at all. */
R2_API R2_CHECKED r2_status r2_sequence_save(const r2_sequence *sequence, const char *path,
                                             r2_error *err);
/* Reads such a file.  R2_E_CHECKSUM, R2_E_FORMAT damaged; R2_E_MISMATCH another model, other cache rows,
 * or options with another adapter or scale than it was saved with. */
R2_API R2_CHECKED r2_status r2_sequence_load(r2_sequence **out, r2_engine *engine, const char *path,
                                             const r2_sequence_options *options, r2_error *err);

#ifdef __cplusplus
}
#endif
#endif
