/* conversation.h - the messages of a chat, kept as JSON and in files. */
#ifndef R2I_CONVERSATION_H
#define R2I_CONVERSATION_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "r2lm/text.h"

typedef struct {
    json_t *messages; /* array of {role, content}; owns */
} r2i_conversation;

R2_CHECKED r2_status r2i_conversation_init(r2i_conversation *conversation, r2_error *err);
void r2i_conversation_destroy(r2i_conversation *conversation);
size_t r2i_conversation_count(const r2i_conversation *conversation);
/* "user", "assistant" or "system" of message i; NULL behind the end. */
const char *r2i_conversation_role(const r2i_conversation *conversation, size_t i);
const char *r2i_conversation_content(const r2i_conversation *conversation, size_t i);
/* R2_E_FORMAT: the text is no UTF-8 or holds a zero byte. */
R2_CHECKED r2_status r2i_conversation_add(r2i_conversation *conversation, const char *role,
                                          const char *text, size_t n_bytes, r2_error *err);
void r2i_conversation_cut(r2i_conversation *conversation, size_t n_messages);
/* Sets the first message's system text; NULL or "" removes it. */
R2_CHECKED r2_status r2i_conversation_set_system(r2i_conversation *conversation, const char *text,
                                                 r2_error *err);
/* Leaves nothing but the system message. */
void r2i_conversation_clear(r2i_conversation *conversation);

/* Writes the messages to a file: complete or not there at all, readable by its owner alone. */
R2_CHECKED r2_status r2i_conversation_save(const r2i_conversation *conversation, const char *path,
                                           r2_error *err);
/* Reads such a file, or a plain array of messages.  On failure the conversation is as before. */
R2_CHECKED r2_status r2i_conversation_load(r2i_conversation *conversation, const char *path,
                                           r2_error *err);
#endif
