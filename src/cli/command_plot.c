/* command_plot.c - `r2lm plot`: how training runs went, as a picture or in the terminal. */
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "cli/plot_svg.h"
#include "cli/text_write.h"

enum { MAX_RUNS = 16, SPARK_WIDTH = 60, MAX_PICTURE_BYTES = 64 << 20 };

static const r2i_plot_panel usual_panels[] = {
    { "loss", "validation_loss", "loss (nats per token); dots: validation" },
    { "validation_bpb", NULL, "validation, bits per byte" },
    { "reward", NULL, "reward" },
    { "pass_rate", NULL, "share of right answers" },
    { "accuracy", NULL, "share of pairs in the right order" },
    { "length", NULL, "tokens of an answer" },
    { "entropy", NULL, "entropy, nats per token" },
    { "kl", NULL, "divergence from the model as it was, nats per token" },
    { "gradient_norm", NULL, "gradient norm" },
    { "lr", NULL, "learning rate" },
    { "tok_s", NULL, "tokens per second" },
    { "peak_share", NULL, "share of the machine's peak" },
};
enum { N_USUAL = sizeof usual_panels / sizeof *usual_panels };

typedef struct {
    r2i_program *program;
    r2i_run_metrics runs[MAX_RUNS];
    int32_t n_runs;
} plot_work;

static r2_status read_runs(plot_work *w, r2_error *err) {
    r2i_program *p = w->program;
    const int n = p->arguments.n_words;
    if (n < 1 || n > MAX_RUNS)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "plot: expected 1 to %d folders or files of runs, found %d", MAX_RUNS, n);
    for (; w->n_runs < n; w->n_runs++)
        R2I_TRY(r2i_run_metrics_read(&w->runs[w->n_runs], p, p->arguments.words[w->n_runs], err));
    return R2_OK;
}

/* Of each task the share of right answers. */
static int32_t add_tasks(const r2i_run_metrics *run, r2i_plot_panel panels[R2I_LIST_TEXTS],
                         int32_t n) {
    for (int32_t i = 0; i < run->n_metrics && n < R2I_LIST_TEXTS; i++) {
        const char *name = run->metrics[i].name;
        if (strncmp(name, "pass_", 5) == 0 && strcmp(name, "pass_rate") != 0)
            panels[n++] = (r2i_plot_panel){ name, NULL, name };
    }
    return n;
}

/* What --metric names, or what runs usually have. */
static int32_t choose_panels(const r2i_program *p, const r2i_run_metrics *run,
                             r2i_plot_panel panels[R2I_LIST_TEXTS]) {
    const r2i_text_list *names = &p->options->metrics;
    for (int32_t i = 0; i < names->n; i++)
        panels[i] = (r2i_plot_panel){ names->texts[i], NULL, names->texts[i] };
    if (names->n > 0) return names->n;
    memcpy(panels, usual_panels, sizeof usual_panels);
    return add_tasks(run, panels, N_USUAL);
}

static r2_status fail_empty(r2_error *err) {
    return r2i_fail(err, R2_E_ARGUMENT,
                    "plot: no run has these; `r2lm plot RUN --json` lists what there is");
}

static r2_status draw(const plot_work *w, r2i_buffer *picture, r2_error *err) {
    r2i_plot_panel panels[R2I_LIST_TEXTS];
    int32_t n_drawn;
    const int32_t n = choose_panels(w->program, &w->runs[0], panels);
    R2I_TRY(r2i_plot_svg(picture, w->runs, w->n_runs, panels, n, &n_drawn, err));
    return n_drawn > 0 ? R2_OK : fail_empty(err);
}

static r2_status write_picture(const plot_work *w, const char *path, r2_error *err) {
    r2i_buffer picture;
    r2i_buffer_init(&picture, &w->program->heap, MAX_PICTURE_BYTES);
    r2_status status = draw(w, &picture, err);
    if (status == R2_OK && strcmp(path, "-") == 0)
        (void)fwrite(picture.bytes, 1, picture.n_bytes, stdout);
    else if (status == R2_OK)
        status = r2i_text_write(path, picture.bytes, picture.n_bytes, 0644, err);
    r2i_buffer_destroy(&picture);
    return status;
}

