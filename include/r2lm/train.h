/* train.h - from texts to a model: tokenizer, data for training, training.
 *
 * All functions may be called from any thread; a trainer belongs to one thread at a time. */
#ifndef R2LM_TRAIN_H
#define R2LM_TRAIN_H

#include "r2lm/engine.h"
#include "r2lm/ranks.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- a tokenizer of one's own ---- */

typedef struct {
    /* As in r2_data_options: files, folders, or "-". */
    const char *const *inputs;
    int32_t n_inputs;
    const char *mark;
    int32_t n_vocab; /* tokens in all: the 256 bytes, special ones, and what is learned */
    /* Special tokens have the first ids, the first one ends a text.  Those that begin with "<|" are
     * control tokens; others are found in any text.  NULL: <|end|>, roles, <think>, <answer>, ..., and a
     * chat template that uses them. */
    const char *const *names;
    int32_t n_names;
    int32_t n_reserved; /* special tokens in all: <|reserved_N|> fill up; below n_names: no more */
    int64_t min_count;  /* neighbours seen together less often stay apart; 0: 2 */
    bool is_forced;     /* replace what has the name of the output, if it is such a folder */
    /* Bytes read, then (is_learning) tokens, of all or of 0 (unknown); false ends the work with
     * R2_E_CANCELED.  May be NULL. */
    bool (*progress)(void *user, bool is_learning, int64_t n_done, int64_t n_all);
    r2_host host; /* memory; `user` is given to `progress` too */
} r2_tokenizer_options;

typedef struct {
    int32_t n_vocab, n_merges; /* n_vocab is less than asked for when the texts hold no more */
    int64_t n_documents, n_files, n_bytes;
    int64_t n_pieces, n_different; /* words and the like in the texts; different ones */
    int64_t n_tokens;              /* what the texts come to */
} r2_tokenizer_result;

/* Learns byte-level BPE (single digits, words cut as GPT-2 does, no normalizer) and writes the folder
 * `out`: tokenizer.json and tokenizer_config.json, as Hugging Face's libraries and r2_model_open with
 * is_text_only read them.  It appears whole or not at all.  The same texts in any order give the same
 * files.  Errors as of r2_data_prepare; R2_E_RANGE: n_vocab too small or too large. */
R2_API R2_CHECKED r2_status r2_tokenizer_train(r2_tokenizer_result *result, const char *out,
                                               const r2_tokenizer_options *options, r2_error *err);

/* ---- data: texts and chats as checked files of tokens ---- */

/* Called from time to time: bytes read so far, of all where that is known (0: it is not).  Returning
 * false ends the work with R2_E_CANCELED. */
typedef bool (*r2_data_progress)(void *user, int64_t n_done, int64_t n_all);

typedef struct {
    /* Files, folders, or "-" for standard input.  A text file is one document, or several parted by
     * lines that equal `mark`; a line of a .jsonl file is a text ("text") or a chat ("messages", or a
     * question and its answer); a folder is read file by file, binary and hidden ones left out. */
    const char *const *inputs;
    int32_t n_inputs;
    const char *mark; /* NULL: a file is one document */
    /* Files as above, of evaluation sets.  A document that has 13 words in a row in common with one of
     * their items is left out. */
    const char *const *held_out;
    int32_t n_held_out;
    float validation_share; /* of the documents, chosen by their hash: 0 to 0.5 */
    bool keeps_copies;      /* also keep a document that says, for four fifths, what another does */
    bool learns_all;        /* of chats, train on every token, not on the assistant's only */
    bool is_forced;         /* replace what has the name of the output, if it is such a folder */
    const char *licence;    /* of the sources, for the data card; may be NULL */
    r2_data_progress progress; /* may be NULL */
    r2_host host;              /* memory; `user` is given to `progress` too */
} r2_data_options;

typedef struct {
    int64_t n_documents, n_tokens, n_targets; /* targets: tokens that are learnt */
} r2_data_split;

