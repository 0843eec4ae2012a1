/* command_runs.c - `r2lm runs`: which training runs there were and how they went. */
#define _XOPEN_SOURCE 700 /* realpath, localtime_r */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/failure.h"
#include "cli/amount_text.h"
#include "cli/run_record.h"
#include "cli/run_samples.h"

enum { TIME_BYTES = 32 };

typedef struct {
    r2i_program *program;
    const char *wanted; /* id or folder; NULL: all */
    const char *folder; /* `wanted` as an absolute path; NULL: it is none */
    json_t *list;
    int64_t id;        /* of the newest one that matches; 0: none */
    const char *found; /* its folder, in the program's arena */
    bool prints;
} listing;

static const char *print_date(char room[TIME_BYTES], int64_t seconds) {
    const time_t t = (time_t)seconds;
    struct tm parts;
    if (localtime_r(&t, &parts) == NULL ||
        strftime(room, TIME_BYTES, "%Y-%m-%d %H:%M", &parts) == 0)
        room[0] = '\0';
    return room;
}

static json_t *real_or_null(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

/* null: no UTF-8 text, as names of files may be. */
static json_t *text_or_null(const char *text) {
    json_t *out = json_string(text);
    return out != NULL ? out : json_null();
}

static json_t *describe(const r2i_run_entry *e) {
    const struct {
        const char *key, *text;
    } texts[] = {
        { "kind", e->kind },       { "state", e->state },     { "folder", e->folder },
        { "model", e->model },     { "data", e->data },       { "config", e->config },
        { "version", e->version }, { "message", e->message }, { "currency", e->currency }
    };
    json_t *out = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "id", (json_int_t)e->id,
        "started", (json_int_t)e->started_s, "updated", (json_int_t)e->updated_s, "step",
        (json_int_t)e->step, "steps", (json_int_t)e->n_steps, "tokens", (json_int_t)e->n_tokens,
        "loss", real_or_null(e->loss), "validation_loss", real_or_null(e->validation_loss),
        "validation_bpb", real_or_null(e->validation_bpb), "seconds", real_or_null(e->seconds),
        "cost", real_or_null(e->cost));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        (void)json_object_set_new(out, texts[i].key, text_or_null(texts[i].text));
    return out;
}

static const char *print_loss(char room[R2I_AMOUNT_BYTES], double x) {
    (void)snprintf(room, R2I_AMOUNT_BYTES, isfinite(x) ? "%.4f" : "-", x);
    return room;
}

static void print_row(const r2i_run_entry *e) {
    char date[TIME_BYTES], steps[48], loss[R2I_AMOUNT_BYTES], validation[R2I_AMOUNT_BYTES],
        seconds[R2I_AMOUNT_BYTES];
    (void)snprintf(steps, sizeof steps, "%" PRId64 "/%" PRId64, e->step, e->n_steps);
    printf("%5" PRId64 "  %-16s  %-8s  %-8s  %13s  %8s  %10s  %8s  ", e->id,
           print_date(date, e->started_s), e->state, e->kind, steps, print_loss(loss, e->loss),
           print_loss(validation, e->validation_loss), r2i_amount_time(seconds, e->seconds));
}

static void print_whole(const r2i_program *p, const r2i_run_entry *e) {
    char date[TIME_BYTES], loss[R2I_AMOUNT_BYTES], validation[R2I_AMOUNT_BYTES],
        room[R2I_AMOUNT_BYTES];
    printf("run         %" PRId64 ", %s, %s%s%s\n", e->id, e->kind, e->state,
           e->message[0] != '\0' ? ": " : "", e->message);
    printf("folder      ");
    r2i_terminal_write(&p->terminal, false, e->folder);
    printf("\nmodel       ");
    r2i_terminal_write(&p->terminal, false, e->model);
    printf("\ndata        ");
    r2i_terminal_write(&p->terminal, false, e->data);
    printf("\nstarted     %s, r2lm %s\n", print_date(date, e->started_s), e->version);
    printf("steps       %" PRId64 " of %" PRId64 ", %s tokens in %s\n", e->step, e->n_steps,
           r2i_amount_count(room, e->n_tokens), r2i_amount_time(date, e->seconds));
    printf("loss        %s, validation %s", print_loss(loss, e->loss),
           print_loss(validation, e->validation_loss));
    if (isfinite(e->validation_bpb)) printf(" (%.4f bits per byte)", e->validation_bpb);
    if (e->cost > 0) printf("\ncost        %s", r2i_amount_money(room, e->cost, e->currency));
    printf("\n\n");
    r2i_terminal_write(&p->terminal, false, e->config);
}

