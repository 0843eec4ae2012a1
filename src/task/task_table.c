/* task_table.c - the tasks; most in a file of their own. */
#include "task/task_draft.h"

const r2i_task *const r2i_tasks[] = {
    &r2i_task_sum,        &r2i_task_multiply,  &r2i_task_divide,   &r2i_task_gcd,
    &r2i_task_expression, &r2i_task_countdown, &r2i_task_equation, &r2i_task_story,
    &r2i_task_numeral,    &r2i_task_days,      &r2i_task_weekday,  &r2i_task_boolean,
    &r2i_task_knights,    &r2i_task_order,     &r2i_task_sort,     &r2i_task_lists,
    &r2i_task_letters,    &r2i_task_output,    &r2i_task_function, &r2i_task_repair,
    &r2i_task_print,      &r2i_task_needle,    &r2i_task_grid,     &r2i_task_tool,
};
const int32_t r2i_n_tasks = sizeof r2i_tasks / sizeof *r2i_tasks;
