/* engine_state.h - engines and sequences from the inside; private to src/engine. */
#ifndef R2I_ENGINE_STATE_H
#define R2I_ENGINE_STATE_H
#include <stdatomic.h>

#include "engine/drafter.h"
#include "engine/pages.h"
#include "model/adapter.h"
#include "model/model.h"
#include "r2lm/engine.h"
#include "sampler/sampler.h"

enum {
    R2I_MAX_TOP_LOGPROBS = 20,
    R2I_LOGIT_ROWS =
        32 /* rows of logits held at once, at least: for prompts, drafts of few sequences */
};

struct r2_sequence {
    r2_engine *engine;
    int32_t slot;   /* in engine->sequences */
    size_t n_bytes; /* of this object and its arrays */
    r2_sequence_options options;
    r2i_token_bias *biases; /* own copy behind options.sampling.biases */
    int32_t n_biases;
    /* Tokens, all [engine->n_context]; what belongs to token i stands at i. */
    int32_t *tokens;
    float *logprobs;     /* of drawn tokens, and of the prompt's if asked for */
    uint8_t *is_thought; /* drawn inside <think> ... </think>, markers included */
    int32_t n_tokens, n_computed, n_cached;
    int32_t n_prompt_logprobs; /* tokens 1 .. n have one */
    /* Pages, both [engine->cap_pages]. */
    int32_t *pages;
    uint8_t **page_memory;
    int32_t n_pages;
    /* Writing. */
    r2_sequence_state state;
    r2_finish finish;
    int32_t generation_start; /* first token drawn under the current options */
    int32_t n_read;           /* tokens before this were given to r2_sequence_read or appended */
    int32_t n_generated, n_thinking;
    int32_t n_budget_used; /* thoughts of this answer, and of the block it began in */
    bool is_thinking, is_think_cut, has_started;
    const float *logits; /* of the last step, for manual sequences */
    int32_t chosen;      /* between choosing and writing; -1: nothing allowed */
    bool is_cut;         /* chosen to close a block that has used its budget */
    /* Its turn, and what of it was known before: schedule.c, sequence_pages.c. */
    double tag; /* in virtual time, when its prompt would be read if clients took equal turns */
    bool has_tag;
    bool has_looked; /* for known pages */
    bool is_foreign; /* its rows come from a file: not to be shared */
    uint64_t batch, looked_at,
        admitted; /* steps: it last had rows in, was considered for, could begin in */
    int32_t n_matched, n_preempted;
    r2_cache_miss miss;
    r2_top_logprob top[R2I_MAX_TOP_LOGPROBS];
    int32_t n_top;
    atomic_bool is_canceled, is_think_stopped;
    /* Drafting. */
    r2i_lookup lookup;
    r2i_draft_record record;
    int32_t draft[R2I_MAX_DRAFT]; /* guesses that the current batch computes */
    int32_t n_draft, draft_grade;
    int32_t n_ready, ready_at;     /* guesses of the module, for when n_tokens is ready_at */
    int32_t n_drafted, n_accepted; /* under the current options */
};

/* Rows of one sequence in the current batch: tokens it has, then its draft. */
typedef struct {
    r2_sequence *sequence;
    int32_t n_known, n_draft;
} r2i_scheduled;

/* A sequence whose tokens are drawn from rows of logits: behind its last token, behind each draft. */
typedef struct {
    r2_sequence *sequence;
    const r2i_run *run;
    int32_t first_logits, n_rows;
    int32_t n_drawn; /* tokens written from them */
    int32_t n_true;  /* of the draft */
} r2i_drawing;

/* What a step may still add, and what it has: draft.c. */
typedef struct {
    int32_t n_free;    /* rows */
    int32_t n_rows;    /* so far */
    double n_expected; /* tokens of them that will count */
    bool is_short_of_pages;
} r2i_draft_plan;

/* What a worker needs to draw tokens. */
typedef struct {
    r2i_sampler *sampler;
    uint32_t *allowed; /* bits of the vocabulary */
} r2i_drawer;

/* Guessing by the model's prediction module: module_draft.c. */
typedef struct {
    bool has_rows;          /* hidden rows of the current batch are kept */
    int32_t *tokens;        /* [cap_rows] */
    int32_t *source_rows;   /* [cap_rows] */
    r2i_run *runs;          /* [cap_sequences] */
    r2_sequence **chain;    /* [cap_sequences] that are guessed for */
    int32_t *rows, *wanted; /* [cap_sequences] of the chain: row of the last pass; guesses in all */
    double row_ns;          /* time of a guess, a running mean */
} r2i_module;

