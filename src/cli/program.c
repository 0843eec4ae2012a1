/* program.c - errors, notes and exit codes: one way for every command. */
#include "cli/program.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"

int r2i_exit_code(r2_status status) {
    static const struct {
        r2_status status;
        int code;
    } codes[] = {
        { R2_OK, R2I_EXIT_OK },
        { R2_E_ARGUMENT, R2I_EXIT_USAGE },
        { R2_E_RANGE, R2I_EXIT_USAGE },
        { R2_E_STATE, R2I_EXIT_FAILED },
        { R2_E_UNSUPPORTED, R2I_EXIT_DATA },
        { R2_E_NOMEM, R2I_EXIT_MEMORY },
        { R2_E_FULL, R2I_EXIT_MEMORY },
        { R2_E_LIMIT, R2I_EXIT_MEMORY },
        { R2_E_SANDBOX, R2I_EXIT_SANDBOX },
        { R2_E_FORMAT, R2I_EXIT_DATA },
        { R2_E_MISMATCH, R2I_EXIT_DATA },
        { R2_E_CHECKSUM, R2I_EXIT_DATA },
        { R2_E_IO, R2I_EXIT_FAILED },
        { R2_E_NOT_FOUND, R2I_EXIT_DATA },
        { R2_E_CANCELED, R2I_EXIT_SIGNAL + 2 },
    };
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        if (codes[i].status == status) return codes[i].code;
    }
    return R2I_EXIT_FAILED;
}

int r2i_program_fail(r2i_program *program, r2_status status, const r2_error *err) {
    const int number = r2i_signals_pending();
    const bool was_stopped = status == R2_E_CANCELED && number != 0;
    return r2i_program_fail_as(
        program, was_stopped ? R2I_EXIT_SIGNAL + number : r2i_exit_code(status), status, err);
}

int r2i_program_fail_as(r2i_program *program, int code, r2_status status, const r2_error *err) {
    const char *text = err->text[0] != '\0' ? err->text : r2_status_text(status);
    r2i_terminal_clear_progress(&program->terminal);
    fprintf(stderr, "r2lm: %s\n", text);
    if (program->options != NULL &&
        (program->options->wants_json || program->options->wants_jsonl)) {
        (void)r2i_program_print_json(program, json_pack("{s:{s:s, s:s, s:i}}", "error", "code",
                                                        r2_status_name(status), "message", text,
                                                        "exit_code", code));
    }
    if (status == R2_E_ARGUMENT && strstr(text, "exists already") != NULL)
        r2i_program_hint(program, "      --force replaces it");
    return code;
}

void r2i_program_hint(const r2i_program *program, const char *format, ...) {
    va_list args;
    (void)program;
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
}

void r2i_program_note(const r2i_program *program, const char *format, ...) {
    va_list args;
    if (program->terminal.is_quiet) return;
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
}

int r2i_program_print_json(r2i_program *program, json_t *object) {
    (void)program;
    if (object == NULL)
        fprintf(stderr, "r2lm: the result is no UTF-8 text and cannot be written as JSON\n");
    if (object == NULL || json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9)) != 0) {
        json_decref(object);
        return R2I_EXIT_FAILED;
    }
    json_decref(object);
    (void)fputc('\n', stdout);
    (void)fflush(stdout);
    return R2I_EXIT_OK;
}
