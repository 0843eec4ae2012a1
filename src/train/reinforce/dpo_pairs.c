#include "train/reinforce/dpo_pairs.h"

#include <string.h>

#include "base/failure.h"
#include "base/hash.h"
#include "model/model.h"
#include "train/data/document_read.h"
#include "train/data/training_tokens.h"

enum { FIRST_PAIRS = 64 };
#define MAX_TEXT_BYTES ((size_t)64 << 20)

typedef struct {
    const r2_model *model;
    r2i_arena *arena;
    r2i_buffer room;
    r2i_dpo_pairs *out;
    r2i_dpo_answer answer; /* the one at work */
    int32_t cap_tokens;
    size_t cap_pairs;
} reading;

/* Of several documents the last one: it has all turns.  What is learnt is the last turn alone. */
static r2_status take_tokens(void *user, const uint32_t *tokens, size_t n, r2_error *err) {
    reading *r = user;
    r2i_dpo_answer *a = &r->answer;
    *a = (r2i_dpo_answer){ .tokens = R2I_ARENA_ARRAY(r->arena, int32_t, n),
                           .targets = R2I_ARENA_ARRAY(r->arena, int32_t, n),
                           .reference = R2I_ARENA_ARRAY(r->arena, float, n),
                           .n = n < INT32_MAX ? (int32_t)n : INT32_MAX };
    if (a->tokens == NULL || a->targets == NULL || a->reference == NULL)
        return r2i_fail(err, R2_E_NOMEM, "no memory for pairs");
    size_t first = n;
    while (first > 0 && (tokens[first - 1] & R2I_NO_TARGET) != 0)
        first--;
    while (first > 0 && (tokens[first - 1] & R2I_NO_TARGET) == 0)
        first--;
    for (size_t i = 0; i < n; i++) {
        a->tokens[i] = (int32_t)(tokens[i] & ~R2I_NO_TARGET);
        const bool is_learnt = i + 1 < n && i + 1 >= first && (tokens[i + 1] & R2I_NO_TARGET) == 0;
        a->targets[i] = is_learnt ? (int32_t)tokens[i + 1] : -1;
    }
    return R2_OK;
}

/* A text, or messages whose last one is meant; NULL: neither. */
static const char *text_of(const json_t *value) {
    if (json_is_array(value) && json_array_size(value) > 0)
        value = json_object_get(json_array_get(value, json_array_size(value) - 1), "content");
    return json_string_value(value);
}

static r2_status read_answer(reading *r, const r2i_document *d, const char *key,
                             r2i_dpo_answer *out, r2_error *err) {
    const char *text = text_of(json_object_get(d->line, key));
    if (d->messages == NULL || text == NULL)
        return r2i_fail(err, R2_E_FORMAT,
                        "%s: expected \"prompt\" or \"messages\", and \"chosen\" and \"rejected\"",
                        d->place);
    json_t *messages = json_deep_copy(d->messages);
    json_t *answer = json_pack("{s:s, s:s}", "role", "assistant", "content", text);
    r2_status status = R2_E_NOMEM;
    r->answer = (r2i_dpo_answer){ .n = 0 };
    if (messages != NULL && answer != NULL && json_array_append(messages, answer) == 0)
        status = r2i_chat_to_tokens(r->model, messages, false, &r->room, take_tokens, r, err);
    else
        (void)r2i_fail(err, status, "no memory for pairs");
    json_decref(answer);
    json_decref(messages);
    *out = r->answer;
    return status;
}

static r2_status keep_pair(reading *r, const r2i_dpo_pair *pair, r2_error *err) {
    r2i_dpo_pairs *out = r->out;
    for (int k = 0; k < 2; k++) {
        const r2i_dpo_answer *a = &pair->answers[k];
        out->hash = r2i_hash_bytes(out->hash, a->tokens, (size_t)a->n * sizeof *a->tokens);
    }
    if (pair->answers[0].n > r->cap_tokens || pair->answers[1].n > r->cap_tokens) {
        out->n_too_long++;
        return R2_OK;
    }
    if ((size_t)out->n == r->cap_pairs) {
        const size_t cap = r->cap_pairs > 0 ? 2 * r->cap_pairs : FIRST_PAIRS;
        r2i_dpo_pair *more = R2I_ARENA_ARRAY(r->arena, r2i_dpo_pair, cap);
        if (more == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for pairs");
        if (out->n > 0) memcpy(more, out->pairs, (size_t)out->n * sizeof *more);
        out->pairs = more;
        r->cap_pairs = cap;
    }
    out->pairs[out->n++] = *pair;
    return R2_OK;
}

static r2_status read_file(reading *r, const char *path, r2_error *err) {
    r2i_document_reader *reader;
    r2i_document d;
    bool has = true;
    R2I_TRY(r2i_document_reader_open(&reader, path, NULL, &((r2_model *)(uintptr_t)r->model)->heap,
                                     err));
    r2i_document_allow_questions(reader);
    r2_status status = R2_OK;
    while (status == R2_OK) {
        r2i_dpo_pair pair;
        status = r2i_document_next(reader, &d, &has, err);
        if (status != R2_OK || !has) break;
        status = read_answer(r, &d, "chosen", &pair.answers[0], err);
        if (status == R2_OK) status = read_answer(r, &d, "rejected", &pair.answers[1], err);
        if (status == R2_OK) status = keep_pair(r, &pair, err);
    }
    r2i_document_reader_close(reader);
    return status;
}

r2_status r2i_dpo_pairs_read(r2i_dpo_pairs *out, const r2_model *model, const char *const *files,
                             int32_t n_files, int32_t cap_tokens, r2i_arena *arena, r2_error *err) {
    reading r = { .model = model, .arena = arena, .out = out, .cap_tokens = cap_tokens };
    r2_status status = R2_OK;
    *out = (r2i_dpo_pairs){ .hash = R2I_HASH_SEED };
    r2i_buffer_init(&r.room, arena->heap, MAX_TEXT_BYTES);
    for (int32_t i = 0; status == R2_OK && i < n_files; i++)
        status = read_file(&r, files[i], err);
    r2i_buffer_destroy(&r.room);
    if (status == R2_OK && out->n == 0)
        status = r2i_fail(err, R2_E_ARGUMENT,
                          "expected pairs, found none that fit into %d tokens (%lld are longer)",
                          cap_tokens, (long long)out->n_too_long);
    return status;
}
