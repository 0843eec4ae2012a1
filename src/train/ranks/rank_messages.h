/* rank_messages.h - messages between the processes of one run.
 *
 * A failure sticks: after the first one every call returns at once and r2i_ranks_check tells of it, so
 * that code in between need not ask after each message.  A wait that hears nothing for PATIENCE ends
 * so, too, and names the rank.  NULL stands for one process and is checked for by the caller, but
 * where said otherwise. */
#ifndef R2I_RANK_MESSAGES_H
#define R2I_RANK_MESSAGES_H
#include <stdbool.h>

#include "base/memory.h"
#include "r2lm/ranks.h"
#include "train/ranks/ranks_plugin.h"

/* Tags of messages; of numbered ones the first. */
enum {
    R2I_TAG_GATHER = 1,
    R2I_TAG_EXPERTS,
    R2I_TAG_LENDING,
    R2I_TAG_NUMBERED = 16,
    R2I_MOST_MESSAGE_BYTES = 1 << 30
};

typedef struct {
    r2i_ranks_request request;
    int32_t peer;
    bool is_receive, is_done;
    size_t n_bytes;
} r2i_message;

struct r2_ranks {
    int32_t rank, n;
    const r2i_ranks_plugin *plugin;
    r2_error failure;
    int64_t patience_ns;
    r2i_heap heap;
    r2i_message *messages; /* [2 n] of a gathering */
};


/* Starts a message of at most R2I_MOST_MESSAGE_BYTES; its bytes are lent until it is done.  A receive
 * expects exactly n_bytes: another length is a failure. */
void r2i_ranks_send(r2_ranks *ranks, r2i_message *message, int32_t to, int32_t tag,
                    const void *bytes, size_t n_bytes);
void r2i_ranks_receive(r2_ranks *ranks, r2i_message *message, int32_t from, int32_t tag,
                       void *bytes, size_t n_bytes);
/* Lets all messages get on; is this one done?  True as well when the connection has failed. */
bool r2i_ranks_test(r2_ranks *ranks, r2i_message *message);
void r2i_ranks_wait(r2_ranks *ranks, r2i_message *messages, int32_t n);

/* all[r] = `own` of rank r, n_bytes each. */
void r2i_ranks_gather(r2_ranks *ranks, const void *own, size_t n_bytes, void *all);
/* Sum over the ranks, in their order.  NULL: the number itself. */
double r2i_ranks_sum(r2_ranks *ranks, double own);
/* `all` is room for [n ranks, n]. */
void r2i_ranks_sum_counts(r2_ranks *ranks, int64_t *counts, int32_t n, int64_t *all);
/* R2_OK, or how the connection failed.  NULL: R2_OK. */
R2_CHECKED r2_status r2i_ranks_check(const r2_ranks *ranks, r2_error *err);

static inline int32_t r2i_ranks_count(const r2_ranks *ranks) {
    return ranks != NULL ? ranks->n : 1;
}
static inline int32_t r2i_ranks_index(const r2_ranks *ranks) {
    return ranks != NULL ? ranks->rank : 0;
}
#endif
