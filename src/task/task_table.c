/* task_table.c - the tasks, each in a file of its own. */
#include "task/task_draft.h"

const r2i_task *const r2i_tasks[] = { &r2i_task_sum, &r2i_task_countdown, &r2i_task_sort };
const int32_t r2i_n_tasks = sizeof r2i_tasks / sizeof *r2i_tasks;