typedef struct {
    r2_data_split train, validation;
    int64_t n_read; /* documents */
    int64_t n_files, n_bytes;
    int64_t n_copies, n_near_copies, n_held_out, n_empty; /* left out */
    int64_t n_passed_over;                                /* files of folders that hold no text */
} r2_data_result;

/* Writes the folder `out`: shards of tokens for training and validation, manifest.json with their
 * checksums and where they come from, and a data card, DATA.md.  It appears whole or not at all.
 * `model` gives tokenizer and chat template (r2_model_options.is_text_only is enough) and must not be
 * used by other threads meanwhile.  R2_E_FORMAT with file and line; R2_E_NOT_FOUND; R2_E_UNSUPPORTED: a
 * chat and no chat template; R2_E_ARGUMENT: `out` exists, nothing to read, or nothing is left;
 * R2_E_CANCELED, R2_E_FULL, R2_E_IO, R2_E_NOMEM. */
R2_API R2_CHECKED r2_status r2_data_prepare(r2_data_result *result, const r2_model *model,
                                            const char *out, const r2_data_options *options,
                                            r2_error *err);

/* Reads a folder of r2_data_prepare and all its shards.  R2_E_CHECKSUM: one has changed;
 * R2_E_MISMATCH: made with another tokenizer than `model`'s (NULL: not compared). */
R2_API R2_CHECKED r2_status r2_data_check(r2_data_result *result, const char *folder,
                                          const r2_model *model, r2_error *err);

/* ---- a model to train ----------------------------------------------------------------------- */

typedef struct {
    uint64_t seed;
    bool is_forced; /* replace what has the name of the output, if it is a model folder */
    /* 2 to 32: our own architecture with so many layers, which all other sizes follow from
     * (docs/training.md), written as DeepSeek-V3's are.  `folder` then gives the tokenizer, and with it the
     * vocabulary's size, or is NULL.  0: as config.json has it. */
    int32_t depth;
    r2_host host;
} r2_model_init_options;

/* Writes the folder `out`: the model that config.json in `folder` describes, with random weights in
 * F32, and the tokenizer files of `folder`.  Matrices are normal with deviation 0.02, those that write
 * to the residual rows with 0.02 / sqrt(2 layers); norms are 1, biases 0.  The same seed gives the
 * same bytes.  `options` may be NULL.  R2_E_NOT_FOUND, R2_E_FORMAT, R2_E_UNSUPPORTED as r2_model_open;
 * R2_E_ARGUMENT: `out` exists, a depth that is none; R2_E_FULL, R2_E_IO, R2_E_NOMEM. */
R2_API R2_CHECKED r2_status r2_model_init(const char *folder, const char *out,
                                          const r2_model_init_options *options, r2_error *err);

/* ---- training steps, for loops of one's own ------------------------------------------------- */

typedef struct r2_trainer r2_trainer;
typedef struct r2_distill_options r2_distill_options; /* distill.h */
typedef struct r2_policy_targets r2_policy_targets;   /* reinforce.h */

typedef enum {
    R2_OPTIMIZER_ADAMW,
    R2_OPTIMIZER_MUON /* hidden matrices by Muon, all else by AdamW */
} r2_optimizer;

/* Low-rank adaptation (LoRA, arXiv:2106.09685): y = W x + scale B A x, where A and B alone are trained.
 * W stays as the file has it, quantized or not, and is computed with as an engine does that has loaded
 * the adapter: the same bits. */
typedef struct {
    int32_t rank;        /* of A and B, up to 512; 0: no adapters, all of the model is trained */
    float alpha;         /* scale = alpha / rank; 0: 2 rank */
    bool has_root_scale; /* scale = alpha / sqrt(rank) (arXiv:2312.03732) */
    /* Matrices, parted by commas: ends of module names as PEFT's target_modules ("q_proj,v_proj",
     * "layers.3.mlp.up_proj", "lm_head"), or "all-linear" (NULL): all of attention and MLP.  Routers,
     * experts that are chosen and kv_b take no adapters. */
    const char *targets;
    uint64_t seed; /* of A, uniform as PEFT begins it; B begins as zeros */
} r2_lora_options;

