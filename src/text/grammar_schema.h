/* grammar_schema.h - JSON schemas (2020-12 and the older drafts' $defs) as grammars.
 *
 * Every text of the grammar validates; not every valid text is of the grammar: members come in the
 * schema's order, a schema with `properties` has others only where additionalProperties allows them,
 * oneOf is read as anyOf, numbers have at most 15 digits before and after the point.  A keyword that
 * is not supported is an error that names it and where it stands, never ignored. */
#ifndef R2I_GRAMMAR_SCHEMA_H
#define R2I_GRAMMAR_SCHEMA_H
#include <jansson.h>

#include "base/buffer.h"
#include "text/grammar_expression.h"
#include "text/grammar_json.h"

enum { R2I_SCHEMA_MAX_STEPS = 20000, R2I_SCHEMA_PATH_BYTES = 160 };

typedef struct {
    r2i_grammar_draft *draft;
    const json_t *root;
    json_t *kept; /* schemas made by merging, until the end */
    const char
        *scope; /* in front of the names of its rules: one grammar may hold several schemas */
    int32_t depth, n_steps;
    char path[R2I_SCHEMA_PATH_BYTES]; /* "#/properties/a" */
    r2_error *err;
} r2i_schema_reader;

/* "{"type": "object"}" reads as any JSON object. */
R2_CHECKED r2_status r2i_schema_read(r2i_grammar_draft *draft, const char *text, size_t n_bytes,
                                     r2_error *err);

/* The same of a schema that is part of a larger grammar, as an expression; `scope` tells it from others.
 * On failure rules of the draft may be left undefined. */
R2_CHECKED r2_status r2i_schema_part(r2i_grammar_draft *draft, const json_t *root,
                                     const char *scope, r2i_expression **out, r2_error *err);

/* ---- the parts ---- */

R2_CHECKED r2_status r2i_schema_expression(r2i_schema_reader *r, const json_t *schema,
                                           r2i_expression **out);
/* The same below `key` of the present place. */
R2_CHECKED r2_status r2i_schema_below(r2i_schema_reader *r, const char *key, const char *name,
                                      const json_t *schema, r2i_expression **out);
/* "schema: #/a/b: " in front of the text. */
r2_status r2i_schema_fail(const r2i_schema_reader *r, r2_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A whole number at `key` within 0..100000; *out is unchanged without it. */
R2_CHECKED r2_status r2i_schema_count(const r2i_schema_reader *r, const json_t *schema,
                                      const char *key, int32_t *out);

/* grammar_schema_merge.c: what both schemas allow, kept by the reader.  $ref in front of siblings is
 * looked up. */
R2_CHECKED r2_status r2i_schema_merge(r2i_schema_reader *r, const json_t *a, const json_t *b,
                                      const json_t **out);
/* The schema a $ref means; NULL with an error. */
const json_t *r2i_schema_find(const r2i_schema_reader *r, const char *pointer);
bool r2i_schema_is_note(const char *keyword); /* says nothing about what is valid */

/* grammar_schema_object.c, _string.c, _length.c, _multiple.c, _unique.c */
R2_CHECKED r2_status r2i_schema_object(r2i_schema_reader *r, const json_t *schema,
                                       r2i_expression **out);
R2_CHECKED r2_status r2i_schema_array(r2i_schema_reader *r, const json_t *schema,
                                      r2i_expression **out);
/* An array of different items. */
R2_CHECKED r2_status r2i_schema_unique(r2i_schema_reader *r, const json_t *items, int32_t n_min,
                                       int32_t n_max, r2i_expression **out);
R2_CHECKED r2_status r2i_schema_string(r2i_schema_reader *r, const json_t *schema,
                                       r2i_expression **out);
/* Holds `inside`, the expression made of a pattern for a JSON string, to these lengths. */
R2_CHECKED r2_status r2i_schema_lengths(r2i_schema_reader *r, const char *pattern, size_t n_bytes,
                                        int32_t n_min, int32_t n_max, r2i_expression *inside);
R2_CHECKED r2_status r2i_schema_multiple(r2i_schema_reader *r, const json_t *of,
                                         const r2i_number_bounds *bounds, r2i_expression **out);
R2_CHECKED r2_status r2i_schema_number(r2i_schema_reader *r, const json_t *schema, bool is_integer,
                                       r2i_expression **out);
#endif
