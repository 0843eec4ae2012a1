#define _POSIX_C_SOURCE 200809L /* access */
#include "cli/options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/failure.h"
#include "cli/option_names.h"

enum { MAX_WORD = 40, PATH_BYTES = 4096 };

int r2i_word_distance(const char *a, const char *b) {
    const size_t n = strlen(a), m = strlen(b);
    int rows[3][MAX_WORD + 1] = { { 0 } };
    if (n > MAX_WORD || m > MAX_WORD) return MAX_WORD;
    for (size_t j = 0; j <= m; j++)
        rows[0][j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int *now = rows[i % 3];
        const int *before = rows[(i + 2) % 3], *earlier = rows[(i + 1) % 3];
        now[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int least = before[j - 1] + (a[i - 1] != b[j - 1]);
            if (before[j] + 1 < least) least = before[j] + 1;
            if (now[j - 1] + 1 < least) least = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                earlier[j - 2] + 1 < least) {
                least = earlier[j - 2] + 1;
            }
            now[j] = least;
        }
    }
    return rows[n % 3][m];
}

static r2_status fail_unknown(unsigned command, const char *name, r2_error *err) {
    const char *best = NULL;
    int best_distance = 4;
    for (size_t i = 0; i < r2i_n_options; i++) {
        const r2i_option *o = &r2i_option_table[i];
        if ((o->commands & command) == 0) continue;
        int distance = r2i_word_distance(name, o->name);
        if (strlen(name) > 2 && strncmp(name, o->name, strlen(name)) == 0) distance = 0;
        /* A word of which less than half is right is no slip of the fingers. */
        if (distance < best_distance && 2 * distance <= (int)strlen(name)) {
            best_distance = distance;
            best = o->name;
        }
    }
    if (best == NULL)
        return r2i_fail(err, R2_E_ARGUMENT, "--%.60s: no such flag here; --help lists them", name);
    return r2i_fail(err, R2_E_ARGUMENT, "--%.60s: no such flag here; did you mean --%s?", name,
                    best);
}

/* The place of a text in "a|b|c", or -1. */
static int32_t find_choice(const char *choices, const char *text) {
    const size_t n = strlen(text);
    int32_t i = 0;
    for (const char *at = choices; at != NULL; at = strchr(at, '|'), i++) {
        at += *at == '|';
        const size_t width = strcspn(at, "|");
        if (width == n && memcmp(at, text, n) == 0) return i;
    }
    return -1;
}

static bool read_number(const char *text, bool is_whole, double *out) {
    char *end = NULL;
    errno = 0;
    if (is_whole) {
        const long long n = strtoll(text, &end, 10);
        *out = (double)n;
    } else {
        *out = strtod(text, &end);
    }
    return errno == 0 && end != text && *end == '\0' && isfinite(*out);
}

static bool read_switch(const char *text, int32_t *out) {
    *out = find_choice("1|true|yes|on", text) >= 0    ? 1
           : find_choice("0|false|no|off", text) >= 0 ? 0
                                                      : -1;
    return *out >= 0 || strcmp(text, "-1") == 0;
}

/* A number of its row's kind and range; a word of its choices stands for 0. */
static r2_status set_number(char *field, const r2i_option *o, const char *source, const char *text,
                            r2_error *err) {
    double number = 0;
    if (o->choices != NULL && find_choice(o->choices, text) >= 0) text = "0";
    if (!read_number(text, o->kind != R2I_OPTION_REAL, &number) || number < o->low ||
        number > o->high) {
        return r2i_fail(err, R2_E_ARGUMENT,
                        "%s: expected a%s number from %.16g to %.16g, found \"%.60s\"", source,
                        o->kind == R2I_OPTION_REAL ? "" : " whole", o->low, o->high, text);
    }
    const int32_t count = (int32_t)(o->kind == R2I_OPTION_COUNT ? number : 0);
    const int64_t seed = (int64_t)number;
    if (o->kind == R2I_OPTION_COUNT)
        memcpy(field, &count, sizeof count);
    else if (o->kind == R2I_OPTION_SEED)
        memcpy(field, &seed, sizeof seed);
    else
        memcpy(field, &number, sizeof number);
    return R2_OK;
}

