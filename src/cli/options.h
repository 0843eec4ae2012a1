/* options.h - from the command line and the environment to values. */
#ifndef R2I_OPTIONS_H
#define R2I_OPTIONS_H
#include "cli/option_table.h"
#include "cli/settings.h"
#include "r2lm/status.h"

enum { R2I_MAX_WORDS = 256, R2I_ENV_NAME_BYTES = 64 };

typedef struct {
    r2i_options values;
    const char *words[R2I_MAX_WORDS]; /* what is no flag, in order */
    int n_words;
    int32_t n_file_data; /* of values.data, those that a file of --config named */
    bool has_model_flag; /* -m on the command line, not from the environment */
    const r2i_option *given[R2I_MAX_WORDS]; /* flags on the command line, in order */
    int n_given;
} r2i_arguments;

/* Sets all values of a command from defaults, settings, R2LM_*, the file of --config and argv (behind the
 * command's name), the later the stronger.  Texts are borrowed from all of these, the file's lie in `arena`.
 * R2_E_ARGUMENT with one line that names the nearest flag; as r2i_settings_read. */
R2_CHECKED r2_status r2i_arguments_parse(r2i_arguments *out, unsigned command, const char *name,
                                         const r2i_settings *settings, r2i_arena *arena, int argc,
                                         char *const *argv, r2_error *err);
/* The value of a flag's variable, or NULL, and the variable's name. */
const char *r2i_option_env(const r2i_option *option, char name[R2I_ENV_NAME_BYTES]);
/* R2_E_ARGUMENT: the flag does not take this value. */
R2_CHECKED r2_status r2i_option_check(const r2i_option *option, const char *value, r2_error *err);
/* The number of edits between two words: insertions, deletions, replacements, swaps of neighbours. */
int r2i_word_distance(const char *a, const char *b);
#endif
