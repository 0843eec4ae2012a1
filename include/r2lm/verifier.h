/* verifier.h - a program of the user's own that asks questions and judges answers.
 *
 * It runs as long as the verifier is open, reads a line of JSON per request and answers with one.
 * docs/tasks.md has the protocol.  It is the user's own choice and is trusted: it runs with the user's
 * rights.  What a model wrote reaches it as a text in JSON, never as a program or an argument. */
#ifndef R2LM_VERIFIER_H
#define R2LM_VERIFIER_H

#include "r2lm/task.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const char *command;  /* as a shell reads it, with this process's environment */
    double start_seconds; /* to its first reply; 0: 60 */
    double reply_seconds; /* to each other one; 0: 10 */
    int32_t max_failures; /* so many in a row are an error; 0: 8 */
    r2_host host;
} r2_verifier_options;

/* What went wrong since it was opened.  An answer that could not be judged has score 0. */
typedef struct {
    int64_t n_requests, n_timeouts, n_crashes,
        n_garbage;      /* of these replies there was none to use */
    int64_t n_starts;   /* first one included */
    int64_t n_too_long; /* texts above 1 MiB, which are not sent */
} r2_verifier_counts;

typedef struct r2_verifier r2_verifier;

/* Starts it and waits for its first reply.  R2_E_NOT_FOUND: no such program; R2_E_IO: it ended, or its
 * reply is none; R2_E_NOMEM. */
R2_API R2_CHECKED r2_status r2_verifier_open(r2_verifier **out, const r2_verifier_options *options,
                                             r2_error *err);
/* Ends it.  NULL is allowed. */
R2_API void r2_verifier_close(r2_verifier *verifier);
/* What it calls itself, and its levels; 0: it makes no items. */
R2_API const char *r2_verifier_name(const r2_verifier *verifier);
R2_API int32_t r2_verifier_levels(const r2_verifier *verifier);
R2_API r2_verifier_counts r2_verifier_get_counts(const r2_verifier *verifier);

/* One call at a time.  Both start the program again when it has ended or had to be ended. */

/* Item `index` of a level and a seed.  Its texts are the verifier's, until the next one; trace and answer
 * may be "", `expected` is its key.  R2_E_ARGUMENT: it makes none, or has no such level; R2_E_IO: it failed. */
R2_API R2_CHECKED r2_status r2_verifier_make(r2_verifier *verifier, r2_task_item *item,
                                             int32_t level, uint64_t seed, uint64_t index,
                                             r2_error *err);
/* Judges a model's text, any n bytes.  `expected`: JSON, or any other text.  R2_OK although it failed to
 * judge this one: score 0, `why` says it and it is counted.  R2_E_IO: it failed max_failures times in a
 * row. */
R2_API R2_CHECKED r2_status r2_verifier_grade(r2_verifier *verifier, r2_grade *grade,
                                              const char *prompt, const char *expected,
                                              const char *text, size_t n_bytes, r2_error *err);

#ifdef __cplusplus
}
#endif
#endif
