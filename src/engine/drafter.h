/* drafter.h - guesses at how a sequence goes on, and how many of them are worth their rows.
 *
 * A drafter proposes tokens; the next step computes them as rows behind the sequence's last token
 * and then draws token after token from these rows as if each had come alone.  A proposal that is
 * what is drawn makes the next row valid; the first other one ends the run and the rows behind it
 * are overwritten later.  So guesses change how fast tokens come, never which.
 *
 * Each proposal has a grade, the drafter's own measure of its trust.  How often proposals of a grade
 * came true is counted per sequence; from that and from what a row costs beside the rows that are
 * computed anyway follows how many are tried. */
#ifndef R2I_DRAFTER_H
#define R2I_DRAFTER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "r2lm/engine.h"

enum {
    R2I_MAX_DRAFT = 32,
    R2I_LOOKUP_GRADES = 7,
    R2I_GRADE_MODULE = R2I_LOOKUP_GRADES, /* guesses of the model's own prediction module */
    R2I_DRAFT_GRADES
};

typedef struct {
    /* May be NULL.  Writes up to cap tokens that may follow the sequence's last one, best guess first in time, and
     * their grade below R2I_DRAFT_GRADES; returns how many.  All tokens but the last are computed. */
    int32_t (*propose)(void *user, r2_sequence *sequence, int32_t cap, int32_t *out,
                       int32_t *grade);
    void *user;
    bool uses_module; /* the model's prediction module, if it has one, is asked too */
    bool is_eager;    /* tests: as many as fit are tried, whatever they cost */
} r2i_drafter;

/* Replaces where the engine's guesses come from; NULL: prompt lookup and the model's module, as to
 * begin with. */
void r2i_engine_set_drafter(r2_engine *engine, const r2i_drafter *drafter);

/* ---- prompt lookup ---- */

/* Places of pairs of tokens: of each hash the last one, and before every place the one before it. */
typedef struct {
    int32_t *last;    /* [n_slots] place + 1 of a pair's second token; 0: none */
    int32_t *before;  /* [n_context] as above, the next older place of the same hash */
    uint32_t n_slots; /* a power of two */
    int32_t n_places; /* tokens before this are entered */
} r2i_lookup;

/* Slots for sequences of n_context tokens. */
uint32_t r2i_lookup_slots(int32_t n_context);
/* What followed the longest earlier occurrence of the tokens' end, copied on as far as asked (a
 * period is continued).  Grades go with the occurrence's length. */
int32_t r2i_lookup_propose(r2i_lookup *lookup, const int32_t *tokens, int32_t n_tokens, int32_t cap,
                           int32_t *out, int32_t *grade);
/* Tokens from n_tokens on will be other ones; they must still be there when this is called. */
void r2i_lookup_rewind(r2i_lookup *lookup, const int32_t *tokens, int32_t n_tokens);

/* ---- what came true ---- */

typedef struct {
    float n_tried[R2I_DRAFT_GRADES], n_true[R2I_DRAFT_GRADES];
} r2i_draft_record;

/* How probable it is that a token of this grade comes true if those before it did. */
float r2i_draft_chance(const r2i_draft_record *record, int32_t grade);
/* The first n_true of n_drafted tokens came true. */
void r2i_draft_note(r2i_draft_record *record, int32_t grade, int32_t n_drafted, int32_t n_true);
/* Nothing of this grade was tried, it was not worth it: what is known of it fades slowly. */
void r2i_draft_note_unused(r2i_draft_record *record, int32_t grade);

/* ---- what rows cost ---- */

/* Sums over past steps, fading: a straight line of time over rows, held to a first guess. */
typedef struct {
    double weight, rows, ns, rows_rows, rows_ns;
} r2i_step_cost;

void r2i_step_cost_note(r2i_step_cost *cost, int32_t n_rows, int64_t ns);
/* Time of a step of n_rows and of a row more, in any unit; false before anything was measured. */
bool r2i_step_cost_get(const r2i_step_cost *cost, int32_t n_rows, double *step, double *row);
#endif
