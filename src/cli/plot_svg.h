/* plot_svg.h - runs drawn side by side: one panel per metric, one colour per run, as SVG text. */
#ifndef R2I_PLOT_SVG_H
#define R2I_PLOT_SVG_H
#include "cli/run_metrics.h"

/* What one panel shows.  Of `second` (may be NULL) each value is a dot on a dashed line: losses on
 * validation data beside those of training. */
typedef struct {
    const char *metric, *second, *title;
} r2i_plot_panel;

/* Writes a picture of all panels that at least one run has numbers for; *n_drawn: how many.  Lines of
 * more than 400 points are smoothed, with the numbers themselves pale behind. */
R2_CHECKED r2_status r2i_plot_svg(r2i_buffer *out, const r2i_run_metrics *runs, int32_t n_runs,
                                  const r2i_plot_panel *panels, int32_t n_panels, int32_t *n_drawn,
                                  r2_error *err);
/* Eight heights of blocks for the values of a metric, at most `width` characters; empty: none. */
R2_CHECKED r2_status r2i_plot_sparkline(r2i_buffer *out, const r2i_metric *metric, int32_t width,
                                        r2_error *err);
#endif
