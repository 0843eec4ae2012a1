/* completion_reply.h - text_completion, whole and in pieces. */
#ifndef R2I_COMPLETION_REPLY_H
#define R2I_COMPLETION_REPLY_H
#include "server/reply_parts.h"

extern const r2i_reply_format r2i_completion_format;
#endif
