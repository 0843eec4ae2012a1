/* task_split.h - what is taught and what never is: instances by hash, values, languages, phrasings, lengths. */
#ifndef R2I_TASK_SPLIT_H
#define R2I_TASK_SPLIT_H
#include "task/task_draft.h"

/* Level and language of what a choice asks for, or why there is none: R2_E_NOT_FOUND, R2_E_ARGUMENT. */
R2_CHECKED r2_status r2i_split_begin(r2i_task_draft *draft, const r2i_task **task,
                                     const r2_task_choice *choice);
/* Whether what was drawn belongs to the draft's split. */
bool r2i_split_has(const r2i_task_draft *draft);
#endif