static r2_status print_metric(const plot_work *w, const r2i_run_metrics *run, const char *name,
                              bool *is_any, r2_error *err) {
    const r2i_metric *m = name != NULL ? r2i_run_metrics_find(run, name) : NULL;
    r2i_buffer line;
    size_t n;
    if (m == NULL) return R2_OK;
    const r2i_metric_point *points = r2i_metric_points(m, &n);
    r2i_buffer_init(&line, &w->program->heap, 4 * SPARK_WIDTH);
    const r2_status status = r2i_plot_sparkline(&line, m, SPARK_WIDTH, err);
    if (status == R2_OK)
        printf("  %-16s %s %.5g to %.5g\n", name, line.bytes, points[0].value, points[n - 1].value);
    r2i_buffer_destroy(&line);
    *is_any = true;
    return status;
}

static r2_status print_runs(const plot_work *w, r2_error *err) {
    r2i_plot_panel panels[R2I_LIST_TEXTS];
    const int32_t n_panels = choose_panels(w->program, &w->runs[0], panels);
    bool is_any = false;
    for (int32_t r = 0; r < w->n_runs; r++) {
        r2i_terminal_write(&w->program->terminal, false, w->runs[r].name);
        printf("\n");
        for (int32_t i = 0; i < n_panels; i++) {
            R2I_TRY(print_metric(w, &w->runs[r], panels[i].metric, &is_any, err));
            R2I_TRY(print_metric(w, &w->runs[r], panels[i].second, &is_any, err));
        }
    }
    return is_any ? R2_OK : fail_empty(err);
}

static json_t *metric_json(const r2i_metric *m) {
    size_t n;
    const r2i_metric_point *points = r2i_metric_points(m, &n);
    double low = points[0].value, high = low;
    for (size_t i = 1; i < n; i++) {
        if (points[i].value < low) low = points[i].value;
        if (points[i].value > high) high = points[i].value;
    }
    return json_pack("{s:I, s:f, s:f, s:f, s:f}", "points", (json_int_t)n, "first", points[0].value,
                     "last", points[n - 1].value, "lowest", low, "highest", high);
}

static bool is_asked_for(const r2i_text_list *names, const char *name) {
    for (int32_t i = 0; i < names->n; i++)
        if (strcmp(names->texts[i], name) == 0) return true;
    return names->n == 0;
}

/* {"runs": [{"name", "metrics": {NAME: {"points", "first", "last", "lowest", "highest"}}}]} */
static r2_status print_json(const plot_work *w, r2_error *err) {
    json_t *all = json_array();
    bool is_any = false;
    for (int32_t r = 0; r < w->n_runs; r++) {
        const r2i_run_metrics *run = &w->runs[r];
        json_t *metrics = json_object();
        for (int32_t i = 0; i < run->n_metrics; i++) {
            const r2i_metric *m = &run->metrics[i];
            if (!is_asked_for(&w->program->options->metrics, m->name)) continue;
            (void)json_object_set_new(metrics, m->name, metric_json(m));
            is_any = true;
        }
        (void)json_array_append_new(all,
                                    json_pack("{s:s, s:o}", "name", run->name, "metrics", metrics));
    }
    if (!is_any) {
        json_decref(all);
        return fail_empty(err);
    }
    if (r2i_program_print_json(w->program, json_pack("{s:o}", "runs", all)) == R2I_EXIT_OK)
        return R2_OK;
    return r2i_fail(err, R2_E_IO, "plot: cannot write the numbers");
}

static r2_status put_out(const plot_work *w, r2_error *err) {
    const r2i_options *o = w->program->options;
    const char *end = o->output != NULL ? strrchr(o->output, '.') : NULL;
    if (end != NULL && strcmp(end, ".png") == 0)
        return r2i_fail(err, R2_E_ARGUMENT, "plot: expected a name of an SVG file, found %.150s",
                        o->output);
    if (o->output != NULL) return write_picture(w, o->output, err);
    return o->wants_json ? print_json(w, err) : print_runs(w, err);
}

int r2i_plot_command(r2i_program *p) {
    plot_work w = { .program = p };
    r2_error err = { R2_OK, "" };
    r2_status status = read_runs(&w, &err);
    if (status == R2_OK) status = put_out(&w, &err);
    for (int32_t i = 0; i < w.n_runs; i++)
        r2i_run_metrics_free(&w.runs[i]);
    return status == R2_OK ? R2I_EXIT_OK : r2i_program_fail(p, status, &err);
}
