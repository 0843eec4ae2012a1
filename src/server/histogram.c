#include "server/histogram.h"

#include <inttypes.h>

#include "base/failure.h"

/* Seconds: from a token of a small model to an answer of a large one. */
static const double bounds[R2I_HISTOGRAM_BUCKETS] = { 0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06,
                                                      0.08,  0.1,    0.25,  0.5,  0.75, 1,    2.5,
                                                      5,     10,     20,    40,   80,   160 };

void r2i_histogram_note(r2i_histogram *h, double seconds, int64_t n) {
    int i = 0;
    while (i < R2I_HISTOGRAM_BUCKETS && seconds > bounds[i])
        i++;
    h->counts[i] += n;
    h->n += n;
    h->sum += seconds * (double)n;
}

r2_status r2i_histogram_write(const r2i_histogram *h, const char *name, const char *help,
                              r2i_buffer *out) {
    int64_t n = 0;
    R2I_TRY(r2i_buffer_append_format(out, NULL, "# HELP r2:%s %s\n# TYPE r2:%s histogram\n", name,
                                     help, name));
    for (int i = 0; i < R2I_HISTOGRAM_BUCKETS; i++) {
        n += h->counts[i];
        R2I_TRY(r2i_buffer_append_format(out, NULL, "r2:%s_bucket{le=\"%g\"} %" PRId64 "\n", name,
                                         bounds[i], n));
    }
    return r2i_buffer_append_format(out, NULL,
                                    "r2:%s_bucket{le=\"+Inf\"} %" PRId64 "\nr2:%s_sum %.17g\n"
                                    "r2:%s_count %" PRId64 "\n",
                                    name, h->n, name, h->sum, name, h->n);
}
