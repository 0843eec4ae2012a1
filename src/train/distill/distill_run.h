/* distill_run.h - a run that learns from a teacher: where the soft targets of its batches come from. */
#ifndef R2I_DISTILL_RUN_H
#define R2I_DISTILL_RUN_H
#include "base/memory.h"
#include "r2lm/distill.h"
#include "train/data/data_stream.h"

typedef struct r2i_distill r2i_distill;

/* `options` is borrowed; the trainer must outlive it.  As r2_teacher_open. */
R2_CHECKED r2_status r2i_distill_open(r2i_distill **out, const r2_distill_options *options,
                                      r2_trainer *trainer, uint64_t seed, r2i_heap *heap,
                                      r2_error *err);
/* NULL is allowed. */
void r2i_distill_close(r2i_distill *distill);
/* What is learnt from a batch of the stream: itself, or the student's own answers to its prompts, which are
 * valid until the next call. */
R2_CHECKED r2_status r2i_distill_choose(r2i_distill *distill, const r2i_batch_data **data,
                                        r2_error *err);
/* Is the batch that was chosen last the student's own answers?  Its tokens are no targets then. */
bool r2i_distill_is_own(const r2i_distill *distill);
/* Gives the batch its soft targets; they are valid until the next call. */
R2_CHECKED r2_status r2i_distill_soften(r2i_distill *distill, r2_training_batch *batch,
                                        r2_error *err);
/* Of the teacher and of how it is learnt from; 0 without. */
uint64_t r2i_distill_identity(const r2i_distill *distill);
/* Memory of the teacher. */
int64_t r2i_distill_bytes(const r2i_distill *distill);
#endif
