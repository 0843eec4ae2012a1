/* request_fields.h - fields of a request's body by table: name, type, range, and where the value goes.
 *
 * A field of another type or outside its range is refused by name; null is as good as nothing. */
#ifndef R2I_REQUEST_FIELDS_H
#define R2I_REQUEST_FIELDS_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "server/refusal.h"

typedef enum {
    R2I_FIELD_TEXT,      /* const char *, borrowed */
    R2I_FIELD_FLAG,      /* bool */
    R2I_FIELD_COUNT,     /* int64_t within low..high */
    R2I_FIELD_REAL,      /* double within low..high */
    R2I_FIELD_OBJECT,    /* checked to be one */
    R2I_FIELD_ARRAY,     /* checked to be one */
    R2I_FIELD_ELSEWHERE, /* of several forms: read by code of its own */
    R2I_FIELD_REFUSED,   /* known but not supported: refused unless it asks for nothing */
    R2I_FIELD_IGNORED    /* without effect here, whatever it is */
} r2i_field_kind;

enum { R2I_FIELD_NOWHERE = -1 }; /* as `offset`: checked, not kept */

typedef struct {
    const char *name;
    r2i_field_kind kind;
    int offset; /* in the struct of values */
    double low, high;
} r2i_field;

typedef struct {
    const r2i_field *fields;
    size_t n_fields;
} r2i_field_table;

/* What the body does not have stays as it is in *values. */
R2_CHECKED r2_status r2i_fields_read(const r2i_field_table *table, const json_t *body, void *values,
                                     r2i_refusal *refusal);
bool r2i_fields_have(const r2i_field_table *table, const char *name);
/* A single value that is there. */
R2_CHECKED r2_status r2i_field_read(const r2i_field *field, const json_t *value, void *values,
                                    r2i_refusal *refusal);

/* 400s, all returning R2_E_ARGUMENT.  `found` may be NULL. */
r2_status r2i_refuse_type(r2i_refusal *refusal, const char *name, const char *expected,
                          const json_t *found);
r2_status r2i_refuse_unsupported(r2i_refusal *refusal, const char *name);
/* 503 */
r2_status r2i_refuse_memory(r2i_refusal *refusal);

/* Is it there and not null? */
bool r2i_json_is_given(const json_t *value);
bool r2i_json_is_text(const json_t *value, const char *text);
/* null, false, [] or {}: "none of it" */
bool r2i_json_asks_nothing(const json_t *value);
#endif