/* Puts one text value into its field.  `source` is the flag or variable, for the message. */
static r2_status set_value(r2i_options *values, const r2i_option *o, const char *source,
                           const char *text, r2_error *err) {
    char *field = (char *)values + o->offset;
    int32_t state = 0;
    switch (o->kind) {
    case R2I_OPTION_TEXT:
        memcpy(field, &text, sizeof text);
        return R2_OK;
    case R2I_OPTION_LIST: {
        r2i_text_list *list = (r2i_text_list *)(void *)field;
        if (list->n == R2I_LIST_TEXTS)
            return r2i_fail(err, R2_E_ARGUMENT, "%s: expected at most %d of them", source,
                            R2I_LIST_TEXTS);
        list->texts[list->n++] = text;
        return R2_OK;
    }
    case R2I_OPTION_CHOICE:
        if (text != NULL && find_choice(o->choices, text) < 0) {
            return r2i_fail(err, R2_E_ARGUMENT, "%s: expected %s, found \"%.60s\"", source,
                            o->choices, text);
        }
        memcpy(field, &text, sizeof text);
        return R2_OK;
    case R2I_OPTION_SWITCH:
    case R2I_OPTION_TRISTATE:
        if (!read_switch(text, &state)) {
            return r2i_fail(err, R2_E_ARGUMENT, "%s: expected 1 or 0, found \"%.60s\"", source,
                            text);
        }
        if (o->kind == R2I_OPTION_TRISTATE)
            memcpy(field, &state, sizeof state);
        else
            *(bool *)(void *)field = state == 1;
        return R2_OK;
    case R2I_OPTION_LEVEL:
        if (find_choice(o->choices, text) >= 0) {
            state = 2 + find_choice(o->choices, text);
        } else if (!read_switch(text, &state) || state < 0) {
            return r2i_fail(err, R2_E_ARGUMENT, "%s: expected %s, 1 or 0, found \"%.60s\"", source,
                            o->choices, text);
        }
        memcpy(field, &state, sizeof state);
        return R2_OK;
    case R2I_OPTION_COUNT:
    case R2I_OPTION_SEED:
    case R2I_OPTION_REAL:
        break;
    }
    return set_number(field, o, source, text, err);
}

const char *r2i_option_env(const r2i_option *o, char name[R2I_ENV_NAME_BYTES]) {
    r2i_option_env_name(o->name, name, R2I_ENV_NAME_BYTES);
    const char *text = getenv(name);
    if (text == NULL && o->alias != NULL) {
        r2i_option_env_name(o->alias, name, R2I_ENV_NAME_BYTES);
        text = getenv(name);
    }
    return text != NULL && text[0] != '\0' ? text : NULL;
}

static r2_status set_setting(r2i_options *values, const r2i_option *o, const r2i_setting *setting,
                             r2_error *err) {
    const r2_status status = set_value(values, o, setting->key, setting->value, err);
    return status == R2_OK ? R2_OK : r2i_fail_at(err, status, setting->source);
}

r2_status r2i_option_check(const r2i_option *o, const char *value, r2_error *err) {
    r2i_options values;
    return set_value(&values, o, o->name, value, err);
}

static r2_status set_defaults(r2i_options *values, unsigned command, const char *command_name,
                              const r2i_settings *settings, r2_error *err) {
    memset(values, 0, sizeof *values);
    for (size_t i = 0; i < r2i_n_options; i++) {
        const r2i_option *o = &r2i_option_table[i];
        char name[R2I_ENV_NAME_BYTES];
        if ((o->commands & command) == 0) continue;
        if (o->fallback != NULL) R2I_TRY(set_value(values, o, o->name, o->fallback, err));
        if (o->has_no_env) continue;
        const r2i_setting *setting = r2i_settings_find(settings, o, command_name);
        const char *text = r2i_option_env(o, name);
        if (text != NULL)
            R2I_TRY(set_value(values, o, name, text, err));
        else if (setting != NULL)
            R2I_TRY(set_setting(values, o, setting, err));
    }
    return R2_OK;
}

