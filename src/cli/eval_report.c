#include "cli/eval_report.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "cli/plot_svg.h"
#include "cli/text_input.h"
#include "cli/text_write.h"

enum { PATH_BYTES = 4096, N_BINS = 24 };
#define MAX_PAGE_BYTES ((size_t)1 << 30)

typedef struct {
    r2i_program *program;
    r2i_buffer page, lines;
    json_t *summary;
} report;

#define PUT(r, ...) R2I_TRY(r2i_buffer_append_format(&(r)->page, err, __VA_ARGS__))

/* The only way in which text of models, data and paths enters the page. */
static r2_status put_text(report *r, const char *text, size_t n, r2_error *err) {
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c == '<' || c == '>' || c == '&' || c == '"' || c == '\'')
            PUT(r, "&#%d;", c);
        else if (c >= 0x20 || c == '\n' || c == '\t')
            R2I_TRY(r2i_buffer_append(&r->page, &text[i], 1, err));
        else
            R2I_TRY(r2i_buffer_append_text(&r->page, "\xef\xbf\xbd", err));
    }
    return R2_OK;
}

static r2_status put_json(report *r, const json_t *value, r2_error *err) {
    if (json_is_string(value))
        return put_text(r, json_string_value(value), json_string_length(value), err);
    if (json_is_integer(value)) PUT(r, "%lld", (long long)json_integer_value(value));
    if (json_is_real(value)) PUT(r, "%.6g", json_real_value(value));
    return R2_OK;
}

static const json_t *get(const json_t *object, const char *key) {
    return json_object_get(object, key);
}

/* ---- lines of samples.jsonl ---- */

typedef r2_status (*line_user)(report *r, const json_t *line, void *user, r2_error *err);

