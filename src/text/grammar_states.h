/* grammar_states.h - where a text stands in a grammar, found once and remembered.
 *
 * A place is a node of the automaton and a stack of nodes to return to; a state is a set of places,
 * all that read a next byte, and whether the text may end.  States, stacks and the step from a state
 * by a byte are made when first asked for and kept: the automaton of all states would be endless,
 * that of the states one text visits is small.  Every state leads to an end: places from which none
 * is reached within R2I_GRAMMAR_MAX_DEPTH are left out.
 *
 * Limits: places of a state, states, and work in one call, so that no grammar takes long.  One thread
 * at a time. */
#ifndef R2I_GRAMMAR_STATES_H
#define R2I_GRAMMAR_STATES_H
#include "base/buffer.h"
#include "text/grammar_automaton.h"
#include "text/token_tree.h"

enum {
    R2I_STATE_NONE = -1,    /* no text goes on so */
    R2I_STATE_UNKNOWN = -2, /* a step not taken yet */
    R2I_STATES_MAX = 1 << 16,
    R2I_STATE_MAX_PLACES = 4096,
    R2I_STATES_MAX_WORK = 1 << 22 /* places looked at in one call */
};

/* What masks know of a state, by tree (token_tree.h). */
typedef struct {
    int32_t
        canonical[R2I_TOKEN_TREES]; /* the state that allows the same tokens; -1: not known yet */
    int32_t mask[R2I_TOKEN_TREES];  /* number of the mask, -1: none yet */
} r2i_state_masks;

typedef struct {
    int32_t first, n; /* places */
    int32_t row;      /* first of its steps, by class of bytes */
    bool can_end;
    r2i_state_masks masks;
} r2i_grammar_state;

typedef struct {
    int32_t node, stack;
} r2i_grammar_place;

typedef struct {
    int32_t node, below; /* where to return, and the stack that is left then */
    int32_t depth;
} r2i_grammar_stack;

/* Numbers by hash, open addressing. */
typedef struct {
    int32_t *slots; /* number + 1; 0: empty */
    size_t n_slots;
} r2i_number_table;

typedef struct {
    const r2i_automaton *automaton;
    r2i_heap *heap;
    r2i_buffer states, places, rows, stacks; /* arrays of the types above and int32_t */
    int32_t n_states, n_stacks;
    r2i_number_table state_table, stack_table;
    r2i_grammar_place *found;   /* [R2I_STATE_MAX_PLACES] the set being made */
    r2i_grammar_place *pending; /* reached, ways on not followed yet */
    int32_t n_found;
    bool found_end;
    uint64_t *visited; /* places of this set already looked at, with its number */
    uint32_t *visit_of;
    uint32_t visit;
    int32_t n_visited;
    int64_t work;     /* left in this call */
    r2_status status; /* why `work` stopped */
} r2i_grammar_states;

R2_CHECKED r2_status r2i_grammar_states_init(r2i_grammar_states *s, const r2i_automaton *automaton,
                                             r2i_heap *heap, r2_error *err);
void r2i_grammar_states_destroy(r2i_grammar_states *s);
/* Bytes it takes now. */
size_t r2i_grammar_states_memory(const r2i_grammar_states *s);

static inline const r2i_grammar_state *r2i_grammar_state_get(const r2i_grammar_states *s,
                                                             int32_t state) {
    return (const r2i_grammar_state *)(const void *)s->states.bytes + state;
}
/* Allows more work; forgets why the last call stopped. */
static inline void r2i_grammar_states_begin(r2i_grammar_states *s) {
    s->work = R2I_STATES_MAX_WORK;
    s->status = R2_OK;
}
/* The state of the empty text.  R2I_STATE_NONE with s->status when a limit or memory refuses. */
int32_t r2i_grammar_states_start(r2i_grammar_states *s);
/* After one byte more.  R2I_STATE_NONE: no text goes on so, or s->status is not R2_OK. */
int32_t r2i_grammar_states_step(r2i_grammar_states *s, int32_t state, uint8_t byte);
/* The step if it is known, or R2I_STATE_UNKNOWN. */
static inline int32_t r2i_grammar_states_look(const r2i_grammar_states *s, int32_t state,
                                              uint8_t byte) {
    const int32_t *rows = (const int32_t *)(const void *)s->rows.bytes;
    return rows[r2i_grammar_state_get(s, state)->row + s->automaton->class_of[byte]];
}
/* A state that allows the same texts of up to n_bytes bytes (itself often); for limits as above. */
int32_t r2i_grammar_states_canonical(r2i_grammar_states *s, int32_t state, int32_t n_bytes);
/* The same state in other tables; for limits as above, in *to. */
int32_t r2i_grammar_states_move(r2i_grammar_states *to, const r2i_grammar_states *from,
                                int32_t state);
#endif
