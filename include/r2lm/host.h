/* host.h - what the library asks of the program that embeds it. */
#ifndef R2LM_HOST_H
#define R2LM_HOST_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Memory and messages of the embedding program.  All fields may be 0. */
typedef struct {
    void *(*allocate)(void *user, size_t n_bytes); /* 16-byte aligned or NULL; thread-safe */
    void (*release)(void *user, void *memory, size_t n_bytes);
    size_t limit_bytes; /* no more than this is ever allocated; 0: no limit */
    void (*log)(void *user, const char *line); /* called on the calling thread, without newline */
    void *user;
} r2_host;

#ifdef __cplusplus
}
#endif
#endif
