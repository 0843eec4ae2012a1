/* expert_exchange.h - experts that live in several processes: rows travel to them and back.
 *
 * Who computes with experts knows their rows in the experts' order, expert by expert.  It says how many
 * there are for each, gives them away, computes with what came here (rows of all processes, in the order
 * of the processes within an expert), and gives that back. */
#ifndef R2I_EXPERT_EXCHANGE_H
#define R2I_EXPERT_EXCHANGE_H
#include <stddef.h>
#include <stdint.h>

typedef struct {
    void *user;
    int32_t cap_entries; /* most rows that may come here */
    /* first_entry [n_experts + 1] of the own rows; returns the same of those that come here, none for
     * an expert that lives elsewhere.  It stays until the next call. */
    const int32_t *(*plan)(void *user, const int32_t *first_entry);
    /* Own rows of row_bytes each to where their experts are; `here`: the rows that come. */
    void (*give)(void *user, const void *own, size_t row_bytes, void *here);
    void (*take_back)(void *user, const void *here, size_t row_bytes, void *own);
} r2i_expert_exchange;
#endif
