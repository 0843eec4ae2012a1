#include "server/turns.h"

#include <stddef.h>

static r2i_choice *choice_of(r2i_link *link) {
    return (r2i_choice *)(void *)link;
}

void r2i_turns_add(r2i_turns *t, r2i_choice *choice) {
    r2i_link *before = NULL;
    choice->round = t->round;
    for (r2i_link *at = t->line.first; at != NULL; at = at->next) {
        if (choice_of(at)->client == choice->client) choice->round = choice_of(at)->round + 1;
    }
    for (r2i_link *at = t->line.first; at != NULL && choice_of(at)->round <= choice->round;
         at = at->next)
        before = at;
    if (before == NULL) {
        r2i_queue_add_first(&t->line, &choice->link);
        return;
    }
    choice->link.next = before->next;
    before->next = &choice->link;
    if (t->line.last == before) t->line.last = &choice->link;
    t->line.n++;
}

r2i_choice *r2i_turns_take(r2i_turns *t) {
    for (r2i_link *at = t->line.first; at != NULL; at = at->next) {
        r2i_choice *choice = choice_of(at);
        if (!r2i_choice_can_begin(choice)) continue;
        (void)r2i_queue_remove(&t->line, at);
        if (choice->round > t->round) t->round = choice->round;
        return choice;
    }
    return NULL;
}

bool r2i_turns_remove(r2i_turns *t, const r2i_choice *choice) {
    return r2i_queue_remove(&t->line, &choice->link);
}

r2i_choice *r2i_turns_drop(r2i_turns *t) {
    return choice_of(r2i_queue_take(&t->line));
}
