/* ranks_plugin.h - what a message-passing plugin gives: the one thing that library and plugin share.
 *
 * A plugin is a shared object that exports R2I_RANKS_PLUGIN_ENTRY.  Its functions are called by one
 * thread.  Those that return int return 0 or a code that `describe` knows. */
#ifndef R2I_RANKS_PLUGIN_H
#define R2I_RANKS_PLUGIN_H
#include <stddef.h>
#include <stdint.h>

#define R2I_RANKS_PLUGIN_ENTRY "r2lm_ranks_plugin"
enum { R2I_RANKS_PLUGIN_VERSION = 1 };

/* A message on its way, in a form that the plugin alone knows. */
typedef struct {
    uint64_t opaque[2];
} r2i_ranks_request;

typedef struct {
    int32_t version;
    /* Waits for all processes. */
    int (*join)(int32_t *rank, int32_t *n_ranks);
    /* The bytes stay untouched until the message is done.  Messages of one pair and tag arrive in
     * the order they were sent in. */
    int (*send)(r2i_ranks_request *request, int32_t to, int32_t tag, const void *bytes,
                size_t n_bytes);
    int (*receive)(r2i_ranks_request *request, int32_t from, int32_t tag, void *bytes,
                   size_t cap_bytes);
    /* Gives all messages a chance to get on.  *n_bytes of a receive: how many have come. */
    int (*test)(r2i_ranks_request *request, int *is_done, size_t *n_bytes);
    void (*describe)(int code, char *out, size_t cap);
    void (*leave)(void);
    void (*end)(int exit_code); /* of all processes, this one included */
} r2i_ranks_plugin;

typedef const r2i_ranks_plugin *(*r2i_ranks_plugin_entry)(void);
#endif
