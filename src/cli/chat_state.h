/* chat_state.h - the state of one conversation at the terminal, shared by the chat's files. */
#ifndef R2I_CHAT_STATE_H
#define R2I_CHAT_STATE_H
#include "cli/conversation.h"
#include "cli/line_input.h"
#include "cli/session.h"

typedef struct {
    r2i_session session;
    r2i_conversation conversation;
    r2i_line_input *input;
    r2i_buffer line, message, answer, attached; /* attached: files for the next message */
    bool is_over;
    r2i_effort effort;
    int32_t budget; /* 0: as the effort says */
    int exit_code;
    /* the answer being written */
    int64_t think_start_ns, think_shown_ns;
    int32_t n_thought_pieces;
    bool is_thinking_shown, is_line_open;
    r2i_answer last;
    int64_t n_turns;
} r2i_chat;

/* Runs a line that begins with '/'.  Returns true when the conversation has to be answered now. */
bool r2i_chat_run_command(r2i_chat *chat, const char *line);
/* Says what failed; a script's exit code is that of its first failure. */
void r2i_chat_fail(r2i_chat *chat, r2_status status, const r2_error *err);
/* Tokens of the conversation as it would be sent now; -1 if it cannot be rendered. */
int32_t r2i_chat_count_tokens(r2i_chat *chat);
#endif
