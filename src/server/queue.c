#include "server/queue.h"

#include <stddef.h>

void r2i_queue_add(r2i_queue *q, r2i_link *link) {
    link->next = NULL;
    if (q->last != NULL)
        q->last->next = link;
    else
        q->first = link;
    q->last = link;
    q->n++;
}

void r2i_queue_add_first(r2i_queue *q, r2i_link *link) {
    link->next = q->first;
    q->first = link;
    if (q->last == NULL) q->last = link;
    q->n++;
}

r2i_link *r2i_queue_take(r2i_queue *q) {
    r2i_link *link = q->first;
    if (link != NULL) (void)r2i_queue_remove(q, link);
    return link;
}

bool r2i_queue_remove(r2i_queue *q, const r2i_link *link) {
    r2i_link *before = NULL;
    for (r2i_link *l = q->first; l != NULL; before = l, l = l->next) {
        if (l != link) continue;
        if (before != NULL)
            before->next = l->next;
        else
            q->first = l->next;
        if (q->last == l) q->last = before;
        l->next = NULL;
        q->n--;
        return true;
    }
    return false;
}
