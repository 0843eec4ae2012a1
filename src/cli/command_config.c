/* command_config.c - `r2lm config`: what is set, where, and setting it. */
#define _XOPEN_SOURCE 700 /* environ by declaration */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failure.h"
#include "cli/option_names.h"
#include "cli/program.h"

enum { NAME_BYTES = 64, NEAR = 3 };

extern char **environ;

/* Variables that are no flag's. */
static const char *const other_variables[] = { "R2LM_MODEL_CACHE", "R2LM_SYSTEM_CONFIG",
                                               /* of the tests */
                                               "R2LM_PROGRAM", "R2LM_SOURCE_DIR",
                                               "R2LM_GOLDEN_DIR" };

/* ---- what nobody asks for ---- */

typedef struct {
    const char *wanted;
    char best[NAME_BYTES]; /* "": nothing is near */
    int best_distance;
    bool is_known;
} search;

static void compare(search *s, const char *name) {
    const int distance = r2i_word_distance(s->wanted, name);
    if (distance == 0) s->is_known = true;
    /* Of names as near, the first letter tells: "tmp" is "temp" and not "mtp". */
    const bool is_as_near = distance == s->best_distance && s->best[0] != s->wanted[0] &&
                            name[0] == s->wanted[0] && s->best[0] != '\0';
    if (distance >= s->best_distance && !is_as_near) return;
    s->best_distance = distance;
    (void)snprintf(s->best, sizeof s->best, "%s", name);
}

/* All names of flags that a variable or setting can have. */
static void compare_all(search *s, bool is_variable, unsigned commands) {
    char name[NAME_BYTES];
    for (size_t i = 0; i < r2i_n_options; i++) {
        const r2i_option *o = &r2i_option_table[i];
        if (o->has_no_env || (o->commands & commands) == 0) continue;
        for (int k = 0; k < 2; k++) {
            const char *text = k == 0 ? o->name : o->alias;
            if (text == NULL) continue;
            if (is_variable) r2i_option_env_name(text, name, sizeof name);
            compare(s, is_variable ? name : text);
        }
    }
}

static void print_near(const r2i_program *p, const char *where, const search *s, const char *what) {
    const bool is_near = s->best[0] != '\0';
    r2i_program_note(p, "r2lm: %s%.60s: no such %s%s%s%s", where, s->wanted, what,
                     is_near ? "; did you mean " : "", s->best, is_near ? "?" : "");
}

static void warn_of_variable(const r2i_program *p, const char *text) {
    char name[NAME_BYTES];
    const size_t n = strcspn(text, "=");
    if (strncmp(text, "R2LM_", 5) != 0 || n >= sizeof name) return;
    memcpy(name, text, n);
    name[n] = '\0';
    search s = { .wanted = name, .best_distance = NEAR + 1 };
    compare_all(&s, true, R2I_FOR_ALL);
    for (size_t i = 0; i < sizeof other_variables / sizeof *other_variables; i++)
        compare(&s, other_variables[i]);
    if (!s.is_known) print_near(p, "", &s, "variable");
}

static void warn_of_setting(const r2i_program *p, const r2i_setting *setting) {
    const r2i_command *command =
        setting->section != NULL ? r2i_command_find(setting->section) : NULL;
    if (setting->section != NULL && command == NULL) {
        r2i_program_note(p, "r2lm: %s: [%.60s]: no such command", setting->source,
                         setting->section);
        return;
    }
    char where[4096];
    search s = { .wanted = setting->key, .best_distance = NEAR + 1 };
    compare_all(&s, false, command != NULL ? command->bit : R2I_FOR_ALL);
    (void)snprintf(where, sizeof where, "%s: ", setting->source);
    if (!s.is_known) print_near(p, where, &s, command != NULL ? "flag of this command" : "flag");
}

void r2i_settings_warn(const r2i_program *p) {
    for (int place = 0; place < R2I_N_PLACES; place++) {
        if (p->settings.ignored[place] != NULL)
            r2i_program_note(p, "r2lm: %s %s: ignored", p->settings.paths[place],
                             p->settings.ignored[place]);
    }
    for (size_t i = 0; i < p->settings.n_items; i++)
        warn_of_setting(p, &p->settings.items[i]);
    for (char **variable = environ; *variable != NULL; variable++)
        warn_of_variable(p, *variable);
}

/* ---- a key: FLAG or COMMAND.FLAG ---- */

typedef struct {
    const r2i_command *command; /* NULL: every command */
    const r2i_option *option;
} key;

