/* call_list.h - the tool calls of one answer as they are written, and what of them was sent. */
#ifndef R2I_CALL_LIST_H
#define R2I_CALL_LIST_H
#include <jansson.h>
#include <stdbool.h>

#include "base/buffer.h"
#include "r2lm/tools.h"

typedef struct {
    r2i_buffer name, arguments; /* arguments: those not sent yet */
    bool is_told;               /* its name was sent */
} r2i_call;

typedef struct {
    r2i_heap *heap;
    r2i_buffer calls; /* r2i_call */
    size_t n_unsent;  /* bytes */
} r2i_call_list;

void r2i_call_list_init(r2i_call_list *list, r2i_heap *heap);
void r2i_call_list_destroy(r2i_call_list *list);
int32_t r2i_call_list_count(const r2i_call_list *list);
/* A piece that is no content. */
R2_CHECKED r2_status r2i_call_list_add(r2i_call_list *list, const r2_answer_piece *piece);

/* OpenAI's tool_calls of a whole message; `reply` names the reply and choice, from which the ids of the
 * calls are made. */
json_t *r2i_call_list_whole(const r2i_call_list *list, const char *reply, int32_t choice);
/* The same as deltas of a stream: [{index, id, type, function{name, arguments: ""}}, {index,
 * function{arguments}}, ...] of what was not sent yet, which counts as sent then; NULL: nothing. */
json_t *r2i_call_list_take(r2i_call_list *list, const char *reply, int32_t choice);
#endif