typedef struct {
    int32_t n_threads;        /* 0: one per processor this process may use */
    int32_t batch_tokens;     /* most tokens of a batch; 0: 4096 */
    int32_t document_tokens;  /* most tokens of a document; 0: batch_tokens */
    int32_t batch_documents;  /* most documents of a batch; 0: one per 32 tokens */
    r2_arithmetic arithmetic; /* FAST: BF16 products with F32 sums, forward and backward */
    bool is_recomputing;      /* keep each layer's input only and compute the rest twice */
    bool takes_soft_targets;  /* batches may have them */
    bool takes_continuations; /* documents may continue others: `parents` */
    r2_optimizer optimizer;
    r2_lora_options lora; /* rank 0: none */
    const char *cpu;      /* as in r2_model_options */
    r2_host host;
    /* NULL, or the processes that train together: each adds batches of its own, and all take each
     * step at once.  Gradients are summed; moments are kept by parts. */
    r2_ranks *ranks;
    /* With ranks: a routed expert lives on one of them alone, and rows travel to it; memory falls by what
     * the others hold.  r2_trainer_add, _evaluate and _save are then called by all ranks at once. */
    bool divides_experts;
} r2_trainer_options;

typedef struct {
    int64_t n_parameters;        /* that are trained, with the embedding */
    int64_t n_active_parameters; /* multiplied with for one token */
    int64_t memory_bytes;        /* taken, all of it */
    /* Of it: F32 masters, gradients, moments; what grows with the batch, and of that what the forward
     * pass keeps for the way back. */
    int64_t masters_bytes, gradients_bytes, moments_bytes, activations_bytes, kept_bytes;
    int64_t file_bytes; /* of weights that steps read from the mapped file; not in memory_bytes */
    int64_t n_steps;
    int32_t n_threads;
    int32_t n_routes; /* choices of experts per token, n_active of each layer; 0: no experts */
    bool has_mtp;
    bool is_initial; /* the model has the random weights of r2_model_init */
} r2_trainer_info;

/* Opens a model for training: all of its numbers get F32 masters, whatever the file holds; with
 * options->lora the adapter's alone.  16 bytes per parameter and what a batch keeps are taken at once.
 * `options` may be NULL.  As r2_model_open;
 * R2_E_NOMEM. */
R2_API R2_CHECKED r2_status r2_trainer_open(r2_trainer **out, const char *path,
                                            const r2_trainer_options *options, r2_error *err);
/* What opening would take, without taking it: reads no weights, touches no memory to speak of. */
R2_API R2_CHECKED r2_status r2_trainer_plan(r2_trainer_info *out, const char *path,
                                            const r2_trainer_options *options, r2_error *err);
/* NULL is allowed. */
R2_API void r2_trainer_close(r2_trainer *trainer);

enum { R2_MAX_SOFT_TOKENS = 256 };

/* A teacher's distributions instead of single tokens: of each position its k likeliest tokens and what
 * all others have together.  Loss of a target:
 *     (1 - share) * -log p(target)  +  share * T^2 * D(teacher, model)
 * with D over these k + 1 parts at temperature T: Kullback-Leibler divergence from the teacher (beta 0),
 * to it (beta 1), or Jensen-Shannon's between. */
typedef struct {
    const r2_token *tokens; /* [n_tokens, k] different ones for each position that has a target */
    const float *log_probs; /* [n_tokens, k + 1] at the temperature; the last one of all others */
    int32_t k;              /* 1 to R2_MAX_SOFT_TOKENS, below the model's vocabulary */
    float temperature;      /* 0: 1 */
    float beta;
    float share; /* 0 to 1 */
} r2_soft_targets;

/* Which experts the tokens of a batch go to, so that what was computed once can be computed again with other
 * weights and the same experts (routing replay). */
typedef struct {
    /* [n_tokens, r2_trainer_info.n_routes]: of each layer the experts it chose, best first; those of layers
     * without experts are not used. */
    uint16_t *experts;
    /* They are taken as they stand, and count as much as their routers say now.  Otherwise they are written as
     * the routers choose them.  The prediction module's router always chooses. */
    bool is_given;
} r2_expert_routes;

