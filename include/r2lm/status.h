/* status.h - how every r2lm function reports what went wrong.
 *
 * A function that can fail returns an r2_status (0 = ok, negative = reason) and takes an optional
 * r2_error as its last argument, which receives one line of text: where, what, expected, found.
 * On failure the out-parameters are NULL or zero and nothing else has changed, unless the function
 * says otherwise.  The library never exits, aborts, prints or reads the environment. */
#ifndef R2LM_STATUS_H
#define R2LM_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define R2_API __attribute__((visibility("default")))
#define R2_CHECKED __attribute__((warn_unused_result))
#else
#define R2_API
#define R2_CHECKED
#endif

/* Codes are stable and grouped: -1.. the caller, -10.. a resource, -20.. bad data, -30.. I/O,
 * -40.. stopped on request. */
#define R2_STATUS_LIST(X)                             \
    X(R2_OK, 0, "ok")                                 \
    X(R2_E_ARGUMENT, -1, "invalid argument")          \
    X(R2_E_RANGE, -2, "value out of range")           \
    X(R2_E_STATE, -3, "not possible in this state")   \
    X(R2_E_UNSUPPORTED, -4, "not supported")          \
    X(R2_E_NOMEM, -10, "out of memory")               \
    X(R2_E_FULL, -11, "no room left")                 \
    X(R2_E_LIMIT, -12, "limit exceeded")              \
    X(R2_E_SANDBOX, -13, "no sandbox here")           \
    X(R2_E_FORMAT, -20, "malformed data")             \
    X(R2_E_MISMATCH, -21, "data do not fit together") \
    X(R2_E_CHECKSUM, -22, "checksum differs")         \
    X(R2_E_IO, -30, "input/output error")             \
    X(R2_E_NOT_FOUND, -31, "not found")               \
    X(R2_E_CANCELED, -40, "canceled")

typedef enum {
#define R2_STATUS_ENUM(name, code, text) name = code,
    R2_STATUS_LIST(R2_STATUS_ENUM)
#undef R2_STATUS_ENUM
} r2_status;

enum { R2_ERROR_TEXT_BYTES = 240 };

typedef struct {
    r2_status code;
    char text[R2_ERROR_TEXT_BYTES]; /* UTF-8, always terminated, empty on success */
} r2_error;

/* Name of a status code ("R2_E_FORMAT") and its general meaning ("malformed data").
 * Never NULL; static storage. */
R2_API const char *r2_status_name(r2_status status);
R2_API const char *r2_status_text(r2_status status);

#ifdef __cplusplus
}
#endif
#endif
