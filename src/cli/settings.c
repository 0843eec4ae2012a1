#define _XOPEN_SOURCE 700 /* fileno, fstat, realpath */
#include "cli/settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/failure.h"
#include "cli/terminal.h"
#include "cli/text_write.h"

enum { MAX_SETTINGS = 1024, LINE_BYTES = 4096, MAX_FILE_BYTES = 1 << 20 };

/* ---- one line ---- */

typedef enum { LINE_EMPTY, LINE_SECTION, LINE_SETTING, LINE_BAD } line_kind;

typedef struct {
    line_kind kind;
    char *key, *value; /* into the line, which is cut up; of a section its name is the key */
} parsed_line;

static char *trim(char *text) {
    text += strspn(text, " \t\r\n");
    size_t n = strlen(text);
    while (n > 0 && strchr(" \t\r\n", text[n - 1]) != NULL)
        text[--n] = '\0';
    return text;
}

static parsed_line parse_line(char *line) {
    char *text = trim(line);
    const size_t n = strlen(text);
    if (n == 0 || text[0] == '#' || text[0] == ';') return (parsed_line){ LINE_EMPTY, NULL, NULL };
    if (text[0] == '[') {
        if (text[n - 1] != ']') return (parsed_line){ LINE_BAD, NULL, NULL };
        text[n - 1] = '\0';
        return (parsed_line){ LINE_SECTION, trim(text + 1), NULL };
    }
    char *equals = strchr(text, '=');
    if (equals == NULL || equals == text) return (parsed_line){ LINE_BAD, NULL, NULL };
    *equals = '\0';
    char *value = trim(equals + 1);
    const size_t n_value = strlen(value);
    if (n_value >= 2 && value[0] == '"' && value[n_value - 1] == '"') {
        value[n_value - 1] = '\0';
        value++;
    }
    return (parsed_line){ LINE_SETTING, trim(text), value };
}

/* ---- reading ---- */

typedef struct {
    r2i_settings *out;
    r2i_arena *arena;
    r2_error *err;
} reader;

static const char *keep(const reader *r, const char *text) {
    return r2i_arena_copy_text(r->arena, text, strlen(text));
}

/* Names are shown on terminals. */
static const char *keep_name(const reader *r, char *text) {
    r2i_text_strip_controls(text);
    return keep(r, text);
}

static r2_status add(const reader *r, r2i_place place, const char *section, const parsed_line *line,
                     const char *source) {
    if (r->out->n_items == MAX_SETTINGS)
        return r2i_fail(r->err, R2_E_LIMIT, "%.150s: more than %d settings", source, MAX_SETTINGS);
    const r2i_setting s = { keep_name(r, line->key), keep(r, line->value), section, keep(r, source),
                            place };
    if (s.key == NULL || s.value == NULL || s.source == NULL)
        return r2i_fail(r->err, R2_E_NOMEM, "no memory for settings");
    r->out->items[r->out->n_items++] = s;
    return R2_OK;
}

static r2_status read_lines(const reader *r, FILE *file, r2i_place place) {
    const char *path = r->out->paths[place], *section = NULL;
    char line[LINE_BYTES], source[LINE_BYTES];
    for (int number = 1; fgets(line, sizeof line, file) != NULL; number++) {
        (void)snprintf(source, sizeof source, "%.2000s:%d", path, number);
        const bool is_whole = strchr(line, '\n') != NULL || feof(file);
        const parsed_line parsed = parse_line(line);
        if (!is_whole || parsed.kind == LINE_BAD) {
            return r2i_fail(r->err, R2_E_FORMAT,
                            "%.150s: expected FLAG = VALUE, [COMMAND] or # and a comment", source);
        }
        if (parsed.kind == LINE_SECTION) section = keep_name(r, parsed.key);
        if (parsed.kind == LINE_SETTING) R2I_TRY(add(r, place, section, &parsed, source));
    }
    return R2_OK;
}

/* Who could write the file could set this user's flags. */
static const char *why_not(FILE *file) {
    struct stat info;
    if (fstat(fileno(file), &info) != 0 || !S_ISREG(info.st_mode)) return "is no regular file";
    if (info.st_uid != geteuid() && info.st_uid != 0) return "belongs to another user";
    return info.st_size > MAX_FILE_BYTES ? "is too large" : NULL;
}

