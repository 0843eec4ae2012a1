/* command_data.c - `r2lm data`: texts and chats become tokens to train on. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "cli/data_batches.h"
#include "cli/traces_choice.h"
#include "cli/data_choice.h"
#include "cli/model_find.h"
#include "cli/session.h"

typedef struct {
    r2i_program *program;
    r2i_session session;
    r2_data_result result;
    const char *folder, *tokenizer; /* the latter: NULL unless it was opened */
} data_work;

static r2_status open_tokenizer(data_work *w, r2_error *err) {
    const char *path;
    r2i_program *p = w->program;
    R2I_TRY(r2i_model_resolve(&path, p, p->options->model, err));
    w->tokenizer = path;
    return r2i_session_open_model(&w->session, p, path, err);
}

static r2_status prepare(data_work *w, r2_error *err) {
    r2i_program *p = w->program;
    const r2i_options *o = p->options;
    w->folder = o->output;
    if (o->output == NULL)
        return r2i_fail(err, R2_E_ARGUMENT, "data prep: expected -o DIR, found none");
    if (p->arguments.n_words < 2)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "data prep: expected files or folders to read, found none");
    R2I_TRY(open_tokenizer(w, err));
    return r2i_data_from_inputs(&w->result, p, w->session.model, p->arguments.words + 1,
                                p->arguments.n_words - 1, o->output, err);
}

static r2_status show(data_work *w, r2_error *err) {
    r2i_program *p = w->program;
    if (p->arguments.n_words != 2)
        return r2i_fail(err, R2_E_ARGUMENT, "data show: expected one folder, found %d words",
                        p->arguments.n_words - 1);
    w->folder = p->arguments.words[1];
    if (p->arguments.has_model_flag) R2I_TRY(open_tokenizer(w, err));
    return r2_data_check(&w->result, w->folder, w->session.model, err);
}

static json_t *split_json(const r2_data_split *s) {
    return json_pack("{s:I, s:I, s:I}", "documents", (json_int_t)s->n_documents, "tokens",
                     (json_int_t)s->n_tokens, "targets", (json_int_t)s->n_targets);
}

static int print_json(const data_work *w) {
    const r2_data_result *r = &w->result;
    return r2i_program_print_json(
        w->program,
        json_pack("{s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "folder", w->folder,
                  "train", split_json(&r->train), "validation", split_json(&r->validation),
                  "documents_read", (json_int_t)r->n_read, "files_read", (json_int_t)r->n_files,
                  "bytes_read", (json_int_t)r->n_bytes, "copies", (json_int_t)r->n_copies,
                  "near_copies", (json_int_t)r->n_near_copies, "held_out",
                  (json_int_t)r->n_held_out, "empty", (json_int_t)r->n_empty, "files_passed_over",
                  (json_int_t)r->n_passed_over));
}

static void print_split(const char *name, const r2_data_split *s) {
    printf("%-12s %10" PRId64 " documents %12" PRId64 " tokens %12" PRId64 " of them learnt\n",
           name, s->n_documents, s->n_tokens, s->n_targets);
}

static int print_text(const data_work *w) {
    const r2_data_result *r = &w->result;
    printf("%s\n", w->folder);
    if (w->tokenizer != NULL) printf("tokenizer    %s\n", w->tokenizer);
    print_split("train", &r->train);
    print_split("validation", &r->validation);
    printf("read         %10" PRId64 " documents in %" PRId64 " files, %.1f MB", r->n_read,
           r->n_files, (double)r->n_bytes * 1e-6);
    if (r->n_passed_over > 0) printf("; %" PRId64 " files hold no text", r->n_passed_over);
    printf("\nleft out     %10" PRId64 " copies, %" PRId64 " near copies, %" PRId64
           " of evaluation sets, %" PRId64 " empty\n",
           r->n_copies, r->n_near_copies, r->n_held_out, r->n_empty);
    return R2I_EXIT_OK;
}

int r2i_data_command(r2i_program *p) {
    data_work w = { .program = p, .session = { .program = p } };
    r2_error err = { R2_OK, "" };
    const char *what = p->arguments.n_words > 0 ? p->arguments.words[0] : "nothing";
    r2_status status;
    if (strcmp(what, "prep") == 0)
        status = prepare(&w, &err);
    else if (strcmp(what, "show") == 0)
        status = show(&w, &err);
    else if (strcmp(what, "traces") == 0)
        status = r2i_traces_print(p, &err);
    else if (strcmp(what, "batches") == 0)
        status = r2i_data_batches_print(p, &err);
    else
        status = r2i_fail(&err, R2_E_ARGUMENT,
                          "data: expected prep, show, traces or batches, found %.60s", what);
    int code;
    if (status != R2_OK) {
        code = r2i_program_fail(p, status, &err);
        if (status == R2_E_NOT_FOUND) r2i_models_hint(p);
    } else if (w.folder == NULL) { /* batches, printed already */
        code = R2I_EXIT_OK;
    } else {
        code = p->options->wants_json ? print_json(&w) : print_text(&w);
    }
    r2i_session_close(&w.session);
    return code;
}
