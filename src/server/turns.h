/* turns.h - the line of choices that wait to be begun: clients take turns.
 *
 * Each choice has a round: the current one if its client has none waiting, else the one behind its
 * client's last.  The line is in order of rounds, so that a client with many requests gets one into each
 * round, as one with a single request does. */
#ifndef R2I_TURNS_H
#define R2I_TURNS_H
#include "server/choice.h"

typedef struct {
    r2i_queue line;
    uint64_t round; /* of the choice begun last */
} r2i_turns;

void r2i_turns_add(r2i_turns *turns, r2i_choice *choice);
/* The first that can begin, or NULL. */
r2i_choice *r2i_turns_take(r2i_turns *turns);
/* False: it is not there. */
bool r2i_turns_remove(r2i_turns *turns, const r2i_choice *choice);
/* Whoever is first, if it can begin or not; NULL: nobody is there. */
r2i_choice *r2i_turns_drop(r2i_turns *turns);
#endif
