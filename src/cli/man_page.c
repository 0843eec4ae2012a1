/* man_page.c - roff out of the tables. */
#include "cli/man_page.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cli/option_groups.h"
#include "cli/option_names.h"

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
    r2i_option_print_name(o, name, sizeof name);
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

static void print_description(const r2i_command *c) {
    print_roff(c->help);
    printf(".\n");
    if (c->alias != NULL) printf("Also called\n.BR %s .\n", c->alias);
    if (c->details != NULL) {
        printf(".PP\n");
        print_roff(c->details);
        printf("\n");
    }
}

/* The flags of one group; NULL: those that no group has. */
static void print_group(const r2i_command *c, const r2i_option_group *group) {
    for (size_t i = 0; i < r2i_n_options; i++) {
        const r2i_option *o = &r2i_option_table[i];
        if ((o->commands & c->bit) != 0 && o->commands != R2I_FOR_ALL &&
            r2i_option_group_find(c->bit, o) == group)
            print_roff_option(o);
    }
}

static void print_options(const r2i_command *c) {
    for (size_t i = 0; i < r2i_n_option_groups; i++) {
        const r2i_option_group *g = &r2i_option_group_table[i];
        if (!r2i_option_group_is_for(g, c->bit, NULL)) continue;
        printf(".PP\n.I ");
        print_roff(g->subcommands);
        printf(":\n");
        print_roff(g->title);
        printf("\n");
        print_group(c, g);
    }
    print_group(c, NULL);
}

static void print_flags_of_all(void) {
    printf(".SH FLAGS OF EVERY COMMAND\n");
    for (size_t i = 0; i < r2i_n_options; i++) {
        if (r2i_option_table[i].commands == R2I_FOR_ALL) print_roff_option(&r2i_option_table[i]);
    }
}

static void print_end(void) {
    printf(
        ".SH ENVIRONMENT\n.BR NO_COLOR ,\n.BR CLICOLOR_FORCE \" and\"\n.B TERM\ndecide about "
        "colours;\n"
        ".BR HF_HOME ,\n.BR HF_HUB_CACHE ,\n.BR OLLAMA_MODELS \" and\"\n.B LLAMA_CACHE\nsay "
        "where other programs keep models.\n"
        ".SH FILES\n.TP\n.I ./r2lm.ini\n.TQ\n.I $XDG_CONFIG_HOME/r2lm/config.ini\n.TQ\n"
        ".I /etc/r2lm/config.ini\n"
        "flags that are kept, the stronger file first: lines FLAG = VALUE, and [COMMAND] in front "
        "of those\n"
        "for one command alone; see\n.B r2lm config\n(R2LM_SYSTEM_CONFIG names another file "
        "instead of the last)\n"
        ".TP\n.I $XDG_CACHE_HOME/r2lm/models\nmodels\n"
        ".TP\n.I $XDG_STATE_HOME/r2lm/history\nlines typed in r2lm chat\n"
        ".TP\n.I $XDG_STATE_HOME/r2lm/runs.db\nthe list of training runs\n"
        ".SH EXIT STATUS\n.TP\n.B 0\nsuccess\n.TP\n.B 1\nfailure\n.TP\n.B 2\nwrong usage\n"
        ".TP\n.B 3\na model or file is missing or corrupt, or not supported\n.TP\n.B 4\nmemory "
        "or context is full\n"
        ".TP\n.B 7\ntraining: loss or gradient became no number\n"
        ".TP\n.B 128+N\nended by signal N\n");
}

static void print_program(void) {
    printf(
        ".TH R2LM 1 \"\" \"r2lm " R2LM_VERSION "\" \"User Commands\"\n"
        ".SH NAME\nr2lm \\- language models on ordinary machines\n"
        ".SH SYNOPSIS\n.B r2lm\n.I COMMAND\n.RI [ FLAGS ]\n"
        ".SH DESCRIPTION\nRuns language models from GGUF files and Hugging Face folders on the "
        "processor.\n"
        "Standard output carries the answer and nothing else; thoughts, progress and timings go "
        "to standard\n"
        "error.\nA value comes from its flag, else from its environment variable, else from a file "
        "of settings, else from its default.\n"
        "Switches can be turned off by\n.BR \\-\\-no\\-NAME ;\n.B \\-\\-\nends the flags.\n.SH "
        "COMMANDS\n");
    for (size_t i = 0; i < r2i_n_commands; i++) {
        const r2i_command *c = &r2i_command_table[i];
        printf(".SS r2lm %s %s\n", c->name, c->arguments);
        print_description(c);
        print_options(c);
    }
}

static void print_command(const r2i_command *c) {
    printf(".TH R2LM-");
    for (const char *at = c->name; *at != '\0'; at++)
        (void)fputc(toupper((unsigned char)*at), stdout);
    printf(" 1 \"\" \"r2lm " R2LM_VERSION "\" \"User Commands\"\n.SH NAME\nr2lm\\-%s \\- ",
           c->name);
    print_roff(c->help);
    printf("\n.SH SYNOPSIS\n.B r2lm %s\n.RI [ FLAGS ]\n", c->name);
    print_roff(c->arguments);
    printf("\n.SH DESCRIPTION\n");
    print_description(c);
    printf(".SH FLAGS\n");
    print_options(c);
}

void r2i_man_print(const r2i_command *command) {
    if (command != NULL)
        print_command(command);
    else
        print_program();
    print_flags_of_all();
    print_end();
}