/* All keys of a file that was asked for are flags of the command. */
static r2_status set_config(r2i_options *values, unsigned command, const char *command_name,
                            const r2i_settings *config, r2_error *err) {
    for (size_t i = 0; i < config->n_items; i++) {
        const r2i_setting *s = &config->items[i];
        const r2i_option *o = r2i_option_find(command, s->key, strlen(s->key));
        const bool is_flag = o != NULL && o->offset != offsetof(r2i_options, config) &&
                             o->offset != offsetof(r2i_options, sets);
        if (s->section != NULL && strcmp(s->section, command_name) != 0)
            return r2i_fail(err, R2_E_ARGUMENT, "%.150s: expected settings of [%s], found [%.60s]",
                            s->source, command_name, s->section);
        if (!is_flag) return r2i_fail_at(err, fail_unknown(command, s->key, err), s->source);
        R2I_TRY(set_setting(values, o, s, err));
    }
    return R2_OK;
}

typedef struct {
    r2i_arguments *out;
    unsigned command;
    int argc, at;
    char *const *argv;
} reader;

static bool is_switch(const r2i_option *o) {
    return o->kind == R2I_OPTION_SWITCH || o->kind == R2I_OPTION_TRISTATE ||
           o->kind == R2I_OPTION_LEVEL;
}

static void keep_given(r2i_arguments *out, const r2i_option *o) {
    for (int i = 0; i < out->n_given; i++) {
        if (out->given[i] == o) return;
    }
    if (out->n_given < R2I_MAX_WORDS) out->given[out->n_given++] = o;
}

/* --set NAME=VALUE is --NAME=VALUE. */
static r2_status set_named(reader *r, const char *text, r2_error *err) {
    const char *equals = strchr(text, '=');
    char name[MAX_WORD + 1];
    const size_t n = equals != NULL ? (size_t)(equals - text) : 0;
    if (n == 0 || n > MAX_WORD)
        return r2i_fail(err, R2_E_ARGUMENT, "--set: expected NAME=VALUE, found \"%.60s\"", text);
    memcpy(name, text, n);
    name[n] = '\0';
    const r2i_option *o = r2i_option_find(r->command, name, n);
    if (o == NULL || o->offset == offsetof(r2i_options, sets))
        return r2i_fail_at(err, fail_unknown(r->command, name, err), "--set");
    keep_given(r->out, o);
    return set_value(&r->out->values, o, name, equals + 1, err);
}

static r2_status set_from(reader *r, const r2i_option *o, const char *source,
                          const char *inline_text, r2_error *err) {
    const char *text = inline_text;
    keep_given(r->out, o);
    if (o->offset == offsetof(r2i_options, model)) r->out->has_model_flag = true;
    if (text == NULL && is_switch(o)) text = "1";
    if (text == NULL) {
        if (r->at + 1 >= r->argc)
            return r2i_fail(err, R2_E_ARGUMENT, "%s: expected %s behind it, found nothing", source,
                            o->value_name);
        text = r->argv[++r->at];
    }
    if (o->offset == offsetof(r2i_options, sets)) return set_named(r, text, err);
    return set_value(&r->out->values, o, source, text, err);
}

static r2_status read_long(reader *r, r2_error *err) {
    const char *name = r->argv[r->at] + 2, *equals = strchr(name, '=');
    const size_t n_bytes = equals != NULL ? (size_t)(equals - name) : strlen(name);
    char source[MAX_WORD + 3] = "--";
    if (n_bytes > MAX_WORD) return fail_unknown(r->command, name, err);
    memcpy(source + 2, name, n_bytes);
    source[2 + n_bytes] = '\0';
    const r2i_option *o = r2i_option_find(r->command, name, n_bytes);
    if (o != NULL) return set_from(r, o, source, equals != NULL ? equals + 1 : NULL, err);
    if (n_bytes > 3 && memcmp(name, "no-", 3) == 0)
        o = r2i_option_find(r->command, name + 3, n_bytes - 3);
    if (o == NULL || !is_switch(o)) return fail_unknown(r->command, source + 2, err);
    if (equals != NULL) return r2i_fail(err, R2_E_ARGUMENT, "%s: takes no value", source);
    keep_given(r->out, o);
    return set_value(&r->out->values, o, source, "0", err);
}

