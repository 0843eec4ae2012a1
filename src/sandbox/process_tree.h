/* process_tree.h - a process and all that came from it, as /proc shows them. */
#ifndef R2I_PROCESS_TREE_H
#define R2I_PROCESS_TREE_H
#include <stdint.h>
#include <sys/types.h>

typedef struct {
    int32_t n_tasks;      /* processes and threads */
    int64_t memory_bytes; /* that they share with no file */
    double cpu_seconds;   /* of those that live, and of their children that do not */
} r2i_process_tree;

/* Counts `root` and its descendants, no more than max_tasks + 1 of them.  What ends meanwhile counts or
 * not.  Orphans must have `root` for their reaper to be seen. */
void r2i_process_tree_measure(r2i_process_tree *out, pid_t root, int32_t max_tasks);
/* The same of a process group, whoever its members came from. */
void r2i_process_group_measure(r2i_process_tree *out, pid_t group, int32_t max_tasks);
/* Processes and threads that our user has now. */
int32_t r2i_user_tasks(void);
#endif
