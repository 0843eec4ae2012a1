/* distill.h - learning from another model: a teacher that judges each token of a trainer's batches.
 *
 *     r2_trainer_open (takes_soft_targets) -> r2_teacher_open -> for each batch r2_teacher_score,
 *     r2_trainer_add with what it gave, r2_trainer_step
 *
 * Whole runs do the same with r2_train_options.distill (docs/distillation.md). */
#ifndef R2LM_DISTILL_H
#define R2LM_DISTILL_H

#include "r2lm/train.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct r2_teacher r2_teacher;

typedef struct {
    int32_t n_tokens;  /* likeliest tokens of each position; 0: 32 */
    float temperature; /* of both models; 0: 1 */
    float beta, share; /* as in r2_soft_targets; without options: 0 and 1 */
    r2_arithmetic arithmetic;
    const char *cpu;
} r2_teacher_options;

/* Opens a model, a GGUF file or a folder, that teaches the trainer's.  Its weights stay as the file has them.
 * It computes with the trainer's threads and must be closed before it.  R2_E_MISMATCH: its tokens are
 * not the student's, which is looked at one by one up to the smaller vocabulary's end; R2_E_ARGUMENT:
 * options; otherwise as r2_model_open. */
R2_API R2_CHECKED r2_status r2_teacher_open(r2_teacher **out, const char *path, r2_trainer *trainer,
                                            const r2_teacher_options *options, r2_error *err);
/* NULL is allowed. */
R2_API void r2_teacher_close(r2_teacher *teacher);
/* Reads a batch and gives its soft targets, to be put into the same batch for r2_trainer_add; valid
 * until the next call.  R2_E_ARGUMENT: no batch of the trainer's. */
R2_API R2_CHECKED r2_status r2_teacher_score(r2_teacher *teacher, const r2_training_batch *batch,
                                             const r2_soft_targets **out, r2_error *err);

/* How a run learns from a teacher: r2_train_options.distill. */
struct r2_distill_options {
    const char *teacher; /* GGUF file or folder */
    r2_teacher_options how;
    /* The share of batches, 0 to 1, of which the data give the prompts alone: the model answers with its weights
     * as they are, and the teacher judges these answers token by token (on-policy distillation,
     * arXiv:2306.13649).  Which batches is a function of seed and place in the data. */
    float own_share;
    float own_beta;        /* beta of these; 1: divergence of the model from the teacher */
    float own_temperature; /* of sampling; 0: the likeliest tokens */
    int32_t own_samples;   /* of each prompt; 0: 1 */
    int32_t own_tokens;    /* most of an answer; 0: as run_tokens lets them */
    int32_t prompt_tokens; /* of a text, whose beginning is the prompt; 0: 16 */
};

/* ---- a teacher's answers as texts to learn from ---- */

typedef enum {
    R2_CHECK_NONE,
    R2_CHECK_NUMBER, /* the last number of the answer is the last one of the answer in the data */
    R2_CHECK_TEXT,   /* the last line that is not empty is that of the answer in the data */
    R2_CHECK_TASK /* as the line's "task" judges by its "expected" (task.h); programs run in the sandbox */
} r2_answer_check;

typedef struct {
    int64_t n_prompts;  /* read in this call */
    int64_t n_before;   /* samples that were there already */
    int64_t n_samples;  /* finished, those included */
    int64_t n_kept;     /* of these: written */
    int64_t n_wrong;    /* left out by the check */
    int64_t n_cut;      /* left out: came to no end, or nothing stands behind the thoughts */
    int64_t n_too_long; /* prompts that leave no room */
    int64_t n_tokens, n_thinking; /* written in this call */
    double seconds;
} r2_traces_result;

typedef struct {
    /* Files, folders, or "-": JSONL of questions ("prompt", "question", ...), of chats, whose messages
     * up to the assistant's first turn are the prompt, or texts. */
    const char *const *inputs;
    int32_t n_inputs;
    const char *mark;       /* parts prompts of text files; NULL: a file is one */
    int32_t n_samples;      /* of each prompt; 0: 1 */
    r2_sampling sampling;   /* same seed, same answers; its texts are not looked at */
    int32_t max_new_tokens; /* 0: 1024 */
    r2_think_mode think;
    int32_t think_budget;     /* most tokens of thoughts; 0: no limit */
    r2_answer_check check;    /* by "answer" in the data, or the assistant's turn there */
    bool keeps_cut;           /* also write what came to no end */
    bool is_forced;           /* begin anew, not go on */
    r2_engine_options engine; /* n_sequences 0: 32 */
    /* Told of every sample; false: R2_E_CANCELED, what there is stays. */
    bool (*progress)(void *user, const r2_traces_result *so_far);
    void *user;
} r2_traces_options;

/* Lets the model answer prompts and appends its answers to the file `out`, a line of JSON each:
 *     {"messages": [the prompt, {"role": "assistant", "content": "<think>\n...\n</think>\n\n..."}],
 *      "prompt": a hash, "sample": 0, "teacher": "...", "finish": "end"}
 * OUT.done beside it tells which samples are finished: each is on the disk before it stands there, and the
 * same call again goes on where the last one ended, losing the samples under way at most.
 * R2_E_ARGUMENT: no prompts, or no answer is left; `out` exists without OUT.done; a check and no answer
 * in the data.  R2_E_MISMATCH: OUT.done is of another teacher or other options.  R2_E_CANCELED;
 * R2_E_FORMAT with file and line; R2_E_UNSUPPORTED: the model has no chat template. */
R2_API R2_CHECKED r2_status r2_traces_write(r2_traces_result *result, r2_model *model,
                                            const char *out, const r2_traces_options *options,
                                            r2_error *err);

#ifdef __cplusplus
}
#endif
#endif
