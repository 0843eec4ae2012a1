/* command_convert.c - `r2lm convert`: a Hugging Face folder to GGUF, or back. */
#define _GNU_SOURCE /* S_ISDIR */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/failure.h"
#include "base/path_name.h"
#include "cli/adapter_choice.h"
#include "cli/model_find.h"
#include "r2lm/convert.h"

static void on_log(void *user, const char *line) {
    r2i_program *p = user;
    r2i_terminal_clear_progress(&p->terminal);
    r2i_program_note(p, "%s", line);
}

static bool on_progress(void *user, int64_t n_done, int64_t n_all) {
    r2i_program *p = user;
    r2i_terminal_progress(&p->terminal, "writing MB", n_done / 1000000, n_all / 1000000);
    return r2i_signals_pending() == 0;
}

static r2_convert_type type_of(const char *name) {
    static const char *const names[] = { "keep", "f32", "f16", "bf16" };
    int i = 0;
    while (i < 3 && strcmp(name, names[i]) != 0)
        i++;
    return (r2_convert_type)i;
}

static int fail(r2i_program *p, r2_status status, const r2_error *err) {
    const int code = r2i_program_fail(p, status, err);
    const r2i_options *o = p->options;
    if (status == R2_E_NOT_FOUND && p->is_model_missing)
        r2i_models_hint(p);
    else if (status == R2_E_NOT_FOUND && o->keeps_mtp &&
             strstr(err->text, "of the prediction module") != NULL)
        r2i_program_hint(p, "      --no-mtp leaves the prediction module out");
    return code;
}

/* A name that promises the other kind of model is a mistake. */
static r2_status check_output(const char *in, const char *out, r2_error *err) {
    struct stat info;
    const bool is_folder = stat(in, &info) == 0 && S_ISDIR(info.st_mode);
    if (is_folder && (r2i_name_ends_with(out, ".safetensors") || r2i_name_ends_with(out, "/")))
        return r2i_fail(err, R2_E_ARGUMENT, "%.150s: expected the name of a GGUF file", out);
    if (!is_folder && r2i_name_ends_with(out, ".gguf")) {
        return r2i_fail(err, R2_E_ARGUMENT,
                        "%.150s: a GGUF file becomes a folder; `r2lm quantize` changes its types",
                        out);
    }
    return R2_OK;
}

/* --lora PATH[:SCALE] */
static r2_status choose_adapter(r2i_program *p, r2_convert_options *out, r2_error *err) {
    const char *text = p->options->lora;
    if (text == NULL || text[0] == '\0') return R2_OK;
    R2I_TRY(r2i_adapter_split(p, text, &out->adapter.path, &out->adapter.scale, err));
    if (out->adapter.scale != 0) return R2_OK;
    return r2i_fail(err, R2_E_ARGUMENT, "--lora: scale: 0 would add nothing");
}

int r2i_convert_command(r2i_program *p) {
    const r2i_options *o = p->options;
    const char *in = NULL;
    r2_error err = { R2_OK, "" };
    if (p->arguments.n_words != 2) {
        (void)r2i_fail(&err, R2_E_ARGUMENT, "convert: expected INPUT and OUTPUT, found %d word%s",
                       p->arguments.n_words, p->arguments.n_words == 1 ? "" : "s");
        return r2i_program_fail(p, R2_E_ARGUMENT, &err);
    }
    const char *out = p->arguments.words[1];
    const int64_t start_ns = r2i_clock_ns();
    r2_convert_options options = { .type = type_of(o->type),
                                   .n_threads = o->threads,
                                   .shard_bytes = (int64_t)(o->shard_size * 1e9),
                                   .is_forced = o->is_forced,
                                   .drops_mtp = !o->keeps_mtp,
                                   .progress = on_progress,
                                   .host = { .log = on_log, .user = p } };
    r2i_signals_catch();
    r2_status status = r2i_model_resolve(&in, p, p->arguments.words[0], &err);
    if (status == R2_OK) status = check_output(in, out, &err);
    if (status == R2_OK) status = choose_adapter(p, &options, &err);
    if (status == R2_OK) status = r2_convert(in, out, &options, &err);
    if (status != R2_OK) return fail(p, status, &err);
    r2i_terminal_clear_progress(&p->terminal);
    const double seconds = (double)(r2i_clock_ns() - start_ns) * 1e-9;
    if (o->wants_json) {
        return r2i_program_print_json(
            p, json_pack("{s:s, s:s, s:f}", "input", in, "output", out, "seconds", seconds));
    }
    r2i_program_note(p, "%s written in %.1f s", out, seconds);
    return R2I_EXIT_OK;
}
