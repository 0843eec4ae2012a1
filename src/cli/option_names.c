#include "cli/option_names.h"

#include <stdio.h>
#include <string.h>

static bool is_name(const char *name, const char *text, size_t n_bytes) {
    return name != NULL && strlen(name) == n_bytes && memcmp(name, text, n_bytes) == 0;
}

const r2i_option *r2i_option_find(unsigned command, const char *name, size_t n_bytes) {
    for (size_t i = 0; i < r2i_n_options; i++) {
        const r2i_option *o = &r2i_option_table[i];
        if ((o->commands & command) == 0) continue;
        if (is_name(o->name, name, n_bytes) || is_name(o->alias, name, n_bytes)) return o;
    }
    return NULL;
}

const r2i_option *r2i_option_find_letter(unsigned command, char letter) {
    for (size_t i = 0; i < r2i_n_options; i++) {
        const r2i_option *o = &r2i_option_table[i];
        if (letter != 0 && (o->commands & command) != 0 && o->letter == letter) return o;
    }
    return NULL;
}

void r2i_option_env_name(const char *name, char *out, size_t cap) {
    (void)snprintf(out, cap, "R2LM_%s", name);
    for (char *c = out; *c != '\0'; c++) {
        if (*c == '-')
            *c = '_';
        else if (*c >= 'a' && *c <= 'z')
            *c = (char)(*c - 'a' + 'A');
    }
}

void r2i_option_print_name(const r2i_option *o, char *out, size_t cap) {
    const bool has_no = (o->kind == R2I_OPTION_SWITCH || o->kind == R2I_OPTION_LEVEL) &&
                        o->fallback != NULL && o->fallback[0] == '1';
    char letter[8] = "    ";
    if (o->letter != 0) (void)snprintf(letter, sizeof letter, "-%c, ", o->letter);
    (void)snprintf(out, cap, "%s--%s%s%s%s%s", letter, has_no ? "[no-]" : "", o->name,
                   o->value_name != NULL ? " " : "", o->value_name != NULL ? o->value_name : "",
                   o->kind == R2I_OPTION_LEVEL ? "[=HOW]" : "");
}
