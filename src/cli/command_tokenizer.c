/* command_tokenizer.c - `r2lm tokenizer`: texts become a vocabulary. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/failure.h"
#include "cli/program.h"
#include "r2lm/train.h"

static bool on_progress(void *user, bool is_learning, int64_t n_done, int64_t n_all) {
    r2i_program *p = user;
    if (is_learning)
        r2i_terminal_progress(&p->terminal, "learning tokens", n_done, n_all);
    else
        r2i_terminal_progress(&p->terminal, "reading kB", n_done / 1000, n_all / 1000);
    return r2i_signals_pending() == 0;
}

static r2_status train(r2i_program *p, r2_tokenizer_result *result, r2_error *err) {
    const r2i_options *o = p->options;
    if (p->arguments.n_words < 1 || strcmp(p->arguments.words[0], "train") != 0)
        return r2i_fail(err, R2_E_ARGUMENT, "tokenizer: expected train, found %.60s",
                        p->arguments.n_words > 0 ? p->arguments.words[0] : "nothing");
    if (o->output == NULL)
        return r2i_fail(err, R2_E_ARGUMENT, "tokenizer train: expected -o DIR, found none");
    if (p->arguments.n_words < 2)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "tokenizer train: expected files or folders to read, found none");
    const r2_tokenizer_options options = { .inputs = p->arguments.words + 1,
                                           .n_inputs = p->arguments.n_words - 1,
                                           .mark = o->mark,
                                           .n_vocab = o->vocab_size,
                                           .names = o->specials.texts,
                                           .n_names = o->specials.n,
                                           .n_reserved = o->reserve,
                                           .min_count = o->min_count,
                                           .is_forced = o->is_forced,
                                           .progress = on_progress,
                                           .host.user = p };
    r2i_signals_catch();
    const r2_status status = r2_tokenizer_train(result, o->output, &options, err);
    r2i_terminal_clear_progress(&p->terminal);
    return status;
}

static int print_json(r2i_program *p, const r2_tokenizer_result *r, double seconds) {
    return r2i_program_print_json(
        p, json_pack("{s:s, s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "folder",
                     p->options->output, "vocab_size", r->n_vocab, "merges", r->n_merges,
                     "documents_read", (json_int_t)r->n_documents, "files_read",
                     (json_int_t)r->n_files, "bytes_read", (json_int_t)r->n_bytes, "pieces",
                     (json_int_t)r->n_pieces, "different_pieces", (json_int_t)r->n_different,
                     "tokens", (json_int_t)r->n_tokens, "seconds", seconds));
}

int r2i_tokenizer_command(r2i_program *p) {
    r2_error err = { R2_OK, "" };
    r2_tokenizer_result r;
    const int64_t start_ns = r2i_clock_ns();
    const r2_status status = train(p, &r, &err);
    if (status != R2_OK) return r2i_program_fail(p, status, &err);
    const double seconds = (double)(r2i_clock_ns() - start_ns) * 1e-9;
    if (r.n_vocab < p->options->vocab_size)
        r2i_program_note(p, "r2lm: the texts hold no more than %d tokens of the %d asked for",
                         r.n_vocab, p->options->vocab_size);
    if (p->options->wants_json) return print_json(p, &r, seconds);
    printf("%s: %d tokens\n", p->options->output, r.n_vocab);
    printf("read %.1f MB in %" PRId64 " files, %" PRId64 " documents, %" PRId64
           " different pieces, in %.1f s\n",
           (double)r.n_bytes * 1e-6, r.n_files, r.n_documents, r.n_different, seconds);
    printf("%.2f bytes per token\n", (double)r.n_bytes / (double)(r.n_tokens > 0 ? r.n_tokens : 1));
    return R2I_EXIT_OK;
}
