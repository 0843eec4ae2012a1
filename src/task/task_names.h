/* task_names.h - people and things that questions are about. */
#ifndef R2I_TASK_NAMES_H
#define R2I_TASK_NAMES_H
#include "task/task_draft.h"

enum { R2I_N_PEOPLE = 12, R2I_N_THINGS = 8 };

extern const char *const r2i_people[R2I_N_LANGUAGES][R2I_N_PEOPLE];
extern const char *const r2i_things[R2I_N_LANGUAGES][R2I_N_THINGS]; /* several: "apples" */
/* n different ones in any order. */
void r2i_draw_people(r2i_task_draft *d, const char **out, int32_t n);
#endif
