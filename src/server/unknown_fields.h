/* unknown_fields.h - fields of requests that nothing here reads: they are let pass, and each name is told once. */
#ifndef R2I_UNKNOWN_FIELDS_H
#define R2I_UNKNOWN_FIELDS_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { R2I_UNKNOWN_NAMES = 64, R2I_UNKNOWN_NAME_BYTES = 48 };

/* Names that were told; all zero at first. */
typedef struct {
    char names[R2I_UNKNOWN_NAMES][R2I_UNKNOWN_NAME_BYTES];
    int32_t n;
} r2i_unknown_fields;

/* `has_field`: the endpoint's own fields.  Calls `log` for names that were not told before, the first
 * R2I_UNKNOWN_NAMES of them; what is no printable ASCII in a name becomes '?', and it is cut short. */
void r2i_unknown_fields_note(r2i_unknown_fields *unknown, const json_t *body,
                             bool (*has_field)(const char *name),
                             void (*log)(void *user, const char *line), void *user);
#endif