static r2_status each_sample(report *r, line_user use, void *user, r2_error *err) {
    const char *at = r->lines.bytes, *last = at + r->lines.n_bytes;
    for (int64_t number = 1; at < last; number++) {
        const char *end = memchr(at, '\n', (size_t)(last - at));
        if (end == NULL) return R2_OK;
        json_t *line =
            json_loadb(at, (size_t)(end - at), JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
        at = end + 1;
        if (line == NULL)
            return r2i_fail(err, R2_E_FORMAT, "samples.jsonl:%lld: expected an object",
                            (long long)number);
        const r2_status status = number > 1 ? use(r, line, user, err) : R2_OK;
        json_decref(line);
        if (status != R2_OK) return status;
    }
    return R2_OK;
}

/* ---- plots ---- */

/* How many right and wrong answers there are of each length, and pass@k, as runs that plot_svg draws. */
typedef struct {
    r2i_run_metrics runs[2]; /* right, wrong */
    double counts[2][N_BINS];
    double longest;
} plots;

static r2_status note_longest(report *r, const json_t *line, void *user, r2_error *err) {
    double *longest = user;
    const double n = json_number_value(get(line, "tokens"));
    (void)r, (void)err;
    if (n > *longest) *longest = n;
    return R2_OK;
}

static r2_status note_length(report *r, const json_t *line, void *user, r2_error *err) {
    plots *p = user;
    const double n = json_number_value(get(line, "tokens"));
    int bin = (int)(n / p->longest * N_BINS);
    (void)r, (void)err;
    if (bin >= N_BINS) bin = N_BINS - 1;
    p->counts[!json_is_true(get(line, "right"))][bin]++;
    return R2_OK;
}

static r2i_metric *begin_metric(report *r, r2i_run_metrics *run, const char *name) {
    r2i_metric *m = &run->metrics[run->n_metrics++];
    (void)snprintf(m->name, sizeof m->name, "%s", name);
    r2i_buffer_init(&m->points, &r->program->heap, 1 << 20);
    return m;
}

static r2_status add_point(r2i_metric *m, double x, double y, r2_error *err) {
    const r2i_metric_point point = { x, y };
    return r2i_buffer_append(&m->points, &point, sizeof point, err);
}

static r2_status add_pass_at_k(report *r, plots *p, r2_error *err) {
    char name[32];
    if (json_integer_value(get(r->summary, "samples")) < 2) return R2_OK;
    r2i_metric *m = begin_metric(r, &p->runs[0], "pass");
    for (int k = 1; k <= 1024; k *= 2) {
        (void)snprintf(name, sizeof name, "pass@%d", k);
        const json_t *share = get(r->summary, name);
        if (share == NULL) break;
        R2I_TRY(add_point(m, k, 100 * json_number_value(get(share, "value")), err));
    }
    return R2_OK;
}

static r2_status fill_plots(report *r, plots *p, r2_error *err) {
    p->longest = 1;
    R2I_TRY(each_sample(r, note_longest, &p->longest, err));
    R2I_TRY(each_sample(r, note_length, p, err));
    for (int i = 0; i < 2; i++) {
        r2i_metric *m = begin_metric(r, &p->runs[i], "length");
        for (int b = 0; b < N_BINS; b++)
            R2I_TRY(add_point(m, (b + 0.5) * p->longest / N_BINS, p->counts[i][b], err));
    }
    return add_pass_at_k(r, p, err);
}

static r2_status put_plots(report *r, r2_error *err) {
    static const r2i_plot_panel panels[] = {
        { "length", NULL, "answers by their number of tokens" },
        { "pass", NULL, "pass@k in per cent, by k" },
    };
    plots p = { .runs = { { .name = "right" }, { .name = "wrong" } } };
    int32_t n_drawn;
    r2_status status = fill_plots(r, &p, err);
    if (status == R2_OK) status = r2i_plot_svg(&r->page, p.runs, 2, panels, 2, &n_drawn, err);
    for (int i = 0; i < 2; i++)
        r2i_run_metrics_free(&p.runs[i]);
    return status;
}

/* ---- numbers ---- */

static r2_status put_share(report *r, const json_t *share, r2_error *err) {
    const double value = 100 * json_number_value(get(share, "value")),
                 low = 100 * json_number_value(get(share, "low")),
                 high = 100 * json_number_value(get(share, "high"));
    PUT(r,
        "<td class=\"n\">%.2f %%</td><td class=\"n\">%.1f &ndash; %.1f</td><td><div "
        "class=\"b\"><i style=\"width:%.1f%%\"></i><u "
        "style=\"left:%.1f%%;width:%.1f%%\"></u></div></td>",
        value, low, high, value, low, high - low);
    return R2_OK;
}

static r2_status put_row(report *r, const char *name, const json_t *numbers, r2_error *err) {
    static const char *const keys[] = { "pass@1", "lenient_pass@1" };
    static const char *const says[] = { "", " (lenient)" };
    for (int i = 0; i < 2; i++) {
        const json_t *share = get(numbers, keys[i]);
        if (share == NULL) continue;
        PUT(r, "<tr><td>");
        R2I_TRY(put_text(r, name, strlen(name), err));
        PUT(r, "%s</td><td class=\"n\">%lld</td>", says[i],
            (long long)json_integer_value(get(numbers, "items")));
        R2I_TRY(put_share(r, share, err));
        if (get(numbers, "majority") != NULL)
            PUT(r, "<td class=\"n\">%.2f %%</td>", 100 * json_real_value(get(numbers, "majority")));
        PUT(r, "</tr>\n");
    }
    return R2_OK;
}

static r2_status put_numbers(report *r, r2_error *err) {
    const char *name;
    json_t *group;
    PUT(r, "<table><tr><th></th><th>items</th><th>right</th><th>95 %%</th><th></th>%s</tr>\n",
        get(r->summary, "majority") != NULL ? "<th>one answer to all</th>" : "");
    R2I_TRY(put_row(r, "all", r->summary, err));
    json_object_foreach(json_object_get(r->summary, "groups"), name, group)
        R2I_TRY(put_row(r, name, group, err));
    PUT(r, "</table>\n<table>\n");
    static const char *const keys[] = { "suite", "model",          "model_path", "adapter",
                                        "seed",  "max_new_tokens", "samples",    "temperature",
                                        "cut",   "in_form",        "tokens" };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (get(r->summary, keys[i]) == NULL || json_is_null(get(r->summary, keys[i]))) continue;
        PUT(r, "<tr><td>%s</td><td>", keys[i]);
        R2I_TRY(put_json(r, get(r->summary, keys[i]), err));
        PUT(r, "</td></tr>\n");
    }
    PUT(r, "</table>\n");
    return R2_OK;
}

/* ---- answers ---- */

static r2_status put_part(report *r, const char *title, const json_t *text, r2_error *err) {
    if (json_string_length(text) == 0) return R2_OK;
    PUT(r, "<h4>%s</h4><pre>", title);
    R2I_TRY(put_json(r, text, err));
    PUT(r, "</pre>");
    return R2_OK;
}

