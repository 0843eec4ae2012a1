/* suite_load.h - what the load functions of suites share: items added, lines of data read. */
#ifndef R2I_SUITE_LOAD_H
#define R2I_SUITE_LOAD_H
#include <jansson.h>

#include "eval/eval_suite.h"

/* Copies the item.  R2_E_NOMEM: also where its id or question is NULL. */
R2_CHECKED r2_status r2i_eval_add(r2i_eval_load *load, const r2i_eval_item *item, r2_error *err);
/* A terminated copy in the arena; NULL: no memory, or no text. */
const char *r2i_eval_copy(r2i_eval_load *load, const char *text);
/* Three texts, one behind the other, in the arena; NULL: no memory, or one is NULL. */
const char *r2i_eval_join(r2i_eval_load *load, const char *first, const char *second,
                          const char *third);
/* Calls `use` with each word of "a,b,c".  R2_E_ARGUMENT: an empty or a long one. */
R2_CHECKED r2_status r2i_eval_each_word(const char *words,
                                        r2_status (*use)(void *user, const char *word,
                                                         r2_error *err),
                                        void *user, r2_error *err);
/* Are options->limit there? */
bool r2i_eval_is_full(const r2i_eval_load *load, int32_t n);

typedef struct {
    const r2_eval_data *data;
    size_t at;
    int64_t number;  /* of the line */
    char place[160]; /* "file:line" */
} r2i_data_lines;

/* The next line that is not blank; false: no more. */
bool r2i_data_line(r2i_data_lines *lines, const char **text, size_t *n_bytes);
/* That line as an object, which the caller owns; NULL with R2_OK: no more.  R2_E_FORMAT. */
R2_CHECKED r2_status r2i_data_object(json_t **out, r2i_data_lines *lines, r2_error *err);
/* Calls `add` with the objects of all files, one a line, until options->limit are there; n counts them
 * from 0, `place` says where the line is. */
R2_CHECKED r2_status r2i_eval_each_object(r2i_eval_load *load,
                                          r2_status (*add)(r2i_eval_load *load, const json_t *line,
                                                           const char *place, int32_t n,
                                                           r2_error *err),
                                          r2_error *err);
#endif
