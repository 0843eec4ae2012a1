/* sample_file.h - answers on disk: DIR/samples.jsonl, a line per judged answer.
 *
 *     {"format": "r2lm evaluation", "version": 1, "settings": "0123456789abcdef", "suite": ...}
 *     {"item": 0, "sample": 0, "id": "HumanEval/0", "right": true, ...}
 *
 * Lines are added as answers are judged and sorted when all are there, so that two runs leave the same
 * bytes.  Half a line at the end, of a run that was killed, is cut off. */
#ifndef R2I_SAMPLE_FILE_H
#define R2I_SAMPLE_FILE_H
#include <jansson.h>

#include "base/buffer.h"
#include "eval/item_places.h"

typedef struct {
    int fd; /* -1: not open */
    r2i_heap *heap;
    const char *path; /* borrowed */
} r2i_sample_file;

/* Takes a line of an earlier run. */
typedef r2_status (*r2i_sample_reader)(void *user, const json_t *line, r2_error *err);

/* Opens or begins `path` under a lock.  `head`: the first line's object, of which "settings" must agree
 * (R2_E_MISMATCH) unless is_forced, which begins anew.  R2_E_STATE: another process writes to it;
 * R2_E_FORMAT with the line; R2_E_IO. */
R2_CHECKED r2_status r2i_sample_file_open(r2i_sample_file *out, const char *path,
                                          const json_t *head, bool is_forced,
                                          r2i_sample_reader reader, void *user, r2i_heap *heap,
                                          r2_error *err);
/* Safe after a failed open. */
void r2i_sample_file_close(r2i_sample_file *file);
/* Takes the object. */
R2_CHECKED r2_status r2i_sample_file_add(r2i_sample_file *file, json_t *line, r2_error *err);
/* Rewrites the file in the order of items and samples, with the numbers that these items have; behind them, as
 * they came, answers of earlier runs to other items. */
R2_CHECKED r2_status r2i_sample_file_sort(r2i_sample_file *file, const r2i_item_places *places,
                                          r2_error *err);
/* Calls reader for the lines of a finished or unfinished file; *head is the caller's. */
R2_CHECKED r2_status r2i_sample_file_read(const char *path, json_t **head, r2i_sample_reader reader,
                                          void *user, r2i_heap *heap, r2_error *err);
#endif