static r2_status put_sample(report *r, const json_t *line, void *user, r2_error *err) {
    const bool is_right = json_is_true(get(line, "right")),
               is_found = json_is_true(get(line, "found"));
    (void)user;
    PUT(r, "<details class=\"%s\"><summary>", is_right ? "r" : "w");
    R2I_TRY(put_json(r, get(line, "id"), err));
    PUT(r, " #%lld &middot; %s &middot; %lld tokens &middot; ",
        (long long)json_integer_value(get(line, "sample")),
        is_right   ? "right"
        : is_found ? "right, elsewhere"
                   : "wrong",
        (long long)json_integer_value(get(line, "tokens")));
    R2I_TRY(put_json(r, get(line, "stop"), err));
    PUT(r, " <span>");
    R2I_TRY(put_json(r, get(line, "why"), err));
    PUT(r, "</span></summary>");
    R2I_TRY(put_part(r, "question", get(line, "question"), err));
    R2I_TRY(put_part(r, "answer", get(line, "text"), err));
    R2I_TRY(put_part(r, "calls", get(line, "calls"), err));
    R2I_TRY(put_part(r, "expected", get(line, "expected"), err));
    PUT(r, "</details>\n");
    return R2_OK;
}

static r2_status put_head(report *r, r2_error *err) {
    PUT(r, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
           "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
           "'unsafe-inline'\">\n<title>");
    R2I_TRY(put_json(r, get(r->summary, "suite"), err));
    PUT(r, " &ndash; ");
    R2I_TRY(put_json(r, get(r->summary, "model"), err));
    PUT(r, "</title>\n<style>\nbody{font:15px/1.5 sans-serif;max-width:62rem;margin:2rem "
           "auto;padding:0 1rem}table{border-collapse:collapse;margin:1rem "
           "0}td,th{padding:.15rem .8rem;text-align:left;border-bottom:1px solid "
           "#ddd}.n{text-align:right}pre{background:#f6f6f6;padding:.6rem;white-space:pre-wrap;"
           "overflow-wrap:anywhere}details{border-left:4px solid;margin:.3rem "
           "0;padding-left:.6rem}.r{border-color:#009e73}.w{border-color:#d55e00}summary "
           "span{color:#777}svg{max-width:100%%;height:auto}.b{position:relative;width:16rem;"
           "height:1rem;background:#eee}.b i{position:absolute;height:100%%;background:#56b4e9}.b "
           "u{position:absolute;top:45%%;height:2px;background:#000}#or:checked~main "
           ".w,#ow:checked~main .r{display:none}\n</style></head><body>\n<h1>");
    R2I_TRY(put_json(r, get(r->summary, "suite"), err));
    PUT(r, "</h1>\n");
    return R2_OK;
}

static r2_status put_page(report *r, r2_error *err) {
    R2I_TRY(put_head(r, err));
    R2I_TRY(put_numbers(r, err));
    R2I_TRY(put_plots(r, err));
    PUT(r, "<h2>Answers</h2>\n<input type=\"radio\" name=\"o\" id=\"oa\" checked><label "
           "for=\"oa\">all</label> <input type=\"radio\" name=\"o\" id=\"or\"><label "
           "for=\"or\">right</label> <input type=\"radio\" name=\"o\" id=\"ow\"><label "
           "for=\"ow\">wrong</label>\n<main>\n");
    R2I_TRY(each_sample(r, put_sample, NULL, err));
    PUT(r, "</main></body></html>\n");
    return R2_OK;
}

static r2_status read_files(report *r, const char *folder, r2_error *err) {
    char path[PATH_BYTES];
    r2i_buffer text;
    (void)snprintf(path, sizeof path, "%.4000s/samples.jsonl", folder);
    R2I_TRY(r2i_file_append(&r->lines, path, err));
    (void)snprintf(path, sizeof path, "%.4000s/summary.json", folder);
    r2i_buffer_init(&text, &r->program->heap, (size_t)64 << 20);
    r2_status status = r2i_file_append(&text, path, err);
    if (status == R2_OK) r->summary = json_loadb(text.bytes, text.n_bytes, 0, NULL);
    r2i_buffer_destroy(&text);
    if (status == R2_OK && r->summary == NULL)
        status = r2i_fail(err, R2_E_FORMAT, "%.150s: expected an object", path);
    return status;
}

r2_status r2i_eval_report_write(r2i_program *program, const char *folder, r2_error *err) {
    report r = { .program = program };
    char path[PATH_BYTES];
    r2i_buffer_init(&r.page, &program->heap, MAX_PAGE_BYTES);
    r2i_buffer_init(&r.lines, &program->heap, MAX_PAGE_BYTES);
    (void)snprintf(path, sizeof path, "%.4000s/report.html", folder);
    r2_status status = read_files(&r, folder, err);
    if (status == R2_OK) status = put_page(&r, err);
    if (status == R2_OK) status = r2i_text_write(path, r.page.bytes, r.page.n_bytes, 0644, err);
    json_decref(r.summary);
    r2i_buffer_destroy(&r.page);
    r2i_buffer_destroy(&r.lines);
    return status;
}
