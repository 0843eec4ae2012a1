/* chat_reply.h - chat.completion and its chunks. */
#ifndef R2I_CHAT_REPLY_H
#define R2I_CHAT_REPLY_H
#include "server/reply_parts.h"

extern const r2i_reply_format r2i_chat_format;
#endif
