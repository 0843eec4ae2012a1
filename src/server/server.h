/* server.h - `r2lm serve`: an OpenAI-compatible HTTP server over one model and one engine.
 *
 * Three threads: the event loop (the caller's) speaks HTTP, the reader turns bodies into tokens, the engine
 * thread owns the engine and its sequences.  Nothing connects outward. */
#ifndef R2I_SERVER_H
#define R2I_SERVER_H
#include "r2lm/text.h"
#include "server/gate.h"

/* The name that thoughts have in replies. */
typedef enum {
    R2I_REASONING_CONTENT, /* "reasoning_content" */
    R2I_REASONING,         /* "reasoning" */
    R2I_REASONING_BOTH,
    R2I_REASONING_NONE /* they are not sent */
} r2i_reasoning_field;

typedef struct {
    const char *host;        /* an address, or localhost: 127.0.0.1 and ::1 */
    int32_t port;            /* 0: any free one */
    const char *socket_path; /* NULL; or a UNIX socket instead of both */
    const char *cert_path;   /* NULL; or PEM files for TLS */
    const char *key_path;    /* NULL: in the certificate's file */
    r2i_gate gate;
    r2_model *model;
    r2_engine *engine; /* the engine thread's while the server runs */
    const char *model_id;
    int32_t n_parallel, n_queued; /* requests answered at once, and waiting beside them */
    int32_t n_context;            /* tokens of a prompt and its answer */
    int32_t drain_ms;             /* for what runs when the server is told to stop */
    int32_t request_ms;           /* most time of a request; 0: any */
    size_t body_bytes;            /* most of a request's */
    r2_sequence_options defaults; /* of requests that do not say */
    r2i_reasoning_field reasoning_field;
    uint64_t seed;       /* requests without a seed get another one each, from this */
    bool has_fixed_seed; /* ... or all of them this one */
    void (*log)(void *user, const char *line);       /* a line per request */
    void (*on_ready)(void *user, const char *where); /* connections are accepted at this URL */
    void (*on_stopping)(void *user, int32_t n_busy); /* so many requests may still finish */
    void *user;
} r2i_server_options;

/* Serves until SIGTERM or SIGINT: then accepts no more, finishes what runs within drain_ms, and returns.
 * *n_signals: how many came; a second one cuts short.  R2_E_IO: the address, the socket's
 * path or a file of TLS cannot be used; R2_E_ARGUMENT: an address that others reach, and no key. */
R2_CHECKED r2_status r2i_server_run(const r2i_server_options *options, int32_t *n_signals,
                                    r2_error *err);
#endif
