#define _XOPEN_SOURCE 700 /* realpath */
#include "cli/run_record.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/failure.h"

enum { PATH_BYTES = 4096 };
static const int64_t pause_ns = 5000000000;

r2_status r2i_runs_open(r2i_registry **out, r2i_program *p, bool only_read, r2_error *err) {
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    const bool has_state = state != NULL && state[0] == '/',
               has_home = home != NULL && home[0] == '/';
    char path[PATH_BYTES];
    *out = NULL;
    if (!has_state && !has_home)
        return r2i_fail(err, R2_E_STATE, "there is no place for the list of runs: HOME is not set");
    (void)snprintf(path, sizeof path, "%.3900s%s/r2lm/runs.db", has_state ? state : home,
                   has_state ? "" : "/.local/state");
    return r2i_registry_open(out, path, only_read, &p->heap, err);
}

/* Without SQLite nothing is said: `r2lm runs` does. */
static void give_up(r2i_run_record *r, r2_status status, const r2_error *err) {
    if (status != R2_E_UNSUPPORTED) {
        r2i_terminal_keep_line(&r->program->terminal);
        r2i_program_note(r->program, "%s: the run goes on, but `r2lm runs` will not know of it",
                         err->text);
    }
    r2i_registry_close(r->registry);
    r->registry = NULL;
}

static const char *keep(r2i_program *p, const char *text, size_t n) {
    return r2i_arena_copy_text(&p->arena, text, n);
}

static const char *keep_path(r2i_program *p, const char *path) {
    char *real = realpath(path, NULL);
    const char *name = real != NULL ? real : path, *kept = keep(p, name, strlen(name));
    free(real);
    return kept;
}

/* All folders, a line each. */
static const char *keep_data(r2i_program *p, const r2_train_options *o) {
    r2i_buffer text;
    r2_status status = R2_OK;
    r2i_buffer_init(&text, &p->heap, 1 << 20);
    for (int32_t i = 0; status == R2_OK && i < o->n_data; i++) {
        const char *path = keep_path(p, o->data[i]);
        if (i > 0) status = r2i_buffer_append_text(&text, "\n", NULL);
        if (status == R2_OK && path != NULL) status = r2i_buffer_append_text(&text, path, NULL);
    }
    const char *kept = keep(p, text.bytes != NULL ? text.bytes : "", text.n_bytes);
    r2i_buffer_destroy(&text);
    return kept;
}

void r2i_run_record_begin(r2i_run_record *r, r2i_program *p, r2i_train_kind kind,
                          const r2_train_options *o, const r2i_buffer *config) {
    *r = (r2i_run_record){ .program = p,
                           .is_wanted = p->options->is_registered,
                           .entry = { .kind = r2i_train_kind_name(kind),
                                      .folder = keep_path(p, p->options->output),
                                      .model = keep_path(p, o->model),
                                      .data = keep_data(p, o),
                                      .config = keep(p, config->bytes != NULL ? config->bytes : "",
                                                     config->n_bytes),
                                      .version = R2LM_VERSION,
                                      .state = "running",
                                      .n_steps = o->n_steps,
                                      .loss = (double)NAN,
                                      .validation_loss = (double)NAN,
                                      .validation_bpb = (double)NAN,
                                      .currency = p->options->currency } };
}

static void enter(r2i_run_record *r) {
    r2_error err = { R2_OK, "" };
    r->is_wanted = false;
    r2_status status = r2i_runs_open(&r->registry, r->program, false, &err);
    if (status == R2_OK) status = r2i_registry_add(r->registry, &r->entry, &err);
    if (status != R2_OK) give_up(r, status, &err);
}

static void write_entry(r2i_run_record *r) {
    r2_error err = { R2_OK, "" };
    const r2_status status = r2i_registry_update(r->registry, &r->entry, &err);
    r->written_ns = r2i_clock_ns();
    if (status != R2_OK) give_up(r, status, &err);
}

void r2i_run_record_step(r2i_run_record *r, const r2_train_report *report, double cost) {
    r2i_run_entry *e = &r->entry;
    const bool is_validated = !isnan(report->validation_loss);
    if (r->is_wanted) enter(r);
    if (r->registry == NULL) return;
    e->step = report->step;
    e->n_steps = report->n_steps;
    e->n_tokens = report->n_tokens;
    /* Of rewards the loss says nothing: the advantages of each question are 0 on average. */
    e->loss =
        strcmp(e->kind, r2i_train_kind_name(R2I_TRAIN_GRPO)) == 0 ? (double)NAN : report->loss;
    e->seconds = report->seconds_all;
    e->cost = cost;
    if (is_validated) {
        e->validation_loss = report->validation_loss;
        e->validation_bpb = report->validation_bpb;
    }
    if (is_validated || r2i_clock_ns() - r->written_ns > pause_ns) write_entry(r);
}

void r2i_run_record_end(r2i_run_record *r, r2_status status, bool was_stopped,
                        const char *message) {
    if (r->registry == NULL) return;
    r->entry.state = status != R2_OK ? "failed" : was_stopped ? "stopped" : "finished";
    r->entry.message = status != R2_OK ? message : "";
    write_entry(r);
    r2i_registry_close(r->registry);
    r->registry = NULL;
}
