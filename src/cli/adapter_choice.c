#define _POSIX_C_SOURCE 200809L /* access */
#include "cli/adapter_choice.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/failure.h"

r2_status r2i_adapter_split(r2i_program *program, const char *text, const char **path, float *scale,
                            r2_error *err) {
    const char *colon = strrchr(text, ':');
    char *end = NULL;
    *path = text;
    *scale = 1;
    if (colon == NULL || colon == text || access(text, F_OK) == 0) return R2_OK;
    const double x = strtod(colon + 1, &end);
    if (end == colon + 1 || *end != '\0') return R2_OK; /* a name with a colon */
    if (!(fabs(x) <= 1000))
        return r2i_fail(err, R2_E_ARGUMENT, "--lora: scale: expected -1000 to 1000, found %.40s",
                        colon + 1);
    *path = r2i_arena_copy_text(&program->arena, text, (size_t)(colon - text));
    *scale = (float)x;
    return *path != NULL ? R2_OK : r2i_fail(err, R2_E_NOMEM, "no memory for a path");
}

r2_status r2i_session_choose_adapter(r2i_session *s, const char *text, r2_error *err) {
    r2_adapter *adapter = NULL;
    const char *path;
    float scale = 1;
    if (text != NULL && text[0] != '\0') {
        R2I_TRY(r2i_adapter_split(s->program, text, &path, &scale, err));
        r2i_signals_hold();
        const r2_status status = r2_adapter_open(&adapter, s->model, path, err);
        r2i_signals_release();
        if (status != R2_OK) return status;
    }
    r2i_session_close_adapter(s);
    s->adapter = adapter;
    s->adapter_scale = scale;
    return R2_OK;
}

void r2i_session_close_adapter(r2i_session *s) {
    r2_adapter_close(s->adapter);
    s->adapter = NULL;
}

void r2i_session_use_adapter(const r2i_session *s, r2_sequence_options *out) {
    /* To the library 0 is "as the adapter says", to a user it is "not at all". */
    out->adapter = s->adapter_scale != 0 ? s->adapter : NULL;
    out->adapter_scale = s->adapter_scale;
}

/* ---- show ---- */

static int print_json(r2i_program *p, const char *path, const r2_adapter_info *a) {
    return r2i_program_print_json(
        p, json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:f, s:i, s:I}", "path", path, "kind",
                     "adapter", "name", a->name, "base", a->base_name, "targets", a->targets,
                     "rank", a->rank, "alpha", (double)a->alpha, "matrices", a->n_matrices,
                     "parameters", (json_int_t)a->n_parameters));
}

/* Texts of a file are other people's. */
static void print_text(r2i_program *p, const char *key, const char *text) {
    char *copy = r2i_arena_copy_text(&p->arena, text, strlen(text));
    if (copy == NULL || copy[0] == '\0') return;
    r2i_text_strip_controls(copy);
    printf("%-16s %s\n", key, copy);
}

int r2i_show_adapter(r2i_program *p, const char *path) {
    r2_adapter *adapter;
    r2_adapter_info a;
    r2_error err = { R2_OK, "" };
    const r2_status status = r2_adapter_open(&adapter, NULL, path, &err);
    if (status != R2_OK) return r2i_program_fail(p, status, &err);
    r2_adapter_get_info(adapter, &a);
    int code = R2I_EXIT_OK;
    if (p->options->wants_json) {
        code = print_json(p, path, &a);
    } else {
        print_text(p, "path", path);
        printf("%-16s %s\n", "kind", "adapter (LoRA): give it to run or chat with --lora");
        print_text(p, "made for", a.base_name);
        printf("%-16s %d matrices: %s\n", "changes", a.n_matrices, a.targets);
        printf("%-16s up to %d, alpha %g\n", "rank", a.rank, (double)a.alpha);
        printf("%-16s %.2f million\n", "parameters", (double)a.n_parameters * 1e-6);
    }
    r2_adapter_close(adapter);
    return code;
}
