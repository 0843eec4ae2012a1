/* rank_choice.h - was this process started as one of several, and by what it finds the others. */
#ifndef R2I_RANK_CHOICE_H
#define R2I_RANK_CHOICE_H
#include "cli/program.h"
#include "r2lm/ranks.h"

/* Joins the others when the environment says that mpirun (or srun) started several processes; *out stays
 * NULL for one alone.  All ranks but the first one are quiet from then on.  R2_E_NOT_FOUND: the plugin
 * is missing; otherwise as r2_ranks_open. */
R2_CHECKED r2_status r2i_ranks_choose(r2_ranks **out, r2i_program *program, r2_error *err);
/* One of those that say nothing?  Known before they have joined. */
bool r2i_ranks_is_silent(void);
/* Leaves, or where the others cannot be reached any more ends them all with `code`. */
void r2i_ranks_leave(r2_ranks *ranks, int code);
#endif
