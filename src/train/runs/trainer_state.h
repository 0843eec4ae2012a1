/* trainer_state.h - what a step of training changes, as named arrays of a checkpoint.
 *
 *     weights/NAME   values of a parameter, routers' score biases among them
 *     m/NAME, v/NAME the optimizer's moments; v only where it has one (adamw.h)
 *
 * Whatever the trainer's list of parameters holds is there, and nothing else: gradients are zero between
 * steps, and experts' counters too. */
#ifndef R2I_TRAINER_STATE_H
#define R2I_TRAINER_STATE_H
#include "files/state_folder.h"
#include "train/parameters/adamw.h"

/* The ranges that this process steps; of parameters without gradient, those of the first rank.  Names lie
 * in the arena, values are the optimizer's own.  R2_E_NOMEM. */
R2_CHECKED r2_status r2i_trainer_ranges(const r2i_adamw *adamw, r2i_arena *arena,
                                        r2i_state_range **out, size_t *n, r2_error *err);
/* R2_E_RANGE: a value is no finite number. */
R2_CHECKED r2_status r2i_trainer_check_finite(const r2i_adamw *adamw, r2_error *err);
/* Reads all values, and moments of what is stepped here.  R2_E_MISMATCH: of another model or another
 * optimizer; the values may have changed in part then. */
R2_CHECKED r2_status r2i_trainer_restore(r2i_adamw *adamw, const r2i_state *state, r2_error *err);
#endif
