#define _POSIX_C_SOURCE 200809L /* S_ISDIR */
#include "cli/run_metrics.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/failure.h"
#include "base/path_name.h"
#include "cli/text_input.h"

enum { PATH_BYTES = 4096, MAX_POINT_BYTES = 1 << 28 };

const r2i_metric *r2i_run_metrics_find(const r2i_run_metrics *run, const char *name) {
    for (int32_t i = 0; i < run->n_metrics; i++) {
        if (strcmp(run->metrics[i].name, name) == 0) return &run->metrics[i];
    }
    return NULL;
}

const r2i_metric_point *r2i_metric_points(const r2i_metric *metric, size_t *n) {
    *n = metric->points.n_bytes / sizeof(r2i_metric_point);
    return (const r2i_metric_point *)(const void *)metric->points.bytes;
}

void r2i_run_metrics_free(r2i_run_metrics *run) {
    for (int32_t i = 0; i < run->n_metrics; i++)
        r2i_buffer_destroy(&run->metrics[i].points);
    run->n_metrics = 0;
}

/* The metric of a name, a new one if need be; NULL: there are too many. */
static r2i_metric *metric_of(r2i_run_metrics *run, r2i_program *p, const char *name) {
    for (int32_t i = 0; i < run->n_metrics; i++) {
        if (strcmp(run->metrics[i].name, name) == 0) return &run->metrics[i];
    }
    if (run->n_metrics == R2I_RUN_METRICS || strlen(name) >= R2I_METRIC_NAME_BYTES) return NULL;
    r2i_metric *m = &run->metrics[run->n_metrics++];
    (void)snprintf(m->name, sizeof m->name, "%s", name);
    r2i_buffer_init(&m->points, &p->heap, MAX_POINT_BYTES);
    return m;
}

static r2_status take_line(r2i_run_metrics *run, r2i_program *p, json_t *line, const char *label,
                           int64_t number, r2_error *err) {
    const json_t *step = json_object_get(line, "step");
    const char *name;
    json_t *value;
    if (!json_is_number(step))
        return r2i_fail(err, R2_E_FORMAT, "%.150s:%lld: expected an object with \"step\"", label,
                        (long long)number);
    json_object_foreach(line, name, value) {
        const r2i_metric_point point = { json_number_value(step), json_number_value(value) };
        r2i_metric *m = json_is_number(value) && value != step ? metric_of(run, p, name) : NULL;
        if (m != NULL) R2I_TRY(r2i_buffer_append(&m->points, &point, sizeof point, err));
    }
    return R2_OK;
}

static r2_status take_lines(r2i_run_metrics *run, r2i_program *p, const r2i_buffer *text,
                            const char *label, r2_error *err) {
    int64_t number = 0;
    for (size_t at = 0; at < text->n_bytes;) {
        const char *begin = text->bytes + at, *end = memchr(begin, '\n', text->n_bytes - at);
        if (end == NULL) return R2_OK; /* being written */
        json_t *line = json_loadb(begin, (size_t)(end - begin), JSON_REJECT_DUPLICATES, NULL);
        const r2_status status = take_line(run, p, line, label, ++number, err);
        json_decref(line);
        if (status != R2_OK) return status;
        at += (size_t)(end - begin) + 1;
    }
    return R2_OK;
}

static const char *name_of(r2i_program *p, const char *path) {
    size_t n;
    const char *begin = r2i_path_name(path, &n);
    const char *name = r2i_arena_copy_text(&p->arena, begin, n);
    return name != NULL ? name : path;
}

r2_status r2i_run_metrics_read(r2i_run_metrics *out, r2i_program *p, const char *path,
                               r2_error *err) {
    char file[PATH_BYTES];
    struct stat info;
    r2i_buffer text;
    const bool is_folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    *out = (r2i_run_metrics){ .name = name_of(p, path) };
    (void)snprintf(file, sizeof file, "%s%s", path, is_folder ? "/metrics.jsonl" : "");
    r2i_prompt_buffer_init(&text, p);
    r2_status status = r2i_file_append(&text, file, err);
    if (status == R2_OK) status = take_lines(out, p, &text, file, err);
    r2i_buffer_destroy(&text);
    if (status == R2_OK && out->n_metrics == 0)
        status = r2i_fail(err, R2_E_FORMAT, "%.150s: expected numbers of a run, found none", file);
    if (status != R2_OK) r2i_run_metrics_free(out);
    return status;
}
