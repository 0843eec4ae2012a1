/* reader.h - the thread that turns bodies into tokens. */
#ifndef R2I_READER_H
#define R2I_READER_H
#include "server/client_id.h"
#include "server/job.h"
#include "server/server.h"
#include "server/unknown_fields.h"

typedef struct {
    r2i_desk *desk;
    const r2i_server_options *options;
    int32_t n_cache_tokens; /* that fit into the cache */
    r2i_grammar_cache *grammars;
    r2i_unknown_fields *unknown; /* the reader's own, as the salt */
    r2i_client_salt salt;
} r2i_reader;

/* Thread function over an r2i_reader; returns when the desk is closed. */
void *r2i_reader_run(void *reader);
#endif
