/* failure.h - building the r2_error of a failing function. */
#ifndef R2I_FAILURE_H
#define R2I_FAILURE_H
#include "r2lm/status.h"

/* Writes code and formatted text to *err (which may be NULL) and returns the code, so that a
 * function can end with `return r2i_fail(err, ...)`.  Control characters in the text, which may
 * come from a hostile file, are replaced by '?'. */
r2_status r2i_fail(r2_error *err, r2_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " in front of the text of a failed call.  Returns `code` unchanged. */
r2_status r2i_fail_at(r2_error *err, r2_status code, const char *prefix);

/* The status of reading a file: a number in it that is out of range makes the file malformed, which
 * is no mistake of the caller's.  R2_E_FORMAT for R2_E_RANGE, otherwise `code`. */
r2_status r2i_fail_file(r2_status code, r2_error *err);

/* Returns from the calling function when a step failed: for functions that hold nothing to release. */
#define R2I_TRY(step)                               \
    do {                                            \
        const r2_status try_status = (step);        \
        if (try_status != R2_OK) return try_status; \
    } while (0)

/* A violated precondition is a bug of ours, never a property of input.  On in debug builds and in
 * every test; nothing that a file, request or flag contains may reach one. */
#if defined(R2I_DEBUG)
void r2i_assert_failed(const char *expression, const char *file, int line)
    __attribute__((noreturn));
#define R2I_ASSERT(x) ((x) ? (void)0 : r2i_assert_failed(#x, __FILE__, __LINE__))
#else
#define R2I_ASSERT(x) ((void)0)
#endif
#endif