/* -n 5, -n5 and -vq. */
static r2_status read_letters(reader *r, r2_error *err) {
    const char *word = r->argv[r->at];
    for (const char *at = word + 1; *at != '\0'; at++) {
        const r2i_option *o = r2i_option_find_letter(r->command, *at);
        const char source[] = { '-', *at, '\0' };
        if (o == NULL && r2i_option_find(r->command, word + 1, strlen(word + 1)) != NULL) {
            return r2i_fail(err, R2_E_ARGUMENT, "%.60s: no such flag here; did you mean -%.60s?",
                            word, word);
        }
        if (o == NULL)
            return r2i_fail(err, R2_E_ARGUMENT, "%s: no such flag here; see --help", source);
        if (!is_switch(o)) return set_from(r, o, source, at[1] != '\0' ? at + 1 : NULL, err);
        R2I_TRY(set_from(r, o, source, NULL, err));
    }
    return R2_OK;
}

static r2_status add_word(r2i_arguments *out, const char *word, r2_error *err) {
    if (out->n_words == R2I_MAX_WORDS)
        return r2i_fail(err, R2_E_ARGUMENT, "expected at most %d words", R2I_MAX_WORDS);
    out->words[out->n_words++] = word;
    return R2_OK;
}

static r2_status read_words(reader *r, r2_error *err) {
    bool is_over = false;
    r->out->n_words = 0;
    r->out->n_given = 0;
    r->out->has_model_flag = false;
    for (r->at = 0; r->at < r->argc; r->at++) {
        const char *word = r->argv[r->at];
        if (is_over || word[0] != '-' || word[1] == '\0')
            R2I_TRY(add_word(r->out, word, err));
        else if (strcmp(word, "--") == 0)
            is_over = true;
        else if (word[1] == '-')
            R2I_TRY(read_long(r, err));
        else
            R2I_TRY(read_letters(r, err));
    }
    return R2_OK;
}

/* What --config names; a run that is gone on with has its own.  NULL: none. */
static const char *file_of(const r2i_arguments *a, unsigned command, r2i_arena *arena) {
    const r2i_options *values = &a->values;
    const bool is_export =
        command == R2I_FOR_TRAIN && a->n_words == 2 && strcmp(a->words[0], "export") == 0;
    const char *run = is_export ? a->words[1] : values->is_resuming ? values->output : NULL;
    char path[PATH_BYTES];
    if (values->config != NULL || run == NULL) return values->config;
    const int n = snprintf(path, sizeof path, "%.4000s/config.ini", run);
    return access(path, F_OK) == 0 ? r2i_arena_copy_text(arena, path, (size_t)n) : NULL;
}

r2_status r2i_arguments_parse(r2i_arguments *out, unsigned command, const char *name,
                              const r2i_settings *settings, r2i_arena *arena, int argc,
                              char *const *argv, r2_error *err) {
    reader r = { out, command, argc, 0, argv };
    r2i_settings config;
    out->n_file_data = 0;
    R2I_TRY(set_defaults(&out->values, command, name, settings, err));
    R2I_TRY(read_words(&r, err));
    const char *path = file_of(out, command, arena);
    if (path == NULL || out->values.wants_help) return R2_OK;
    /* Flags are stronger than the file that one of them names. */
    R2I_TRY(r2i_settings_read(&config, path, arena, err));
    R2I_TRY(set_defaults(&out->values, command, name, settings, err));
    R2I_TRY(set_config(&out->values, command, name, &config, err));
    out->n_file_data = out->values.data.n;
    return read_words(&r, err);
}