static r2_status read_file(const reader *r, r2i_place place) {
    const char *path = r->out->paths[place];
    FILE *file = path != NULL ? fopen(path, "r") : NULL;
    if (path != NULL && file == NULL && errno != ENOENT && errno != ENOTDIR)
        r->out->ignored[place] = "cannot be read";
    if (file == NULL) return R2_OK;
    r->out->ignored[place] = why_not(file);
    const r2_status status = r->out->ignored[place] == NULL ? read_lines(r, file, place) : R2_OK;
    (void)fclose(file);
    return status;
}

static const char *user_path(const reader *r) {
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    char path[LINE_BYTES];
    if (config != NULL && config[0] == '/')
        (void)snprintf(path, sizeof path, "%.2000s/r2lm/config.ini", config);
    else if (home != NULL && home[0] == '/')
        (void)snprintf(path, sizeof path, "%.2000s/.config/r2lm/config.ini", home);
    else
        return NULL;
    return keep(r, path);
}

r2_status r2i_settings_load(r2i_settings *out, r2i_arena *arena, r2_error *err) {
    const reader r = { out, arena, err };
    const char *system = getenv("R2LM_SYSTEM_CONFIG");
    *out = (r2i_settings){ .paths = { system != NULL ? system : "/etc/r2lm/config.ini",
                                      user_path(&r), "./r2lm.ini" } };
    out->items = R2I_ARENA_ARRAY(arena, r2i_setting, MAX_SETTINGS);
    if (out->items == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for settings");
    for (int place = 0; place < R2I_N_PLACES; place++)
        R2I_TRY(read_file(&r, (r2i_place)place));
    return R2_OK;
}

r2_status r2i_settings_read(r2i_settings *out, const char *path, r2i_arena *arena, r2_error *err) {
    const reader r = { out, arena, err };
    *out = (r2i_settings){ .paths[R2I_PLACE_LOCAL] = path };
    out->items = R2I_ARENA_ARRAY(arena, r2i_setting, MAX_SETTINGS);
    if (out->items == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for settings");
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return r2i_fail(err, errno == ENOENT ? R2_E_NOT_FOUND : R2_E_IO, "%.150s: %s", path,
                        strerror(errno));
    errno = 0;
    r2_status status = read_lines(&r, file, R2I_PLACE_LOCAL);
    if (status == R2_OK && ferror(file))
        status = r2i_fail(err, R2_E_IO, "%.150s: %s", path, strerror(errno));
    (void)fclose(file);
    return status;
}

r2_status r2i_settings_append(r2i_buffer *out, const char *name, const char *value,
                              r2_error *err) {
    const size_t n = strlen(value);
    const bool needs_quotes =
        n == 0 || strchr(" \t\"", value[0]) != NULL || strchr(" \t\"", value[n - 1]) != NULL;
    R2I_TRY(r2i_buffer_append_text(out, name, err));
    R2I_TRY(r2i_buffer_append_text(out, needs_quotes ? " = \"" : " = ", err));
    R2I_TRY(r2i_buffer_append_text(out, value, err));
    return r2i_buffer_append_text(out, needs_quotes ? "\"\n" : "\n", err);
}

static bool names(const char *key, const r2i_option *o) {
    return strcmp(key, o->name) == 0 || (o->alias != NULL && strcmp(key, o->alias) == 0);
}

const r2i_setting *r2i_settings_find(const r2i_settings *settings, const r2i_option *option,
                                     const char *command) {
    const r2i_setting *best = NULL;
    for (size_t i = 0; i < settings->n_items; i++) {
        const r2i_setting *s = &settings->items[i];
        if (!names(s->key, option) || (s->section != NULL && strcmp(s->section, command) != 0))
            continue;
        const bool is_weaker =
            best != NULL && best->place == s->place && best->section != NULL && s->section == NULL;
        if (!is_weaker) best = s;
    }
    return best;
}

/* ---- writing ---- */

/* What a file becomes, line by line. */
typedef struct {
    const char *section; /* NULL: what stands before the first section */
    const r2i_option *option;
    const char *value;
    r2i_buffer *out;
    bool is_inside, is_done;
} rewriting;

static r2_status write_setting(rewriting *w, r2_error *err) {
    w->is_done = true;
    return r2i_settings_append(w->out, w->option->name, w->value, err);
}

/* Behind the last line of the section that the setting belongs to. */
static r2_status leave_section(rewriting *w, r2_error *err) {
    const bool is_missing = w->is_inside && !w->is_done && w->value != NULL;
    return is_missing ? write_setting(w, err) : R2_OK;
}

static r2_status rewrite_line(rewriting *w, const char *line, size_t n_bytes, r2_error *err) {
    char copy[LINE_BYTES];
    if (n_bytes >= sizeof copy) return r2i_buffer_append(w->out, line, n_bytes, err);
    memcpy(copy, line, n_bytes);
    copy[n_bytes] = '\0';
    const parsed_line parsed = parse_line(copy);
    if (parsed.kind == LINE_SECTION) {
        R2I_TRY(leave_section(w, err));
        w->is_inside = w->section != NULL && strcmp(parsed.key, w->section) == 0;
    }
    const bool is_it = w->is_inside && parsed.kind == LINE_SETTING && names(parsed.key, w->option);
    if (!is_it) return r2i_buffer_append(w->out, line, n_bytes, err);
    if (w->value == NULL) w->is_done = true;
    return w->is_done ? R2_OK : write_setting(w, err); /* a second one of the same name goes */
}

static r2_status rewrite(rewriting *w, const r2i_buffer *old, r2_error *err) {
    const char *at = old->bytes, *end = at + old->n_bytes;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *next = newline != NULL ? newline + 1 : end;
        R2I_TRY(rewrite_line(w, at, (size_t)(next - at), err));
        const bool is_open = w->out->n_bytes > 0 && w->out->bytes[w->out->n_bytes - 1] != '\n';
        if (is_open) R2I_TRY(r2i_buffer_append_text(w->out, "\n", err));
        at = next;
    }
    R2I_TRY(leave_section(w, err));
    if (w->is_done) return R2_OK;
    if (w->value == NULL)
        return r2i_fail(err, R2_E_NOT_FOUND, "%s is not set there", w->option->name);
    R2I_TRY(r2i_buffer_append_text(w->out, w->out->n_bytes > 0 ? "\n[" : "[", err));
    R2I_TRY(r2i_buffer_append_text(w->out, w->section, err));
    R2I_TRY(r2i_buffer_append_text(w->out, "]\n", err));
    return write_setting(w, err);
}

static r2_status read_old(r2i_buffer *out, const char *path, r2_error *err) {
    char chunk[LINE_BYTES];
    FILE *file = fopen(path, "r");
    if (file == NULL && errno == ENOENT) return R2_OK;
    if (file == NULL) return r2i_fail(err, R2_E_IO, "%.150s: %s", path, strerror(errno));
    r2_status status = R2_OK;
    for (size_t n; status == R2_OK && (n = fread(chunk, 1, sizeof chunk, file)) > 0;)
        status = r2i_buffer_append(out, chunk, n, err);
    (void)fclose(file);
    return status;
}

/* The folders above a file; failures show when it is written. */
static void make_folders(char *path, mode_t mode) {
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(path, mode);
        *slash = '/';
    }
}

