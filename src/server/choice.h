/* choice.h - one answer to a request: the sequence that writes it, and the way from its tokens to texts.
 *
 * A request has one or more of them.  They are what the engine thread advances, each for itself; the
 * request is done when all of them are.  Everything here is used under the desk's lock, and sequences by the
 * engine thread only, but for r2_sequence_cancel and r2_sequence_stop_thinking. */
#ifndef R2I_CHOICE_H
#define R2I_CHOICE_H
#include "r2lm/tools.h"
#include "server/call_list.h"
#include "server/queue.h"
#include "server/stop_text.h"
#include "server/wishes.h"

typedef struct {
    r2_engine *engine;
    const r2_model *model;
    r2i_heap *heap;
    r2_token open, close; /* of thoughts; -1: none */
} r2i_choice_context;

/* A token of an answer with its probability and those of the likeliest at its place. */
typedef struct {
    r2_token token;
    float logprob;  /* NAN: nothing stands before it */
    int32_t offset; /* characters of the answer before it; raw answers only */
    int32_t n_top;
    r2_top_logprob top[20];
} r2i_token_logprob;

/* What one choice or several answer. */
typedef struct {
    const r2_token *tokens; /* [n_tokens], borrowed or in `owned` */
    int32_t n_tokens;
    r2i_buffer owned;
    r2i_buffer echo;      /* its text, where answers begin with it */
    int32_t n_characters; /* of that */
    r2i_buffer logprobs;  /* r2i_token_logprob [n_tokens] for an echo, filled in while it is read */
} r2i_choice_prompt;

void r2i_choice_prompt_init(r2i_choice_prompt *prompt, r2i_heap *heap);
void r2i_choice_prompt_destroy(r2i_choice_prompt *prompt);

/* Written by the engine thread, taken by the event loop. */
typedef struct {
    r2i_buffer thinking, answer; /* not sent yet */
    r2i_buffer logprobs;         /* r2i_token_logprob, not sent yet */
    r2i_call_list calls;
    r2_finish finish;
    bool is_done;
    /* The event loop's: the chunk with its finish_reason; characters of a raw answer. */
    bool is_end_sent;
    int32_t n_sent_characters;
    int32_t n_generated, n_thinking, n_drafted, n_accepted;
    bool is_think_cut;
} r2i_choice_out;

typedef struct r2i_choice {
    r2i_link link; /* in a queue; first of all members */
    struct r2i_job *job;
    int32_t index; /* among the request's choices */
    /* reader */
    const r2i_wishes *wishes;  /* borrowed */
    r2i_choice_prompt *prompt; /* borrowed */
    struct r2i_choice *leader; /* reads the same prompt first; NULL: this one does */
    int32_t i_draw;            /* number among the prompt's choices: which seed it has */
    uint64_t domain, client;   /* whose prefixes it may share; in whose line it waits */
    uint64_t round;            /* while it waits: turns.h */
    /* engine thread */
    r2_sequence *sequence;       /* NULL: it does not run */
    r2_grammar_matcher *matcher; /* what holds it to a grammar, or NULL */
    r2_detokenizer *texts[2];    /* of thoughts and of the answer */
    r2_tool_parser *calls;       /* tells calls from the answer; NULL: there are no tools */
    r2i_buffer content;          /* room for a piece of it */
    r2i_buffer held_logprobs;    /* of what may yet be a call, or content */
    bool is_call_known;          /* of what is being written: it is one */
    r2i_stop_text stop;
    int32_t n_drawn;       /* tokens seen */
    bool is_think_stopped; /* from outside */
    bool has_thoughts, has_answer;
    int32_t n_thinking;
    int32_t n_characters;         /* of a raw answer, so far */
    int32_t n_cached, n_computed; /* of the prompt's tokens, so far */
    int64_t first_ns, last_ns;    /* of its first and its latest token, 0: none yet */
    r2i_choice_out out;
} r2i_choice;

void r2i_choice_init(r2i_choice *choice, struct r2i_job *job, int32_t index, r2i_heap *heap);
/* With all it owns; its sequence must be gone. */
void r2i_choice_destroy(r2i_choice *choice);

/* One of several choices waits until the first has read their prompt: it goes on from there. */
bool r2i_choice_can_begin(const r2i_choice *choice);
/* Creates what writes it and hands the prompt to the engine.  R2_E_NOMEM, R2_E_FULL; release it then. */
R2_CHECKED r2_status r2i_choice_begin(r2i_choice *choice, const r2i_choice_context *context,
                                      r2_error *err);
/* Turns the tokens drawn since the last call into `out`; true in *has_more: there is more to send. */
R2_CHECKED r2_status r2i_choice_read(r2i_choice *choice, const r2i_choice_context *context,
                                     bool *has_more);
/* Nothing follows: what was held back is part of the answer. */
R2_CHECKED r2_status r2i_choice_finish(r2i_choice *choice);
/* No more thoughts from the next token on. */
void r2i_choice_stop_thinking(r2i_choice *choice);
/* Gives back all but `out`. */
void r2i_choice_release(r2i_choice *choice);
#endif
