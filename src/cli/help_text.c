/* help_text.c - help, man page and completions, all out of the option and command tables. */
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "cli/program.h"

static void print_name(const r2i_option *o, char *out, size_t cap) {
    const bool has_no =
        o->kind == R2I_OPTION_SWITCH && o->fallback != NULL && o->fallback[0] == '1';
    char letter[8] = "    ";
    if (o->letter != 0) (void)snprintf(letter, sizeof letter, "-%c, ", o->letter);
    (void)snprintf(out, cap, "%s--%s%s%s%s", letter, has_no ? "[no-]" : "", o->name,
                   o->value_name != NULL ? " " : "", o->value_name != NULL ? o->value_name : "");
}

static void print_option(const r2i_option *o) {
    char name[64];
    print_name(o, name, sizeof name);
    printf("  %-28s %s", name, o->help);
    if (o->choices != NULL) printf(" (%s)", o->choices);
    if (o->fallback != NULL && o->value_name != NULL) printf(" [%s]", o->fallback);
    (void)fputc('\n', stdout);
}

static void print_program_help(void) {
    printf("r2lm - language models on ordinary machines\n\nusage: r2lm COMMAND [FLAGS]\n\n");
    for (size_t i = 0; i < r2i_n_commands; i++) {
        const r2i_command *c = &r2i_command_table[i];
        printf("  %-11s %-18s %s\n", c->name, c->arguments, c->help);
    }
    printf("\nflags people use most (r2lm help COMMAND lists all):\n");
    static const char *const shown[] = { "model", "prompt", "predict", "ctx-size", "threads",
                                         "temp",  "seed",   "think",   "budget",   "json" };
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        print_option(r2i_option_find(R2I_FOR_RUN, shown[i], strlen(shown[i])));
    }
    printf(
        "\nEvery flag can come from the environment: R2LM_THREADS=2.  Exit codes: 0 ok, 1 failed, "
        "2 usage,\n"
        "3 model or file missing or corrupt, 4 memory or context full, 128+N signal N.\n"
        "examples:  r2lm run -p \"Why is the sky blue?\"      r2lm chat      r2lm bench --json\n");
}

void r2i_help_print(const r2i_command *command) {
    if (command == NULL || strcmp(command->name, "help") == 0) {
        print_program_help();
        return;
    }
    printf("usage: r2lm %s [FLAGS]%s%s\n\n%s%s", command->name,
           command->arguments[0] != '\0' ? " " : "", command->arguments,
           command->details != NULL ? command->details : command->help, "\n\n");
    for (size_t i = 0; i < r2i_n_options; i++) {
        if ((r2i_option_table[i].commands & command->bit) != 0) print_option(&r2i_option_table[i]);
    }
}

/* ---- man page ---- */

/* Text for roff: no line may begin with a dot or quote, dashes and backslashes are escaped. */
static void print_roff(const char *text) {
    bool is_start = true;
    for (const char *c = text; *c != '\0'; c++) {
        if (is_start && (*c == '.' || *c == '\'')) (void)fputs("\\&", stdout);
        if (*c == '\\')
            (void)fputs("\\e", stdout);
        else if (*c == '-')
            (void)fputs("\\-", stdout);
        else if (*c == '`')
            (void)fputs("\\(ga", stdout);
        else
            (void)fputc(*c, stdout);
        is_start = *c == '\n';
    }
}

static void print_roff_option(const r2i_option *o) {
    char name[64];
    char env[64];
    print_name(o, name, sizeof name);
    printf(".TP\n.B ");
    print_roff(name + strspn(name, " "));
    printf("\n");
    print_roff(o->help);
    if (o->choices != NULL) {
        printf("; one of ");
        print_roff(o->choices);
    }
    if (o->fallback != NULL && o->value_name != NULL) {
        printf("; default ");
        print_roff(o->fallback);
    }
    printf(".\n");
    if (o->alias != NULL) {
        printf("Also\n.BR \\-\\-");
        print_roff(o->alias);
        printf(" .\n");
    }
    if (o->has_no_env) return;
    r2i_option_env_name(o->name, env, sizeof env);
    printf("Environment: %s.\n", env);
}

