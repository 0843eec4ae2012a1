/* engine_loop.h - the thread that owns the engine: all choices of all requests advance together, step by step. */
#ifndef R2I_ENGINE_LOOP_H
#define R2I_ENGINE_LOOP_H
#include "server/job.h"
#include "server/server.h"

typedef struct {
    r2i_desk *desk;
    const r2i_server_options *options;
    r2i_choice_context context;
    r2i_queue running; /* choices */
} r2i_engine_loop;

/* Thread function over an r2i_engine_loop; returns when the desk is closed, having ended what ran. */
void *r2i_engine_loop_run(void *loop);
#endif
