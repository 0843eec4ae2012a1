#define _XOPEN_SOURCE 700 /* realpath */
#include "cli/run_config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failure.h"
#include "cli/settings.h"

enum { NUMBER_BYTES = 40 };

static r2_status write_path(r2i_buffer *out, const char *name, const char *path, r2_error *err) {
    char *real = realpath(path, NULL); /* NULL: it is no file but a name */
    const r2_status status = r2i_settings_append(out, name, real != NULL ? real : path, err);
    free(real);
    return status;
}

/* The fewest digits that are read back as the same number. */
static void print_real(char out[NUMBER_BYTES], double x) {
    for (int digits = 6; digits <= 17; digits++) {
        (void)snprintf(out, NUMBER_BYTES, "%.*g", digits, x);
        if (strtod(out, NULL) == x) return;
    }
}

static r2_status write_value(r2i_buffer *out, const r2i_option *o, const r2i_options *flags,
                             r2_error *err) {
    const void *field = (const char *)flags + o->offset;
    char number[NUMBER_BYTES] = "";
    switch (o->kind) {
    case R2I_OPTION_TEXT:
    case R2I_OPTION_CHOICE: {
        const char *text;
        memcpy(&text, field, sizeof text);
        return text != NULL ? r2i_settings_append(out, o->name, text, err) : R2_OK;
    }
    case R2I_OPTION_LIST: {
        const r2i_text_list *list = field;
        for (int32_t i = 0; i < list->n; i++)
            R2I_TRY(write_path(out, o->name, list->texts[i], err));
        return R2_OK;
    }
    case R2I_OPTION_SWITCH:
        (void)snprintf(number, sizeof number, "%d", *(const bool *)field);
        break;
    case R2I_OPTION_SEED:
        (void)snprintf(number, sizeof number, "%" PRId64, *(const int64_t *)field);
        break;
    case R2I_OPTION_REAL:
        print_real(number, *(const double *)field);
        break;
    default:
        (void)snprintf(number, sizeof number, "%d", *(const int32_t *)field);
    }
    return r2i_settings_append(out, o->name, number, err);
}

/* What says how the program behaves, not what the run is. */
static bool is_of_program(const r2i_option *o) {
    static const char *const names[] = { "model", "models", "teacher", "memory", "register" };
    if (o->has_no_env || o->commands == R2I_FOR_ALL) return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(o->name, names[i]) == 0) return true;
    }
    return false;
}

r2_status r2i_run_config_write(r2i_buffer *out, r2i_train_kind kind, const r2i_options *flags,
                               const r2_train_options *run, r2_error *err) {
    R2I_TRY(r2i_buffer_append_text(out, "# r2lm train ", err));
    R2I_TRY(r2i_buffer_append_text(out, r2i_train_kind_name(kind), err));
    R2I_TRY(r2i_buffer_append_text(out, " -c THIS_FILE -o NEW_RUN\n[train]\n", err));
    R2I_TRY(write_path(out, "model", run->model, err));
    if (run->distill != NULL) R2I_TRY(write_path(out, "teacher", run->distill->teacher, err));
    for (int32_t i = 0; i < run->n_data; i++)
        R2I_TRY(write_path(out, "data", run->data[i], err));
    for (size_t i = 0; i < r2i_n_options; i++) {
        const r2i_option *o = &r2i_option_table[i];
        if ((o->commands & R2I_FOR_TRAIN) != 0 && !is_of_program(o))
            R2I_TRY(write_value(out, o, flags, err));
    }
    return R2_OK;
}
