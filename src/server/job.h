/* job.h - a request on its way through three threads, and the desk between them.
 *
 *     event loop --to_read--> reader: JSON, checks, template, tokens --to_write--> engine thread
 *         ^----------------------------- ready ----------------------------------------+
 *
 * Between reader and event loop a job is in pieces: its choices wait, run and end each for itself.
 *
 * A job belongs to one thread at a time; what several see (`out`, `choices`) is used under the desk's lock
 * only.  The event loop creates and destroys jobs; the engine thread alone touches sequences, but for
 * r2_sequence_cancel when a client is gone and r2_sequence_stop_thinking when one asks (control.c). */
#ifndef R2I_JOB_H
#define R2I_JOB_H
#include <pthread.h>
#include <stdatomic.h>

#include "server/chat_request.h"
#include "server/choice.h"
#include "server/completion_request.h"
#include "server/grammar_cache.h"
#include "server/histogram.h"
#include "server/turns.h"

typedef enum {
    R2I_TASK_CHAT,
    R2I_TASK_COMPLETION,
    R2I_TASK_TOKENIZE,
    R2I_TASK_DETOKENIZE,
    R2I_TASK_TEMPLATE
} r2i_task;

typedef struct r2i_job r2i_job;

/* Written by reader and engine thread, taken by the event loop; all under the lock. */
typedef struct {
    r2i_buffer reply; /* of a task that needs no model: its whole JSON */
    r2i_refusal refusal;
    bool is_accepted, is_done;
    bool is_told;                           /* lies in the ready queue */
    int32_t n_prompt, n_cached, n_computed; /* tokens of all prompts; of these, read so far */
    int32_t n_generated, n_thinking, n_drafted, n_accepted; /* of ended choices */
    int64_t begin_ns, first_ns, end_ns; /* first choice begun; first token; last choice ended */
    bool has_progress;                  /* n_computed grew and was not sent */
    bool is_looked_up;                  /* the following two are known */
    r2_cache_miss miss;                 /* of the first prompt: why the cache ended, and where */
    int32_t n_matched;
} r2i_job_out;

struct r2i_job {
    r2i_link link; /* in a queue; first of all members */
    r2i_job *next_ready;
    r2i_task task;
    uint64_t key;        /* number of the client's API key; 0: there are none */
    uint64_t connection; /* its number */
    uint64_t seed;       /* if the request has none */
    r2i_buffer body;
    r2i_refusal refusal;
    /* reader */
    r2i_chat_request chat;
    r2i_completion_request completion;
    r2_prompt *prompt;
    r2i_kept_grammar *grammar;  /* held while it lives; NULL: none */
    const r2i_wishes *wishes;   /* into the request */
    r2i_choice_prompt *prompts; /* [n_prompts], NULL before it was read */
    int32_t n_prompts;
    r2i_choice *choices; /* [n_choices], those of each prompt beside each other */
    int32_t n_choices;
    int32_t n_left;      /* of these, not done */
    atomic_bool is_gone; /* nobody waits for it any more */
    bool is_think_stopped;
    r2i_job_out out;
    /* event loop */
    void *owner;
};

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t has_reading, has_writing;
    r2i_queue to_read; /* jobs */
    uint64_t last_key; /* whose was read last */
    r2i_turns to_write;
    r2i_job *ready_first, *ready_last;
    bool is_over;
    int wake_fd; /* eventfd that the event loop watches */
    r2i_heap *heap;
    r2_engine_stats stats; /* of the last step */
    int32_t n_running, n_waiting;
    r2i_histogram between_tokens;
    double reading_s, writing_s; /* sums over choices: to the first token, from it to the last */
} r2i_desk;

R2_CHECKED r2_status r2i_desk_init(r2i_desk *desk, r2i_heap *heap, r2_error *err);
void r2i_desk_destroy(r2i_desk *desk);
/* Wakes both threads for good. */
void r2i_desk_close(r2i_desk *desk);

/* Owned by the event loop; NULL without memory. */
r2i_job *r2i_job_create(r2i_heap *heap, r2i_task task, size_t max_body_bytes);
void r2i_job_destroy(r2i_job *job, r2i_heap *heap);

/* The reader's: wishes->n_choices choices for each of n_prompts prompts, that are to be filled in.
 * R2_E_NOMEM. */
R2_CHECKED r2_status r2i_job_make_choices(r2i_job *job, r2i_heap *heap, const r2i_wishes *wishes,
                                          int32_t n_prompts);

/* For the event loop. */
void r2i_desk_hand_in(r2i_desk *desk, r2i_job *job);
/* Nobody waits any more: what is under way ends within a step; the job still comes back as done. */
void r2i_desk_abandon(r2i_desk *desk, r2i_job *job);
/* Its answers think no more from the next token on, those that are not begun not at all. */
void r2i_desk_stop_thinking(r2i_desk *desk, r2i_job *job);
/* A job that has something to send, or NULL. */
r2i_job *r2i_desk_take_ready(r2i_desk *desk);
/* The one behind which others wait for the next round of the loop, so that connections and signals have
 * their turn however fast answers grow; NULL: there is none.  To be compared only. */
const r2i_job *r2i_desk_last_ready(r2i_desk *desk);
/* The event loop comes again if some are left. */
void r2i_desk_wake(r2i_desk *desk);

/* For the reader, under the lock: the next of another key than the last one's, so that the many of one do
 * not hold up those of others; else the first, or NULL. */
r2i_job *r2i_desk_take_reading(r2i_desk *desk);

/* For the others: under the lock, something of the job is to be sent. */
void r2i_desk_tell(r2i_desk *desk, r2i_job *job);
/* Under the lock: this choice is done; with the last one the job is. */
void r2i_desk_end_choice(r2i_desk *desk, r2i_choice *choice);
/* Takes the lock: the job is refused and done. */
void r2i_desk_refuse(r2i_desk *desk, r2i_job *job, const r2i_refusal *refusal);
#endif