r2_status r2i_settings_write(const r2i_settings *settings, r2i_place place, const char *section,
                             const r2i_option *option, const char *value, r2i_heap *heap,
                             r2_error *err) {
    char path[LINE_BYTES];
    r2i_buffer old, new;
    if (settings->paths[place] == NULL)
        return r2i_fail(err, R2_E_STATE, "there is no place for the file: HOME is not set");
    (void)snprintf(path, sizeof path, "%s", settings->paths[place]);
    const bool is_for_all = place == R2I_PLACE_SYSTEM; /* other users read it too */
    make_folders(path, is_for_all ? 0755 : 0700);
    char *real = realpath(path, NULL); /* a link stays a link */
    r2i_buffer_init(&old, heap, MAX_FILE_BYTES);
    r2i_buffer_init(&new, heap, MAX_FILE_BYTES);
    rewriting w = { section, option, value, &new, section == NULL, false };
    r2_status status = read_old(&old, path, err);
    if (status == R2_OK) status = rewrite(&w, &old, err);
    if (status == R2_OK)
        status = r2i_text_write(real != NULL ? real : path, new.n_bytes > 0 ? new.bytes : "",
                                new.n_bytes, is_for_all ? 0644 : 0600, err);
    free(real);
    r2i_buffer_destroy(&old);
    r2i_buffer_destroy(&new);
    return status;
}
