/* main.c - picks the command, reads its flags, runs it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/failure.h"
#include "cli/program.h"

enum { TEXT_BLOCK_BYTES = 1 << 16 };

const r2i_command *r2i_command_find(const char *name) {
    for (size_t i = 0; i < r2i_n_commands; i++) {
        const r2i_command *c = &r2i_command_table[i];
        if (strcmp(c->name, name) == 0 || (c->alias != NULL && strcmp(c->alias, name) == 0))
            return c;
    }
    return NULL;
}

static int fail_unknown(const char *name) {
    const char *best = NULL;
    int best_distance = 3;
    for (size_t i = 0; i < r2i_n_commands; i++) {
        const char *candidate = r2i_command_table[i].name;
        int distance = r2i_word_distance(name, candidate);
        if (strlen(name) > 1 && strncmp(name, candidate, strlen(name)) == 0) distance = 0;
        if (distance < best_distance) {
            best_distance = distance;
            best = candidate;
        }
    }
    r2_error err;
    (void)r2i_fail(&err, R2_E_ARGUMENT, "%.60s: no such command", name); /* makes it printable */
    if (best != NULL)
        fprintf(stderr, "r2lm: %s; did you mean `r2lm %s`?\n", err.text, best);
    else
        fprintf(stderr, "r2lm: %s; `r2lm help` lists them\n", err.text);
    return R2I_EXIT_USAGE;
}

static int run_command(r2i_program *p, int argc, char **argv) {
    r2_error err = { R2_OK, "" };
    r2_status status = r2i_settings_load(&p->settings, &p->arena, &err);
    if (status != R2_OK) p->settings.n_items = 0; /* --json and --help still count */
    const r2_status parsed =
        r2i_arguments_parse(&p->arguments, p->command->bit, p->command->name, &p->settings,
                            &p->arena, argc, argv, status == R2_OK ? &err : NULL);
    if (status == R2_OK) status = parsed;
    p->options = &p->arguments.values;
    r2i_terminal_init(&p->terminal, p->options->color, p->options->is_quiet);
    const bool does_without = (p->command->bit & R2I_FOR_READERS) != 0 || p->options->wants_help;
    if (parsed == R2_OK && status != R2_OK && does_without) {
        r2i_program_note(p, "r2lm: settings left out: %s", err.text);
        status = R2_OK;
    }
    if (status != R2_OK) return r2i_program_fail(p, status, &err);
    r2i_settings_warn(p);
    if (p->options->wants_help) {
        r2i_help_print(p->command, p->arguments.n_words > 0 ? p->arguments.words[0] : NULL);
        return R2I_EXIT_OK;
    }
    if (p->command->arguments[0] == '\0' && p->arguments.n_words > 0) {
        (void)r2i_fail(&err, R2_E_ARGUMENT, "%s: expected flags only, found \"%.60s\"",
                       p->command->name, p->arguments.words[0]);
        return r2i_program_fail(p, R2_E_ARGUMENT, &err);
    }
    return p->command->run(p);
}

/* What was buffered may not fit the disk: that is a failure too. */
static int close_output(int code) {
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) return code;
    const int number = r2i_signals_pending(); /* it cut a write short, and its code says so */
    if (number != 0) return code == R2I_EXIT_OK ? R2I_EXIT_SIGNAL + number : code;
    fprintf(stderr, "r2lm: standard output: %s\n",
            errno != 0 ? strerror(errno) : "could not be written");
    return code == R2I_EXIT_OK ? R2I_EXIT_FAILED : code;
}

int main(int argc, char **argv) {
    static r2i_program program;
    program.start_ns = r2i_clock_ns();
    r2i_signals_ignore_limit();
    r2i_heap_init(&program.heap);
    r2i_arena_init(&program.arena, &program.heap, TEXT_BLOCK_BYTES, 0);
    const char *name = argc > 1 ? argv[1] : "help";
    int skip = argc > 1 ? 2 : 1;
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) name = "version";
    program.command = r2i_command_find(name);
    int code;
    if (program.command == NULL && name[0] == '-') {
        fprintf(stderr, "r2lm: expected a command before the flags; `r2lm help` lists them\n");
        code = R2I_EXIT_USAGE;
    } else if (program.command == NULL) {
        code = fail_unknown(name);
    } else {
        code = run_command(&program, argc - skip, argv + skip);
    }
    r2i_arena_destroy(&program.arena);
    return close_output(code);
}