static void print_man_command(const r2i_command *c) {
    printf(".SS r2lm %s %s\n", c->name, c->arguments);
    print_roff(c->help);
    printf(".\n");
    if (c->alias != NULL) printf("Also called\n.BR %s .\n", c->alias);
    if (c->details != NULL) {
        printf(".PP\n");
        print_roff(c->details);
        printf("\n");
    }
    for (size_t i = 0; i < r2i_n_options; i++) {
        const r2i_option *o = &r2i_option_table[i];
        if ((o->commands & c->bit) != 0 && o->commands != R2I_FOR_ALL) print_roff_option(o);
    }
}

static void print_man(void) {
    printf(".TH R2LM 1 \"\" \"r2lm " R2LM_VERSION "\" \"User Commands\"\n"
           ".SH NAME\nr2lm \\- language models on ordinary machines\n"
           ".SH SYNOPSIS\n.B r2lm\n.I COMMAND\n.RI [ FLAGS ]\n"
           ".SH DESCRIPTION\nRuns language models from GGUF files and Hugging Face folders on the "
           "processor.\n"
           "Standard output carries the answer and nothing else; thoughts, progress and timings go "
           "to standard\n"
           "error.\nA value comes from its flag, else from its environment variable, else from its "
           "default.\n"
           "Switches can be turned off by\n.BR \\-\\-no\\-NAME ;\n.B \\-\\-\nends the flags.\n.SH "
           "COMMANDS\n");
    for (size_t i = 0; i < r2i_n_commands; i++)
        print_man_command(&r2i_command_table[i]);
    printf(".SH FLAGS OF EVERY COMMAND\n");
    for (size_t i = 0; i < r2i_n_options; i++) {
        if (r2i_option_table[i].commands == R2I_FOR_ALL) print_roff_option(&r2i_option_table[i]);
    }
    printf(".SH ENVIRONMENT\n.BR NO_COLOR ,\n.BR CLICOLOR_FORCE \" and\"\n.B TERM\ndecide about "
           "colours;\n"
           ".BR HF_HOME ,\n.BR HF_HUB_CACHE ,\n.BR OLLAMA_MODELS \" and\"\n.B LLAMA_CACHE\nsay "
           "where other programs keep models.\n"
           ".SH FILES\n.TP\n.I $XDG_CACHE_HOME/r2lm/models\nmodels\n"
           ".TP\n.I $XDG_STATE_HOME/r2lm/history\nlines typed in r2lm chat\n"
           ".SH EXIT STATUS\n.TP\n.B 0\nsuccess\n.TP\n.B 1\nfailure\n.TP\n.B 2\nwrong usage\n"
           ".TP\n.B 3\na model or file is missing or corrupt, or not supported\n.TP\n.B 4\nmemory "
           "or context is full\n"
           ".TP\n.B 128+N\nended by signal N\n");
}

int r2i_help_command(r2i_program *p) {
    const char *name = p->arguments.n_words > 0 ? p->arguments.words[0] : NULL;
    const r2i_command *command = name != NULL ? r2i_command_find(name) : NULL;
    if (p->options->wants_man) {
        print_man();
        return R2I_EXIT_OK;
    }
    if (name != NULL && command == NULL) {
        r2_error err;
        return r2i_program_fail(
            p,
            r2i_fail(&err, R2_E_ARGUMENT, "%.60s: no such command; `r2lm help` lists them", name),
            &err);
    }
    if (p->options->wants_json) {
        json_t *names = json_array();
        for (size_t i = 0; i < r2i_n_commands; i++) {
            (void)json_array_append_new(names,
                                        json_pack("{s:s, s:s}", "name", r2i_command_table[i].name,
                                                  "help", r2i_command_table[i].help));
        }
        return r2i_program_print_json(p, json_pack("{s:o}", "commands", names));
    }
    r2i_help_print(command);
    return R2I_EXIT_OK;
}
