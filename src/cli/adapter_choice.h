/* adapter_choice.h - --lora PATH[:SCALE]: the adapter that a session's sequences use. */
#ifndef R2I_ADAPTER_CHOICE_H
#define R2I_ADAPTER_CHOICE_H
#include "cli/session.h"

/* PATH, or PATH:SCALE where that is no path itself; *path is `text` or in the program's arena. */
R2_CHECKED r2_status r2i_adapter_split(r2i_program *program, const char *text, const char **path,
                                       float *scale, r2_error *err);
/* Opens what `text` names for the session's model in place of the adapter before; NULL or "": none.
 * No sequence of the session may be there.  On failure the one before stays. */
R2_CHECKED r2_status r2i_session_choose_adapter(r2i_session *session, const char *text,
                                                r2_error *err);
void r2i_session_close_adapter(r2i_session *session);
/* Puts it into a sequence's options. */
void r2i_session_use_adapter(const r2i_session *session, r2_sequence_options *out);
/* `r2lm show` on an adapter; returns the exit code. */
int r2i_show_adapter(r2i_program *program, const char *path);
#endif
