#include "server/call_list.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "base/hash.h"
#include "base/random.h"

enum { MAX_CALLS = 1024, MAX_NAME_BYTES = 1 << 10, MAX_ARGUMENTS_BYTES = 1 << 26, ID_BYTES = 32 };

void r2i_call_list_init(r2i_call_list *list, r2i_heap *heap) {
    *list = (r2i_call_list){ .heap = heap };
    r2i_buffer_init(&list->calls, heap, MAX_CALLS * sizeof(r2i_call));
}

static r2i_call *calls_of(const r2i_call_list *list) {
    return (r2i_call *)(void *)list->calls.bytes;
}

int32_t r2i_call_list_count(const r2i_call_list *list) {
    return (int32_t)(list->calls.n_bytes / sizeof(r2i_call));
}

void r2i_call_list_destroy(r2i_call_list *list) {
    for (int32_t i = 0; i < r2i_call_list_count(list); i++) {
        r2i_buffer_destroy(&calls_of(list)[i].name);
        r2i_buffer_destroy(&calls_of(list)[i].arguments);
    }
    r2i_buffer_destroy(&list->calls);
}

r2_status r2i_call_list_add(r2i_call_list *list, const r2_answer_piece *piece) {
    if (piece->kind == R2_PIECE_CALL) {
        r2i_call call = { .is_told = false };
        r2i_buffer_init(&call.name, list->heap, MAX_NAME_BYTES);
        r2i_buffer_init(&call.arguments, list->heap, MAX_ARGUMENTS_BYTES);
        R2I_TRY(r2i_buffer_append(&list->calls, &call, sizeof call, NULL));
    }
    const int32_t n = r2i_call_list_count(list);
    if (n == 0) return R2_OK;
    r2i_call *last = &calls_of(list)[n - 1];
    list->n_unsent += piece->n_bytes;
    return r2i_buffer_append(piece->kind == R2_PIECE_CALL ? &last->name : &last->arguments,
                             piece->text, piece->n_bytes, NULL);
}

/* ---- as JSON ---- */

/* Replies have names of their own, so have their calls. */
static void make_id(char out[ID_BYTES], const char *reply, int32_t choice, int32_t call) {
    const uint64_t seed = r2i_hash_mix(r2i_hash_bytes(R2I_HASH_SEED, reply, strlen(reply)));
    const uint64_t stream = (uint64_t)choice;
    (void)snprintf(out, ID_BYTES, "call_%016" PRIx64 "%08" PRIx32,
                   r2i_random_u64(seed, stream, 2 * (uint64_t)call),
                   (uint32_t)r2i_random_u64(seed, stream, 2 * (uint64_t)call + 1));
}

static json_t *text_of(const r2i_buffer *b) {
    return json_stringn(b->n_bytes > 0 ? b->bytes : "", b->n_bytes);
}

static json_t *describe(const r2i_call *call, const char *id, json_t *arguments) {
    return json_pack("{s:s, s:s, s:{s:o, s:o}}", "id", id, "type", "function", "function", "name",
                     text_of(&call->name), "arguments", arguments);
}

json_t *r2i_call_list_whole(const r2i_call_list *list, const char *reply, int32_t choice) {
    json_t *all = json_array();
    for (int32_t i = 0; i < r2i_call_list_count(list); i++) {
        char id[ID_BYTES];
        const r2i_call *call = &calls_of(list)[i];
        make_id(id, reply, choice, i);
        (void)json_array_append_new(all, describe(call, id, text_of(&call->arguments)));
    }
    return all;
}

json_t *r2i_call_list_take(r2i_call_list *list, const char *reply, int32_t choice) {
    if (list->n_unsent == 0) return NULL;
    json_t *all = json_array();
    for (int32_t i = 0; i < r2i_call_list_count(list); i++) {
        r2i_call *call = &calls_of(list)[i];
        if (!call->is_told) {
            char id[ID_BYTES];
            make_id(id, reply, choice, i);
            json_t *first = json_pack("{s:i}", "index", i), *rest;
            rest = describe(call, id, json_string(""));
            (void)json_object_update(first, rest);
            json_decref(rest);
            (void)json_array_append_new(all, first);
            call->is_told = true;
        }
        if (call->arguments.n_bytes == 0) continue;
        (void)json_array_append_new(all, json_pack("{s:i, s:{s:o}}", "index", i, "function",
                                                   "arguments", text_of(&call->arguments)));
        r2i_buffer_clear(&call->arguments);
    }
    list->n_unsent = 0;
    return all;
}
