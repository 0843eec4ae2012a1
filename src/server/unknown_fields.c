#include "server/unknown_fields.h"

#include <stdio.h>
#include <string.h>

enum { LINE_BYTES = 120 };

/* Read by code of their own rather than by a table: answer_form.c, reasoning.c. */
static const char *const read_elsewhere[] = {
    "grammar",
    "ebnf",
    "guided_grammar",
    "json_schema",
    "guided_json",
    "regex",
    "guided_regex",
    "guided_choice",
    "structured_outputs",
    "thinking",
    "enable_thinking",
    "think",
    "reasoning",
    "reasoning_effort",
    "chat_template_kwargs",
    "reasoning_budget_tokens",
    "thinking_budget_tokens",
    "thinking_token_budget",
    "reasoning_min_tokens",
};

static bool is_read_elsewhere(const char *name) {
    for (size_t i = 0; i < sizeof read_elsewhere / sizeof *read_elsewhere; i++) {
        if (strcmp(read_elsewhere[i], name) == 0) return true;
    }
    return false;
}

static void copy_printable(char out[R2I_UNKNOWN_NAME_BYTES], const char *name) {
    size_t n = 0;
    for (; name[n] != '\0' && n + 1 < R2I_UNKNOWN_NAME_BYTES; n++)
        out[n] = name[n] > ' ' && name[n] < 0x7f ? name[n] : '?';
    out[n] = '\0';
}

/* False: it was told before, or too many were. */
static bool add(r2i_unknown_fields *u, const char *name) {
    if (u->n == R2I_UNKNOWN_NAMES) return false;
    copy_printable(u->names[u->n], name);
    for (int32_t i = 0; i < u->n; i++) {
        if (strcmp(u->names[i], u->names[u->n]) == 0) return false;
    }
    u->n++;
    return true;
}

void r2i_unknown_fields_note(r2i_unknown_fields *u, const json_t *body,
                             bool (*has_field)(const char *name),
                             void (*log)(void *user, const char *line), void *user) {
    void *at = log != NULL ? json_object_iter((json_t *)(uintptr_t)body) : NULL;
    for (; at != NULL; at = json_object_iter_next((json_t *)(uintptr_t)body, at)) {
        const char *name = json_object_iter_key(at);
        char line[LINE_BYTES];
        if (has_field(name) || is_read_elsewhere(name) || !add(u, name)) continue;
        (void)snprintf(line, sizeof line, "field without effect in a request: %s (told once)",
                       u->names[u->n - 1]);
        log(user, line);
    }
}
