/* sandbox.c - r2_sandbox_run: options checked, a cage built and watched; and what a machine has for it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failure.h"
#include "sandbox/folder_size.h"
#include "sandbox/supervise.h"
#include "sandbox/syscall_filter.h"

static const r2_sandbox_limits usual = { .wall_seconds = 60,
                                         .cpu_seconds = 30,
                                         .memory_bytes = 1 << 30,
                                         .output_bytes = 1 << 20,
                                         .disk_bytes = 64 << 20,
                                         .max_files = 10000,
                                         .max_processes = 64 };
enum { ARENA_BYTES = 1 << 16, MAX_SECONDS = 1 << 24 };

/* ---- options ---- */

static bool is_file_name(const char *name) {
    return name != NULL && name[0] != '\0' && strlen(name) < 256 && strchr(name, '/') == NULL &&
           strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static int64_t whole_or(int64_t value, int64_t otherwise) {
    return value > 0 ? value : otherwise;
}

static void fill_limits(r2_sandbox_limits *out, const r2_sandbox_limits *given) {
    out->wall_seconds = given->wall_seconds > 0 ? given->wall_seconds : usual.wall_seconds;
    out->idle_seconds = given->idle_seconds > 0 ? given->idle_seconds : out->wall_seconds;
    out->cpu_seconds = given->cpu_seconds > 0 ? given->cpu_seconds : usual.cpu_seconds;
    out->memory_bytes = whole_or(given->memory_bytes, usual.memory_bytes);
    out->output_bytes = whole_or(given->output_bytes, usual.output_bytes);
    out->disk_bytes = whole_or(given->disk_bytes, usual.disk_bytes);
    out->max_files = (int32_t)whole_or(given->max_files, usual.max_files);
    out->max_processes = (int32_t)whole_or(given->max_processes, usual.max_processes);
}

static r2_status check_options(const r2_sandbox_options *o, r2_error *err) {
    struct stat about;
    const r2_sandbox_limits *l = &o->limits;
    if (o->arguments == NULL || o->arguments[0] == NULL || o->arguments[0][0] == '\0')
        return r2i_fail(err, R2_E_ARGUMENT, "sandbox: expected a program");
    if (!(l->wall_seconds >= 0 && l->wall_seconds <= MAX_SECONDS && l->idle_seconds >= 0 &&
          l->cpu_seconds >= 0 && l->cpu_seconds <= MAX_SECONDS) ||
        l->memory_bytes < 0 || l->output_bytes < 0 || l->disk_bytes < 0 || l->max_files < 0 ||
        l->max_processes < 0)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "sandbox: expected limits from 0 on, of at most %d seconds", MAX_SECONDS);
    if (o->work != NULL && (stat(o->work, &about) != 0 || !S_ISDIR(about.st_mode)))
        return r2i_fail(err, R2_E_ARGUMENT, "%.150s: expected a folder", o->work);
    for (int i = 0; o->readable != NULL && o->readable[i] != NULL; i++) {
        if (o->readable[i][0] != '/')
            return r2i_fail(
                err, R2_E_ARGUMENT,
                "%.150s: expected a path to read from / on, by which the program finds it",
                o->readable[i]);
        if (stat(o->readable[i], &about) != 0)
            return r2i_fail(err, R2_E_ARGUMENT,
                            "%.150s: expected a file or folder to read, found %s", o->readable[i],
                            strerror(errno));
    }
    if (o->n_files < 0 || o->n_files > R2I_MAX_SANDBOX_FILES || (o->n_files > 0 && o->work != NULL))
        return r2i_fail(
            err, R2_E_ARGUMENT,
            "sandbox: expected up to %d files, and no work folder of one's own with them",
            R2I_MAX_SANDBOX_FILES);
    for (int32_t i = 0; i < o->n_files; i++) {
        if (!is_file_name(o->files[i].name))
            return r2i_fail(err, R2_E_ARGUMENT, "sandbox: file %d: expected a name without folders",
                            i);
    }
    for (int i = 0; o->environment != NULL && o->environment[i] != NULL; i++) {
        if (strchr(o->environment[i], '=') == NULL || o->environment[i][0] == '=')
            return r2i_fail(err, R2_E_ARGUMENT,
                            "sandbox: expected a variable as NAME=VALUE, found %.150s",
                            o->environment[i]);
        if (i >= R2I_MAX_SANDBOX_VARIABLES)
            return r2i_fail(err, R2_E_ARGUMENT, "sandbox: expected up to %d variables, found more",
                            R2I_MAX_SANDBOX_VARIABLES);
    }
    return R2_OK;
}

/* ---- running ---- */

/* What is in the folder already counts: it is refused here rather than that the program ends at the first look. */
static r2_status check_room(const r2i_cage *cage, r2_error *err) {
    const r2_sandbox_limits *l = &cage->limits;
    const char *work = cage->options->work;
    if (work == NULL || r2i_folder_fits(work, l->disk_bytes, l->max_files)) return R2_OK;
    return r2i_fail(err, R2_E_ARGUMENT,
                    "%.150s: expected at most %g MiB and %d files with what the program adds "
                    "(--disk-limit), found more",
                    work, (double)l->disk_bytes / (1 << 20), (int)l->max_files);
}

