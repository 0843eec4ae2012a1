/* trace_file.h - a file that grows by lines, and beside it which samples it is finished with.
 *
 *     OUT        lines
 *     OUT.done   "r2lm-traces 1 SETTINGS" | for each sample: PROMPT SAMPLE VERDICT BYTES_OF_OUT
 *
 * A line is on the disk before its sample counts as done.  Opened again, what OUT holds beyond its last sample,
 * and half a line of OUT.done, are cut off. */
#ifndef R2I_TRACE_FILE_H
#define R2I_TRACE_FILE_H
#include "base/buffer.h"
#include "train/data/number_map.h"

typedef enum { R2I_TRACE_KEPT, R2I_TRACE_WRONG, R2I_TRACE_CUT, R2I_N_VERDICTS } r2i_trace_verdict;

typedef struct {
    int fd, done_fd; /* -1: not open */
    int64_t n_bytes; /* of OUT */
    r2i_number_map done;
    int64_t counts[R2I_N_VERDICTS];
} r2i_trace_file;

/* `settings` must be those it was begun with: R2_E_MISMATCH.  is_forced: begins anew.  R2_E_ARGUMENT:
 * OUT exists without OUT.done; R2_E_FORMAT: OUT.done is none; R2_E_IO. */
R2_CHECKED r2_status r2i_trace_file_open(r2i_trace_file *out, const char *path, uint64_t settings,
                                         bool is_forced, r2i_heap *heap, r2_error *err);
/* Of work that failed: takes an open file away again that is finished with no sample, so that nothing empty stays. */
void r2i_trace_file_withdraw(const r2i_trace_file *file, const char *path);
/* Safe after a failed open. */
void r2i_trace_file_close(r2i_trace_file *file);
bool r2i_trace_file_has(const r2i_trace_file *file, uint64_t prompt, int32_t sample);
/* `line` with its end (n 0: the sample is finished without one).  R2_E_FULL, R2_E_IO. */
R2_CHECKED r2_status r2i_trace_file_add(r2i_trace_file *file, uint64_t prompt, int32_t sample,
                                        r2i_trace_verdict verdict, const char *line, size_t n,
                                        r2_error *err);
#endif
