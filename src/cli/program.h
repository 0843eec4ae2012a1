/* program.h - what every command of the program is given, and the table of commands. */
#ifndef R2I_PROGRAM_H
#define R2I_PROGRAM_H
#include <jansson.h>
#include <stdint.h>

#include "base/arena.h"
#include "cli/options.h"
#include "cli/terminal.h"
#include "r2lm/engine.h"

/* Exit codes; what ends by a signal ends with 128 + its number. */
enum {
    R2I_EXIT_OK = 0,
    R2I_EXIT_FAILED = 1,
    R2I_EXIT_USAGE = 2,
    R2I_EXIT_DATA = 3,     /* a model or file is missing or corrupt */
    R2I_EXIT_MEMORY = 4,   /* memory or context is full */
    R2I_EXIT_NUMBERS = 7,  /* a training run lost its numbers: loss or gradient is none */
    R2I_EXIT_SCORE = 8,    /* an evaluation's score is below --min-score */
    R2I_EXIT_SANDBOX = 77, /* what keeps a program in is missing: nothing has run */
    R2I_EXIT_TIMEOUT = 124,
    R2I_EXIT_SIGNAL = 128
};

typedef struct r2i_program r2i_program;

typedef struct {
    const char *name, *alias, *arguments, *help;
    unsigned bit;                     /* R2I_FOR_* */
    int (*run)(r2i_program *program); /* returns the exit code */
    const char *details;              /* for the man page and --help of the command */
} r2i_command;

extern const r2i_command r2i_command_table[];
extern const size_t r2i_n_commands;

struct r2i_program {
    const r2i_command *command;
    r2i_settings settings;
    r2i_arguments arguments;
    const r2i_options *options; /* arguments.values */
    r2i_terminal terminal;
    r2i_heap heap;
    r2i_arena arena; /* texts that live as long as the program */
    int64_t start_ns;
    bool is_model_missing; /* the hint about models is of use */
};

/* NULL: no such command. */
const r2i_command *r2i_command_find(const char *name);

/* Says on standard error (with --json as an object on standard output) what failed, and returns
 * the exit code that belongs to the status. */
int r2i_program_fail(r2i_program *program, r2_status status, const r2_error *err);
/* The same with an exit code of the command's own. */
int r2i_program_fail_as(r2i_program *program, int code, r2_status status, const r2_error *err);
/* A second line on standard error: what to do about it. */
void r2i_program_hint(const r2i_program *program, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A line on standard error unless -q. */
void r2i_program_note(const r2i_program *program, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
int r2i_exit_code(r2_status status);

/* Prints the object on one line of standard output and takes it.  Returns R2I_EXIT_OK or _FAILED. */
int r2i_program_print_json(r2i_program *program, json_t *object);

int r2i_run_command(r2i_program *program);
int r2i_chat_command(r2i_program *program);
int r2i_serve_command(r2i_program *program);
int r2i_list_command(r2i_program *program);
int r2i_show_command(r2i_program *program);
int r2i_tokenize_command(r2i_program *program);
int r2i_ppl_command(r2i_program *program);
int r2i_bench_command(r2i_program *program);
int r2i_quantize_command(r2i_program *program);
int r2i_plan_command(r2i_program *program);
int r2i_convert_command(r2i_program *program);
int r2i_verify_command(r2i_program *program);
int r2i_tokenizer_command(r2i_program *program);
int r2i_data_command(r2i_program *program);
int r2i_train_command(r2i_program *program);
int r2i_runs_command(r2i_program *program);
int r2i_plot_command(r2i_program *program);
int r2i_exec_command(r2i_program *program);
int r2i_eval_command(r2i_program *program);
int r2i_tasks_command(r2i_program *program);
int r2i_config_command(r2i_program *program);
int r2i_doctor_command(r2i_program *program);
int r2i_version_command(r2i_program *program);
int r2i_help_command(r2i_program *program);
int r2i_completion_command(r2i_program *program);
int r2i_licenses_command(r2i_program *program);

/* A line on standard error for each variable R2LM_* and each setting that no flag knows. */
void r2i_settings_warn(const r2i_program *program);

/* Help of one command, or of the program when `command` is NULL.  Where its flags have groups
 * (option_groups.h) and know this subcommand, only those that the subcommand heeds. */
void r2i_help_print(const r2i_command *command, const char *subcommand);
#endif
