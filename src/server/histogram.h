/* histogram.h - how often something took how long, in Prometheus' buckets. */
#ifndef R2I_HISTOGRAM_H
#define R2I_HISTOGRAM_H
#include <stdint.h>

#include "base/buffer.h"

enum { R2I_HISTOGRAM_BUCKETS = 20 };

typedef struct {
    int64_t counts[R2I_HISTOGRAM_BUCKETS + 1]; /* the last: longer than all bounds */
    int64_t n;
    double sum;
} r2i_histogram;

/* n times the same. */
void r2i_histogram_note(r2i_histogram *h, double seconds, int64_t n);
/* Its HELP, TYPE and samples as `r2:<name>`. */
R2_CHECKED r2_status r2i_histogram_write(const r2i_histogram *h, const char *name, const char *help,
                                         r2i_buffer *out);
#endif
