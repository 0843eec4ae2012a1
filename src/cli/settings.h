/* settings.h - flags kept in files, for all commands or for one.
 *
 *     temp = 0.2            # of every command that has --temp
 *     [bench]               # from here on: of `r2lm bench` alone
 *     predict = 128
 *
 * A line is a comment (# or ; at its start), [COMMAND], or the long name of a flag, =, and its value,
 * spaces around both left out and one pair of quotation marks too.  Three files are read; the
 * stronger one wins, and within a file the command's own section, then the later line:
 *     ./r2lm.ini, $XDG_CONFIG_HOME/r2lm/config.ini (~/.config/...), /etc/r2lm/config.ini
 * (R2LM_SYSTEM_CONFIG names another one instead of the last).  A file of somebody else's is not read. */
#ifndef R2I_SETTINGS_H
#define R2I_SETTINGS_H
#include "base/arena.h"
#include "base/buffer.h"
#include "cli/option_table.h"
#include "r2lm/status.h"

typedef enum { R2I_PLACE_SYSTEM, R2I_PLACE_USER, R2I_PLACE_LOCAL, R2I_N_PLACES } r2i_place;

typedef struct {
    const char *key, *value;
    const char *section; /* NULL: every command */
    const char *source;  /* "./r2lm.ini:3" */
    r2i_place place;
} r2i_setting;

typedef struct {
    const char *paths[R2I_N_PLACES];   /* NULL: there is no place for it */
    const char *ignored[R2I_N_PLACES]; /* why a file was not read, or NULL */
    r2i_setting *items; /* in the order of files above, weakest first, then of lines */
    size_t n_items;
} r2i_settings;

/* Reads the files into `arena`.  R2_E_FORMAT: a line that is none of the three kinds; R2_E_LIMIT. */
R2_CHECKED r2_status r2i_settings_load(r2i_settings *out, r2i_arena *arena, r2_error *err);
/* Reads one file that was asked for by name, whoever's it is.  R2_E_NOT_FOUND, R2_E_FORMAT, R2_E_LIMIT,
 * R2_E_IO. */
R2_CHECKED r2_status r2i_settings_read(r2i_settings *out, const char *path, r2i_arena *arena,
                                       r2_error *err);
/* Adds a line "name = value" as it is read back. */
R2_CHECKED r2_status r2i_settings_append(r2i_buffer *out, const char *name, const char *value,
                                         r2_error *err);
/* The setting that counts for a flag of a command; NULL: none. */
const r2i_setting *r2i_settings_find(const r2i_settings *settings, const r2i_option *option,
                                     const char *command);
/* Sets a value in the file of a place, or removes it (`value` NULL), and leaves all other lines as
 * they are.  The file and its folders are made where they are not.  R2_E_NOT_FOUND: nothing to
 * remove; R2_E_IO. */
R2_CHECKED r2_status r2i_settings_write(const r2i_settings *settings, r2i_place place,
                                        const char *section, const r2i_option *option,
                                        const char *value, r2i_heap *heap, r2_error *err);
#endif
