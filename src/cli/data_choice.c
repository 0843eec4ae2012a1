#define _POSIX_C_SOURCE 200809L /* access, rmdir */
#include "cli/data_choice.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/failure.h"
#include "base/flat_folder.h"

enum { PATH_BYTES = 4096 };

static bool on_bytes(void *user, int64_t n_done, int64_t n_all) {
    r2i_program *p = user;
    r2i_terminal_progress(&p->terminal, "reading kB", n_done / 1000, n_all / 1000);
    return r2i_signals_pending() == 0;
}

r2_status r2i_data_from_inputs(r2_data_result *result, r2i_program *p, const r2_model *model,
                               const char *const *inputs, int32_t n_inputs, const char *out,
                               r2_error *err) {
    const r2i_options *o = p->options;
    const r2_data_options options = { .inputs = inputs,
                                      .n_inputs = n_inputs,
                                      .mark = o->mark,
                                      .held_out = o->held_out.texts,
                                      .n_held_out = o->held_out.n,
                                      .validation_share = (float)o->validation,
                                      .keeps_copies = o->keeps_copies,
                                      .learns_all = o->learns_all,
                                      .is_forced = o->is_forced,
                                      .licence = o->licence,
                                      .progress = on_bytes,
                                      .host.user = p };
    r2i_signals_catch();
    const r2_status status = r2_data_prepare(result, model, out, &options, err);
    r2i_terminal_clear_progress(&p->terminal);
    if (status == R2_OK && result->validation.n_documents == 0 && o->validation > 0)
        r2i_program_note(p,
                         "no document was put aside for validation: --validation %g is small for "
                         "%" PRId64,
                         o->validation, result->train.n_documents);
    return status;
}

/* ---- what `train sft` is given ---- */

static bool is_prepared(const char *path) {
    char manifest[PATH_BYTES + 32];
    (void)snprintf(manifest, sizeof manifest, "%.4000s/manifest.json", path);
    return access(manifest, F_OK) == 0;
}

bool r2i_data_all_prepared(const char *const *words, int32_t n_words) {
    int32_t n = 0;
    while (n < n_words && is_prepared(words[n]))
        n++;
    return n == n_words;
}

static void add_split(r2_data_split *sum, const r2_data_split *s) {
    sum->n_documents += s->n_documents;
    sum->n_tokens += s->n_tokens;
    sum->n_targets += s->n_targets;
}

static void remove_data(const char *name) {
    if (name == NULL || r2i_flat_folder_empty(name, NULL) != 0) return;
    (void)rmdir(name);
}

/* A run that is replaced keeps its data until the new one has been accepted: its checkpoints need them. */
static void put_aside(r2i_data_choice *c, r2i_program *p, const char *path) {
    char *aside = r2i_arena_push(&p->arena, PATH_BYTES, 1);
    if (aside == NULL || !p->options->is_forced || !is_prepared(path)) return;
    (void)snprintf(aside, PATH_BYTES, "%.4000s.replaced", path);
    remove_data(aside); /* of a run that was killed */
    if (rename(path, aside) != 0) return;
    c->aside = aside;
    c->place = path;
}

/* `inputs` become the folder RUN/data. */
static r2_status make_data(r2i_data_choice *c, r2i_program *p, const char *model, const char *run,
                           const char *const *inputs, int32_t n_inputs, r2_error *err) {
    const r2_model_options options = { .is_text_only = true };
    char *path = r2i_arena_push(&p->arena, PATH_BYTES, 1);
    r2_data_result result;
    r2_model *text;
    if (path == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for the name of a folder");
    (void)snprintf(path, PATH_BYTES, "%.4000s/data", run);
    if (c->is_made) {
        c->folders[c->n_folders++] = path;
        R2I_TRY(r2_data_check(&result, path, NULL, err));
        add_split(&c->train, &result.train);
        return R2_OK;
    }
    R2I_TRY(r2_model_open(&text, model, &options, err));
    put_aside(c, p, path);
    const r2_status status = r2i_data_from_inputs(&result, p, text, inputs, n_inputs, path, err);
    r2_model_close(text);
    if (status != R2_OK) return status;
    c->made = c->folders[c->n_folders++] = path;
    add_split(&c->train, &result.train);
    r2i_program_note(p,
                     "%s: %" PRId64 " documents of %" PRId64 " tokens, %" PRId64
                     " of them learnt; %" PRId64 " more for validation",
                     path, result.train.n_documents, result.train.n_tokens, result.train.n_targets,
                     result.validation.n_documents);
    return R2_OK;
}

r2_status r2i_data_choose(r2i_data_choice *c, r2i_program *p, const char *model, const char *run,
                          const char *const *words, int32_t n_words, r2_error *err) {
    const char **inputs = R2I_ARENA_ARRAY(&p->arena, const char *, (size_t)n_words + 1);
    int32_t n_inputs = 0;
    *c =
        (r2i_data_choice){ .folders = R2I_ARENA_ARRAY(&p->arena, const char *, (size_t)n_words + 1),
                           .is_made = c->is_made };
    if (inputs == NULL || c->folders == NULL)
        return r2i_fail(err, R2_E_NOMEM, "no memory for names of data");
    for (int32_t i = 0; i < n_words; i++) {
        r2_data_result result;
        if (!is_prepared(words[i])) {
            inputs[n_inputs++] = words[i];
            continue;
        }
        R2I_TRY(r2_data_check(&result, words[i], NULL, err));
        c->folders[c->n_folders++] = words[i];
        add_split(&c->train, &result.train);
    }
    return n_inputs == 0 ? R2_OK : make_data(c, p, model, run, inputs, n_inputs, err);
}

void r2i_data_withdraw(const r2i_data_choice *c) {
    remove_data(c->made);
    if (c->aside != NULL) (void)rename(c->aside, c->place);
}

void r2i_data_settle(const r2i_data_choice *c) {
    remove_data(c->aside);
}
