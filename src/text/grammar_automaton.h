/* grammar_automaton.h - a grammar as a network of nodes over bytes.
 *
 *     BYTES   one byte within first..last, then next
 *     SPLIT   next, or other (-1: none)
 *     CALL    a rule (other), then next; a tail call returns for its caller as well
 *     END     of a rule
 *
 * A bounded repetition of more than a few is a chain: SPLIT and CALL nodes by turns, one pair for
 * each time, so that a place in it is a number (see canonical states in grammar_states.h). */
#ifndef R2I_GRAMMAR_AUTOMATON_H
#define R2I_GRAMMAR_AUTOMATON_H
#include "text/grammar_expression.h"

enum {
    R2I_GRAMMAR_MAX_NODES = 1 << 19,
    R2I_GRAMMAR_MAX_DEPTH = 250, /* rules called and not returned from, tail calls apart */
    R2I_GRAMMAR_FAR = 0x3fff,
    R2I_GRAMMAR_NO_END = 0xffff /* cost of a node from which no text ends */
};

typedef enum { R2I_NODE_END, R2I_NODE_BYTES, R2I_NODE_SPLIT, R2I_NODE_CALL } r2i_node_kind;

typedef struct {
    uint8_t kind; /* r2i_node_kind */
    uint8_t first, last;
    bool is_tail, is_chain;
    uint16_t cost;    /* fewest calls within calls on a way to the end of the rule */
    uint16_t n_bytes; /* fewest bytes on a way to the end of the rule; at most R2I_GRAMMAR_FAR */
    int32_t next, other;
} r2i_grammar_node;

/* Nodes begin + 2 i, for i in 0..n, are the SPLITs before time i. */
typedef struct {
    int32_t begin, n, n_min, n_max; /* n_max < 0: behind the n times comes a loop */
} r2i_grammar_chain;

typedef struct {
    r2i_heap *heap;
    r2i_grammar_node *nodes; /* [n_nodes] */
    int32_t n_nodes, cap_nodes;
    int32_t *starts; /* [n_rules] first node of each rule */
    int32_t n_rules, cap_rules, root;
    r2i_grammar_chain *chains; /* [n_chains], ascending */
    int32_t n_chains, cap_chains;
    uint8_t class_of[256];       /* bytes that no node tells apart are one class */
    uint8_t representative[256]; /* [n_classes] a byte of each */
    int32_t n_classes;
} r2i_automaton;

/* Of a draft whose rules are all defined.  R2_E_FORMAT: a rule begins with itself, or no text fits
 * the grammar; R2_E_LIMIT: too many nodes; R2_E_NOMEM.  Nothing is kept of the draft. */
R2_CHECKED r2_status r2i_automaton_build(r2i_automaton *out, const r2i_grammar_draft *draft,
                                         r2i_heap *heap, r2_error *err);
/* Also after a failed build. */
void r2i_automaton_destroy(r2i_automaton *automaton);
/* Bytes it takes. */
size_t r2i_automaton_memory(const r2i_automaton *automaton);

/* A node whose chain goes on for the next n_bytes bytes as this one's does; itself if there is none
 * nearer to the chain's begin.  `node` is_chain. */
int32_t r2i_automaton_canonical(const r2i_automaton *automaton, int32_t node, int32_t n_bytes);

/* automaton_check.c: costs, left recursion, byte classes; the last step of building. */
R2_CHECKED r2_status r2i_automaton_finish(r2i_automaton *automaton, const r2i_grammar_draft *draft,
                                          r2_error *err);
#endif
