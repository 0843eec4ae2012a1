/* command_exec.c - `r2lm exec -- CMD`: a program nobody trusts, in the sandbox. */
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "base/json_escape.h"
#include "cli/text_input.h"
#include "r2lm/sandbox.h"

enum { EXIT_NO_PROGRAM = 127 };

static int print_layers(r2i_program *p) {
    r2_layer_state layers[R2_N_LAYERS];
    const bool is_safe = r2_sandbox_check(layers);
    json_t *list = json_array();
    for (int i = 0; i < R2_N_LAYERS; i++) {
        const r2_layer_state *l = &layers[i];
        if (!p->options->wants_json)
            printf("%-14s %-8s %s\n", l->name, l->is_there ? "yes" : "missing", l->text);
        (void)json_array_append_new(list, json_pack("{s:s, s:b, s:s}", "name", l->name, "is_there",
                                                    l->is_there, "text", l->text));
    }
    if (p->options->wants_json)
        (void)r2i_program_print_json(p,
                                     json_pack("{s:b, s:O}", "is_safe", is_safe, "layers", list));
    else
        printf("%s\n", is_safe ? "r2lm exec can run programs here"
                               : "r2lm exec refuses to run programs here");
    json_decref(list);
    return is_safe ? R2I_EXIT_OK : R2I_EXIT_SANDBOX;
}

/* Standard input, if somebody gives one. */
static r2_status read_input(r2i_program *p, r2i_buffer *input, r2_error *err) {
    r2i_prompt_buffer_init(input, p);
    return p->terminal.is_in_tty ? R2_OK : r2i_file_append(input, "-", err);
}

static bool is_stopped(void *user) {
    (void)user;
    return r2i_signals_pending() != 0;
}

static r2_sandbox_options make_options(const r2i_program *p, const char **environment,
                                       const char **readable) {
    const r2i_options *o = p->options;
    const double mib = 1 << 20;
    for (int32_t i = 0; i < o->variables.n; i++)
        environment[i] = o->variables.texts[i];
    for (int32_t i = 0; i < o->readable.n; i++)
        readable[i] = o->readable.texts[i];
    return (r2_sandbox_options){ .arguments = p->arguments.words,
                                 .environment = environment,
                                 .readable = readable,
                                 .work = o->work,
                                 .uses_landlock = o->uses_landlock,
                                 .is_canceled = is_stopped,
                                 .limits = { .wall_seconds = o->wall_s,
                                             .cpu_seconds = o->cpu_s,
                                             .memory_bytes = (int64_t)(o->memory_mib * mib),
                                             .disk_bytes = (int64_t)(o->disk_mib * mib),
                                             .output_bytes = (int64_t)(o->output_mib * mib),
                                             .max_processes = o->processes } };
}

/* Any bytes as a text; NULL: no memory. */
static json_t *make_text(r2i_program *p, const char *bytes, size_t n) {
    enum { MOST = 6, MARKS = 2 }; /* that a byte becomes: \u0000; around all */
    r2_error err;
    r2i_buffer escaped;
    r2i_buffer_init(&escaped, &p->heap, MOST * n + MARKS);
    json_t *text =
        r2i_json_escape(&escaped, bytes, n, &err) == R2_OK
            ? json_loadb(escaped.bytes, escaped.n_bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL)
            : NULL;
    r2i_buffer_destroy(&escaped);
    return text;
}

static int print_json(r2i_program *p, const r2_sandbox_result *r) {
    return r2i_program_print_json(
        p, json_pack("{s:s, s:i, s:f, s:f, s:I, s:o, s:o, s:b, s:b}", "end",
                     r2_sandbox_end_name(r->end), "exit_code", (int)r->exit_code, "wall_seconds",
                     r->wall_seconds, "cpu_seconds", r->cpu_seconds, "memory_bytes",
                     (json_int_t)r->memory_bytes, "stdout", make_text(p, r->out, r->n_out),
                     "stderr", make_text(p, r->err, r->n_err), "stdout_is_cut", r->is_out_cut,
                     "stderr_is_cut", r->is_err_cut));
}

static int show(r2i_program *p, const r2_sandbox_result *r) {
    if (p->options->wants_json) {
        const int code = print_json(p, r);
        if (code != R2I_EXIT_OK) return code;
    } else {
        if (fwrite(r->out, 1, r->n_out, stdout) != r->n_out || fflush(stdout) != 0)
            return R2I_EXIT_FAILED;
        (void)fwrite(r->err, 1, r->n_err, stderr);
        if (r->is_out_cut || r->is_err_cut)
            r2i_program_note(p, "output cut after %g MiB (--output-limit)", p->options->output_mib);
        if (r->end == R2_ENDED_CANCELED)
            r2i_program_note(p, "stopped, and the program with it");
        else if (r->end > R2_ENDED_SIGNAL)
            r2i_program_note(p, "ended by a limit: %s", r2_sandbox_end_name(r->end));
    }
    if (r->end == R2_ENDED_CANCELED) return R2I_EXIT_SIGNAL + r2i_signals_pending();
    if (r->end == R2_ENDED_WALL || r->end == R2_ENDED_CPU) return R2I_EXIT_TIMEOUT;
    return r->exit_code;
}

int r2i_exec_command(r2i_program *p) {
    const char *environment[R2I_LIST_TEXTS + 1] = { NULL },
                                             *readable[R2I_LIST_TEXTS + 1] = { NULL };
    r2_sandbox_result result = { 0 };
    r2_error err = { R2_OK, "" };
    r2i_buffer input;
    if (p->options->checks) return print_layers(p);
    if (p->arguments.n_words == 0) {
        (void)r2i_fail(&err, R2_E_ARGUMENT, "exec: expected a program and its arguments behind --");
        return r2i_program_fail(p, R2_E_ARGUMENT, &err);
    }
    r2_sandbox_options options = make_options(p, environment, readable);
    r2_status status = read_input(p, &input, &err);
    r2i_signals_catch(); /* a read of input that never comes ends as ever */
    options.input = input.bytes;
    options.n_input = input.n_bytes;
    if (status == R2_OK) status = r2_sandbox_run(&result, &options, &err);
    r2i_buffer_destroy(&input);
    int code;
    if (status == R2_OK)
        code = show(p, &result);
    else if (status == R2_E_NOT_FOUND)
        code = r2i_program_fail_as(p, EXIT_NO_PROGRAM, status, &err);
    else
        code = r2i_program_fail(p, status, &err);
    if (status == R2_E_SANDBOX)
        r2i_program_hint(
            p, "      nothing has run; `r2lm sandbox --check` shows what this machine has");
    r2_sandbox_free(&result, NULL);
    return code;
}