static bool on_entry(void *user, const r2i_run_entry *e) {
    listing *l = user;
    char id[32];
    (void)snprintf(id, sizeof id, "%" PRId64, e->id);
    const bool is_it = l->wanted == NULL || strcmp(l->wanted, id) == 0 ||
                       strcmp(l->wanted, e->folder) == 0 ||
                       (l->folder != NULL && strcmp(l->folder, e->folder) == 0);
    if (!is_it) return true;
    if (l->id == 0) {
        l->id = e->id;
        l->found = r2i_arena_copy_text(&l->program->arena, e->folder, strlen(e->folder));
    }
    if (l->list != NULL) {
        (void)json_array_append_new(l->list, describe(e));
    } else if (l->prints && l->wanted != NULL) {
        print_whole(l->program, e);
    } else if (l->prints) {
        print_row(e);
        r2i_terminal_write(&l->program->terminal, false, e->folder);
        printf("\n");
    }
    return l->wanted == NULL; /* of one folder the newest */
}

static r2_status run(r2i_program *p, listing *l, const char *what, r2_error *err) {
    r2i_registry *registry;
    const bool is_list = l->wanted == NULL;
    const r2_status opened = r2i_runs_open(&registry, p, true, err);
    if (opened == R2_E_NOT_FOUND && is_list) return R2_OK; /* an empty list */
    if (opened != R2_OK) return opened;
    r2_status status = r2i_registry_list(registry, on_entry, l, err);
    if (status == R2_OK && !is_list && l->id == 0)
        status =
            r2i_fail(err, R2_E_NOT_FOUND, "%.150s: no run has this number or folder", l->wanted);
    if (status == R2_OK && strcmp(what, "rm") == 0)
        status = r2i_registry_remove(registry, l->id, err);
    r2i_registry_close(registry);
    return status;
}

/* Of a folder, entered in the list or not, or of a number of the list. */
static int show_samples(r2i_program *p, const char *wanted) {
    listing l = { .program = p, .wanted = wanted };
    struct stat about;
    r2_error err = { R2_OK, "" };
    const bool is_folder = stat(wanted, &about) == 0 && S_ISDIR(about.st_mode);
    r2_status status = is_folder ? R2_OK : run(p, &l, "samples", &err);
    const char *folder = is_folder ? wanted : l.found;
    if (status == R2_OK && folder == NULL) status = r2i_fail(&err, R2_E_NOMEM, "no memory");
    if (status == R2_OK) status = r2i_run_samples_print(p, folder, &err);
    return status == R2_OK ? R2I_EXIT_OK : r2i_program_fail(p, status, &err);
}

static int print_list(r2i_program *p, json_t *list, bool is_list) {
    if (is_list) return r2i_program_print_json(p, json_pack("{s:o}", "runs", list));
    json_t *one = json_incref(json_array_get(list, 0));
    json_decref(list);
    return r2i_program_print_json(p, one);
}

int r2i_runs_command(r2i_program *p) {
    const char *const *words = p->arguments.words;
    const int n = p->arguments.n_words;
    const char *what = n > 0 ? words[0] : "list";
    const bool is_list = strcmp(what, "list") == 0, is_show = strcmp(what, "show") == 0,
               is_rm = strcmp(what, "rm") == 0;
    r2_error err = { R2_OK, "" };
    if (n == 2 && strcmp(what, "samples") == 0) return show_samples(p, words[1]);
    if ((is_list && n > 1) || (!is_list && n != 2) || (!is_list && !is_show && !is_rm))
        return r2i_program_fail(p,
                                r2i_fail(&err, R2_E_ARGUMENT,
                                         "runs: expected list, show RUN or rm RUN, or samples RUN, "
                                         "RUN a number or a folder"),
                                &err);
    char *folder = is_list ? NULL : realpath(words[1], NULL);
    listing l = { .program = p,
                  .wanted = is_list ? NULL : words[1],
                  .folder = folder,
                  .prints = !is_rm,
                  .list = p->options->wants_json && !is_rm ? json_array() : NULL };
    if (is_list && l.list == NULL)
        printf("%5s  %-16s  %-8s  %-8s  %13s  %8s  %10s  %8s  %s\n", "id", "started", "state",
               "kind", "step", "loss", "validation", "time", "folder");
    const r2_status status = run(p, &l, what, &err);
    free(folder);
    if (status == R2_OK) return l.list != NULL ? print_list(p, l.list, is_list) : R2I_EXIT_OK;
    json_decref(l.list);
    return r2i_program_fail(p, status, &err);
}