static r2_status read_key(key *out, const char *text, r2_error *err) {
    const char *dot = strchr(text, '.'), *name = dot != NULL ? dot + 1 : text;
    char command[NAME_BYTES] = "";
    *out = (key){ NULL, NULL };
    if (dot != NULL && (size_t)(dot - text) < sizeof command) {
        memcpy(command, text, (size_t)(dot - text));
        out->command = r2i_command_find(command);
    }
    if (dot != NULL && out->command == NULL)
        return r2i_fail(err, R2_E_ARGUMENT, "%.60s: no such command in front of the dot", text);
    const unsigned commands = out->command != NULL ? out->command->bit : R2I_FOR_ALL;
    out->option = r2i_option_find(commands, name, strlen(name));
    if (out->option != NULL && !out->option->has_no_env) return R2_OK;
    search s = { .wanted = name, .best_distance = NEAR + 1 };
    compare_all(&s, false, commands);
    const bool is_near = s.best[0] != '\0';
    return r2i_fail(err, R2_E_ARGUMENT, "%.60s: no such flag%s%s%s", text,
                    is_near ? "; did you mean " : "", s.best, is_near ? "?" : "");
}

static json_t *describe(const char *name, const char *section, const char *value,
                        const char *source) {
    return json_pack("{s:s, s:s?, s:s?, s:s}", "key", name, "command", section, "value", value,
                     "source", source);
}

/* ---- list, get, set, unset ---- */

static void list_one(const r2i_program *p, json_t *list, const char *name, const char *section,
                     const char *value, const char *source) {
    if (p->options->wants_json)
        (void)json_array_append_new(list, describe(name, section, value, source));
    else
        printf("%s%s%s = %s\t%s\n", section != NULL ? section : "", section != NULL ? "." : "",
               name, value, source);
}

/* Strongest first: what is listed first counts. */
static int run_list(r2i_program *p) {
    json_t *list = json_array();
    for (size_t i = 0; i < r2i_n_options; i++) {
        char name[NAME_BYTES];
        const r2i_option *o = &r2i_option_table[i];
        const bool is_first = r2i_option_find(R2I_FOR_ALL, o->name, strlen(o->name)) == o;
        const char *value = o->has_no_env || !is_first ? NULL : r2i_option_env(o, name);
        if (value != NULL) list_one(p, list, o->name, NULL, value, name);
    }
    for (size_t i = p->settings.n_items; i-- > 0;) {
        const r2i_setting *s = &p->settings.items[i];
        list_one(p, list, s->key, s->section, s->value, s->source);
    }
    if (p->options->wants_json)
        return r2i_program_print_json(p, json_pack("{s:o}", "settings", list));
    json_decref(list);
    return R2I_EXIT_OK;
}

static int run_get(r2i_program *p, const key *k) {
    char name[NAME_BYTES];
    const r2i_option *o = k->option;
    const r2i_setting *setting =
        r2i_settings_find(&p->settings, o, k->command != NULL ? k->command->name : "");
    const char *value = r2i_option_env(o, name), *source = name;
    if (value == NULL && setting != NULL) {
        value = setting->value;
        source = setting->source;
    } else if (value == NULL) {
        value = o->fallback;
        source = "default";
    }
    if (p->options->wants_json)
        return r2i_program_print_json(
            p, describe(o->name, k->command != NULL ? k->command->name : NULL, value, source));
    if (value == NULL) return R2I_EXIT_FAILED; /* not set, and no default */
    printf("%s\n", value);
    return R2I_EXIT_OK;
}

static r2_status change(r2i_program *p, const key *k, const char *value, r2_error *err) {
    const r2i_place place = p->options->is_local    ? R2I_PLACE_LOCAL
                            : p->options->is_system ? R2I_PLACE_SYSTEM
                                                    : R2I_PLACE_USER;
    if (value != NULL) {
        if (strpbrk(value, "\n\r") != NULL)
            return r2i_fail(err, R2_E_ARGUMENT, "%s: expected one line", k->option->name);
        R2I_TRY(r2i_option_check(k->option, value, err));
    }
    R2I_TRY(r2i_settings_write(&p->settings, place, k->command != NULL ? k->command->name : NULL,
                               k->option, value, &p->heap, err));
    if (p->options->is_verbose) r2i_program_note(p, "%s", p->settings.paths[place]);
    return R2_OK;
}

static r2_status check_words(const r2i_program *p, int n, r2_error *err) {
    if (p->arguments.n_words == n) return R2_OK;
    return r2i_fail(err, R2_E_ARGUMENT,
                    "config: expected list, get FLAG, set FLAG VALUE or unset FLAG");
}

int r2i_config_command(r2i_program *p) {
    const char *const *words = p->arguments.words;
    const char *what = p->arguments.n_words > 0 ? words[0] : "list";
    const bool is_set = strcmp(what, "set") == 0, is_unset = strcmp(what, "unset") == 0,
               is_get = strcmp(what, "get") == 0;
    r2_error err = { R2_OK, "" };
    key k;
    if (p->arguments.n_words <= 1 && strcmp(what, "list") == 0) return run_list(p);
    r2_status status = check_words(p, is_set ? 3 : is_get || is_unset ? 2 : -1, &err);
    if (status == R2_OK) status = read_key(&k, words[1], &err);
    if (status == R2_OK && is_get) return run_get(p, &k);
    if (status == R2_OK) status = change(p, &k, is_set ? words[2] : NULL, &err);
    return status == R2_OK ? R2I_EXIT_OK : r2i_program_fail(p, status, &err);
}
