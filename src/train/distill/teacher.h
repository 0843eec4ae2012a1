/* teacher.h - what a trainer's batches look like to a model that teaches.
 *
 * The teacher is opened as for inference, so quantized weights stay as its file has them; it reads each
 * document of a batch as the student does, from its beginning.  Its logits exist for a few rows at once. */
#ifndef R2I_TEACHER_H
#define R2I_TEACHER_H
#include "r2lm/distill.h"

/* Of its configuration and weights. */
uint64_t r2i_teacher_fingerprint(const r2_teacher *teacher);
/* Memory that it has taken. */
int64_t r2i_teacher_bytes(const r2_teacher *teacher);
/* Log-probabilities of a batch's targets, [n_tokens]; those of rows without one stay as they are.  As
 * r2_teacher_score. */
R2_CHECKED r2_status r2i_teacher_read(r2_teacher *teacher, const r2_training_batch *batch,
                                      float *logprobs, r2_error *err);
#endif