typedef struct {
    const r2_token
        *tokens; /* [n_tokens] documents one after the other; each attends to itself alone */
    const r2_token *targets; /* [n_tokens] what follows a token; -1: not learnt */
    const float *weights;    /* [n_tokens] of the targets' losses; NULL: all 1 */
    int32_t n_tokens;
    const int32_t *lengths; /* [n_documents], each >= 1, n_tokens in all */
    int32_t n_documents;
    /* [n_documents] the document that one goes on from, as many answers do from one question: it attends to
     * that one too, which is computed once for all.  An earlier document that continues none; -1: a document
     * of its own.  NULL: all are.  Not with the prediction module's loss. */
    const int32_t *parents;
    const r2_soft_targets *soft; /* NULL: none */
    const r2_policy_targets *policy; /* reinforce.h: another loss; not with `soft`.  NULL: none */
    const r2_expert_routes *routes;  /* of a model with experts; NULL: routers choose */
} r2_training_batch;

/* Prepared data as batches, the very ones that r2_train draws with the same numbers. */
typedef struct r2_data_reader r2_data_reader;

typedef struct {
    const char *const *data; /* [n_data] folders of r2_data_prepare */
    const double *shares;    /* [n_data] of the parts drawn (documents cut to run_tokens); NULL: equal */
    int32_t n_data;
    int32_t batch_tokens; /* 0: 4096 */
    int32_t run_tokens;   /* most tokens of a document's part; 0: 512 */
    uint64_t seed;        /* of the order */
    bool is_validation;   /* what was put aside, each document once */
    bool is_once;         /* end when each document was read; otherwise never */
    const r2_model *model; /* whose tokenizer must be that of the data; NULL: not compared */
    r2_host host;
} r2_data_reader_options;

/* R2_E_ARGUMENT: numbers out of range, no documents; R2_E_CHECKSUM, R2_E_MISMATCH as r2_data_check;
 * R2_E_NOMEM. */
R2_API R2_CHECKED r2_status r2_data_reader_open(r2_data_reader **out,
                                                const r2_data_reader_options *options,
                                                r2_error *err);
/* NULL is allowed. */
R2_API void r2_data_reader_close(r2_data_reader *reader);
/* The next batch, valid until the call after it; false at the end.  A trainer that is given it takes
 * batch_tokens / 32 documents at most unless opened for more (batch_documents). */
R2_API bool r2_data_reader_next(r2_data_reader *reader, r2_training_batch *batch);

typedef struct {
    double loss;         /* sum over the targets of weight * -log p, in nats */
    double soft_loss;    /* of weight * T^2 * D; 0 without soft targets */
    double mtp_loss;     /* the same of the prediction module for the tokens after next */
    double balance_loss; /* of the experts, sum over the tokens; r2_trainer_add alone */
    int32_t n_targets;
} r2_training_loss;

typedef struct {
    float scale;   /* of the whole: 1 / (all targets of a step), so that several batches make one */
    float mtp;     /* of the prediction module's loss; 0, or a model without it: left out */
    float balance; /* of each document's balance loss (DeepSeek-V3: 1e-4); 0: without */
} r2_loss_weights;

/* Adds to the gradients those of scale * (loss + mtp * mtp_loss + balance * balance_loss); with soft targets
 * (1 - share) * loss + share * soft_loss stands for loss.
 * R2_E_ARGUMENT: lengths, tokens or weights that do not fit. */
R2_API R2_CHECKED r2_status r2_trainer_add(r2_trainer *trainer, const r2_training_batch *batch,
                                           const r2_loss_weights *weights, r2_training_loss *loss,
                                           r2_error *err);
/* The loss alone. */
R2_API R2_CHECKED r2_status r2_trainer_evaluate(r2_trainer *trainer, const r2_training_batch *batch,
                                                r2_training_loss *loss, r2_error *err);

