/* queue.h - a line of things that wait, linked through their first member. */
#ifndef R2I_QUEUE_H
#define R2I_QUEUE_H
#include <stdbool.h>
#include <stdint.h>

typedef struct r2i_link {
    struct r2i_link *next;
} r2i_link;

typedef struct {
    r2i_link *first, *last;
    int32_t n;
} r2i_queue;

void r2i_queue_add(r2i_queue *queue, r2i_link *link);
/* In front of all others. */
void r2i_queue_add_first(r2i_queue *queue, r2i_link *link);
/* The first, or NULL. */
r2i_link *r2i_queue_take(r2i_queue *queue);
/* Takes this one out, wherever it is; false: it is not there. */
bool r2i_queue_remove(r2i_queue *queue, const r2i_link *link);
#endif
