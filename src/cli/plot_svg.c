#include "cli/plot_svg.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"

enum {
    WIDTH = 960,
    PANEL_HEIGHT = 280,
    LEFT = 76,
    RIGHT = 24,
    TOP = 34,
    BOTTOM = 34,
    LEGEND_HEIGHT = 24,
    N_TICKS = 6,
    MANY_POINTS = 400,
    SMOOTH_SHARE = 60, /* of the points, on each side */
    MAX_DRAWN = 2000
};

/* Told apart by people who see colours otherwise (Okabe and Ito). */
static const char *const colours[] = { "#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                       "#e69f00", "#56b4e9", "#000000", "#8a8a00" };
enum { N_COLOURS = sizeof colours / sizeof *colours };

typedef struct {
    double low, high;
} range;

typedef struct {
    r2i_buffer *out;
    const r2i_run_metrics *runs;
    int32_t n_runs;
    range x, y;
    double top; /* of the panel, in the picture */
} picture;

#define PUT(p, ...) R2I_TRY(r2i_buffer_append_format((p)->out, err, __VA_ARGS__))

static r2_status put_escaped(r2i_buffer *out, const char *text, r2_error *err) {
    for (; *text != '\0'; text++) {
        const unsigned char c = (unsigned char)*text;
        if (c == '<' || c == '>' || c == '&' || c == '"')
            R2I_TRY(r2i_buffer_append_format(out, err, "&#%d;", c));
        else if (c >= 0x20)
            R2I_TRY(r2i_buffer_append(out, text, 1, err));
    }
    return R2_OK;
}

/* ---- ranges and ticks ---- */

static void widen(range *r, double value) {
    if (value < r->low) r->low = value;
    if (value > r->high) r->high = value;
}

static void widen_by(range *x, range *y, const r2i_metric *m) {
    size_t n;
    const r2i_metric_point *points = m != NULL ? r2i_metric_points(m, &n) : NULL;
    for (size_t i = 0; points != NULL && i < n; i++) {
        widen(x, points[i].step);
        widen(y, points[i].value);
    }
}

/* 1, 2 or 5 times a power of ten, so that about N_TICKS of them fill the range. */
static double tick_step(range r) {
    const double raw = (r.high - r.low) / N_TICKS, power = pow(10, floor(log10(raw)));
    const double lead = raw / power;
    return power * (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 5 ? 5 : 10);
}

/* A range of one value, or of none, becomes one that can be drawn. */
static void settle(range *r) {
    if (!(r->low <= r->high)) *r = (range){ 0, 1 };
    const double least = 1e-9 * fmax(1, fabs(r->high));
    if (r->high - r->low < least) *r = (range){ r->low - least * 1e8, r->high + least * 1e8 };
}

static double place_x(const picture *p, double step) {
    return LEFT + (step - p->x.low) / (p->x.high - p->x.low) * (WIDTH - LEFT - RIGHT);
}

static double place_y(const picture *p, double value) {
    const double share = (value - p->y.low) / (p->y.high - p->y.low);
    return p->top + PANEL_HEIGHT - BOTTOM - share * (PANEL_HEIGHT - TOP - BOTTOM);
}

/* ---- one panel ---- */

static r2_status draw_axes(picture *p, const char *title, r2_error *err) {
    const double bottom = p->top + PANEL_HEIGHT - BOTTOM, dx = tick_step(p->x),
                 dy = tick_step(p->y);
    PUT(p, "<text x=\"%d\" y=\"%.0f\" class=\"t\">", LEFT, p->top + 20);
    R2I_TRY(put_escaped(p->out, title, err));
    PUT(p, "</text>\n");
    for (double v = ceil(p->y.low / dy) * dy; v <= p->y.high; v += dy) {
        const double y = place_y(p, v);
        PUT(p,
            "<path d=\"M%d %.1fH%d\" class=\"g\"/><text x=\"%d\" y=\"%.1f\" "
            "class=\"y\">%.6g</text>\n",
            LEFT, y, WIDTH - RIGHT, LEFT - 8, y + 4, fabs(v) < dy * 1e-6 ? 0 : v);
    }
    for (double v = ceil(p->x.low / dx) * dx; v <= p->x.high; v += dx)
        PUT(p, "<text x=\"%.1f\" y=\"%.1f\" class=\"x\">%.6g</text>\n", place_x(p, v), bottom + 18,
            v);
    PUT(p, "<path d=\"M%d %.1fV%.1fH%d\" class=\"a\"/>\n", LEFT, p->top + TOP, bottom,
        WIDTH - RIGHT);
    return R2_OK;
}

/* The mean of `reach` points on both sides, fewer near the ends: it lags behind nothing. */
static double mean_around(const r2i_metric_point *points, size_t n, size_t i, size_t reach) {
    if (reach > i) reach = i;
    if (reach > n - 1 - i) reach = n - 1 - i;
    double sum = 0;
    for (size_t k = i - reach; k <= i + reach; k++)
        sum += points[k].value;
    return sum / (double)(2 * reach + 1);
}

static r2_status draw_line(picture *p, const r2i_metric *m, const char *style, size_t reach,
                           r2_error *err) {
    size_t n;
    const r2i_metric_point *points = r2i_metric_points(m, &n);
    const size_t every = n / MAX_DRAWN + 1;
    PUT(p, "<path d=\"");
    for (size_t i = 0; i < n; i++) {
        if (i % every != 0 && i + 1 != n) continue;
        PUT(p, "%c%.1f %.1f", i == 0 ? 'M' : 'L', place_x(p, points[i].step),
            place_y(p, mean_around(points, n, i, reach)));
    }
    PUT(p, "\" %s/>\n", style);
    return R2_OK;
}

static r2_status draw_metric(picture *p, const r2i_metric *m, const char *colour, r2_error *err) {
    char style[96];
    size_t n;
    (void)r2i_metric_points(m, &n);
    const bool is_many = n > MANY_POINTS;
    (void)snprintf(style, sizeof style, "class=\"l\" stroke=\"%s\"%s", colour,
                   is_many ? " opacity=\".25\"" : "");
    R2I_TRY(draw_line(p, m, style, 0, err));
    if (!is_many) return R2_OK;
    (void)snprintf(style, sizeof style, "class=\"l\" stroke=\"%s\"", colour);
    return draw_line(p, m, style, n / SMOOTH_SHARE, err);
}

static r2_status draw_dots(picture *p, const r2i_metric *m, const char *colour, r2_error *err) {
    char style[96];
    size_t n;
    const r2i_metric_point *points = r2i_metric_points(m, &n);
    (void)snprintf(style, sizeof style, "class=\"l\" stroke=\"%s\" stroke-dasharray=\"5 4\"",
                   colour);
    R2I_TRY(draw_line(p, m, style, 0, err));
    for (size_t i = 0; i < n; i += n / MANY_POINTS + 1)
        PUT(p, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n",
            place_x(p, points[i].step), place_y(p, points[i].value), colour);
    return R2_OK;
}

static const r2i_metric *find(const r2i_run_metrics *run, const char *name) {
    return name != NULL ? r2i_run_metrics_find(run, name) : NULL;
}

static r2_status draw_panel(picture *p, const r2i_plot_panel *panel, bool *is_drawn,
                            r2_error *err) {
    p->x = p->y = (range){ INFINITY, -INFINITY };
    *is_drawn = false;
    for (int32_t i = 0; i < p->n_runs; i++) {
        const r2i_metric *first = find(&p->runs[i], panel->metric),
                         *second = find(&p->runs[i], panel->second);
        widen_by(&p->x, &p->y, first);
        widen_by(&p->x, &p->y, second);
        *is_drawn |= first != NULL || second != NULL;
    }
    if (!*is_drawn) return R2_OK;
    settle(&p->x);
    settle(&p->y);
    R2I_TRY(draw_axes(p, panel->title, err));
    for (int32_t i = 0; i < p->n_runs; i++) {
        const char *colour = colours[i % N_COLOURS];
        const r2i_metric *first = find(&p->runs[i], panel->metric),
                         *second = find(&p->runs[i], panel->second);
        if (first != NULL) R2I_TRY(draw_metric(p, first, colour, err));
        if (second != NULL) R2I_TRY(draw_dots(p, second, colour, err));
    }
    p->top += PANEL_HEIGHT;
    return R2_OK;
}

static r2_status draw_legend(picture *p, r2_error *err) {
    for (int32_t i = 0; i < p->n_runs; i++, p->top += LEGEND_HEIGHT) {
        PUT(p, "<path d=\"M%d %.0fh28\" class=\"l\" stroke=\"%s\"/><text x=\"%d\" y=\"%.0f\">",
            LEFT, p->top + 14, colours[i % N_COLOURS], LEFT + 38, p->top + 18);
        R2I_TRY(put_escaped(p->out, p->runs[i].name, err));
        PUT(p, "</text>\n");
    }
    return R2_OK;
}

r2_status r2i_plot_svg(r2i_buffer *out, const r2i_run_metrics *runs, int32_t n_runs,
                       const r2i_plot_panel *panels, int32_t n_panels, int32_t *n_drawn,
                       r2_error *err) {
    r2i_buffer body;
    picture p = { .out = &body, .runs = runs, .n_runs = n_runs };
    *n_drawn = 0;
    r2i_buffer_init(&body, out->heap, out->max_bytes);
    r2_status status = draw_legend(&p, err);
    for (int32_t i = 0; i < n_panels && status == R2_OK; i++) {
        bool is_drawn;
        status = draw_panel(&p, &panels[i], &is_drawn, err);
        *n_drawn += is_drawn;
    }
    if (status == R2_OK)
        status = r2i_buffer_append_format(
            out, err,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" width=\"%d\" "
            "font-family=\"sans-serif\" "
            "font-size=\"13\">\n<style>.t{font-weight:bold}.y{text-anchor:"
            "end}.x{text-anchor:middle}.g{stroke:#ddd}.a{stroke:#444;fill:none}.l{fill:none;stroke-"
            "width:1.6}</style>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
            WIDTH, p.top + 10, WIDTH);
    if (status == R2_OK) status = r2i_buffer_append(out, body.bytes, body.n_bytes, err);
    if (status == R2_OK) status = r2i_buffer_append_text(out, "</svg>\n", err);
    r2i_buffer_destroy(&body);
    return status;
}

r2_status r2i_plot_sparkline(r2i_buffer *out, const r2i_metric *metric, int32_t width,
                             r2_error *err) {
    range all = { INFINITY, -INFINITY }, unused = all;
    size_t n;
    const r2i_metric_point *points = r2i_metric_points(metric, &n);
    widen_by(&unused, &all, metric);
    settle(&all);
    const size_t n_cells = n < (size_t)width ? n : (size_t)width;
    for (size_t c = 0; c < n_cells; c++) { /* each shows the mean of its share of the points */
        const size_t begin = n * c / n_cells, end = n * (c + 1) / n_cells;
        double sum = 0;
        for (size_t i = begin; i < end; i++)
            sum += points[i].value;
        const double share = (sum / (double)(end - begin) - all.low) / (all.high - all.low);
        const char block[] = { '\xe2', '\x96', (char)(0x81 + (int)fmin(7, floor(8 * share))) };
        R2I_TRY(r2i_buffer_append(out, block, sizeof block, err));
    }
    return R2_OK;
}
