/* completion.c - completions for bash, zsh and fish out of the same tables. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "cli/program.h"

static void print_commands(void) {
    for (size_t i = 0; i < r2i_n_commands; i++)
        printf("%s%s", i > 0 ? " " : "", r2i_command_table[i].name);
}

static bool is_switch(const r2i_option *o) {
    return o->value_name == NULL;
}

/* The value goes behind =, or is left out. */
static bool has_levels(const r2i_option *o) {
    return o->kind == R2I_OPTION_LEVEL;
}

/* "[list|get] [FLAG]", "train INPUT...": words to choose from are in small letters. */
static const char *print_first_words(const r2i_command *c) {
    const char *at = c->arguments + (c->arguments[0] == '[');
    const size_t n = strcspn(at, "] ");
    if (c->bit == R2I_FOR_HELP) {
        print_commands();
        return " ";
    }
    if (!islower((unsigned char)*at)) return "";
    for (size_t i = 0; i < n; i++)
        (void)fputc(at[i] == '|' ? ' ' : at[i], stdout);
    return " ";
}

static void print_words_of(const r2i_command *c) {
    const char *between = print_first_words(c);
    for (size_t i = 0; i < r2i_n_options; i++) {
        const r2i_option *o = &r2i_option_table[i];
        if ((o->commands & c->bit) == 0) continue;
        printf("%s--%s", between, o->name);
        between = " ";
        if (is_switch(o) && !o->has_no_env) printf(" --no-%s", o->name);
        for (const char *at = has_levels(o) ? o->choices : NULL; at != NULL; at = strchr(at, '|')) {
            at += *at == '|';
            printf(" --%s=%.*s", o->name, (int)strcspn(at, "|"), at);
        }
    }
}

static void print_choices(const r2i_option *o) {
    for (const char *c = o->choices; *c != '\0'; c++)
        (void)fputc(*c == '|' ? ' ' : *c, stdout);
}

/* The values of a flag may differ from command to command. */
static void print_values(const r2i_option *o) {
    const char *between = "        ";
    if (o->choices == NULL || has_levels(o)) return;
    for (size_t i = 0; i < r2i_n_commands; i++) {
        if ((o->commands & r2i_command_table[i].bit) == 0) continue;
        printf("%s%s:--%s", between, r2i_command_table[i].name, o->name);
        between = "|";
    }
    printf(") words=\"");
    print_choices(o);
    printf("\" ;;\n");
}

static void print_bash(void) {
    printf("# bash completion for r2lm, written by `r2lm completion bash`\n_r2lm() {\n"
           "    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words=\n"
           "    COMPREPLY=()\n    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        words=\"");
    print_commands();
    printf("\"\n    else\n        case ${COMP_WORDS[1]}:$before in\n        *:-m|*:--model) "
           "words=$(r2lm list --quiet 2>/dev/null | cut -f 1) ;;\n");
    for (size_t i = 0; i < r2i_n_options; i++)
        print_values(&r2i_option_table[i]);
    printf("        *) case ${COMP_WORDS[1]} in\n");
    for (size_t i = 0; i < r2i_n_commands; i++) {
        printf("            %s) words=\"", r2i_command_table[i].name);
        print_words_of(&r2i_command_table[i]);
        printf("\" ;;\n");
    }
    printf("            esac ;;\n        esac\n    fi\n"
           "    while IFS= read -r word; do COMPREPLY+=(\"$word\"); done < <(compgen -W \"$words\" "
           "-- \"$current\")\n"
           "    [ ${#COMPREPLY[@]} -gt 0 ] || while IFS= read -r word; do COMPREPLY+=(\"$word\"); "
           "done < <(compgen -f -- \"$current\")\n"
           "}\ncomplete -F _r2lm r2lm\n");
}

/* A text between single quotes, without characters that mean something to zsh's _arguments. */
static void print_quoted(const char *text) {
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '\'')
            (void)fputs("'\\''", stdout);
        else if (*c == '[' || *c == ']' || *c == ':')
            (void)fputc(' ', stdout);
        else
            (void)fputc(*c, stdout);
    }
}

static void print_zsh(void) {
    printf("#compdef r2lm\n# zsh completion for r2lm, written by `r2lm completion zsh`\n_r2lm() {\n"
           "    local -a commands\n    commands=(\n");
    for (size_t i = 0; i < r2i_n_commands; i++) {
        printf("        '%s:", r2i_command_table[i].name);
        print_quoted(r2i_command_table[i].help);
        printf("'\n");
    }
    printf("    )\n    if (( CURRENT == 2 )); then _describe command commands; return; fi\n    "
           "case $words[2] in\n");
    for (size_t i = 0; i < r2i_n_commands; i++) {
        printf("    %s) _arguments", r2i_command_table[i].name);
        for (size_t j = 0; j < r2i_n_options; j++) {
            const r2i_option *o = &r2i_option_table[j];
            if ((o->commands & r2i_command_table[i].bit) == 0) continue;
            printf(" \\\n        '--%s%s[", o->name, has_levels(o) ? "=-" : "");
            print_quoted(o->help);
            printf("]");
            if (o->choices != NULL) {
                printf("%s:%s:(", has_levels(o) ? ":" : "", o->name);
                print_choices(o);
                printf(")");
            } else if (o->value_name != NULL) {
                printf(":%s:_files", o->name);
            }
            printf("'");
        }
        printf(" \\\n        '*:file:_files' ;;\n");
    }
    printf("    esac\n}\n_r2lm \"$@\"\n");
}

static void print_fish(void) {
    printf("# fish completion for r2lm, written by `r2lm completion fish`\n");
    for (size_t i = 0; i < r2i_n_commands; i++) {
        const r2i_command *c = &r2i_command_table[i];
        printf("complete -c r2lm -n __fish_use_subcommand -f -a %s -d '", c->name);
        print_quoted(c->help);
        printf("'\n");
        for (size_t j = 0; j < r2i_n_options; j++) {
            const r2i_option *o = &r2i_option_table[j];
            if ((o->commands & c->bit) == 0) continue;
            printf("complete -c r2lm -n '__fish_seen_subcommand_from %s' -l %s", c->name, o->name);
            if (o->letter != 0) printf(" -s %c", o->letter);
            if (o->choices != NULL) {
                printf("%s -a '", has_levels(o) ? "" : " -x");
                print_choices(o);
                printf("'");
            } else if (o->value_name != NULL) {
                printf(" -r");
            }
            printf(" -d '");
            print_quoted(o->help);
            printf("'\n");
        }
    }
}

int r2i_completion_command(r2i_program *p) {
    static const struct {
        const char *name;
        void (*print)(void);
    } shells[] = { { "bash", print_bash }, { "zsh", print_zsh }, { "fish", print_fish } };
    const char *name = p->arguments.n_words == 1 ? p->arguments.words[0] : "nothing";
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++) {
        if (strcmp(shells[i].name, name) != 0) continue;
        shells[i].print();
        return R2I_EXIT_OK;
    }
    r2_error err;
    return r2i_program_fail(
        p,
        r2i_fail(&err, R2_E_ARGUMENT, "completion: expected bash, zsh or fish, found %.60s", name),
        &err);
}
