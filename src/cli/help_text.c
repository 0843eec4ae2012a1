/* help_text.c - what `r2lm help` and --help print, out of the option and command tables. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failure.h"
#include "cli/man_page.h"
#include "cli/option_groups.h"
#include "cli/option_names.h"
#include "cli/pager.h"

static void print_option(const r2i_option *o) {
    char name[64];
    r2i_option_print_name(o, name, sizeof name);
    printf("  %-28s %s", name, o->help);
    if (o->choices != NULL && o->value_name != NULL) printf(" (%s)", o->choices);
    if (o->fallback != NULL && o->value_name != NULL) printf(" [%s]", o->fallback);
    (void)fputc('\n', stdout);
}

static void print_program_help(void) {
    printf("r2lm - language models on ordinary machines\nusage: r2lm COMMAND [FLAGS]\n\n");
    for (size_t i = 0; i < r2i_n_commands; i++) {
        const r2i_command *c = &r2i_command_table[i];
        const bool is_long = strlen(c->arguments) > 18; /* the column stays */
        printf("  %-11s %-18s%s%s\n", c->name, c->arguments,
               is_long ? "\n                                 " : " ", c->help);
    }
    printf("\nflags people use most (r2lm help COMMAND lists all):\n");
    static const char *const shown[] = { "model", "prompt", "predict", "threads", "think" };
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        print_option(r2i_option_find(R2I_FOR_RUN, shown[i], strlen(shown[i])));
    }
    printf(
        "\nEvery flag can come from the environment (R2LM_THREADS=2) or a file (r2lm help config). "
        " "
        "Exit codes: 0 ok,\n1 failed, 2 usage, 3 file missing or bad, 4 memory full, 7 diverged, "
        "8 low score, 77 no sandbox, 128+N signal.\n"
        "examples:  r2lm run -p \"Why is the sky blue?\"      r2lm chat      r2lm bench --json\n");
}

/* The flags of one group; NULL: those that no group has. */
static void print_group(const r2i_command *command, const r2i_option_group *group) {
    for (size_t i = 0; i < r2i_n_options; i++) {
        const r2i_option *o = &r2i_option_table[i];
        if ((o->commands & command->bit) != 0 && r2i_option_group_find(command->bit, o) == group)
            print_option(o);
    }
}

void r2i_help_print(const r2i_command *command, const char *subcommand) {
    if (command == NULL || strcmp(command->name, "help") == 0) {
        print_program_help();
        return;
    }
    const bool is_part = subcommand != NULL && r2i_option_groups_know(command->bit, subcommand);
    if (is_part)
        printf("usage: r2lm %s %s ... [FLAGS]\n\n", command->name, subcommand);
    else
        printf("usage: r2lm %s [FLAGS]%s%s\n\n", command->name,
               command->arguments[0] != '\0' ? " " : "", command->arguments);
    printf("%s\n\n", command->details != NULL ? command->details : command->help);
    bool has_groups = false;
    for (size_t i = 0; i < r2i_n_option_groups; i++) {
        const r2i_option_group *g = &r2i_option_group_table[i];
        if (!r2i_option_group_is_for(g, command->bit, is_part ? subcommand : NULL)) continue;
        printf("%s%s%s%s:\n", has_groups ? "\n" : "", is_part ? "" : g->subcommands,
               is_part ? "" : " - ", g->title);
        print_group(command, g);
        has_groups = true;
    }
    if (has_groups) printf("\nalways:\n");
    print_group(command, NULL);
}

typedef struct {
    const r2i_command *command;
    const char *subcommand; /* NULL: none */
} topic;

static void print_man(const void *asked) {
    const topic *t = asked;
    r2i_man_print(t->command);
}

static void print_help(const void *asked) {
    const topic *t = asked;
    r2i_help_print(t->command, t->subcommand);
}

/* On a terminal the man page (of a subcommand there is none), else the help through $PAGER, else as
 * it is. */
static void show(const r2i_program *p, const topic *t) {
    const char *const man[] = { "man", "-l", "-", NULL };
    const char *pager = getenv("PAGER");
    const char *const shell[] = { "sh", "-c", pager != NULL && pager[0] != '\0' ? pager : "less",
                                  NULL };
    const bool is_paged = t->command != NULL && p->terminal.is_in_tty && p->terminal.is_out_tty;
    if (is_paged && t->subcommand == NULL && r2i_pager_show(man, print_man, t)) return;
    if (is_paged && r2i_pager_show(shell, print_help, t)) return;
    print_help(t);
}

int r2i_help_command(r2i_program *p) {
    const char *name = p->arguments.n_words > 0 ? p->arguments.words[0] : NULL;
    const r2i_command *command = name != NULL ? r2i_command_find(name) : NULL;
    if (name != NULL && command == NULL) {
        r2_error err;
        return r2i_program_fail(
            p,
            r2i_fail(&err, R2_E_ARGUMENT, "%.60s: no such command; `r2lm help` lists them", name),
            &err);
    }
    const topic asked = { command, p->arguments.n_words > 1 ? p->arguments.words[1] : NULL };
    if (asked.subcommand != NULL && r2i_option_groups_know(command->bit, NULL) &&
        !r2i_option_groups_know(command->bit, asked.subcommand)) {
        r2_error err;
        return r2i_program_fail(p,
                                r2i_fail(&err, R2_E_ARGUMENT,
                                         "%s %.60s: no such subcommand; `r2lm help %s` lists them",
                                         name, asked.subcommand, name),
                                &err);
    }
    if (p->options->wants_man) {
        r2i_man_print(command);
        return R2I_EXIT_OK;
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
    show(p, &asked);
    return R2I_EXIT_OK;
}
