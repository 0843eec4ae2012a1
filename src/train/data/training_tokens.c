#include "train/data/training_tokens.h"

#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "model/model.h"

static r2_status append_tokens(r2i_buffer *room, const r2_token *tokens, size_t n, uint32_t mark,
                               r2_error *err) {
    for (size_t i = 0; i < n; i++) {
        const uint32_t token = (uint32_t)tokens[i] | mark;
        R2I_TRY(r2i_buffer_append(room, &token, sizeof token, err));
    }
    return R2_OK;
}

static uint32_t *stored_in(const r2i_buffer *room, size_t *n) {
    *n = room->n_bytes / sizeof(uint32_t);
    return (uint32_t *)(void *)room->bytes;
}

/* Tokens of a text behind what is in the buffer already. */
static r2_status append_text(const r2_model *model, const char *text, size_t n_bytes, int flags,
                             r2i_buffer *room, r2_error *err) {
    int32_t n;
    R2I_TRY(r2_tokenize(model, text, n_bytes, flags, NULL, 0, &n, err));
    r2_token *tokens = r2i_heap_take(room->heap, (size_t)n * sizeof *tokens);
    if (tokens == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for %d tokens", n);
    const size_t n_tokens_bytes = (size_t)n * sizeof *tokens;
    r2_status status = n > 0 ? r2_tokenize(model, text, n_bytes, flags, tokens, n, &n, err) : R2_OK;
    if (status == R2_OK) status = append_tokens(room, tokens, (size_t)n, 0, err);
    r2i_heap_give(room->heap, tokens, n_tokens_bytes);
    return status;
}

r2_status r2i_text_to_tokens(const r2_model *model, const char *text, size_t n_bytes,
                             r2i_buffer *room, r2i_token_sink sink, void *user, r2_error *err) {
    const r2_token end = r2i_tokenizer_eos(model->tokenizer);
    size_t n;
    r2i_buffer_clear(room);
    R2I_TRY(append_text(model, text, n_bytes, R2_TOKENIZE_START, room, err));
    if (end >= 0) R2I_TRY(append_tokens(room, &end, 1, 0, err));
    const uint32_t *tokens = stored_in(room, &n);
    return sink(user, tokens, n, err);
}

/* ---- chats ---- */

typedef struct {
    const r2_model *model;
    json_t *messages;
    bool learns_all;
    r2i_buffer *room;
    r2i_token_sink sink;
    void *user;
} chat;

static const char *thoughts_of(const json_t *message) {
    return json_string_value(json_object_get(message, "reasoning_content"));
}

/* The first n messages as the template shows them; is_asked: up to where the model would write the next
 * one, with thoughts if that one has some. */
static r2_status render(const chat *c, size_t n, bool is_asked, r2_prompt **out, r2_error *err) {
    json_t *some = json_array();
    for (size_t i = 0; some != NULL && i < n; i++)
        (void)json_array_append(some, json_array_get(c->messages, i));
    char *text = some != NULL ? json_dumps(some, JSON_COMPACT) : NULL;
    json_decref(some);
    if (text == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for a chat");
    const bool thinks = !is_asked || thoughts_of(json_array_get(c->messages, n)) != NULL;
    const r2_chat_options options = { .has_no_answer_prompt = !is_asked,
                                      .think = thinks ? R2_THINK_AUTO : R2_THINK_OFF,
                                      .messages_json = text };
    const r2_status status = r2_chat_render(out, c->model, NULL, 0, &options, err);
    json_free_t release;
    json_get_alloc_funcs(NULL, &release);
    release(text);
    return status;
}

static bool is_assistant(const chat *c, size_t i) {
    const char *role = json_string_value(json_object_get(json_array_get(c->messages, i), "role"));
    return role != NULL && strcmp(role, "assistant") == 0;
}

/* Where a turn that begins at `from` ends: behind its first token that ends an answer. */
static int32_t turn_end(const chat *c, const r2_prompt *p, int32_t from) {
    for (int32_t i = from; i < p->n_tokens; i++) {
        if (r2_token_is_end(c->model, p->tokens[i])) return i + 1;
    }
    return p->n_tokens;
}

/* Marks the turn of message i in the buffer as learnt; *fits is false when the whole does not begin as
 * the prompt did that the model would answer. */
static r2_status mark_turn(const chat *c, size_t i, const r2_prompt *whole, bool *fits,
                           r2_error *err) {
    r2_prompt *prompt;
    size_t n;
    uint32_t *tokens = stored_in(c->room, &n);
    R2I_TRY(render(c, i, true, &prompt, err));
    const int32_t n_prompt = prompt->n_tokens;
    *fits = n_prompt < whole->n_tokens &&
            memcmp(prompt->tokens, whole->tokens, (size_t)n_prompt * sizeof(r2_token)) == 0;
    r2_prompt_destroy(prompt);
    if (!*fits) return R2_OK;
    const int32_t end = turn_end(c, whole, n_prompt);
    for (int32_t t = n_prompt; t < end; t++)
        tokens[t] &= ~R2I_NO_TARGET;
    return R2_OK;
}

/* Many templates leave thoughts out, those of earlier turns at least. */
static bool shows_thoughts(const chat *c, const r2_prompt *whole) {
    for (size_t i = 0; i < json_array_size(c->messages); i++) {
        const char *thoughts = thoughts_of(json_array_get(c->messages, i));
        if (thoughts != NULL && strstr(whole->text, thoughts) == NULL) return false;
    }
    return true;
}

static r2_status as_one(const chat *c, const r2_prompt *whole, bool *fits, r2_error *err) {
    size_t n;
    r2i_buffer_clear(c->room);
    R2I_TRY(append_tokens(c->room, whole->tokens, (size_t)whole->n_tokens,
                          c->learns_all ? 0 : R2I_NO_TARGET, err));
    *fits = shows_thoughts(c, whole);
    for (size_t i = 0; i < json_array_size(c->messages) && *fits; i++) {
        if (is_assistant(c, i)) R2I_TRY(mark_turn(c, i, whole, fits, err));
    }
    if (!*fits) return R2_OK;
    const uint32_t *tokens = stored_in(c->room, &n);
    return c->sink(c->user, tokens, n, err);
}

/* Thoughts and what ends them; is_open: the prompt began them. */
static r2_status append_thoughts(const chat *c, const char *thoughts, bool is_open, r2_error *err) {
    const r2_token open = c->model->think_open, close = c->model->think_close;
    if (!is_open) R2I_TRY(append_tokens(c->room, &open, 1, 0, err));
    if (!is_open) R2I_TRY(append_text(c->model, "\n", 1, 0, c->room, err));
    R2I_TRY(append_text(c->model, thoughts, strlen(thoughts), 0, c->room, err));
    R2I_TRY(append_text(c->model, "\n", 1, 0, c->room, err));
    R2I_TRY(append_tokens(c->room, &close, 1, 0, err));
    return append_text(c->model, "\n\n", 2, 0, c->room, err);
}

/* What the model would write as message i, thoughts first, behind the prompt in the buffer. */
static r2_status append_answer(const chat *c, size_t i, bool is_open, r2_error *err) {
    const json_t *m = json_array_get(c->messages, i);
    const char *thoughts = thoughts_of(m),
               *content = json_string_value(json_object_get(m, "content"));
    if (content == NULL)
        return r2i_fail(err, R2_E_UNSUPPORTED,
                        "messages[%zu]: expected text, found none (a call that this template shows "
                        "otherwise once others follow)",
                        i);
    if (thoughts != NULL && c->model->think_open >= 0)
        R2I_TRY(append_thoughts(c, thoughts, is_open, err));
    return append_text(c->model, content, strlen(content), 0, c->room, err);
}

/* Message i alone, behind the prompt that the model would answer. */
static r2_status one_turn(const chat *c, size_t i, r2_error *err) {
    r2_prompt *prompt;
    size_t n;
    R2I_TRY(render(c, i, true, &prompt, err));
    bool is_open = false;
    for (int32_t t = r2i_max_i32(0, prompt->n_tokens - 2); t < prompt->n_tokens; t++)
        is_open |= c->model->think_open >= 0 && prompt->tokens[t] == c->model->think_open;
    r2i_buffer_clear(c->room);
    r2_status status = append_tokens(c->room, prompt->tokens, (size_t)prompt->n_tokens,
                                     c->learns_all ? 0 : R2I_NO_TARGET, err);
    r2_prompt_destroy(prompt);
    const r2_token end = r2i_tokenizer_eos(c->model->tokenizer);
    if (status == R2_OK) status = append_answer(c, i, is_open, err);
    if (status == R2_OK && end >= 0) status = append_tokens(c->room, &end, 1, 0, err);
    if (status != R2_OK) return status;
    const uint32_t *tokens = stored_in(c->room, &n);
    return c->sink(c->user, tokens, n, err);
}

static r2_status each_turn(const chat *c, r2_error *err) {
    for (size_t i = 0; i < json_array_size(c->messages); i++) {
        if (is_assistant(c, i)) R2I_TRY(one_turn(c, i, err));
    }
    return R2_OK;
}

/* "<think>thoughts</think>answer" as data sets have it: marks in a message's text never become the
 * model's own, so they are taken for what they mean. */
static void part_thoughts(const r2_model *model, json_t *message) {
    const char *content = json_string_value(json_object_get(message, "content"));
    if (content == NULL || model->think_open < 0 || thoughts_of(message) != NULL) return;
    const char *begin = content + strspn(content, " \n");
    if (strncmp(begin, "<think>", 7) != 0) return;
    begin += 7 + strspn(begin + 7, "\n");
    const char *end = strstr(begin, "</think>");
    if (end == NULL) return;
    const char *answer = end + 8 + strspn(end + 8, "\n");
    while (end > begin && end[-1] == '\n')
        end--;
    json_t *thoughts = json_stringn(begin, (size_t)(end - begin)), *rest = json_string(answer);
    (void)json_object_set_new(message, "reasoning_content", thoughts);
    (void)json_object_set_new(message, "content", rest);
}

r2_status r2i_chat_to_tokens(const r2_model *model, json_t *messages, bool learns_all,
                             r2i_buffer *room, r2i_token_sink sink, void *user, r2_error *err) {
    const chat c = { model, messages, learns_all, room, sink, user };
    const size_t n = json_array_size(messages);
    size_t n_told = 0;
    r2_prompt *whole;
    bool fits;
    for (size_t i = 0; i < n; i++) {
        n_told += is_assistant(&c, i);
        if (is_assistant(&c, i)) part_thoughts(model, json_array_get(messages, i));
    }
    if (n_told == 0)
        return r2i_fail(err, R2_E_FORMAT,
                        "messages: expected a turn of the assistant, found none in %zu", n);
    R2I_TRY(render(&c, n, false, &whole, err));
    const r2_status status = as_one(&c, whole, &fits, err);
    r2_prompt_destroy(whole);
    if (status != R2_OK || fits) return status;
    return each_turn(&c, err);
}