typedef struct {
    double lr, beta1, beta2, eps; /* beta1, beta2, eps 0: 0.9, 0.95, 1e-8 */
    double weight_decay;          /* of matrices */
    double clip;                  /* most norm of the gradient; 0: any */
    double momentum;              /* of Muon; 0: 0.95 */
    double balance_rate; /* by which routers' score biases move (DeepSeek-V3: 1e-3); 0: not */
} r2_step_options;

typedef struct {
    double gradient_norm; /* before clipping */
    double expert_load;   /* largest of all layers, 1: equal loads; 0: no experts */
} r2_step_result;

/* One step of the optimizer, which clears the gradients and balances experts by the tokens they got since the
 * last step (arXiv:2408.15664).  R2_E_RANGE: the norm is no finite number, and nothing has changed. */
R2_API R2_CHECKED r2_status r2_trainer_step(r2_trainer *trainer, const r2_step_options *options,
                                            r2_step_result *result, r2_error *err);

/* Writes the folder `out`: config.json and tokenizer files of the model that was opened, and its
 * weights as they are now, in BF16 or in F32.  Any engine or transformers can open it.
 * R2_E_UNSUPPORTED: an adapter is trained; R2_E_ARGUMENT: `out` exists (is_forced: and is no model
 * folder); R2_E_FULL, R2_E_IO, R2_E_NOMEM; of a GGUF file also as r2_convert. */
R2_API R2_CHECKED r2_status r2_trainer_save(r2_trainer *trainer, const char *out, bool is_f32,
                                            bool is_forced, r2_error *err);
/* Takes weights and moments from a checkpoint of r2_train (r2_train_options.checkpoints): that of a step,
 * or of the newest that is whole (0).  R2_E_NOT_FOUND, R2_E_CHECKSUM, R2_E_FORMAT: there is none;
 * R2_E_MISMATCH: of another model or optimizer, and weights may have changed in part. */
R2_API R2_CHECKED r2_status r2_trainer_restore(r2_trainer *trainer, const char *checkpoints,
                                               int64_t step, r2_error *err);
/* Writes the adapter that is trained (r2_lora_options): a file for llama.cpp's programs and ours if
 * `out` ends in ".gguf", otherwise a folder as the PEFT library writes them.  An engine opens either with
 * r2_adapter_open.  R2_E_UNSUPPORTED: no adapter is trained; otherwise as r2_trainer_save. */
R2_API R2_CHECKED r2_status r2_trainer_save_adapter(r2_trainer *trainer, const char *out,
                                                    bool is_forced, r2_error *err);

R2_API void r2_trainer_get_info(const r2_trainer *trainer, r2_trainer_info *out);

/* ---- whole runs ----------------------------------------------------------------------------- */

typedef enum {
    R2_SCHEDULE_WSD,    /* constant, then linear to 0 over the last quarter */
    R2_SCHEDULE_COSINE, /* half a cosine down to a tenth */
    R2_SCHEDULE_CONSTANT
} r2_schedule;

typedef struct {
    int64_t step, n_steps;       /* 1 to n_steps */
    int64_t n_tokens, n_targets; /* so far */
    int64_t n_cut; /* longer than run_tokens: chats of the data, read up to there; pairs, left out */
    double loss, mtp_loss;       /* mean over the step's targets, in nats; mtp_loss 0 without */
    double soft_loss;            /* of the teacher's targets; 0 without */
    double validation_loss;      /* NAN where it was not measured behind this step */
    double validation_bpb;       /* the same in bits per byte of text; NAN without a tokenizer */
    double lr, gradient_norm;
    double expert_load; /* largest over equal; 0: no experts */
    int64_t n_step_tokens;
    double seconds; /* of the step, validation not counted */
    double seconds_all;
    int64_t memory_bytes;
} r2_train_report;

