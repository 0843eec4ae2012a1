/* command_verify.c - `r2lm verify`: is a model's file what it should be? */
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "cli/checksums.h"
#include "cli/model_find.h"
#include "r2lm/convert.h"

typedef struct {
    r2i_program *program;
    const char *path;
    r2_verify_report report;
    r2i_file_sums sums;
    json_t *faults; /* texts */
    r2_status status;
    r2_error err; /* of the first fault */
} verification;

/* ---- faults ---- */

static void add_fault(verification *v, r2_status status, const char *text) {
    (void)json_array_append_new(v->faults, json_string(text));
    if (v->status != R2_OK) return;
    v->status = status;
    (void)r2i_fail(&v->err, status, "%s", text);
}

/* The first one ends up on standard error by itself. */
static void on_fault(void *user, const char *line) {
    verification *v = user;
    r2i_terminal_clear_progress(&v->program->terminal);
    (void)json_array_append_new(v->faults, json_string(line));
    if (json_array_size(v->faults) > 1) r2i_program_note(v->program, "also: %s", line);
}

static bool on_progress(void *user, int64_t n_done, int64_t n_all) {
    verification *v = user;
    r2i_terminal_progress(&v->program->terminal, "reading MB", n_done / 1000000, n_all / 1000000);
    return r2i_signals_pending() == 0;
}

/* ---- checksums ---- */

static bool is_wrong(const r2i_file_sum *file) {
    return file->has_failed ||
           (file->expected[0] != '\0' && strcmp(file->expected, file->found) != 0);
}

static void compare_sums(verification *v) {
    char text[R2_ERROR_TEXT_BYTES];
    for (size_t i = 0; i < v->sums.n_files; i++) {
        const r2i_file_sum *file = &v->sums.files[i];
        if (!is_wrong(file)) continue;
        if (file->has_failed)
            (void)snprintf(text, sizeof text, "%.100s: cannot be read", file->name);
        else
            (void)snprintf(text, sizeof text,
                           "%.80s: expected SHA-256 %.12s... (%s), found %.12s...", file->name,
                           file->expected, file->source, file->found);
        add_fault(v, file->has_failed ? R2_E_IO : R2_E_CHECKSUM, text);
    }
}

static r2_status check_sums(verification *v, r2_error *err) {
    r2i_program *p = v->program;
    if (!p->options->has_checksums) return R2_OK;
    if (!r2i_checksums_can()) {
        r2i_program_note(p, "no checksums: built without OpenSSL (Debian: libssl-dev)");
        return R2_OK;
    }
    R2I_TRY(r2i_checksums_list(&v->sums, p, v->path, err));
    R2I_TRY(r2i_checksums_compute(&v->sums, p, err));
    compare_sums(v);
    return R2_OK;
}

/* ---- what is said ---- */

static json_t *describe_files(const verification *v) {
    json_t *files = json_array();
    for (size_t i = 0; i < v->sums.n_files; i++) {
        const r2i_file_sum *f = &v->sums.files[i];
        (void)json_array_append_new(files,
                                    json_pack("{s:s, s:I, s:s, s:s?, s:s?, s:b}", "name", f->name,
                                              "bytes", (json_int_t)f->n_bytes, "sha256", f->found,
                                              "expected", f->source != NULL ? f->expected : NULL,
                                              "source", f->source, "ok", (int)!is_wrong(f)));
    }
    return files;
}

static int print_json(const verification *v) {
    const r2_verify_report *r = &v->report;
    json_t *o = json_pack(
        "{s:s, s:s, s:b, s:I, s:I, s:I, s:I, s:O, s:o}", "path", v->path, "architecture",
        r->architecture, "ok", (int)(v->status == R2_OK), "tensors", (json_int_t)r->n_tensors,
        "values", (json_int_t)r->n_values, "bytes", (json_int_t)r->n_bytes, "bad_tensors",
        (json_int_t)r->n_bad_tensors, "faults", v->faults, "files", describe_files(v));
    return r2i_program_print_json(v->program, o);
}

static void print_text(const verification *v) {
    const r2_verify_report *r = &v->report;
    for (size_t i = 0; i < v->sums.n_files; i++) {
        const r2i_file_sum *f = &v->sums.files[i];
        printf("%s  %s", f->found, f->name);
        if (f->source != NULL) printf("  %s by %s", is_wrong(f) ? "WRONG" : "as said", f->source);
        printf("\n");
    }
    if (v->status == R2_OK) {
        printf("ok: %s, %lld tensors, %lld values, all finite\n", r->architecture,
               (long long)r->n_tensors, (long long)r->n_values);
    }
}

static int finish(verification *v) {
    r2i_program *p = v->program;
    if (p->options->wants_json) {
        if (v->status != R2_OK) fprintf(stderr, "r2lm: %s\n", v->err.text);
        const int code = print_json(v);
        return v->status != R2_OK ? r2i_exit_code(v->status) : code;
    }
    print_text(v);
    return v->status != R2_OK ? r2i_program_fail(p, v->status, &v->err) : R2I_EXIT_OK;
}

static int run(verification *v) {
    r2i_program *p = v->program;
    const bool has_word = p->arguments.n_words > 0 && !p->arguments.has_model_flag;
    const r2_verify_options options = { .n_threads = p->options->threads,
                                        .fault = on_fault,
                                        .progress = on_progress,
                                        .host = { .user = v } };
    r2_error err = { R2_OK, "" };
    r2_status status =
        r2i_model_resolve(&v->path, p, has_word ? p->arguments.words[0] : p->options->model, &err);
    if (status != R2_OK) {
        const int code = r2i_program_fail(p, status, &err);
        if (status == R2_E_NOT_FOUND) r2i_models_hint(p);
        return code;
    }
    r2i_signals_catch();
    v->status = r2_verify(v->path, &options, &v->report, &v->err);
    r2i_terminal_clear_progress(&p->terminal);
    if (v->status == R2_E_CANCELED) return r2i_program_fail(p, v->status, &v->err);
    status = check_sums(v, &err);
    if (status != R2_OK) return r2i_program_fail(p, status, &err);
    return finish(v);
}

int r2i_verify_command(r2i_program *p) {
    verification v = { .program = p, .faults = json_array() };
    const int code = run(&v);
    json_decref(v.faults);
    return code;
}