struct r2_engine {
    r2_model *model;
    r2i_arena arena;
    r2i_pool *pool;
    r2i_cache_layout cache;
    r2i_pages *pages;
    r2i_forward *forward;
    r2i_drawer *drawers; /* [threads] */
    bool has_prefix_cache;
    int32_t n_context, cap_rows, cap_logits, cap_pages, cap_sequences;
    r2_sequence **sequences; /* [cap_sequences], NULL where free */
    r2_sequence **by_age;    /* [cap_sequences], n_sequences of them, the oldest first */
    int32_t n_sequences;
    /* Turns: schedule.c. */
    int32_t step_ms, most_reading;
    bool is_reading_fixed;  /* most_reading tokens, not by time */
    int32_t reading_budget; /* prompt tokens that a step may compute now */
    double virtual_time;    /* prompt tokens read for each client that had some to read */
    double row_ns;          /* of a step with many rows, a running mean; 0: not known yet */
    uint64_t n_batches;
    /* The batch being put together. */
    int32_t *batch_tokens;    /* [cap_rows] */
    r2i_run *runs;            /* [cap_sequences] */
    r2i_scheduled *scheduled; /* [cap_sequences] */
    int32_t n_rows, n_runs;
    int32_t *logit_rows;   /* [cap_logits] */
    r2i_drawing *drawings; /* [cap_sequences] */
    float *logits;         /* [cap_logits, n_vocab] */
    size_t logits_bytes;
    r2i_drafter drafter;
    r2i_module module;
    r2i_draft_plan plan;
    r2i_step_cost cost;
    r2_engine_stats stats;
};

/* sequence.c */
bool r2i_sequence_has_work(const r2_sequence *s);
void r2i_sequence_finish(r2_sequence *s, r2_finish finish);

/* Whose pages a sequence may take and leaves behind. */
r2i_page_domain r2i_sequence_domain(const r2_sequence *s);

/* sequence_pages.c */
/* Takes pages that may be written from n_computed on, for n_tokens tokens in all; returns for how many
 * there is room, fewer when the cache is full. */
int32_t r2i_sequence_make_room(r2_sequence *s, int32_t n_tokens);
/* Gives back all but the first n_left pages; what they hold stays known. */
void r2i_sequence_release_pages(r2_sequence *s, int32_t n_left);
/* Gives all pages back; the tokens stay and are computed again when the sequence goes on. */
void r2i_sequence_give_pages(r2_sequence *s);
/* Gives back pages that hold nothing but rejected rows. */
void r2i_sequence_trim_pages(r2_sequence *s);
/* Takes what is known of the beginning of a sequence that has no pages yet, to the token. */
void r2i_sequence_take_prefix(r2_sequence *s);
/* Takes the next full pages if they have become known meanwhile. */
void r2i_sequence_take_known(r2_sequence *s);
/* Computed tokens from first_position on: full pages become known, and are not written any more. */
void r2i_sequence_publish(r2_sequence *s, int32_t first_position);
/* Pages that nobody holds yet and that a sequence without pages needs for all its tokens and the next. */
int32_t r2i_sequence_count_missing(const r2_sequence *s);

/* schedule.c */
/* Puts the next batch together. */
void r2i_schedule_batch(r2_engine *e);
/* How long the forward pass and the logits of the batch took. */
void r2i_schedule_note(r2_engine *e, int64_t ns);

/* generate.c */
/* Chooses the next token and notes its log-probabilities; touches nothing but the sequence, so workers
 * may choose for several at once.  A mask callback is the caller's code and must run on its thread. */
void r2i_sequence_choose(r2_sequence *s, const r2i_drawer *drawer, const float *logits);
/* Appends the chosen token; touches nothing but the sequence either. */
void r2i_sequence_write(r2_sequence *s);
/* Looks whether the tokens end in a thinking block, and how much of it there is. */
void r2i_sequence_read_markers(r2_sequence *s);
/* By the options alone, with a mask for this call; -1: nothing allowed. */
int32_t r2i_sequence_draw(r2_sequence *s, const r2i_drawer *drawer, const float *logits,
                          r2_mask_callback mask, void *user);
/* A guess of the next token (n_ahead 0) or of the n_ahead-th behind it, drawn from the module's logits
 * as the token itself would be from its own: with the same random number the two often agree. */
int32_t r2i_sequence_guess(r2_sequence *s, const r2i_drawer *drawer, const float *logits,
                           int32_t n_ahead);

/* draft.c */
/* Looks at all sequences before a batch is put together. */
void r2i_draft_begin(r2_engine *e);
/* Fills s->draft with what is worth trying in this batch and returns how many. */
int32_t r2i_draft_collect(r2_engine *e, r2_sequence *s);
/* How many guesses of the module are worth making for the next batch. */
int32_t r2i_draft_plan_module(r2_engine *e, r2_sequence *s);

/* module_draft.c */
R2_CHECKED r2_status r2i_module_create(r2_engine *e, r2_error *err);
/* Keeps the hidden rows of the batch just run if a sequence will need them. */
void r2i_module_keep(r2_engine *e);
/* After tokens were drawn: the module reads the batch's rows and guesses what follows. */
void r2i_module_draft(r2_engine *e);

/* results.c */
/* After the forward pass: hidden rows and prompt log-probabilities go out, rows count as computed,
 * tokens are drawn.  Returns the time the logits took. */
int64_t r2i_results_use(r2_engine *e);
#endif