typedef struct {
    const char *model;       /* folder to begin with */
    const char *const *data; /* [n_data] folders of r2_data_prepare */
    const double *shares;    /* [n_data] of the parts drawn (documents cut to run_tokens); NULL: equal */
    int32_t n_data;
    /* Model folder that is written at the end; with trainer.lora the adapter's folder, and out.gguf;
     * NULL: none. */
    const char *out;
    int32_t n_steps;
    int32_t step_batches;       /* batches of one step; 0: 1 */
    int32_t run_tokens;         /* most tokens of a document's part; 0: 512 */
    r2_trainer_options trainer; /* its document_tokens follows from run_tokens */
    r2_step_options step;       /* lr: the highest */
    r2_schedule schedule;
    int32_t warmup_steps;
    double mtp_weight;         /* of the prediction module's loss */
    /* Share of the steps, below 1, in which the module is left out; its weight falls to a third over the
     * rest then.  Small models pay for a second loss with the first, early ones most (arXiv:2505.22757).
     * 0: the weight is mtp_weight throughout. */
    double mtp_from;
    double balance_weight;     /* of the experts' balance loss */
    const r2_distill_options *distill; /* distill.h; NULL: from the data alone */
    int32_t validate_every;    /* steps; 0: only behind the last one */
    int32_t validate_batches;  /* most batches of it; 0: all */
    uint64_t seed;             /* of the order of the data */
    bool is_forced, saves_f32; /* as in r2_trainer_save */
    /* Folder of checkpoints, made if need be; NULL: none.  One is written every checkpoint_every steps
     * and behind the last one (0: not), and wherever else a run is ended; kept are the last keep_last
     * (0: 2) and that of the lowest validation loss measured at its own step.  Whatever happens while
     * one is written, those before stay whole. */
    const char *checkpoints;
    int32_t checkpoint_every;
    int32_t keep_last;
    /* Goes on from the newest checkpoint: the same bytes as a run that was never interrupted, for any
     * number of threads.  `out` is replaced.  R2_E_NOT_FOUND: none there; R2_E_MISMATCH: of another
     * model, other data, another optimizer; R2_E_ARGUMENT: n_steps are fewer than are done. */
    bool is_resuming;
    /* Told of every checkpoint: its folder, and with err->code not R2_OK why it could not be written.
     * Returning false ends the run with that error; true, or NULL: it goes on without. */
    bool (*checkpointed)(void *user, int64_t step, const char *folder, const r2_error *err);
    /* Told when a run goes on from an earlier checkpoint than the newest: what is wrong with that. */
    void (*passed_over)(void *user, const r2_error *why);
    /* Told of every step; returning false ends the run there, which saves as a finished one does.  With
     * trainer.ranks every rank is told and may end the run; the first one writes files. */
    bool (*report)(void *user, const r2_train_report *report);
    void *user;
} r2_train_options;

/* Trains on next tokens and saves the model.  Same options, data and CPU level: same bytes, whatever
 * the number of threads.  R2_E_RANGE: loss or gradient became no number; nothing is written then.
 * Otherwise as r2_trainer_open, r2_data_check (R2_E_CHECKSUM, R2_E_MISMATCH) and r2_trainer_save;
 * R2_E_ARGUMENT: numbers that make no run, no documents. */
R2_API R2_CHECKED r2_status r2_train(const r2_train_options *options, r2_error *err);

typedef struct {
    r2_trainer_info trainer; /* as the run would have it */
    int64_t n_parameters;    /* of the model, trained or not; without a prediction module */
    int64_t teacher_bytes;   /* of distillation */
    int64_t memory_bytes;    /* of the run: trainer, teacher, weights read from a mapped file */
    /* Forward and backward: 6 per active parameter that is trained, 4 per other one, and attention's. */
    double flops_per_token;
    double active_flops_per_token; /* without attention's: what shares of a machine's peak are counted by */
    int64_t n_train_tokens, n_validation_tokens; /* of the data, once */
    int64_t step_tokens;                         /* of one step, where all batches are full */
} r2_train_plan_result;

/* What r2_train would take.  Memory is that of the run's own allocations, made without being used; data
 * are known by their manifests and not read.  `options` as for r2_train, where n_steps, lr and warm-up do
 * not matter.  Errors as of r2_train. */
R2_API R2_CHECKED r2_status r2_train_plan(r2_train_plan_result *out,
                                          const r2_train_options *options, r2_error *err);

#ifdef __cplusplus
}
#endif
#endif