static void close_cage(r2i_cage *cage) {
    int *files[] = { &cage->out, &cage->err, &cage->status };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (*files[i] >= 0) (void)close(*files[i]);
        *files[i] = -1;
    }
    if (cage->owns_folder) r2i_folder_remove(cage->folder);
}

r2_status r2_sandbox_run(r2_sandbox_result *result, const r2_sandbox_options *options,
                         r2_error *err) {
    r2_error own;
    r2i_heap heap;
    r2i_arena arena;
    r2i_cage cage = { .options = options, .arena = &arena, .out = -1, .err = -1, .status = -1 };
    if (err == NULL) err = &own;
    *err = (r2_error){ R2_OK, "" };
    *result = (r2_sandbox_result){ 0 };
    R2I_TRY(check_options(options, err));
    fill_limits(&cage.limits, &options->limits);
    R2I_TRY(check_room(&cage, err));
    r2i_heap_init_host(&heap, &options->host);
    r2i_arena_init(&arena, &heap, ARENA_BYTES, 0);
    const bool is_fenced = options->uses_landlock;
    r2_status status = is_fenced ? r2i_fence_start(&cage, err) : r2i_bubble_start(&cage, err);
    if (status == R2_E_SANDBOX && !is_fenced) {
        r2_error second;
        close_cage(&cage);
        cage = (r2i_cage){ .options = options,
                           .limits = cage.limits,
                           .arena = &arena,
                           .out = -1,
                           .err = -1,
                           .status = -1 };
        if (r2i_fence_start(&cage, &second) == R2_OK) {
            status = R2_OK;
            *err = (r2_error){ R2_OK, "" };
        }
    }
    if (status == R2_OK) status = r2i_supervise(result, &cage, &heap, err);
    close_cage(&cage);
    r2i_arena_destroy(&arena);
    if (status != R2_OK) *result = (r2_sandbox_result){ 0 };
    return status;
}

void r2_sandbox_free(r2_sandbox_result *result, const r2_host *host) {
    r2i_heap heap;
    if (result == NULL) return;
    r2i_heap_init_host(&heap, host);
    if (result->out != NULL) r2i_heap_give(&heap, result->out, result->n_out + 1);
    if (result->err != NULL) r2i_heap_give(&heap, result->err, result->n_err + 1);
    *result = (r2_sandbox_result){ 0 };
}

const char *r2_sandbox_end_name(r2_sandbox_end end) {
    static const char *const names[] = { "exit",   "signal",    "wall time", "CPU time",
                                         "memory", "processes", "disk",      "canceled" };
    return (size_t)end < sizeof names / sizeof *names ? names[end] : "unknown";
}

/* ---- what a machine has ---- */

/* Runs `true` in a cage of one kind: what works is there. */
static void try_cage(r2_layer_state *state, bool is_fenced, const char *version) {
    static const char *const arguments[] = { "true", NULL };
    const r2_sandbox_options options = { .arguments = arguments,
                                         .uses_landlock = is_fenced,
                                         .limits = { .wall_seconds = 10 } };
    r2i_heap heap;
    r2i_arena arena;
    r2_error err;
    r2_sandbox_result result = { 0 };
    r2i_cage cage = { .options = &options, .arena = &arena, .out = -1, .err = -1, .status = -1 };
    fill_limits(&cage.limits, &options.limits);
    r2i_heap_init_host(&heap, NULL);
    r2i_arena_init(&arena, &heap, ARENA_BYTES, 0);
    r2_status status = is_fenced ? r2i_fence_start(&cage, &err) : r2i_bubble_start(&cage, &err);
    if (status == R2_OK) status = r2i_supervise(&result, &cage, &heap, &err);
    state->is_there = status == R2_OK && result.end == R2_ENDED_EXIT && result.exit_code == 0;
    (void)snprintf(state->text, sizeof state->text, "%s",
                   status != R2_OK   ? err.text
                   : state->is_there ? version
                                     : "a program did not run");
    close_cage(&cage);
    r2i_arena_destroy(&arena);
    r2_sandbox_free(&result, NULL);
}

bool r2_sandbox_check(r2_layer_state layers[R2_N_LAYERS]) {
    static const char *const names[] = { "namespaces", "system calls", "Landlock" };
    char version[64];
    r2_error err;
    int filter;
    for (int i = 0; i < R2_N_LAYERS; i++)
        layers[i] = (r2_layer_state){ .name = names[i] };
    r2_layer_state *calls = &layers[R2_LAYER_SYSCALLS];
    calls->is_there = r2i_syscall_filter_open(&filter, false, &err) == R2_OK;
    (void)snprintf(calls->text, sizeof calls->text, "%s", calls->is_there ? "seccomp" : err.text);
    if (calls->is_there) (void)close(filter);
    try_cage(&layers[R2_LAYER_NAMESPACES], false, "bubblewrap");
    (void)snprintf(version, sizeof version, "version %d", r2i_landlock_version());
    try_cage(&layers[R2_LAYER_LANDLOCK], true, version);
    return calls->is_there &&
           (layers[R2_LAYER_NAMESPACES].is_there || layers[R2_LAYER_LANDLOCK].is_there);
}
